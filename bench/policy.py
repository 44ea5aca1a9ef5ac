#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""
What a join and a leave cost the server when N others are there: with and without a policy.

A server of its own for each row. N clients join and read all they are told; then one more joins and leaves, again and
again, and nobody else reads or needs to. The cost is the processor time of the server, from /proc/PID/schedstat.
Rounds are interleaved, and the median counts. Usage: bench/policy.py [--others 100,1000,4000] [--rounds 5] [--program PATH]
"""

import argparse
import os
import resource
import shutil
import socket
import statistics
import subprocess
import tempfile
import threading
import time

PAIRS = 200
ANSWER = 10  # seconds


class Server:
    def __init__(self, program, *arguments):
        self.room = tempfile.mkdtemp(prefix="ivshmem-bench-")
        self.path = os.path.join(self.room, "socket")
        arguments = [word.replace("ROOM", self.room) for word in arguments]
        self.process = subprocess.Popen([program, "-F", "-S", self.path, "--no-observer-socket", *arguments],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + ANSWER
        while not self.listens():
            assert time.monotonic() < end and self.process.poll() is None, "the server does not start"
            time.sleep(0.01)
        self.clients = []
        self.centre = None
        if os.path.exists(self.room + "/centre"):
            self.centre = socket.socket(socket.AF_UNIX)
            self.centre.connect(self.room + "/centre")
            # It sees the client that tried the server, or not any more; what comes is read, however much it is.
            threading.Thread(target=drain, args=(self.centre,), daemon=True).start()

    def answer(self, others, sees_all):
        """Messages that a newcomer gets: the greeting, those who are there or the centre, and itself."""
        return 3 + 1 + (others if sees_all else 1)

    def listens(self):
        try:
            self.join().close()
            return True
        except OSError:
            return False

    def join(self):
        client = socket.socket(socket.AF_UNIX)
        client.connect(self.path)
        return client

    def nanoseconds(self):
        with open(f"/proc/{self.process.pid}/schedstat", encoding="ascii") as file:
            return int(file.read().split()[0])

    def end(self):
        self.process.terminate()
        self.process.wait()
        for client in [*self.clients, self.centre]:
            if client:
                client.close()
        shutil.rmtree(self.room)


def drain(client):
    """To the end."""
    try:
        while client.recv(65536):
            pass
    except OSError:
        pass


def read(client, n):
    """`n` messages; their descriptors are dropped by the kernel, because we give it no room for them."""
    left = 8 * n
    while left > 0:
        left -= len(client.recv(left))


def fill(server, others, sees_all):
    for i in range(others):
        client = server.join()
        server.clients.append(client)
        read(client, server.answer(i, sees_all))
        if sees_all:
            for other in server.clients[:-1]:
                read(other, 1)


def measure(server, others, sees_all):
    """Of one join and one leave, in nanoseconds; the join alone is what the newcomer waits for, in nanoseconds too."""
    waits = []
    before = server.nanoseconds()
    for _ in range(PAIRS if not sees_all else max(5, PAIRS * 20 // others)):
        start = time.perf_counter_ns()
        client = server.join()
        read(client, server.answer(others, sees_all))
        waits.append(time.perf_counter_ns() - start)
        if sees_all:
            for other in server.clients:
                read(other, 1)
        client.close()
        if sees_all:
            for other in server.clients:
                read(other, 1)
    # A last one has its answer after the leave of the one before.
    client = server.join()
    read(client, server.answer(others, sees_all))
    used = server.nanoseconds() - before
    client.close()
    if sees_all:
        for other in server.clients:
            read(other, 2)
    return used / (len(waits) + 1), statistics.median(waits)


CASES = {
    "all": [],
    "all, with limits per user": ["--allow-user", str(os.geteuid()), "--max-peers-per-user", "60000"],
    "star": ["--see", "star:60000", "--member", "60000=ROOM/centre"],
}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--others", default="100,1000,4000")
    parser.add_argument("--most-all", type=int, default=1000, help="all of all costs N times N: not with more than these")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--program", default="build/ivshmem-server")
    parser.add_argument("--cases", default=",".join(CASES).replace("all, with", "all; with"))
    arguments = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    results = {}
    for _ in range(arguments.rounds):
        for name, options in CASES.items():
            if name.replace("all, with", "all; with") not in arguments.cases.split(","):
                continue
            for others in map(int, arguments.others.split(",")):
                sees_all = name != "star"
                if sees_all and others > arguments.most_all:
                    continue
                server = Server(arguments.program, *options)
                try:
                    fill(server, others, sees_all)
                    results.setdefault((name, others), []).append(measure(server, others, sees_all))
                finally:
                    server.end()
    print(f"{'who sees whom':28} {'others':>7} {'join and leave, server':>24} {'a newcomer waits':>18}")
    for (name, others), rows in results.items():
        used, waits = (statistics.median(column) for column in zip(*rows))
        print(f"{name:28} {others:7} {used / 1000:21.1f} us {waits / 1000:15.1f} us")


if __name__ == "__main__":
    main()

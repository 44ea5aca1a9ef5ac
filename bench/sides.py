# SPDX-License-Identifier: BSD-2-Clause
"""The processes of a group that is measured: a server, a peer that never looks, devices."""

import os
import socket
import subprocess
import tempfile
import time

from machine import child_setup

PATIENCE_S = 20


def wait_for(condition, what):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what} did not come")
        time.sleep(0.01)


class Sides:
    """Processes, and what they leave behind; a context manager that ends them all."""

    def __init__(self, build):
        self.build = build
        self.directory = tempfile.TemporaryDirectory(prefix="ivshmem-bench-")
        self.processes = []
        self.sockets = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in reversed(self.processes):
            process.kill()  # also one that is stopped
            process.wait()
            if process.stdout:
                process.stdout.close()
        for file in self.sockets:
            file.close()
        self.directory.cleanup()

    def path(self, name):
        return os.path.join(self.directory.name, name)

    def start(self, words, cpu=None, **more):
        process = subprocess.Popen([str(word) for word in words], stdin=subprocess.DEVNULL,
                                   preexec_fn=child_setup(cpu), **more)
        self.processes.append(process)
        return process

    def server(self, name, vectors, *options, memory="4M", cpu=None):
        """A server; the path of its socket."""
        path = self.path(name)
        server = self.start([os.path.join(self.build, "ivshmem-server"), "-F", "-S", path, "-l", memory, "-n", vectors, *options],
                            cpu, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(lambda: os.path.exists(path) or server.poll() is not None, "the server's socket")
        if server.poll() is not None:
            raise RuntimeError("ivshmem-server did not start")
        return path

    def idle_peer(self, server):
        """A client that never reads its eventfds, to be rung without being woken; its id."""
        peer = socket.socket(socket.AF_UNIX)
        self.sockets.append(peer)
        wait_for(lambda: peer.connect_ex(server) == 0, "the server")
        greeting = b""
        while len(greeting) < 16:
            greeting += peer.recv(16 - len(greeting))
        return int.from_bytes(greeting[8:], "little")

    def device(self, server, number, vectors, *options, cpu=None):
        """An ivshmem-device; the path of its socket."""
        path = f"{server}-{number}"
        device = self.start([os.path.join(self.build, "ivshmem-device"), "--socket", path, "--server", server,
                             "--vectors", vectors, *options], cpu, stdout=subprocess.PIPE)
        if not device.stdout.readline().startswith(b"ready"):
            raise RuntimeError("ivshmem-device did not start")
        return path

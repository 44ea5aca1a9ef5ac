# SPDX-License-Identifier: BSD-2-Clause
"""A server that keeps its clients when it is replaced or killed, its supervisor, and a play of clients."""

import os
import random
import signal

import pytest

import ivshmem_wire as wire
import stepper
from fake_supervisor import GROUP, FakeSupervisor
from ivshmem_wire import expect_rings
from observer import Observer

can_step = pytest.mark.skipif(not stepper.KNOWN, reason="the system calls of this processor are unknown")
# What looks for leaks at the end cannot do so in a process that is held.
NO_LEAKS = {"ASAN_OPTIONS": f"{os.environ.get('ASAN_OPTIONS', '')}:detect_leaks=0"}


def first_system_calls(step, to_wait):
    """
    After how many system calls something else begins: the second of many in a row stands for the others. With
    `to_wait`, up to where the server waits for events, else to its end.
    """
    instants, before = [], [None, None]
    count = 0
    while step.step():
        number = step.system_call()
        if number is None:
            continue
        if to_wait and step.at("wait"):
            step.release()
            break
        if before != [number, number]:
            instants.append(count)
        before = [before[1], number]
        count += 1
    return instants


def run_into(step, instant):
    """To just before that system call. False: it is over already."""
    while step.step():
        if step.system_call() is not None:
            if instant == 0:
                return True
            instant -= 1
    return False


class Group:
    """A server that keeps its clients, and its supervisor."""

    def __init__(self, path, supervisor, *arguments, vectors=1, binary=None, **options):
        self.path, self.supervisor, self.vectors = path, supervisor, vectors
        self.arguments, self.options = list(arguments), options
        self.binary = binary or wire.program("ivshmem-server")
        self.server, self.guardian = None, None
        self.clients = []
        self.start()

    def argv(self):
        server = [self.binary, "-F", "--keep-clients", "-S", self.path, "-n", str(self.vectors)]
        return server + self.arguments

    def start(self):
        self.supervisor.messages.clear()
        self.server = self.supervisor.start(self.argv(), **self.options)
        self.supervisor.ready()
        assert self.supervisor.names() == []
        self.guardian = self.server.pid
        return self.server

    def workers(self):
        return wire.process_children(self.guardian)

    def worker(self):
        """The process that serves; the other one guards it."""
        wire.wait_until(self.workers, "there is a worker")
        return self.workers()[0]

    def kill_guardian(self):
        """The worker becomes the guardian, and makes another worker."""
        heir = self.worker()
        os.kill(self.guardian, signal.SIGKILL)
        if self.server.pid == self.guardian:
            self.server.process.wait()
        self.guardian = heir
        self.worker()

    def stop(self):
        self.supervisor.stop()
        assert self.supervisor.names() == [GROUP]

    def restart(self):
        self.stop()
        return self.start()

    def connect(self, path=None, kind=wire.RawClient):
        client = kind(path or self.path, self.vectors) if kind is wire.RawClient else kind(path or self.path)
        self.clients.append(client)
        return client

    def client(self):
        return self.connect().greet()

    def close(self):
        for client in self.clients:
            if client.fileno() >= 0:
                client.close()


@pytest.fixture
def supervisor(room, processes, closing):
    supervisor = FakeSupervisor(room.file("notify"), processes)
    closing.append(supervisor)
    return supervisor


@pytest.fixture
def group(room, supervisor, closing):
    def group(*arguments, **options):
        group = Group(room.socket, supervisor, *arguments, **options)
        closing.append(group)
        return group

    return group


def eventfd_id(fd):
    with open(f"/proc/self/fdinfo/{fd}") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("eventfd-id:"))


def expect_same_eventfds(clients):
    """Whoever knows of a peer has the same eventfds for it, in the same order."""
    known = {}
    for client in clients:
        for peer, fds in client.peers.items():
            ids = [eventfd_id(fd) for fd in fds]
            # One that was only told of the first vectors has only these.
            longest = known.setdefault(peer, ids)
            if len(ids) > len(longest):
                longest, known[peer] = ids, ids
            assert longest[: len(ids)] == ids


def settle(group):
    """Whatever the server had to do is done: it serves newcomers last."""
    for _ in range(3):
        with Observer(group.path) as observer:
            observer.greet()


class Play:
    """
    A random sequence of clients that come, go, read, and read nothing for a while. The same seed makes the same
    sequence, whether the server is replaced in between or not.
    """

    def __init__(self, group, seed, restarts):
        self.group, self.random, self.restarts = group, random.Random(seed), restarts
        self.streams = []  # of each client that ever was: what it was told
        self.members, self.slow, self.observers, self.holders = [], [], [], {}

    def record(self, client):
        """Have the client write down all that it receives."""
        stream = []
        receive = client.receive

        def recording(*arguments, **options):
            message = receive(*arguments, **options)
            stream.append(message and (message.number, message.fd is not None))
            return message

        client.receive, client.stream = recording, stream
        self.streams.append(stream)
        return client

    def settle(self):
        settle(self.group)

    def join(self):
        self.members.append(self.record(self.group.connect()).greet())

    def join_slowly(self):
        if len(self.slow) < 12:
            self.slow.append(self.record(self.group.connect()))

    def read_some(self):
        """The server stands still meanwhile, or how much it sends would be a matter of time."""
        if not self.slow:
            return
        client = self.random.choice(self.slow)
        server = self.group.worker()
        os.kill(server, signal.SIGSTOP)
        wire.wait_until(lambda: wire.process_state(server) == "T", "it stands still")
        for _ in range(min(self.random.randrange(1, 60), client.queued() // 8)):
            message = client.receive(timeout=0)
            if message.fd is not None:
                client.close_fd(message.fd)
        os.kill(server, signal.SIGCONT)

    def observe(self):
        if len(self.observers) < 8:
            self.observers.append(self.record(self.group.connect(kind=Observer)).greet())

    def sit_down(self):
        own = self.random.choice([3, 60000])
        if own in self.holders:
            self.holders.pop(own).close()
        else:
            path = f"{self.group.path}-{own}"
            self.holders[own] = self.record(self.group.connect(path)).greet()
            assert self.holders[own].id == own

    def leave(self):
        leaving = self.random.choice([self.members, self.slow, self.observers])
        if leaving:
            leaving.pop(self.random.randrange(len(leaving))).close()

    def restart(self):
        """Some clients come while there is no server, and they come in that order."""
        coming = []
        if self.restarts:
            self.group.stop()
        for _ in range(self.random.randrange(4)):
            coming.append(self.record(self.group.connect()))
        if self.restarts:
            self.group.start()
        self.members += [client.greet() for client in coming]

    def run(self, steps):
        for _ in range(25):
            self.join()
        for _ in range(steps):
            actions = [self.join, self.join_slowly, self.read_some, self.observe, self.sit_down, self.leave]
            self.random.choices([*actions, self.restart], [6, 2, 4, 1, 2, 6, 1])[0]()
            self.settle()
        self.restart()
        everybody = [*self.members, *self.holders.values(), *self.observers]
        # A last one, so that all know when they know all.
        self.join()
        last = self.members[-1]
        for client in everybody:
            client.follow(lambda c=client: len(c.peers.get(last.id, [])) == c.vectors, "hearing of the last one")
        expect_same_eventfds([*everybody, last])
        for client in [*self.members, *self.holders.values()]:
            if client is not last:
                expect_rings(client, last)
        for client in self.slow:
            while client.stream.count((last.id, True)) < client.vectors:
                message = client.receive()
                if message.fd is not None:
                    client.close_fd(message.fd)
        return self.streams

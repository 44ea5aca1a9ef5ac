# SPDX-License-Identifier: BSD-2-Clause
"""
A server that is replaced by another one, and no client notices: with a supervisor that speaks systemd's protocol.
"""

import os
import random
import signal

import pytest

import ivshmem_wire as wire
from fake_supervisor import GROUP, FakeSupervisor
from ivshmem_fixtures import expect_refusal
from observer import Observer


class Group:
    """A server that keeps its clients, and its supervisor."""

    def __init__(self, room, supervisor, *arguments, vectors=1):
        self.path, self.supervisor, self.vectors = room.socket, supervisor, vectors
        self.arguments = list(arguments)
        self.server = None
        self.clients = []
        self.start()

    def argv(self):
        server = [wire.program("ivshmem-server"), "-F", "--keep-clients", "-S", self.path, "-n", str(self.vectors)]
        return server + self.arguments

    def start(self):
        self.supervisor.messages.clear()
        self.server = self.supervisor.start(self.argv())
        self.supervisor.ready()
        assert self.supervisor.names() == []
        return self.server

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
            client.close()


@pytest.fixture
def supervisor(room, processes, closing):
    supervisor = FakeSupervisor(room.file("notify"), processes)
    closing.append(supervisor)
    return supervisor


@pytest.fixture
def group(room, supervisor, closing):
    def group(*arguments, **options):
        group = Group(room, supervisor, *arguments, **options)
        closing.append(group)
        return group

    return group


def expect_rings(one, other):
    """In both directions, on every vector."""
    for a, b in ((one, other), (other, one)):
        for vector in range(a.vectors):
            wire.ring(a.peers[b.id][vector])
            wire.wait_rings(b.peers[b.id][vector])


def test_nobody_notices(group):
    group = group(vectors=3)
    first, second = group.client(), group.client()
    first.follow_until_knows([0, 1])
    os.pwrite(first.memory, b"before", 0)
    for client in (first, second):
        client.log.clear()
    group.restart()
    expect_rings(first, second)
    third = group.client()
    assert third.id == 2
    for client in (first, second):
        client.follow_until_knows([0, 1, 2])
        assert client.log == [2, 2, 2], "and nothing else"
        expect_rings(client, third)
    assert os.pread(third.memory, 6, 0) == b"before"
    second.close()
    first.follow_until_knows([0, 2])
    assert third.id == 2 and third.follow_until_knows([0, 2])

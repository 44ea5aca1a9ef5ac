# SPDX-License-Identifier: BSD-2-Clause
"""The server's standard streams: closed, full, or read by nobody."""

import os
import re

import pytest

import ivshmem_wire as wire


def logged(start, *arguments):
    """A server whose output is a pipe, and the two ends of it."""
    reader, writer = os.pipe()
    srv = start(*arguments, stdout=writer, stderr=writer)
    text = b""
    while b"listening" not in text:
        text += os.read(reader, 1000)
    return srv, reader, writer


def test_server_without_standard_streams(launch, room, closing):
    """
    Started with descriptors 0 to 2 closed, nothing that is printed may end up in a client's socket or
    in the memory.
    """
    srv = launch("ivshmem-server", "-F", "-v", "-S", room.socket, setup=lambda: os.closerange(0, 3))

    def connect():
        try:
            return wire.RawClient(room.socket)
        except (ConnectionRefusedError, FileNotFoundError):
            return None

    clients = [wire.wait_until(connect, "it listens")]
    clients += [wire.RawClient(room.socket) for _ in range(5)]
    closing += clients
    assert [client.greet().id for client in clients] == list(range(6))
    for client in clients:
        client.follow_until_knows(range(6))
    assert os.pread(clients[0].memory, 4096, 0) == bytes(4096)
    assert {srv.fds()[fd] for fd in range(3)} == {"/dev/null"}
    srv.finish()
    assert os.listdir(room.path) == []


def test_server_survives_a_closed_log(start):
    """Whoever read its output goes away; it goes on."""
    srv, *ends = logged(start, "-v")
    for fd in ends:
        os.close(fd)
    for expected in range(20):
        client = srv.client()
        assert client.id == expected
        client.close()
    srv.finish()


@pytest.mark.parametrize("arguments", [(), ("-v",)], ids=["quiet", "verbose"])
def test_server_does_not_wait_for_whoever_reads_its_log(start, arguments):
    """
    Its output is a pipe that is open and full. Clients cause messages, so a server that waited for room
    there could be stopped by a client.
    """
    srv, reader, writer = logged(start, *arguments)
    wire.fill(writer)
    os.close(writer)
    for _ in range(20):
        srv.client(timeout=10).offend()
    srv.client(timeout=10)
    srv.finish()
    os.close(reader)


def test_server_counts_the_messages_that_nobody_read(start):
    """Messages that found no room are lost, and the next one that finds some says how many."""
    srv, reader, writer = logged(start)
    wire.fill(writer)
    for _ in range(3):
        srv.client(timeout=10).offend()
    while wire.readable(reader, 0):
        os.read(reader, 65536)
    srv.client(timeout=10).offend()
    srv.finish()
    os.close(writer)
    text = b""
    while piece := os.read(reader, 65536):
        text += piece
    os.close(reader)
    assert re.match(rb"ivshmem-server: [1-9]\d* messages? (was|were) lost\nivshmem-server: ", text), text
    assert text.count(b"lost") == 2, f"once for stdout, which has who joins, and once for stderr: {text}"

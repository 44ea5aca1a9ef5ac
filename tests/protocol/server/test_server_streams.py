# SPDX-License-Identifier: BSD-2-Clause
"""The server's standard streams: closed, full, or read by nobody."""

import os
import re
import signal

import pytest

import ivshmem_wire as wire


def test_server_without_standard_streams(processes, room):
    """
    Started with descriptors 0 to 2 closed, nothing that is printed may end up in a client's socket or
    in the memory.
    """
    process = wire.Process(
        ["/bin/sh", "-c", 'exec "$0" "$@" <&- >&- 2>&-', wire.program("ivshmem-server")]
        + ["-F", "-v", "-S", room.socket],
    )
    processes.append(process)
    wire.wait_until(lambda: os.path.exists(room.socket), "the socket is there")

    def connect():
        try:
            return wire.RawClient(room.socket)
        except ConnectionRefusedError:
            return None

    clients = [wire.wait_until(connect, "it listens")]
    clients[0].greet()
    for _ in range(5):
        clients.append(wire.RawClient(room.socket).greet())
    assert [client.id for client in clients] == list(range(6))
    for client in clients:
        client.follow_until_knows(range(6))
    assert os.pread(clients[0].memory, 4096, 0) == bytes(4096)
    for client in clients:
        client.close()
    process.signal(signal.SIGTERM)
    assert process.wait() == 0
    assert os.listdir(room.path) == []


def test_server_survives_a_closed_log(processes, room):
    """Whoever read its output goes away; it goes on."""
    reader, writer = os.pipe()
    srv = wire.Server(room.socket, "-v", ready=False, stdout=writer, stderr=writer)
    processes.append(srv)
    os.close(writer)
    text = b""
    while b"listening" not in text:
        text += os.read(reader, 1000)
    os.close(reader)
    for expected in range(20):
        client = srv.client()
        assert client.id == expected
        client.close()
    srv.finish()


@pytest.mark.parametrize("arguments", [(), ("-v",)], ids=["quiet", "verbose"])
def test_server_does_not_wait_for_whoever_reads_its_log(processes, room, arguments):
    """
    Its output is a pipe that is open and full. Clients cause messages, so a server that waited for room
    there could be stopped by a client.
    """
    reader, writer = os.pipe()
    srv = wire.Server(room.socket, *arguments, ready=False, stdout=writer, stderr=writer)
    processes.append(srv)
    text = b""
    while b"listening" not in text:
        text += os.read(reader, 1000)
    os.set_blocking(writer, False)
    try:
        while True:
            os.write(writer, bytes(4096))
    except BlockingIOError:
        pass
    os.set_blocking(writer, True)
    os.close(writer)
    for _ in range(20):
        offender = srv.client(timeout=10)
        offender.sock.send(b"!")
        offender.assert_cut()
    srv.client(timeout=10)
    srv.finish()
    os.close(reader)


def test_server_counts_the_messages_that_nobody_read(processes, room):
    """Messages that found no room are lost, and the next one that finds some says how many."""
    reader, writer = os.pipe()
    srv = wire.Server(room.socket, ready=False, stdout=writer, stderr=writer)
    processes.append(srv)
    text = b""
    while b"listening" not in text:
        text += os.read(reader, 1000)
    os.set_blocking(writer, False)
    try:
        while True:
            os.write(writer, bytes(4096))
    except BlockingIOError:
        pass

    def offend():
        offender = srv.client(timeout=10)
        offender.sock.send(b"!")
        offender.assert_cut()

    for _ in range(3):
        offend()
    os.set_blocking(reader, False)
    try:
        while True:
            os.read(reader, 65536)
    except BlockingIOError:
        pass
    os.set_blocking(reader, True)
    offend()
    srv.finish()
    os.close(writer)
    text = b""
    while piece := os.read(reader, 65536):
        text += piece
    os.close(reader)
    assert re.match(rb"ivshmem-server: [1-9]\d* messages? (was|were) lost\nivshmem-server: ", text), text
    assert text.count(b"lost") == 2, f"once for stdout, which has who joins, and once for stderr: {text}"

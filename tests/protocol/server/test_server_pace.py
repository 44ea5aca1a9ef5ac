# SPDX-License-Identifier: BSD-2-Clause
"""Clients that read slowly but steadily are no stalled ones; and bytes that hide from reading."""

import socket
import time

import ivshmem_wire as wire
from ivshmem_fixtures import root_only, start_unprivileged


def test_098_urgent_byte_is_a_byte(server):
    """An out-of-band byte makes the socket readable without anything to read: no reason to spin."""
    srv = server()
    witness = srv.client()
    sender = srv.client()
    witness.follow_until_knows([0, 1])
    sender.sock.send(b"!", socket.MSG_OOB)
    witness.follow(lambda: 1 not in witness.peers, "hearing that the sender left")
    before = srv.cpu_seconds()
    time.sleep(0.5)  # the time in which it must not do anything
    assert srv.cpu_seconds() - before < 0.2


def test_101_steady_reader_is_not_stalled(server):
    """
    Five messages a second are too few to make a full socket writable within the time-out, but it is reading.
    """
    srv = server("--stall-timeout", "3", vectors=64)
    slow = srv.client(keep_fds=False)
    others = [srv.client(keep_fds=False) for _ in range(3)]
    for other in others:
        other.follow_until_knows(range(4))
    # The pace is the subject: twice the limit, and each pause far below it.
    for _ in range(30):
        assert slow.receive() is not None, "it was disconnected"
        time.sleep(0.2)
    assert srv.stderr == ""


@root_only
def test_101_steady_readers_wait_for_each_other(server, room):
    """More is in flight than an unprivileged server may have, and all read a little: nobody is to blame."""
    srv = start_unprivileged(
        server, room, vectors=2, limit_files=200, arguments=["--stall-timeout", "4"]
    )
    clients = [srv.connect(keep_fds=False) for _ in range(40)]
    started = time.monotonic()
    while time.monotonic() - started < 7:
        for client in clients:
            message = client.receive() if client.queued() else None
            if message and message.fd is not None:
                client.close_fd(message.fd)
        time.sleep(0.1)
    assert "disconnected" not in srv.stderr, srv.stderr
    for client in clients:
        client.close()
    srv.clients.clear()

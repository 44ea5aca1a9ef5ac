# SPDX-License-Identifier: BSD-2-Clause
"""What the server tells whom, and in which order."""

import fcntl
import os
import random
import socket
import struct
import time

import pytest

import ivshmem_wire as wire
from ivshmem_fixtures import many_in_flight
from ivshmem_wire import MEMORY, VERSION


def read_all(client):
    """Everything up to the end of the stream, as (number, has a descriptor)."""
    messages = []
    while (message := client.receive()) is not None:
        messages.append((message.number, message.fd is not None))
    return messages


@pytest.mark.parametrize("vectors", [1, 2, 3, 64, 300])
def test_093_newcomer_sequence(server, vectors):
    srv = server(vectors=vectors)
    first = srv.connect()
    first.expect_greeting(0)
    second = srv.connect()
    second.expect_greeting(1, 0)
    # What the existing peer hears: the newcomer's vectors, and nothing else.
    first.expect_vectors(1)
    second.close()
    first.expect(1, False)
    third = srv.connect()
    third.expect_greeting(2, 0)
    first.expect_vectors(2)

    srv.finish()
    assert read_all(first) in ([], [(2, False)]), "something was said twice or too much"
    assert read_all(third) in ([], [(0, False)])


def test_093_most_vectors_that_an_msix_table_holds(server):
    srv = server(vectors=2048)
    first = srv.client()
    second = srv.client()
    assert second.order == [first.id, second.id]
    first.follow_until_knows([0, 1])
    wire.ring(second.peers[0][2047])
    wire.wait_rings(first.peers[0][2047])


def test_093_peers_are_announced_in_the_order_in_which_they_came(server):
    srv = server(vectors=2)
    clients = [srv.client() for _ in range(12)]
    leavers = clients[2:9:3]
    for client in leavers:
        client.close()
    stayers = [client for client in clients if client not in leavers]
    for client in stayers:
        client.follow_until_knows({c.id for c in stayers})
    newcomer = srv.client()
    assert newcomer.order == [client.id for client in stayers] + [newcomer.id]


def test_093_zero_vectors_announce_nobody(server):
    srv = server(vectors=0)
    first = srv.client()
    second = srv.client()
    third = srv.client()
    second.close()
    wire.wait_until(lambda: len(srv.fds()) == srv.idle_fds + 2, "the server notices the departure")
    fourth = srv.client()
    assert [client.id for client in (first, second, third)] == [0, 1, 2]
    srv.finish()
    # Nobody ever heard of anybody, so there is nobody who could leave.
    for client in (first, third, fourth):
        assert read_all(client) == []


def test_094_messages_are_eight_little_endian_bytes(server):
    """Read byte by byte: a descriptor comes with the first byte of its own message."""
    srv = server(vectors=2)
    srv.client()
    client = srv.connect()
    for number, with_fd in [(0, False), (1, False), (MEMORY, True), (0, True), (0, True), (1, True), (1, True)]:
        message = client.receive(step=1)
        assert (message.number, message.fd is not None) == (number, with_fd)


def test_094_a_large_read_never_meets_two_descriptors(server, closing):
    """
    A stream may glue messages without descriptor to the one that follows, never two with a descriptor.
    """
    srv = server(vectors=8)
    for _ in range(5):
        srv.client()
    sock = wire.connect(srv.path)
    closing.append(sock)
    left = 8 * (3 + 6 * 8)
    while left:
        data, fds, flags, _ = socket.recv_fds(sock, 65536, 64)
        assert data and not flags & socket.MSG_CTRUNC
        assert len(data) % 8 == 0
        assert len(fds) <= 1
        for fd in fds:
            os.close(fd)
        left -= len(data)


def test_094_vectors_are_distinct_idle_eventfds(server):
    """Vector k of a peer is the same object for all, and no other; nobody has rung it."""
    srv = server(vectors=3)
    clients = [srv.client() for _ in range(3)]
    for client in clients:
        client.follow_until_knows([0, 1, 2])
        for fds in client.peers.values():
            for fd in fds:
                assert wire.is_eventfd(fd)
                assert wire.rings(fd) == 0
                assert fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_NONBLOCK
    for ringer in clients:
        for target in clients:
            for vector in range(3):
                wire.ring(ringer.peers[target.id][vector])
                rung = {
                    (client.id, own): wire.rings(fd)
                    for client in clients
                    for own, fd in enumerate(client.peers[client.id])
                }
                assert rung.pop((target.id, vector)) == 1
                assert not any(rung.values())


def test_094_everybody_has_the_same_memory(server):
    srv = server()
    first, second = srv.client(), srv.client()
    a, b = os.fstat(first.memory), os.fstat(second.memory)
    assert (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino)
    assert a.st_size == 4 << 20
    os.pwrite(first.memory, b"seen by all", 4000)
    assert os.pread(second.memory, 11, 4000) == b"seen by all"


def test_097_departure_is_told_once_to_everybody_else(server):
    srv = server(vectors=2)
    clients = [srv.client() for _ in range(8)]
    everybody = range(8)
    wire.let_all_know(clients, everybody)
    departed = []
    for index in (3, 0, 7):
        clients[index].close()
        departed.append(clients[index].id)
        for client in clients:
            if client.id not in departed:
                client.expect(clients[index].id, False)
    newcomer = srv.client()
    assert sorted(newcomer.peers) == [1, 2, 4, 5, 6, 8]
    for client in clients:
        if client.id not in departed:
            client.expect_vectors(8)


def test_097_departures_of_many_at_once(server):
    """The quarter that stays hears of each of the others exactly once (update() checks that)."""
    srv = server(vectors=1)
    count = 120
    clients = [srv.client(keep_fds=False) for _ in range(count)]
    wire.let_all_know(clients, range(count))
    stayers = clients[::4]
    leavers = [client for client in clients if client not in stayers]
    random.Random(97).shuffle(leavers)
    for client in leavers:
        client.close()
    for client in stayers:
        client.follow_until_knows({c.id for c in stayers})
        assert sorted(client.log) == sorted(c.id for c in leavers)


def test_097_nobody_hears_that_an_unknown_peer_left(server):
    """
    A peer that joins and leaves while somebody is not reading is for him as if it had never been, and
    whoever he was told about leaves properly. update() fails at any leave without a join.
    """
    srv = server(vectors=2)
    slow = srv.client()
    steady = srv.client(keep_fds=False)

    def visit():
        visitor = srv.client(keep_fds=False)
        steady.follow_until_knows([slow.id, steady.id, visitor.id])
        visitor.close()
        steady.follow_until_knows([slow.id, steady.id])
        return visitor.id

    visits, queued = 0, None
    while visits <= 250 or slow.queued() != queued:
        queued = slow.queued()
        visit()
        visits += 1
        assert visits < 5000, "the socket of a client that does not read never fills up"
    unseen = {visit() for _ in range(50)}
    last = srv.client()
    slow.follow(lambda: slow.peers.keys() == {slow.id, steady.id, last.id}, "the final state")
    slow.follow_until_knows([slow.id, steady.id, last.id])
    assert not unseen & set(slow.log), "was told about peers that had left before"


@many_in_flight
def test_102_newcomer_behind_100_peers_with_64_vectors(server):
    """
    6467 messages, 23 times what fits into the socket: complete and in order. The 100 others do not read
    before the newcomer is done, and miss nothing either.
    """
    vectors, count = 64, 100
    srv = server(vectors=vectors)
    others = [srv.connect(keep_fds=False) for _ in range(count)]
    newcomer = srv.connect(keep_fds=False).greet()
    assert newcomer.id == count
    assert newcomer.order == list(range(count + 1))
    assert newcomer.knows(range(count + 1))

    expected = [peer for peer in range(count + 1) for _ in range(vectors)]
    for own, client in enumerate(others):
        numbers = client.numbers_without_fds(3 + len(expected))
        assert numbers[:3] == [VERSION, own, MEMORY]
        assert numbers[3:] == expected, f"client {own} got another sequence"


@many_in_flight
@pytest.mark.parametrize("count, vectors", [(200, 1), (40, 16)])
def test_102_join_storm_is_complete_for_everybody(server, count, vectors):
    """All connect at once and all read at once; each ends up knowing all."""
    srv = server(vectors=vectors)
    clients = [srv.connect(keep_fds=False) for _ in range(count)]
    for client in clients:
        client.greet()
    for client in clients:
        client.follow_until_knows(range(count))
    assert sorted(client.id for client in clients) == list(range(count))


def test_098_bytes_from_a_client_are_an_error_of_that_client(server):
    """Whether it has read its greeting or not. An urgent byte cannot be read like others, and keeps nobody busy."""
    srv = server(vectors=2)
    watcher = srv.client()
    for data, flags in ((b"x", 0), (bytes(8), 0), (b"y" * 100000, 0), (b"!", socket.MSG_OOB)):
        offender = srv.client()
        watcher.follow_until_knows([0, offender.id])
        offender.offend(data, flags)
        watcher.expect(offender.id, False)
        watcher.peers.pop(offender.id)
        watcher.order.remove(offender.id)
        srv.expect(r"ivshmem-server: .*it sent something.*", "stderr")
    srv.connect().offend(b"GET / HTTP/1.0\r\n\r\n")
    before = srv.cpu_seconds()
    time.sleep(0.5)  # the time in which it must not do anything
    assert srv.cpu_seconds() - before < 0.2
    # The watcher heard of the last one never, or of its coming and going.
    last = srv.client()
    watcher.follow(lambda: last.id in watcher.peers, "the next client")
    watcher.follow_until_knows([watcher.id, last.id])


def test_098_descriptors_from_a_client(server):
    """Descriptors that a client sends do not end up in the server."""
    srv = server(vectors=1)
    watcher = srv.client()
    for _ in range(20):
        offender = srv.client()
        canary = wire.Canary()
        with wire.until_gone:
            socket.send_fds(offender.sock, [b"z" * 8], [canary.fd] * 100)
        canary.close_own()
        offender.assert_cut()
        offender.close()
        canary.assert_closed()
    watcher.drain()
    watcher.close()
    srv.assert_idle()


def test_098_a_client_that_ends_its_sending_side(server):
    """It never may send, but this says that it is gone: it is dropped, as any client that leaves."""
    srv = server(vectors=1)
    watcher = srv.client()
    other = srv.client()
    watcher.follow_until_knows([0, 1])
    other.sock.shutdown(socket.SHUT_WR)
    watcher.expect(1, False)
    other.assert_cut()


def test_server_descriptors_return_to_the_baseline(server):
    """One descriptor for a client and one for each of its vectors, and none when it has left."""
    srv = server(vectors=4)
    for _ in range(3):
        clients = [srv.client(keep_fds=False) for _ in range(30)]
        assert len(srv.fds()) == srv.idle_fds + 30 * 5
        assert srv.eventfds() == srv.idle_eventfds + 30 * 4
        for client in clients:
            client.close()
        srv.assert_idle()


class OldClient:
    """
    A client of 2010: native longs, no version message. "A number without descriptor of a peer that has no
    eventfds is my id; of one that has, it left."
    """

    def __init__(self, path):
        self.sock = wire.connect(path)
        self.id = -1
        self.memory = None
        self.peers = {}

    def update(self):
        data, fds, flags, _ = socket.recv_fds(self.sock, struct.calcsize("@l"), 1)
        assert len(data) == struct.calcsize("@l") and not flags & socket.MSG_CTRUNC
        (posn,) = struct.unpack("@l", data)
        if not fds:
            if posn >= 0 and posn not in self.peers:
                self.id = posn
            else:
                for fd in self.peers.pop(posn):
                    os.close(fd)
        elif posn == -1:
            self.memory = fds[0]
        else:
            self.peers.setdefault(posn, []).append(fds[0])

    def follow(self, condition):
        while not condition():
            self.update()

    def close(self):
        self.sock.close()
        for fds in self.peers.values():
            for fd in fds:
                os.close(fd)
        if self.memory is not None:
            os.close(self.memory)


@pytest.mark.skipif(struct.calcsize("@l") != 8, reason="a long of this machine is not 64 bits")
def test_113_client_of_2010_ends_with_the_right_id(server, closing):
    srv = server(vectors=2)
    first = OldClient(srv.path)
    closing.append(first)
    first.follow(lambda: len(first.peers.get(0, [])) == 2)
    assert first.id == 0
    modern = srv.client()
    last = OldClient(srv.path)
    closing.append(last)
    last.follow(lambda: len(last.peers.get(2, [])) == 2)
    assert last.id == 2
    assert sorted(last.peers) == [0, 1, 2]
    assert os.fstat(last.memory).st_ino == os.fstat(modern.memory).st_ino
    first.follow(lambda: len(first.peers.get(2, [])) == 2)
    modern.close()
    first.follow(lambda: 1 not in first.peers)
    assert first.id == 0, "a departure was taken for an id"
    wire.ring(first.peers[2][1])
    wire.wait_rings(last.peers[2][1])

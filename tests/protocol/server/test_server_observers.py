# SPDX-License-Identifier: BSD-2-Clause
"""Observers: who looks in takes no id, is announced to nobody, and is told everything."""

import errno
import os
import re
import stat

import pytest

import ivshmem_wire as wire
from observer import COMPLETE, SUFFIX, VERSION, Observer


@pytest.fixture
def look(closing):
    def start(server, **options):
        observer = Observer(server.path, **options)
        closing.append(observer)
        return observer

    return start


def test_the_stream_to_the_byte(server, look):
    srv = server(vectors=2)
    first, second = srv.client(), srv.client()
    observer = look(srv)
    observer.vectors = 2
    observer.expect(VERSION, False)
    observer.expect(2, False)
    memory = observer.expect(wire.MEMORY, True)
    assert os.fstat(memory).st_ino == os.fstat(first.memory).st_ino
    observer.expect_vectors(0, 1)
    observer.expect(COMPLETE, False)
    second.close()
    observer.expect(1, False)
    assert srv.client().id == 2
    observer.expect_vectors(2)


@pytest.mark.parametrize("vectors", [0, 1, 2048])
def test_an_empty_group(server, look, vectors):
    srv = server(vectors=vectors)
    observer = look(srv).greet()
    assert (observer.group_vectors, observer.peers) == (vectors, {})


def test_it_rings_everybody_and_writes_the_memory(server, look):
    srv = server(vectors=2)
    clients = [srv.client() for _ in range(2)]
    for client in clients:
        client.follow_until_knows([0, 1])
    observer = look(srv).greet()
    for client in clients:
        for vector in range(2):
            wire.ring(observer.peers[client.id][vector])
            wire.wait_rings(client.peers[client.id][vector])
    os.pwrite(observer.memory, b"seen", 100)
    assert os.pread(clients[1].memory, 4, 100) == b"seen"


def test_nobody_hears_of_it_and_no_id_is_taken(server, look):
    srv = server()
    client = srv.client()
    for _ in range(50):
        look(srv).greet().close()
    stays = look(srv).greet()
    other = srv.client()
    assert other.id == 1
    client.follow_until_knows([0, 1])
    # An observer would have been heard of before the newcomer was.
    assert client.log == [1]
    stays.follow(lambda: stays.knows([0, 1]), "the observer hears of the newcomer")


@pytest.mark.limit(240)
def test_a_day_of_health_checks(server):
    """
    Somebody stays, and programs look in, more often than there are ids: a check each second for 19 hours,
    and with IVSHMEM_TEST_LONG=1 for eleven days.
    """
    srv = server()
    stays = srv.client()
    path = srv.path + SUFFIX
    for _ in range(wire.sized(70000, 1000000)):
        with wire.RawClient(path) as observer:
            assert observer.numbers_without_fds(5) == [VERSION, 1, wire.MEMORY, 0, COMPLETE]
    assert srv.client().id == 1
    stays.follow_until_knows([0, 1])


def test_who_lags_hears_in_order(server, look):
    srv = server(vectors=64)
    observer = look(srv)
    observer.receive()
    others = [srv.client() for _ in range(20)]
    for client in others[::2]:
        client.close()
    last = srv.client()
    observer.vectors = 64
    observer.receive()
    observer.receive()
    observer.follow_until_knows([client.id for client in others[1::2]] + [last.id])


def test_what_it_sends_ends_it_alone(server, look):
    srv = server()
    client = srv.client()
    look(srv).greet().offend()
    srv.expect(r"ivshmem-server: an observer \(process \d+, user \d+, program .*\) is disconnected: .*", "stderr")
    other = srv.client()
    client.follow_until_knows([0, other.id])


def test_more_than_allowed_are_refused_and_cost_no_member_its_place(server, look):
    srv = server("--max-observers", "3")
    observers = [look(srv).greet() for _ in range(3)]
    for _ in range(5):
        refused = look(srv)
        refused.expect(-errno.EUSERS, False)
        refused.assert_cut()
    assert srv.client().id == 0
    observers[0].close()
    wire.wait_until(lambda: try_to_look(srv), "a place is free again")


def try_to_look(srv):
    with Observer(srv.path) as observer:
        try:
            return observer.greet()
        except wire.Refused:
            return None


def test_those_who_do_not_read_cost_only_themselves(server, look):
    srv = server("--stall-timeout", "1", vectors=64)
    deaf = [look(srv) for _ in range(30)]
    client = srv.client()
    for _ in range(40):
        other = srv.client(keep_fds=False)
        client.follow_until_knows([0, other.id])
        other.close()
        client.follow_until_knows([0])
    stays = [srv.client(keep_fds=False) for _ in range(10)]
    # These read all that there is.
    ids = [0] + [other.id for other in stays]
    for reader in [client, *stays]:
        reader.follow_until_knows(ids)
    srv.expect(r"ivshmem-server: an observer .* is disconnected: it read nothing .*", "stderr")
    left = srv.idle_fds + 11 * 65
    wire.wait_until(lambda: len(srv.fds()) == left, "none of those who do not read is left")
    for observer in deaf:
        observer.assert_cut()
    assert look(srv).greet().knows(ids)


def test_a_crowd_at_the_limit_leaves_the_promised_room(server, look):
    """Descriptors are few; observers get some, and all the peers that the server promised fit nevertheless."""
    srv = server(limit_files=80)
    observers = []
    while True:
        observer = look(srv)
        number = observer.receive().number
        if number != VERSION:
            assert number == -errno.EUSERS
            break
        observers.append(observer)
    assert len(observers) == 80 // 16
    room = int(re.search(r"room for (\d+) peers", srv.stdout).group(1))
    clients = [srv.client() for _ in range(room)]
    clients[0].follow_until_knows(range(room))


def test_the_socket_has_the_rights_of_the_other_and_goes_with_it(server):
    srv = server("--socket-mode", "0640")
    status = os.stat(srv.path + SUFFIX)
    assert stat.S_IMODE(status.st_mode) == 0o640
    srv.finish()
    assert os.listdir(os.path.dirname(srv.path)) == []


def test_none_if_asked(server):
    srv = server("--no-observer-socket")
    assert not os.path.exists(srv.path + SUFFIX)
    assert "observers" not in srv.stdout


def test_elsewhere(server, room):
    path = room.file("elsewhere")
    srv = server("--observer-socket", path)
    assert not os.path.exists(srv.path + SUFFIX)
    with wire.RawClient(path) as observer:
        observer.expect(VERSION, False)


def test_a_path_that_leaves_no_room_for_the_suffix(server, room):
    path = room.socket + "x" * (105 - len(room.socket))
    srv = server(path=path)
    srv.expect(r"ivshmem-server: there is no socket for observers, .*--observer-socket.*", "stderr")
    assert srv.client().id == 0


def test_what_is_in_the_way_ends_the_start(room, refused):
    with open(room.socket + SUFFIX, "w"):
        pass
    refused(words=[SUFFIX, "is not a socket"])
    assert os.listdir(os.path.dirname(room.socket)) == [os.path.basename(room.socket) + SUFFIX]


def test_what_a_dead_server_left_is_replaced(server, room):
    srv = server()
    srv.kill()
    srv.process.wait()
    assert os.path.exists(room.socket + SUFFIX)
    with Observer(server().path) as observer:
        observer.greet()

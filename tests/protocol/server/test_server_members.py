# SPDX-License-Identifier: BSD-2-Clause
"""
--member ID=PATH: an id for one client at a time. The others are told of it once, for good: every QEMU
corrupts its heap when it sees an id again that has left.
"""

import errno
import os

import pytest

import ivshmem_wire as wire
from observer import Observer


@pytest.fixture
def seats(server, room, closing):
    """start(ids, *arguments): a server with a place for each id, and come(id) for who takes it."""

    def start(ids, *arguments, **options):
        paths = {own: room.file(f"member-{own}") for own in ids}
        given = [argument for own in ids for argument in ("--member", f"{own}={paths[own]}")]
        srv = server(*given, *arguments, **options)

        def come(own):
            client = wire.RawClient(paths[own], srv.vectors)
            closing.append(client)
            return client

        srv.come = come
        srv.paths = paths
        return srv

    return start


def test_the_id_is_who_comes_and_nobody_elses(seats):
    srv = seats([0, 1, 65535])
    assert [srv.client().id for _ in range(3)] == [2, 3, 4]
    assert srv.come(1).greet().id == 1
    assert srv.come(65535).greet().id == 65535
    assert srv.come(0).greet().id == 0


def test_the_greeting_to_the_byte(seats):
    srv = seats([7], vectors=2)
    other = srv.client()
    srv.come(7).expect_greeting(7, 0)
    other.follow_until_knows([0, 7])
    assert other.log == [7, 7]


def test_the_second_is_refused_and_the_place_is_free_afterwards(seats):
    srv = seats([3])
    first = srv.come(3).greet()
    for _ in range(3):
        second = srv.come(3)
        second.expect(-errno.EBUSY, False)
        second.assert_cut()
    srv.expect(r"ivshmem-server: new clients for the place of peer 3 are refused: .*", "stderr")
    first.close()
    assert srv.come(3).greet().id == 3


def test_who_restarts_at_once_is_let_in(seats):
    """The end of the old and the call of the new one may reach the server in one round, in any order."""
    srv = seats([0], vectors=0)
    member = srv.come(0)
    assert member.numbers_without_fds(2) == [0, 0]
    for _ in range(300):
        member.close()
        member = srv.come(0)
        assert member.numbers_without_fds(2) == [0, 0]


def test_others_are_told_once_however_often_it_comes_and_goes(seats):
    """A QEMU that is told of an id, of its leaving, and of it again writes to memory that it has freed."""
    srv = seats([1], vectors=2)
    stays = srv.client()
    for turn in range(20):
        member = srv.come(1).greet()
        stays.follow_until_knows([0, 1])
        assert member.knows([0, 1])
        # The same eventfds lead to whoever has the place.
        for vector in range(2):
            wire.ring(stays.peers[1][vector])
            wire.wait_rings(member.peers[1][vector])
            wire.ring(member.peers[0][vector])
            wire.wait_rings(stays.peers[0][vector])
        member.close()
    other = srv.client()
    stays.follow_until_knows([0, 1, other.id])
    assert stays.log == [1, 1, 2, 2]


def test_who_was_in_the_middle_of_being_told_hears_the_rest(seats):
    srv = seats([1], vectors=300)
    slow = srv.connect()
    for _ in range(2):
        srv.come(1).greet().close()
    slow.greet()
    slow.follow_until_knows([0, 1])
    assert srv.come(1).greet().knows([0, 1])
    assert slow.log.count(1) <= 300


def test_nobody_is_told_before_it_has_come(seats):
    srv = seats([5])
    first = srv.client()
    second = srv.client()
    first.follow_until_knows([0, 1])
    with Observer(srv.path) as observer:
        assert observer.greet().knows([0, 1])
    srv.come(5).greet()
    first.follow_until_knows([0, 1, 5])
    second.follow_until_knows([0, 1, 5])


def test_a_ring_waits_for_the_next(seats):
    srv = seats([1])
    srv.come(1).greet().close()
    other = srv.client()
    other.follow_until_knows([0, 1])
    wire.ring(other.peers[1][0])
    member = srv.come(1).greet()
    wire.wait_rings(member.peers[1][0])


def test_observers_are_told_the_truth(seats):
    srv = seats([1])
    with Observer(srv.path) as observer:
        observer.greet()
        for _ in range(5):
            member = srv.come(1).greet()
            observer.follow_until_knows([1])
            wire.ring(observer.peers[1][0])
            wire.wait_rings(member.peers[1][0])
            member.close()
            observer.follow_until_knows([])
        with Observer(srv.path) as another:
            assert another.greet().peers == {}


def test_it_counts_among_those_who_remember(seats):
    """Two places, no other member: who has one is told of the other, once."""
    srv = seats([0, 1])
    first = srv.come(0).greet()
    for _ in range(5):
        second = srv.come(1).greet()
        first.follow_until_knows([0, 1])
        assert second.knows([0, 1])
        second.close()
    # And the first one's successor hears of the other, who was there before.
    first.close()
    assert srv.come(0).greet().id == 0


def test_its_place_is_kept_when_there_are_as_many_peers_as_allowed(seats):
    srv = seats([0, 1], "--max-peers", "3")
    assert srv.client().id == 2
    with pytest.raises(wire.Refused) as refused:
        srv.client()
    assert refused.value.number == -errno.EUSERS
    assert srv.come(0).greet().id == 0
    assert srv.come(1).greet().id == 1


def test_only_places(seats):
    srv = seats([0, 1], "--max-peers", "2")
    with pytest.raises(wire.Refused):
        srv.client()
    assert srv.come(1).greet().id == 1


def test_what_one_does_wrong_ends_that_one_only(seats):
    srv = seats([1])
    other = srv.client()
    srv.come(1).greet().offend()
    assert srv.come(1).greet().id == 1
    other.follow_until_knows([0, 1])


def test_its_sockets_go_with_the_server(seats):
    srv = seats([0, 1])
    srv.finish()
    assert os.listdir(os.path.dirname(srv.path)) == []


@pytest.mark.parametrize(
    "arguments, expected",
    [
        (["--member", "0"], "'0' is not an id and a path"),
        (["--member", "0="], "is not an id and a path"),
        (["--member", "65536=/tmp/x"], "65536"),
        (["--member", "x=/tmp/x"], "'x'"),
        (["--member", "1=/tmp/x", "--member", "1=/tmp/y"], "id 1 is given to two members"),
        (["--member", "1=/tmp/x", "--member", "2=/tmp/y", "--max-peers", "1"], "--max-peers 1"),
        (["--observer-socket", ""], "--no-observer-socket"),
    ],
)
def test_wrong_options(room, refused, arguments, expected):
    refused(*arguments, words=[expected])
    assert os.listdir(os.path.dirname(room.socket)) == []

# SPDX-License-Identifier: BSD-2-Clause
"""--see: who is told of whom."""

import contextlib
import errno
import os
import random

import pytest

import ivshmem_wire as wire
from observer import Observer
from test_server_restart import FakeSupervisor, Group

ANN, BOB, STAFF, GUESTS = 23456, 23457, 33456, 33457

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be several users")


@contextlib.contextmanager
def acting_as(user, group):
    os.setegid(group)
    os.seteuid(user)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


@pytest.fixture
def star(server, room, closing):
    """start(ids, ...): a server whose centres have these ids; come(id) is who takes the place."""

    def start(ids, *arguments, **options):
        paths = {own: room.file(f"centre-{own}") for own in ids}
        members = [word for own in ids for word in ("--member", f"{own}={paths[own]}")]
        srv = server("--see", "star:" + ",".join(map(str, ids)), *members, *arguments, **options)

        def come(own):
            client = wire.RawClient(paths[own], srv.vectors)
            closing.append(client)
            return client.greet()

        srv.come = come
        return srv

    return start


def expect_at_the_end(server, clients):
    """End the server, and compare all that each client was told: clients is {client: ids}."""
    server.finish()
    for client, ids in clients.items():
        client.follow_to_end()
        assert sorted(client.peers) == sorted(ids)


def test_in_a_star_others_see_only_the_centres(star, closing):
    srv = star([0, 9], vectors=2)
    leaves = [srv.client() for _ in range(3)]
    assert [leaf.id for leaf in leaves] == [1, 2, 3]
    centre = srv.come(9)
    late = srv.client()
    other = srv.come(0)
    observer = Observer(srv.path)
    closing.append(observer)
    observer.greet()
    assert sorted(observer.peers) == [0, 1, 2, 3, 4, 9]
    for leaf in [*leaves, late]:
        leaf.follow_until_knows([0, leaf.id, 9])
    for each in centre, other:
        each.follow_until_knows([0, 1, 2, 3, 4, 9])
    leaves[1].close()
    for each in centre, other, observer:
        each.follow_until_knows([0, 1, 3, 4, 9])
    # What they see, they ring.
    wire.ring(late.peers[9][1])
    wire.wait_rings(centre.peers[9][1])
    wire.ring(centre.peers[1][0])
    wire.wait_rings(leaves[0].peers[1][0])
    expect_at_the_end(srv, {leaves[0]: [0, 1, 9], leaves[2]: [0, 3, 9], late: [0, 4, 9]})


def test_a_centre_that_comes_again_is_not_told_twice(star):
    srv = star([0])
    leaf = srv.client()
    for _ in range(5):
        centre = srv.come(0)
        centre.follow_until_knows([0, 1])
        centre.close()
    expect_at_the_end(srv, {leaf: [0, 1]})
    assert leaf.log == [0]


def test_a_centre_that_reads_nothing_hears_all_in_order(star):
    srv = star([0], vectors=16)
    centre = srv.come(0)
    for _ in range(100):
        srv.client().close()
    stay = [srv.client() for _ in range(60)]
    centre.follow_until_knows([0] + [client.id for client in stay])


def test_pairs(server):
    srv = server("--see", "pairs")
    clients = [srv.client() for _ in range(5)]
    for client in clients:
        pair = {client.id & ~1, client.id | 1} & set(range(5))
        client.follow_until_knows(sorted(pair))
    clients[0].close()
    clients[1].follow_until_knows([1])
    expect_at_the_end(srv, {clients[1]: [1], clients[2]: [2, 3], clients[3]: [2, 3], clients[4]: [4]})


@root_only
@pytest.mark.parametrize("by", ["user", "group"])
def test_groups(server, closing, room, by):
    srv = server("--see", f"groups:{by}", "--socket-mode", "0666", "--member", f"50={room.file('seat')}")
    who = [(ANN, STAFF), (ANN, GUESTS), (BOB, STAFF), (BOB, GUESTS)] * 2
    clients = []
    for user, group in who:
        with acting_as(user, group):
            clients.append(srv.connect())
        clients[-1].greet()
    for client, (user, group) in zip(clients, who):
        same = [i for i, (u, g) in enumerate(who) if (u == user if by == "user" else g == group)]
        client.follow_until_knows(same)
    # A place belongs to those who had it first.
    for user, group, error in (ANN, STAFF, 0), (ANN, STAFF, 0), (BOB, GUESTS, errno.EACCES):
        with acting_as(user, group):
            client = wire.RawClient(room.file("seat"))
        if error:
            client.expect(-error, False)
            srv.expect(r"ivshmem-server: a client for peer 50 is refused .*\(--see groups\)", "stderr")
        else:
            assert client.greet().id == 50
        client.close()
    whole = {client: [i for i, (u, g) in enumerate(who) if (u == user if by == "user" else g == group)]
             for client, (user, group) in zip(clients, who)}
    for client, (user, group) in zip(clients, who):
        if (user == ANN if by == "user" else group == STAFF):
            whole[client] = whole[client] + [50]
    expect_at_the_end(srv, whole)


def test_random_comings_and_goings(star):
    srv = star([0, 1])
    random.seed(5)
    centres, leaves = {}, []
    for _ in range(300):
        what = random.random()
        if what < 0.1:
            own = random.randrange(2)
            if own in centres:
                centres.pop(own).close()
            else:
                centres[own] = srv.come(own)
        elif what < 0.6:
            leaves.append(srv.client())
        elif leaves:
            leaves.pop(random.randrange(len(leaves))).close()
    for own in 0, 1:
        centres.setdefault(own, None)
        centres[own] = centres[own] or srv.come(own)
    for leaf in leaves:
        leaf.follow_until_knows([0, 1, leaf.id])
    for centre in centres.values():
        centre.follow_until_knows(sorted([0, 1] + [leaf.id for leaf in leaves]))


def test_a_restart_changes_nothing(room, processes, closing):
    """Who saw nobody sees nobody afterwards, and a centre that read nothing meanwhile hears all."""
    supervisor = FakeSupervisor(room.file("notify"), processes)
    closing.append(supervisor)
    path = room.file("socket")
    group = Group(path, supervisor, "--see=star:0", f"--member=0={path}-0", vectors=4)
    closing.append(group)
    centre = group.connect(path + "-0").greet()
    leaves = [group.client() for _ in range(40)]
    for leaf in leaves[::2]:
        leaf.close()
    for _ in range(3):
        group.restart()
        leaves.append(group.client())
        leaves.pop(1).close()
    group.restart()
    stay = leaves[1::2][:5] + leaves[-3:]
    centre.follow(lambda: centre.knows([0] + [leaf.id for leaf in leaves if leaf.sock.fileno() >= 0]), "who is there")
    last = group.client()
    centre.follow(lambda: len(centre.peers.get(last.id, [])) == 4, "hearing of the last one")
    group.stop()
    for leaf in stay:
        if leaf.sock.fileno() >= 0:
            assert leaf.drain()
            assert leaf.knows([0, leaf.id])


@pytest.mark.parametrize("see", ["some", "star:", "star:1,,2", "star:65536", "star:5", "groups", "pairs:1", ""])
def test_wrong_words_are_refused(refused, see):
    refused("--see", see, words=["--see"])

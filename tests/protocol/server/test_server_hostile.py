# SPDX-License-Identifier: BSD-2-Clause
"""Clients that are slow, stopped, gone, greedy or hostile: each costs only itself."""

import errno
import os
import random
import select
import signal
import socket
import time

import pytest

import ivshmem_wire as wire
from ivshmem_fixtures import few_descriptors, many_in_flight, root_only, start_unprivileged


@pytest.mark.long
def test_099_connect_and_close_storm(server):
    """10 000 clients that are gone before they read anything; an old peer and a new one see clearly."""
    srv = server()
    witness = srv.client(keep_fds=False)
    choice = random.Random(99)
    for index in range(10000):
        sock = wire.connect(srv.path)
        kind = choice.randrange(8)
        if kind == 0:
            sock.shutdown(socket.SHUT_RDWR)
        elif kind == 1:
            sock.shutdown(socket.SHUT_RD)
        elif kind == 2:
            sock.setblocking(False)
            sock.send(b"!")
        sock.close()
        if index % 100 == 0:
            witness.drain()
    last = srv.client()
    witness.follow(lambda: last.id in witness.peers, "the client after the storm")
    witness.follow_until_knows([witness.id, last.id])
    last.follow_until_knows([witness.id, last.id])
    wire.ring(last.peers[last.id][0])
    last.close()
    witness.close()
    srv.assert_idle()


def test_099_storm_without_anybody_else(server):
    """As above with nobody there, which ended QEMU's server at the first."""
    srv = server()
    for _ in range(wire.sized(1000, 10000)):
        wire.connect(srv.path).close()
    client = srv.client()
    client.close()
    srv.assert_idle()


def test_099_who_is_gone_before_it_was_accepted_leaves_no_trace(server):
    srv = server()
    srv.signal(signal.SIGSTOP)
    wire.wait_until(lambda: wire.process_state(srv.pid) == "T", "the server is stopped")
    for _ in range(10):
        wire.connect(srv.path).close()
    srv.signal(signal.SIGCONT)
    assert srv.client().id == 0


def test_099_many_that_never_read(server):
    """Clients that connect, never read, and go: their unread greetings go with them."""
    srv = server(vectors=4)
    for _ in range(5):
        sockets = [wire.connect(srv.path) for _ in range(100)]
        wire.wait_until(lambda: len(srv.fds()) == srv.idle_fds + 500, "100 clients are in")
        for sock in sockets:
            sock.close()
        srv.assert_idle()


def fill_descriptors(srv):
    """Clients until one is refused; returns them and the number with which it was refused."""
    clients = []
    while True:
        try:
            clients.append(srv.client())
        except wire.Refused as refused:
            srv.clients.pop().close()
            return clients, refused.number
        # Without privilege, 64 descriptors are also the limit of those in flight.
        for client in clients:
            client.drain()
        assert len(clients) < 1000


@few_descriptors
def test_100_out_of_descriptors(server):
    """
    The one that does not fit is told so and nobody else notices; it is said once; service resumes as
    soon as somebody leaves.
    """
    srv = server(vectors=4, limit_files=64)
    clients, reason = fill_descriptors(srv)
    assert reason == -errno.EMFILE
    assert 5 <= len(clients) <= 12, "64 descriptors should do for that many clients of 5 each"
    ids = [client.id for client in clients]
    wire.wait_until(lambda: srv.lines("stderr"), "the administrator is told")
    for _ in range(100):
        with pytest.raises(wire.Refused) as refused:
            srv.client()
        assert refused.value.number == -errno.EMFILE
        srv.clients.pop().close()
    for client in clients:
        client.follow_until_knows(ids)
        for target in clients:
            wire.ring(client.peers[target.id][3])
    for client in clients:
        wire.wait_rings(client.peers[client.id][3], len(clients))

    for gone in (clients.pop(2), clients.pop(0)):
        gone.close()
        ids.remove(gone.id)
    for client in clients:
        client.follow_until_knows(ids)
    resumed = [srv.client(), srv.client()]
    ids += [client.id for client in resumed]
    for client in clients + resumed:
        client.follow_until_knows(ids)
    srv.finish()
    assert len(srv.lines("stderr")) <= 4, f"once is enough\n{srv.describe()}"


@few_descriptors
def test_100_out_of_descriptors_does_not_spin(server):
    """Connections that cannot be accepted must not keep the server busy, and are served in the end."""
    srv = server(vectors=4, limit_files=64)
    clients, _ = fill_descriptors(srv)
    waiting = [srv.connect() for _ in range(30)]
    used = srv.cpu_seconds()
    time.sleep(1)  # a measurement, not a wait
    assert srv.cpu_seconds() - used < 0.5
    for client in waiting:
        client.expect(-errno.EMFILE, False)
        assert client.receive() is None


@pytest.mark.parametrize("limit", range(8, 24))
def test_100_hardly_any_descriptors(start, limit):
    """Either the server says at start that this is too little, or it lives and refuses."""
    srv = start(vectors=2, limit_files=limit)
    if not srv.started():
        return
    for _ in range(5):
        with srv.connect() as client:
            try:
                client.greet()
            except wire.Refused as refused:
                assert refused.number == -errno.EMFILE
    srv.finish()


@few_descriptors
def test_100_descriptor_storm(server):
    """Connect and close at the limit: whoever gets in gets a proper greeting, and nothing leaks."""
    srv = server(vectors=3, limit_files=64)
    choice = random.Random(100)
    clients = []
    admitted = refused = 0
    for _ in range(1500):
        if clients and choice.random() < 0.4:
            clients.pop(choice.randrange(len(clients))).close()
        client = wire.RawClient(srv.path, 3, keep_fds=False)
        try:
            clients.append(client.greet())
            admitted += 1
        except wire.Refused as reason:
            assert reason.number == -errno.EMFILE
            client.close()
            refused += 1
    assert admitted > 100 and refused > 100
    for client in clients:
        client.close()
    srv.assert_idle()


@root_only
def test_100_too_many_descriptors_in_flight(server, room):
    """
    ETOOMANYREFS: the kernel allows an unprivileged user as many descriptors in flight as he may have
    open. Twelve clients that do not read use them up. Everybody is complete as soon as they read,
    although no event tells the server when that is; those who come meanwhile wait, and are not turned
    away.
    """
    limit, vectors, count = 256, 4, 12
    srv = start_unprivileged(server, room, vectors=vectors, limit_files=limit)
    stalled = [srv.connect(keep_fds=False) for _ in range(count)]
    expected = srv.idle_fds + count * (1 + vectors)
    wire.wait_until(lambda: len(srv.fds()) == expected, "all are in")

    def in_flight():
        # All but version and id carry a descriptor. One that got nothing yet has no such messages.
        return sum(max(0, client.queued() // 8 - 2) for client in stalled)

    full = count * (1 + vectors * count)
    assert full > 2 * limit
    wire.wait_until(lambda: in_flight() >= limit - 8, "the kernel's limit is reached")
    assert in_flight() < full
    late = srv.connect(keep_fds=False)
    used = srv.cpu_seconds()
    time.sleep(1)  # a measurement, not a wait
    assert srv.cpu_seconds() - used < 0.5, "waiting for the kernel must not keep the server busy"
    assert srv.running(), srv.describe()
    lines = srv.lines("stderr")
    assert 1 <= len(lines) <= 3, f"said once, not at each try\n{srv.describe()}"

    everybody = range(count + 1)
    stalled.append(late)
    done = set()
    deadline = time.monotonic() + wire.TIMEOUT
    greeted = {client: 0 for client in stalled}
    while len(done) < len(stalled):
        assert time.monotonic() < deadline, f"{len(done)} of {len(stalled)} complete\n{srv.describe()}"
        for client in select.select([c for c in stalled if c not in done], [], [], 1)[0]:
            if greeted[client] < 3:
                message = client.receive()
                if greeted[client] == 1:
                    client.id = message.number
                elif greeted[client] == 2:
                    client.memory = message.fd
                greeted[client] += 1
            else:
                client.update()
            if client.knows(everybody):
                done.add(client)
    for client in stalled[:-1]:
        client.close()
    late.follow_until_knows([late.id])


@root_only
def test_100_in_flight_limit_ends_when_the_stalled_leave(server, room):
    srv = start_unprivileged(server, room, vectors=8, limit_files=256)
    stalled = [srv.connect(keep_fds=False) for _ in range(10)]
    wire.wait_until(lambda: len(srv.fds()) == srv.idle_fds + 90, "all are in")
    late = srv.connect()
    for client in stalled:
        client.close()
    late.greet()
    late.follow_until_knows([late.id])
    assert srv.client().knows([late.id, late.id + 1])


@root_only
def test_100_in_flight_limit_and_the_stall_timeout(server, room):
    """
    Clients that use up the limit and do not read are cut like others that stall, also if their own sockets have room: who
    holds most goes first. The kernel takes back what is in flight only when they close their end, so this is when the
    rest is served.
    """
    srv = start_unprivileged(server, room, limit_files=256, arguments=["--stall-timeout", "1"])
    stalled = [srv.connect() for _ in range(20)]
    wire.wait_until(lambda: len(srv.fds()) == srv.idle_fds + 40, "all are in")
    srv.expect(".* is disconnected: it read nothing .* while the others waited for it", "stderr")
    late = srv.connect()
    for client in stalled:
        client.close()
    late.greet()
    newest = srv.client()
    late.follow_until_knows([late.id, newest.id])


def churn(srv, watchers, rounds, count):
    """`count` clients at a time come and go; the watchers miss nothing. update() checks each message."""
    steady = {client.id for client in watchers}
    for _ in range(rounds):
        visitors = [srv.connect(keep_fds=False) for _ in range(count)]
        ids = set()
        for visitor in visitors:
            visitor.id = visitor.numbers_without_fds(2)[1]
            ids.add(visitor.id)
        for watcher in watchers:
            watcher.follow(lambda: ids <= watcher.peers.keys(), "hearing of all visitors")
            for own in ids:
                watcher.follow(
                    lambda: len(watcher.peers[own]) == srv.vectors, "hearing of all their vectors"
                )
        for visitor in visitors:
            visitor.close()
            srv.clients.remove(visitor)
        for watcher in watchers:
            watcher.follow(lambda: not ids & watcher.peers.keys(), "hearing that they left")
            assert steady <= watcher.peers.keys()
            watcher.log.clear()


def assert_flat(srv, churn, rounds):
    """Its memory does not grow."""
    churn(2)
    before = srv.resident()
    churn(rounds)
    grown = srv.resident() - before
    assert grown <= (4096 if wire.sanitized() else 512), f"{grown} KiB more"


# The sanitizer keeps what is freed, for a while.
LITTLE_QUARANTINE = {"ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":quarantine_size_mb=1"}


@many_in_flight
@pytest.mark.long
def test_101_client_that_never_reads(server):
    """
    300 others come and go, again and again: the memory of the server stays flat, nobody else misses
    anything, and the one that did not read is told a short and true story when it does.
    """
    srv = server(env=LITTLE_QUARANTINE)
    never = srv.connect(keep_fds=False)
    watchers = [srv.client(keep_fds=False) for _ in range(2)]
    for watcher in watchers:
        watcher.follow_until_knows([0, 1, 2])
    assert_flat(srv, lambda rounds: churn(srv, watchers, rounds, 300), wire.sized(4, 100))
    assert never.queued() <= 212992, "the story is told by the server, not piled up in the socket"

    last = srv.client()
    never.greet()
    never.follow_until_knows([0, 1, 2, last.id])


@many_in_flight
def test_101_stalled_clients_cost_no_memory(server):
    """As many events as there are cost the same with one client behind as with a hundred."""
    srv = server(env=LITTLE_QUARANTINE)
    watcher = srv.client(keep_fds=False)
    stalled = [srv.connect(keep_fds=False) for _ in range(100)]
    watcher.follow_until_knows(range(101))
    assert_flat(srv, lambda rounds: churn(srv, [watcher], rounds, 200), wire.sized(3, 30))
    for client in stalled:
        client.greet()
        client.follow_until_knows(range(101))


def test_101_stalled_client_is_cut_after_the_limit(server, room):
    """With a limit of a second it is cut, and the others are told; with 0 it is not."""
    patient = server("--stall-timeout", "0", path=room.file("patient"))
    strict = server("--stall-timeout", "1", path=room.file("strict"))
    stalled = {}
    watchers = {}
    for srv in (patient, strict):
        stalled[srv] = srv.client(keep_fds=False)
        watchers[srv] = srv.client(keep_fds=False)
        # Twice what fills the socket of whoever does not read, and one that it has yet to hear of.
        churn(srv, [watchers[srv]], 3, 100)
        stays = srv.client(keep_fds=False)
        watchers[srv].follow(lambda: stays.id in watchers[srv].peers, "all are in")
    watcher = watchers[strict]
    watcher.follow(lambda: 0 not in watcher.peers, "the stalled client is cut")
    watcher.follow_until_knows([1, stays.id])
    stalled[strict].assert_cut()
    strict.expect(r"ivshmem-server: .*\b0\b.*", "stderr")  # the administrator is told who was cut
    newest = patient.client()
    assert newest.peers.keys() == {0, 1, stays.id, newest.id}
    watchers[patient].follow_until_knows(newest.peers)
    stalled[patient].follow_until_knows(newest.peers)


@pytest.mark.parametrize("offence", ["bytes", "end-of-sending", "close"])
def test_101_stalled_client_offends_or_leaves(server, offence):
    """Waiting for room in its socket does not make the server blind to what else happens there."""
    srv = server()
    stalled = srv.client(keep_fds=False)
    watcher = srv.client(keep_fds=False)
    churn(srv, [watcher], 3, 100)
    stays = srv.client(keep_fds=False)
    watcher.follow_until_knows([0, 1, stays.id])
    if offence == "bytes":
        stalled.sock.send(b"!")
    elif offence == "end-of-sending":
        stalled.sock.shutdown(socket.SHUT_WR)
    else:
        stalled.close()
    watcher.follow_until_knows([1, stays.id])
    stays.follow_until_knows([1, stays.id])


def test_101_slow_but_moving_client_is_not_cut(server):
    """A client that takes part of its messages now and then makes progress, however far behind it is."""
    srv = server("--stall-timeout", "3", vectors=60)
    slow = srv.client(keep_fds=False)
    visitors = [srv.client(keep_fds=False) for _ in range(25)]
    for visitor in visitors:
        visitor.follow_until_knows(range(26))
    # The pace is the subject here. First so few that a full socket never becomes writable, then some rounds of all of
    # it: each twice the limit.
    for count, pause, rounds in ((1, 0.2, 30), (110, 0.5, 12)):
        for _ in range(rounds):
            for _ in range(count):
                slow.update()
            time.sleep(pause)
    slow.follow_until_knows(range(26))
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


@many_in_flight
@pytest.mark.long
def test_101_stopped_client_knows_everybody_after_it_continues(server, cli):
    """SIGSTOP for a real client while 300 others come and go and 40 stay."""
    srv = server(vectors=2)
    watcher = srv.client(keep_fds=False)
    monitor = cli("monitor")
    monitor.expect(r"attached as peer 1\b.*")
    watcher.follow_until_knows([0, 1])
    monitor.signal(signal.SIGSTOP)
    wire.wait_until(lambda: wire.process_state(monitor.pid) == "T", "the client is stopped")
    churn(srv, [watcher], wire.sized(1, 10), 150)
    stayers = [srv.client(keep_fds=False) for _ in range(40)]
    churn(srv, [watcher], wire.sized(1, 10), 150)
    monitor.signal(signal.SIGCONT)
    present = {0} | {client.id for client in stayers}
    known = {}

    def follow():
        known.clear()
        for line in monitor.lines():
            words = line.replace("(", "").split()
            if words[:1] != ["peer"]:
                assert not line.startswith("server lost"), monitor.describe()
                continue
            peer = int(words[1])
            if words[2] == "left":
                assert peer in known, f"left without having joined: {line}"
                del known[peer]
            elif words[2] == "joined":
                assert peer not in known, f"joined twice: {line}"
                known[peer] = int(words[3])
            elif words[2] == "has":
                known[peer] = int(words[3])
        return known.keys() == present and set(known.values()) == {2}

    wire.wait_until(follow, "the stopped client knows all who are there")


def test_103_more_than_1024_descriptors(server):
    """Clients whose sockets have numbers beyond 1024 join, hear, are heard of, and leave."""
    srv = server(vectors=64)
    low = [srv.client(keep_fds=False) for _ in range(17)]
    assert len(srv.fds()) > 1024
    high = [srv.client(keep_fds=False) for _ in range(3)]
    for client in low + high:
        client.follow_until_knows(range(20))
    high[1].close()
    low[3].close()
    alive = [client for client in low + high if client not in (high[1], low[3])]
    for client in alive:
        client.follow_until_knows({c.id for c in alive})
    high[0].offend()
    alive.remove(high[0])
    newcomer = srv.client(keep_fds=False)
    assert newcomer.knows({c.id for c in alive} | {newcomer.id})


def test_103_more_than_1024_clients(server):
    srv = server(vectors=0)
    clients = [srv.connect() for _ in range(1200)]
    for expected, client in enumerate(clients):
        client.greet()
        assert client.id == expected
        os.close(client.memory)
        client.owned.clear()
    clients[-1].offend()
    for client in clients:
        client.close()
    srv.assert_idle()


@pytest.mark.parametrize("seed", range(wire.sized(4, 100)))
def test_server_random_life(server, seed):
    """
    Clients join, leave, read a little, read all, or offend, at random. Whoever stays ends up with the
    truth, and RawClient has checked every message on the way.
    """
    choice = random.Random(seed)
    vectors = choice.choice([1, 2, 5, 16])
    srv = server(vectors=vectors)
    clients = []
    fresh = []
    for _ in range(400):
        action = choice.random()
        if action < 0.35 and len(clients) + len(fresh) < 80:
            fresh.append(srv.connect(keep_fds=False))
        elif action < 0.5 and fresh:
            client = fresh.pop(choice.randrange(len(fresh)))
            clients.append(client.greet())
        elif action < 0.7 and clients:
            client = choice.choice(clients)
            for _ in range(choice.randrange(60)):
                try:
                    client.update(timeout=0)
                except TimeoutError:
                    break
        elif action < 0.8 and clients:
            assert choice.choice(clients).drain()
        elif action < 0.95 and (clients or fresh):
            pool = choice.choice([pool for pool in (clients, fresh) if pool])
            client = pool.pop(choice.randrange(len(pool)))
            if choice.random() < 0.3:
                with wire.until_gone:
                    client.sock.send(b"offence", socket.MSG_DONTWAIT)
            client.close()
            srv.clients.remove(client)
    for client in fresh:
        clients.append(client.greet())
    last = srv.client(keep_fds=False)
    ids = {client.id for client in clients} | {last.id}
    assert len(ids) == len(clients) + 1
    for client in clients:
        client.follow_until_knows(ids)
    last.follow_until_knows(ids)

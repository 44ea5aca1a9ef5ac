# SPDX-License-Identifier: BSD-2-Clause
"""
QEMU's own ivshmem-doorbell device at our server. What the device does with what it was told is seen
through its registers: a doorbell write reaches the right eventfd, and a ring of the host sets the right
pending bit.
"""

import json
import os
import re
import signal
import time

import pytest

import ivshmem_wire as wire
import qemu_device
from ivshmem_fixtures import few_descriptors, many_in_flight
from qemu_device import BAR2, Refused

pytestmark = pytest.mark.skipif(qemu_device.binary() is None, reason="qemu-system-x86_64 is not installed")


def pair(srv, qemu, **options):
    """A QEMU and a host client that know each other."""
    vm = qemu(srv, **options)
    client = srv.client()
    vm.wait_peer_eventfds(2 * srv.vectors)
    return vm, client


@pytest.mark.parametrize("size", ["4K", "1M", "5G"])
def test_112_memory(server, qemu, size):
    """The device's BAR2 is the server's memory, all of it."""
    srv = server("-l", size)
    vm, client = pair(srv, qemu)
    bytes_expected = {"4K": 4096, "1M": 1 << 20, "5G": 8 << 30}[size]
    assert vm.memory_size == bytes_expected == os.fstat(client.memory).st_size
    for offset in (0, bytes_expected // 2, bytes_expected - 4):
        vm.write(BAR2 + offset, 0x12345678 ^ offset & 0xFFFFFFFF)
        assert os.pread(client.memory, 4, offset) == (0x12345678 ^ offset & 0xFFFFFFFF).to_bytes(4, "little")
        os.pwrite(client.memory, b"host", offset)
        assert vm.read(BAR2 + offset).to_bytes(4, "little") == b"host"


@pytest.mark.parametrize("vectors", [1, 4, 64, 300])
def test_112_rings_in_both_directions(server, qemu, vectors):
    """Every vector of either side, each alone; and those that the guest rings itself."""
    srv = server(vectors=vectors)
    vm, client = pair(srv, qemu)
    tried = range(vectors) if vectors < 100 else [0, 1, 31, 63, 64, 127, 128, 255, 256, 257, 299]
    for vector in tried:
        vm.ring(client.id, vector)
        assert {v for v, fd in enumerate(client.peers[client.id]) if wire.rings(fd)} == {vector}
    for vector in tried:
        for ring in (lambda v=vector: wire.ring(client.peers[vm.id][v]), lambda v=vector: vm.ring(vm.id, v)):
            ring()
            vm.wait_pending([vector])
            vm.clear_pending()


def test_112_two_machines_ring_each_other(server, qemu):
    srv = server(vectors=2)
    one, two = qemu(srv), qemu(srv)
    one.wait_peer_eventfds(4)
    two.wait_peer_eventfds(4)
    assert (one.id, two.id) == (0, 1)
    one.ring(two.id, 0)
    two.wait_pending([0])
    assert one.pending() == set()
    two.ring(one.id, 1)
    one.wait_pending([1])
    assert two.pending() == {0}
    one.write(BAR2 + 0x100, 0x43434343)
    assert two.read(BAR2 + 0x100) == 0x43434343


def test_112_command_line_tool_and_machine(server, qemu, cli):
    """Our own client as the other side."""
    srv = server(vectors=4)
    vm = qemu(srv)
    monitor = cli("monitor")
    monitor.expect(r"attached as peer 1 \(4 vectors.*")
    monitor.expect(r"peer 0 joined \(4 vectors\)")
    vm.wait_peer_eventfds(8)
    vm.ring(1, 3)
    monitor.expect("interrupt vector 3 count 1")
    ring = cli("ring", "0:2", "0:0")
    assert ring.wait() == 0, ring.describe()
    vm.wait_pending([0, 2])
    monitor.signal(signal.SIGTERM)
    assert monitor.wait() == 0
    vm.wait_peer_eventfds(4)


@many_in_flight
@pytest.mark.parametrize("count, vectors", [(450, 1), (50, 16)])
def test_102_machine_that_joins_last_is_complete(server, qemu, count, vectors):
    """
    Behind many peers, of whom none reads: QEMU takes ten microseconds for a message, so the server has
    to wait for it. It ends with the eventfds of all, each at its place.
    """
    srv = server(vectors=vectors)
    others = [srv.connect(keep_fds="own") for _ in range(count)]
    vm = qemu(srv)
    assert vm.id == count
    vm.wait_peer_eventfds((count + 1) * vectors)
    for client in others:
        client.greet()
        vm.ring(client.id, vectors - 1)
        wire.wait_rings(client.peers[client.id][vectors - 1])
        assert not any(wire.rings(fd) for fd in client.peers[client.id])
    wire.ring(others[0].peers[0][0])  # its own eventfd; nobody else is rung
    last = srv.client()
    wire.ring(last.peers[vm.id][vectors - 1])
    vm.wait_pending([vectors - 1])


def visits(srv, vm, rounds, count):
    """`count` clients at a time come and go."""
    for _ in range(rounds):
        visitors = [srv.connect(keep_fds=False) for _ in range(count)]
        # Some are told everything, some nothing, and some leave half way.
        for visitor in visitors[::3]:
            visitor.greet()
        for visitor in visitors[1::3]:
            visitor.receive()
        for visitor in visitors:
            visitor.close()
            srv.clients.remove(visitor)
    vm.alive()


def assert_all_reachable(srv, vm, clients):
    """The device knows exactly these clients, and rings every vector of each."""
    vm.wait_peer_eventfds((len(clients) + 1) * srv.vectors)
    for client in clients:
        client.drain()
        for vector in range(srv.vectors):
            vm.ring(client.id, vector)
        for vector in range(srv.vectors):
            wire.wait_rings(client.peers[client.id][vector])


@many_in_flight
@pytest.mark.long
def test_112_machine_while_300_come_and_go_and_one_never_reads(server, qemu):
    srv = server(vectors=2)
    never = srv.connect()
    vm = qemu(srv)
    steady = [srv.client() for _ in range(3)]
    visits(srv, vm, wire.sized(4, 100), 300)
    never.greet()
    never.follow_until_knows([never.id, vm.id, *(client.id for client in steady)])
    steady.append(never)
    assert_all_reachable(srv, vm, steady)
    late = srv.client()
    assert_all_reachable(srv, vm, steady + [late])
    wire.ring(late.peers[vm.id][1])
    vm.wait_pending([1])


@many_in_flight
def test_112_machine_while_one_client_is_stopped(server, qemu, cli):
    srv = server(vectors=2)
    vm = qemu(srv)
    monitor = cli("monitor")
    monitor.expect(r"attached as peer 1 .*")
    monitor.signal(signal.SIGSTOP)
    wire.wait_until(lambda: wire.process_state(monitor.pid) == "T", "the client is stopped")
    steady = [srv.client()]
    visits(srv, vm, 2, 200)
    vm.wait_peer_eventfds(3 * 2)
    vm.ring(1, 1)
    monitor.signal(signal.SIGCONT)
    monitor.expect("interrupt vector 1 count 1")
    assert "lost" not in monitor.stdout


@many_in_flight
def test_112_machine_that_is_stopped_itself(server, qemu):
    """SIGSTOP for QEMU while 300 others come and go: afterwards it knows who is there."""
    srv = server(vectors=2)
    vm = qemu(srv)
    before = srv.client()
    vm.wait_peer_eventfds(4)
    gone = srv.client()
    vm.wait_peer_eventfds(6)
    vm.signal(signal.SIGSTOP)
    wire.wait_until(lambda: wire.process_state(vm.pid) == "T", "QEMU is stopped")
    gone.close()
    for _ in range(2):
        visitors = [srv.connect(keep_fds=False) for _ in range(150)]
        visitors[-1].greet()
        for visitor in visitors:
            visitor.close()
    after = srv.client()
    vm.signal(signal.SIGCONT)
    vm.alive()
    assert_all_reachable(srv, vm, [before, after])


@pytest.mark.limit(240)
@pytest.mark.long
def test_095_machine_survives_the_reuse_of_ids(server, qemu):
    """
    65 400 ids are used up before QEMU comes; then clients join and leave until the ids have started
    anew. QEMU 7.2 corrupts its heap when it sees an id a second time; it was not told of these before,
    so they are safe. With IVSHMEM_TEST_LONG=1 this goes on until every id was seen and the server
    refuses.
    """
    srv = server()
    for _ in range(65400):
        with wire.RawClient(srv.path) as client:
            client.numbers_without_fds(2)
    vm = qemu(srv, guest=False)
    witness = srv.client(keep_fds=False)
    assert witness.id == 65401
    vm.wait_peer_eventfds(2)
    base = witness.peers.keys() | set()
    seen = set(base)
    refused = False
    while not refused and len(seen) < wire.sized(2500, 1 << 20):
        visitors = []
        for _ in range(30):
            visitor = srv.connect(keep_fds=False)
            (version,) = visitor.numbers_without_fds(1)
            if version != 0:
                refused = True
                break
            (visitor.id,) = visitor.numbers_without_fds(1)
            assert visitor.id not in seen, "QEMU would not survive this"
            seen.add(visitor.id)
            visitors.append(visitor)
        witness.follow(lambda: len(witness.peers) == len(base) + len(visitors), "all are in")
        for visitor in visitors:
            visitor.close()
            srv.clients.remove(visitor)
        witness.follow_until_knows(base)
        witness.log.clear()
    assert 100 in seen, "the ids have not started anew"
    if refused:
        assert seen == set(range(65536))
    vm.wait_peer_eventfds(2)
    vm.alive()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_112_machine_outlives_the_server(server, qemu, number):
    """However the server ends, QEMU goes on, and so do the rings between those who knew each other."""
    srv = server(vectors=2)
    vm, client = pair(srv, qemu)
    srv.signal(number)
    srv.wait()
    vm.alive()
    vm.ring(client.id, 1)
    wire.wait_rings(client.peers[client.id][1])
    wire.ring(client.peers[vm.id][0])
    vm.wait_pending([0])
    vm.write(BAR2, 77)
    assert os.pread(client.memory, 1, 0) == b"M"


def test_112_refusal_ends_the_machine_with_an_error(server, qemu):
    """QEMU waits for ever for a server that closes without a word; it understands a wrong version."""
    srv = server("--max-peers", "1")
    client = srv.client()
    started = time.monotonic()
    with pytest.raises(Refused, match="version"):
        qemu(srv)
    assert time.monotonic() - started < 20
    client.drain()
    client.close()
    srv.assert_idle()
    vm = qemu(srv)
    vm.alive()


@few_descriptors
def test_112_refusal_for_lack_of_descriptors(server, qemu):
    srv = server(vectors=8, limit_files=64)
    clients = []
    with pytest.raises(wire.Refused):
        while True:
            clients.append(srv.client())
    with pytest.raises(Refused, match="version"):
        qemu(srv)
    clients.pop().close()
    wire.wait_until(lambda: srv.eventfds() <= len(clients) * 8 + 8, "room again")
    qemu(srv).alive()


def test_097_machine_that_ends_is_announced(server, qemu):
    srv = server(vectors=3)
    vm, client = pair(srv, qemu)
    client.follow_until_knows([0, 1])
    vm.kill()
    client.follow_until_knows([client.id])
    client.close()
    srv.assert_idle()


@many_in_flight
def test_097_machine_that_ends_in_the_middle_of_its_greeting(server, qemu):
    """Behind 200 peers with 8 vectors, killed as soon as it has connected."""
    srv = server(vectors=8)
    others = [srv.connect(keep_fds=False) for _ in range(200)]
    witness = srv.client(keep_fds=False)
    for _ in range(5):
        vm = qemu(srv, ready=False)
        witness.follow(lambda: len(witness.peers) == 202, "QEMU has joined")
        vm.kill()
        witness.follow(lambda: len(witness.peers) == 201, "QEMU has left")
    witness.follow_until_knows(range(201))
    assert len(others) == 200


def test_064_machine_with_too_few_vectors_harms_nobody(server, qemu, cli):
    """
    QEMU closes what is beyond its vectors and leaves these eventfds blocking for everybody. Others must
    not depend on that flag.
    """
    srv = server(vectors=4)
    monitor = cli("monitor")
    monitor.expect(r"attached as peer 0 .*")
    vm = qemu(srv, vectors=2)
    client = srv.client()
    vm.wait_peer_eventfds(3 * 2)
    assert not os.get_blocking(client.peers[client.id][1])
    for vector in range(4):
        wire.ring(client.peers[0][vector])
        monitor.expect(rf"interrupt vector {vector} count 1")
    vm.ring(0, 1)
    monitor.expect("interrupt vector 1 count 1")
    wire.ring(client.peers[vm.id][1])
    vm.wait_pending([1])
    # The tool is not stuck in a read of a counter that somebody else emptied or made blocking.
    for vector in range(4):
        os.set_blocking(client.peers[0][vector], True)
    for _ in range(20):
        for vector in range(4):
            wire.ring(client.peers[0][vector])
    wire.wait_until(
        lambda: sum(int(n) for n in re.findall(r"^interrupt vector 3 count (\d+)$", monitor.stdout, re.M)) == 21,
        "all rings arrive",
    )


def test_053_machine_with_more_vectors_than_the_server_gives(server, qemu):
    srv = server(vectors=2)
    vm = qemu(srv, vectors=8)
    client = srv.client()
    vm.wait_peer_eventfds(4)
    wire.ring(client.peers[vm.id][1])
    vm.wait_pending([1])


@pytest.mark.parametrize("interfere", [False, True])
def test_095_first_machine_can_be_the_migration_master(server, processes, qemu, room, interfere):
    """master=on needs id 0. A second server that was started by mistake, and refused, does not spoil it."""
    srv = server()
    if interfere:
        second = wire.Server(room.socket, ready=False)
        processes.append(second)
        assert second.wait() == 1
    vm = qemu(srv, properties=["master=on"])
    assert vm.id == 0
    with pytest.raises(Refused, match="master"):
        qemu(srv, properties=["master=on"])


@many_in_flight
def test_112_hot_plug_while_others_come_and_go(server, qemu):
    """The handshake blocks the whole machine, so the greeting has to be there at once."""
    srv = server(vectors=2)
    vm, client = pair(srv, qemu)
    for turn in range(5):
        visitors = [srv.connect(keep_fds=False) for _ in range(100)]
        started = time.monotonic()
        vm.plug(srv.path, 2, f"dev{turn}")
        assert time.monotonic() - started < 5
        for visitor in visitors:
            visitor.close()
    # Six devices, each with the vectors of seven peers.
    vm.wait_peer_eventfds(6 * 7 * 2)
    client.follow(lambda: len(client.peers) == 7, "all devices are announced")
    wire.ring(client.peers[vm.id][1])
    vm.wait_pending([1])


def test_112_machine_after_an_offender_was_thrown_out(server, qemu):
    srv = server(vectors=2)
    vm, client = pair(srv, qemu)
    for _ in range(20):
        offender = srv.client()
        offender.sock.send(b"hello")
        offender.assert_cut()
    assert_all_reachable(srv, vm, [client])


# ---- members with a fixed id -----------------------------------------------------------------------------


def test_fixed_ids_of_two_machines_whatever_the_order(server, room, qemu):
    """For drivers that take 0 and 1 only. The second machine restarts, and the first one lives on."""
    paths = [room.file(f"member-{own}") for own in (0, 1)]
    srv = server("--member", f"0={paths[0]}", "--member", f"1={paths[1]}", vectors=2)

    def start(own):
        return qemu(srv, path=paths[own])

    second = start(1)
    first = start(0)
    assert (first.id, second.id) == (0, 1)
    first.wait_peer_eventfds(4)
    second.wait_peer_eventfds(4)
    for turn in range(4):
        first.ring(1, 1)
        second.wait_pending([1])
        second.clear_pending()
        second.ring(0, 0)
        first.wait_pending([0])
        first.clear_pending()
        if turn % 2:
            second.kill()
        else:
            second.finish()
        second = start(1)
        assert second.id == 1
        second.wait_peer_eventfds(4)
        # What it knew is all that it was ever told: no id came twice.
        assert first.peer_eventfds() == 4
    first.alive()


def test_a_member_that_comes_and_goes_does_not_hurt_a_machine_that_stays(server, room, qemu, monkeypatch):
    """
    A QEMU frees an id's memory when it is told that it left, and writes there when it comes again; glibc
    sees that sooner or later, and at once when all that is freed is overwritten.
    """
    path = room.file("member")
    srv = server("--member", f"7={path}", vectors=2)
    monkeypatch.setenv("MALLOC_PERTURB_", "165")
    vm = qemu(srv)
    for _ in range(30):
        with wire.RawClient(path, 2) as member:
            member.greet()
            assert member.knows([vm.id, 7])
            vm.wait_peer_eventfds(4)
            for vector in range(2):
                vm.ring(7, vector)
                wire.wait_rings(member.peers[7][vector])
                wire.ring(member.peers[vm.id][vector])
                vm.wait_pending([vector])
                vm.clear_pending()
    newcomer = srv.client()
    vm.wait_peer_eventfds(6)
    vm.ring(newcomer.id, 0)
    wire.wait_rings(newcomer.peers[newcomer.id][0])
    vm.alive()


def test_a_second_machine_in_one_place_ends_and_says_why(server, room, qemu):
    path = room.file("member")
    srv = server("--member", f"1={path}")
    first = qemu(srv, path=path)
    second = qemu(srv, path=path, ready=False)
    assert second.wait() == 1
    assert "-16" in second.stderr, second.describe()
    assert first.id == 1


def test_ctl_names_the_machines(server, qemu, cli):
    """By -name in its two forms; the last one counts, as it does for QEMU."""
    srv = server(vectors=2)
    vm = qemu(srv)
    other = qemu(srv, more=("-name", "guest=web server,debug-threads=on"))
    process = cli("ctl", "peers", "--json")
    assert process.wait() == 0, process.describe()
    peers = json.loads(process.stdout)["peers"]
    assert [(peer["pid"], peer["vm"]) for peer in peers] == [(vm.pid, "vm0"), (other.pid, "web server")]
    assert peers[0]["program"].startswith("qemu-system")


def test_disconnected_by_an_operator_the_guest_goes_on(server, qemu, cli):
    srv = server(vectors=2)
    vm, client = pair(srv, qemu)
    assert cli("ctl", "disconnect", str(vm.id)).wait() == 0
    client.follow(lambda: vm.id not in client.peers, "it left")
    vm.ring(client.id, 1)
    wire.wait_rings(client.peers[client.id][1])
    vm.alive()

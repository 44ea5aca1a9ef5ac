# SPDX-License-Identifier: BSD-2-Clause
"""
What a server goes through in months, beside real QEMUs. `make soak` runs the whole of it and prints what it saw
(docs/reliability.md); in CI each test is a shorter form.
"""

import contextlib
import json
import signal
import struct
import subprocess
import time

import pytest

import ivshmem_wire as wire
import qemu_device
from ivshmem_fixtures import many_in_flight
from soak_results import tell

pytestmark = pytest.mark.skipif(qemu_device.binary() is None, reason="qemu-system-x86_64 is not installed")

HOUR = 3600
ALL_IDS = 65536
MONTH_OF_SECONDS = 31 * 24 * 3600
COMPLETE = (-2).to_bytes(8, "little", signed=True)

# A sanitizer keeps freed memory for a while, so memory grows there.
SANITIZED = b"__asan_init" in open(wire.program("ivshmem-server"), "rb").read()
# The table of ids is touched bit by bit: 576 KiB.
MAY_GROW_KIB = 1024


class Flat:
    """A process whose descriptors and memory must not grow from here on."""

    def __init__(self, srv):
        self.srv = srv
        self.fds, self.resident, self.start = len(srv.fds()), srv.resident(), time.monotonic()

    def check(self, name, **numbers):
        wire.wait_until(lambda: len(self.srv.fds()) <= self.fds, f"descriptors back to {self.fds}")
        grown = self.srv.resident() - self.resident
        tell(name, **numbers, seconds=round(time.monotonic() - self.start, 1), fds=len(self.srv.fds()) - self.fds,
             memory_kib=grown, resident_kib=self.srv.resident())  # fmt: skip
        assert SANITIZED or grown <= MAY_GROW_KIB, f"{grown} KiB more"


def storm(srv, scenario, *arguments):
    """Clients in C, with books that tell what each of them was owed and got."""
    program = wire.program("bench/storm")
    argv = [program, scenario, "--socket", srv.path, "--pid", str(srv.pid), "--vectors", str(srv.vectors), *arguments]
    answer = subprocess.run(argv, check=True, capture_output=True, text=True)
    return json.loads(answer.stdout)


@pytest.mark.limit(HOUR)
def test_joins_beside_machines(server, qemu):
    """
    More clients come and go than there are ids. A QEMU must not be told of one id twice, so now and then the machine that
    has been there longest is replaced. Each of them hears of every client.
    """
    count, at_once, stays = wire.sized(400, 70000), wire.sized(20, 100), wire.sized(100, 15000)
    srv = server(vectors=1)
    vms = [qemu(srv) for _ in range(3)]
    flat, replaced, ids = None, 0, set()
    for joined in range(0, count, at_once):
        if joined > 0 and joined % stays == 0:
            vms.pop(0).kill()
            vms.append(qemu(srv))
            replaced += 1
        for vm in vms:
            vm.wait_peer_eventfds(3)
        clients = [srv.client() for _ in range(at_once)]
        ids |= {client.id for client in clients}
        for vm in vms:
            vm.wait_peer_eventfds(3 + at_once)
            vm.ring(clients[-1].id)
            wire.wait_rings(clients[-1].peers[clients[-1].id][0])
        for client in clients:
            client.close()
        srv.clients.clear()
        flat = flat or Flat(srv)
    for vm in vms:
        vm.wait_peer_eventfds(3)
        vm.alive()
    assert len(ids) == count or count > ALL_IDS * 9 // 10
    flat.check("joins and leaves beside three QEMUs", count=count, machines_replaced=replaced)


@many_in_flight
@pytest.mark.limit(HOUR)
def test_a_machine_that_was_stopped_knows_everybody(server, qemu):
    count, seconds = wire.sized(100, 500), wire.sized(0, 60)
    srv = server(vectors=1)
    vm, other = qemu(srv), srv.client()
    vm.wait_peer_eventfds(2)
    vm.signal(signal.SIGSTOP)
    start = time.monotonic()
    clients = []
    for i in range(count):
        # Nobody has so many descriptors: most of the clients close what they get.
        clients.append(srv.client(keep_fds=i % 20 == 0))
        # Some are gone again before it hears of them.
        if i % 5 == 4:
            srv.clients.remove(clients[-1])
            clients.pop().close()
    while time.monotonic() - start < seconds:
        time.sleep(0.1)
    vm.signal(signal.SIGCONT)
    vm.wait_peer_eventfds(len(clients) + 2)
    for client in [other, *clients[::16]]:
        vm.ring(client.id)
        wire.wait_rings(client.peers[client.id][0])
    tell("joins while a QEMU is stopped", count=count, stopped_seconds=seconds, known=len(clients) + 1)


def hear(sock, messages):
    """So many messages, as numbers. Descriptors that nobody takes, the kernel closes."""
    heard = b""
    while len(heard) < 8 * messages:
        data = sock.recv(8 * messages - len(heard))
        assert data, "the server closed the connection"
        heard += data
    return list(struct.unpack(f"<{messages}q", heard))


@many_in_flight
@pytest.mark.limit(HOUR)
def test_many_peers(server, qemu):
    """Each of them is told of all others, a QEMU among them, and once."""
    count = wire.sized(100, 2000)
    srv = server(vectors=1)
    vm = qemu(srv)
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(wire.connect(srv.path)) for _ in range(count)]
        # Who came first hears of the others in the order in which they came.
        for i, peer in enumerate(peers):
            version, own, memory, *others = hear(peer, 3 + 1 + count)
            assert (version, own, memory) == (wire.VERSION, i + 1, wire.MEMORY)
            assert sorted(others) == list(range(count + 1))
        vm.wait_peer_eventfds(count + 1)
        client = srv.client()
        vm.wait_peer_eventfds(count + 2)
        vm.ring(client.id)
        wire.wait_rings(client.peers[client.id][0])
    tell("peers at once", count=count + 2, announcements=count * (count + 1))


@pytest.mark.limit(HOUR)
def test_connect_and_close(server, qemu):
    count = wire.sized(2000, 100000)
    srv = server(vectors=2)
    vm = qemu(srv)
    result = storm(srv, "churn", "--count", str(count // 10))
    flat = Flat(srv)
    result = storm(srv, "churn", "--count", str(count))
    assert result["served"] and result["accepted"] == count
    vm.wait_peer_eventfds(2)
    flat.check("connect and close", count=count)
    client = srv.client()
    vm.wait_peer_eventfds(4)
    vm.ring(client.id, 1)
    wire.wait_rings(client.peers[client.id][1])


def look(path):
    """A health check as a script would do it: who is there?"""
    with wire.connect(path) as observer:
        heard = b""
        while not heard.endswith(COMPLETE):
            data = observer.recv(4096)
            assert data, "the server closed the connection"
            heard += data


@pytest.mark.limit(HOUR)
def test_health_checks(server, qemu):
    """One a second for a month: they need no ids, and a QEMU hears nothing of them."""
    count = wire.sized(2000, MONTH_OF_SECONDS)
    srv = server(vectors=1)
    vm = qemu(srv)
    vm.wait_peer_eventfds(1)
    observers = f"{srv.path}.observe"
    for _ in range(500):
        look(observers)
    flat = Flat(srv)
    for _ in range(count):
        look(observers)
    flat.check("health checks", count=count)
    assert vm.peer_eventfds() == 1
    assert srv.client().id == 1

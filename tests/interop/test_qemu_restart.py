# SPDX-License-Identifier: BSD-2-Clause
"""QEMU's own ivshmem-doorbell device stays attached while our server is replaced, and knows nothing of it."""

import os
import signal

import pytest

import ivshmem_wire as wire
import qemu_device
from qemu_device import BAR2
from supervised import supervising

pytestmark = pytest.mark.skipif(qemu_device.binary() is None, reason="qemu-system-x86_64 is not installed")


@pytest.fixture
def supervised(room, processes):
    yield from supervising(room, processes)


def expect_rings(vm, client):
    for vector in range(client.vectors):
        vm.ring(client.id, vector)
        wire.wait_rings(client.peers[client.id][vector])
        wire.ring(client.peers[vm.id][vector])
        vm.wait_pending([vector])
        vm.clear_pending()


def test_a_machine_stays_attached(supervised, qemu):
    srv = supervised(vectors=2)
    one, two, client = qemu(srv), qemu(srv), srv.client()
    for vm in (one, two):
        vm.wait_peer_eventfds(6)
    one.write(BAR2 + 0x10, 0x12345678)
    for turn in range(5):
        srv.restart()
        for vm in (one, two):
            expect_rings(vm, client)
            assert vm.id == (one, two).index(vm)
        one.ring(two.id, 1)
        two.wait_pending([1])
        two.clear_pending()
        # Somebody joins afterwards, and leaves: the machines hear of both.
        newcomer = srv.client()
        assert newcomer.id == 3 + turn
        for vm in (one, two):
            vm.wait_peer_eventfds(8)
            expect_rings(vm, newcomer)
        newcomer.close()
        srv.clients.remove(newcomer)
        for vm in (one, two):
            vm.wait_peer_eventfds(6)
    assert two.read(BAR2 + 0x10) == 0x12345678
    three = qemu(srv)
    assert three.read(BAR2 + 0x10) == 0x12345678
    for vm in (one, two):
        vm.wait_peer_eventfds(8)
        vm.ring(three.id, 0)
    three.wait_pending([0])


def test_a_machine_that_stands_still_hears_the_rest_afterwards(supervised, qemu):
    """More than fits into its socket: half of it comes from the first server, half from the next."""
    srv = supervised(vectors=1)
    vm = qemu(srv)
    vm.signal(signal.SIGSTOP)
    clients = [srv.client() for _ in range(100)]
    for _ in range(2):
        srv.restart()
    for client in clients[::2]:
        client.close()
        srv.clients.remove(client)
    srv.restart()
    clients = clients[1::2] + [srv.client()]
    vm.signal(signal.SIGCONT)
    vm.wait_peer_eventfds(len(clients) + 1)
    for client in clients:
        client.drain()
        expect_rings(vm, client)


def test_a_machine_joins_while_there_is_no_server(supervised, qemu, room):
    srv = supervised(vectors=1)
    client = srv.client()
    os.kill(srv.server, signal.SIGSTOP)
    vm = qemu(srv, ready=False)
    wire.wait_until(lambda: vm.running(), "it starts")
    srv.signal(signal.SIGHUP)
    os.kill(srv.server, signal.SIGCONT)
    vm.ready()
    client.follow_until_knows([0, 1])
    vm.wait_peer_eventfds(2)
    expect_rings(vm, client)

# SPDX-License-Identifier: BSD-2-Clause
"""ivshmem-device whose server is gone: while no VMM is attached, it joins the next server on the same socket."""

import os
import signal
import time

import pytest

import ivshmem_wire as wire
import vfio_user as vu
from ivshmem_wire import VERSION
from vfio_user import BAR2
from vfio_user_fixtures import SIZE, VECTORS, expect_ring, ring_until_known


@pytest.fixture
def memories():
    fds = [wire.memory_fd(SIZE << at) for at in range(2)]
    yield fds
    for fd in fds:
        os.close(fd)


def end_server(group, number=signal.SIGKILL):
    group.server.signal(number)
    group.server.wait()
    group.device.expect(r"ivshmem-device: the server .*", stream="stderr")


@pytest.fixture
def successor(processes):
    """A new server where the one of the group was, and a peer in its group; with twice the memory."""

    def start(group, *arguments):
        server = wire.Server(group.server.path, "-l", str(2 * SIZE), *arguments, vectors=VECTORS)
        processes.append(server)
        return server, server.client()

    return start


def assert_joined(group, peer):
    """A new VMM is in the group of this peer, under its next id, with its memory."""
    vmm = group.vmm()
    own = peer.id + 1
    assert vmm.register(vu.IV_POSITION) == own
    assert vmm.region_info(BAR2).size == 2 * SIZE
    vmm.write(BAR2, 2 * SIZE - 4, b"here")
    assert os.pread(peer.memory, 4, 2 * SIZE - 4) == b"here"
    ring_until_known(vmm, peer.id, 0, peer.peers[peer.id][0])
    peer.follow_until_knows([peer.id, own])
    eventfd = wire.eventfd()
    vmm.assign(vu.MSIX, 0, eventfd)
    expect_ring(peer.peers[own][0], eventfd)
    os.close(eventfd)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_before_a_vmm_came(own_group, successor, number):
    group = own_group()
    end_server(group, number)
    _, peer = successor(group)
    group.device.expect(r"ready: .* peer 1, memory 128 KiB")
    assert_joined(group, peer)
    # Nothing of the first membership is left: as many descriptors as at a device that began here.
    group.device.forget_vmms()
    group.device.assert_idle()


def test_when_the_vmm_has_ended(own_group, successor):
    """As long as it is there, it keeps what it has."""
    group = own_group()
    vmm = group.vmm()
    end_server(group)
    _, peer = successor(group)
    time.sleep(0.7)  # longer than a pause between two looks
    vmm.write(BAR2, 0, b"old")
    assert group.memory[:3] == b"old"
    assert vmm.register(vu.IV_POSITION) == group.id
    peer.drain()
    assert list(peer.peers) == [peer.id], "it has not joined while the VMM is there"
    group.device.forget_vmms()
    group.device.expect(r"ready: .* peer 1, memory 128 KiB")
    assert_joined(group, peer)


def test_a_vmm_that_comes_as_soon_as_the_server(own_group, successor):
    """It never gets the group of the server that is gone, though nobody has looked yet."""
    for _ in range(3):
        group = own_group()
        end_server(group)
        _, peer = successor(group)
        assert_joined(group, peer)


@pytest.fixture
def lost(device_at_fake, fake):
    """lost(id, memory, ...): a device whose server was there and is gone, and its connection to the next one."""

    def lost(own, memory, *arguments):
        process, connection = device_at_fake(*arguments)
        connection.greeting(own, memory)
        process.expect_ready()
        connection.close()
        return process, fake.accept()

    return lost


def test_a_vmm_waits_while_the_device_joins(lost, memories):
    process, connection = lost(3, memories[0])
    vmm = process.connect()
    number = vmm.send(vu.VERSION, vu.QEMU_VERSION)
    connection.send(VERSION)
    connection.send(7)
    time.sleep(0.3)
    assert not vmm.waiting(), "there is no memory yet"
    connection.send(wire.MEMORY, memories[1])
    assert not vmm.reply_to(number, vu.VERSION).flags & vu.ERROR
    assert vmm.register(vu.IV_POSITION) == 7
    assert vmm.region_info(BAR2).size == 2 * SIZE
    process.finish()


def test_nobody_listens(own_group):
    """A VMM gets what there is, and the log says what that means."""
    group = own_group()
    end_server(group)
    assert group.vmm().register(vu.IV_POSITION) == group.id
    group.device.expect(r"ivshmem-device: the server is gone: the VM gets .*", stream="stderr")
    group.device.finish()


@pytest.mark.parametrize("how", ["hangs up", "says nothing", "another version", "odd memory"])
def test_server_that_is_of_no_use(lost, fake, memories, how):
    """What there was stays; the server is not asked again and again, and the log is not filled."""
    process, connection = lost(3, memories[0], "--timeout", "0.5")
    if how == "another version":
        connection.send(7)
    elif how == "odd memory":
        fd = wire.memory_fd(3 << 12)
        connection.greeting(4, fd)
        os.close(fd)
    if how == "hangs up":
        connection.close()
    process.expect(r"ivshmem-device: the group cannot be joined again: .*", stream="stderr")
    vmm = process.vmm()
    assert vmm.register(vu.IV_POSITION) == 3
    assert vmm.region_info(BAR2).size == SIZE
    with pytest.raises(TimeoutError):
        fake.accept(0.3)
    process.forget_vmms()
    if how == "hangs up":
        for _ in range(2):
            fake.accept().close()
    process.finish()
    assert process.stderr.count("cannot be joined again") == 1
    assert len(process.stderr.splitlines()) <= 4, process.stderr


def test_server_that_never_keeps_us(device_at_fake, fake, memories):
    """It takes us in and closes, again and again: the pauses grow, so neither the log nor its ids are used up."""
    process, connection = device_at_fake()
    connection.greeting(0, memories[0])
    process.expect_ready()
    closed = []
    for own in range(1, 5):
        connection.close()
        closed.append(time.monotonic())
        connection = fake.accept(60)
        connection.greeting(own, memories[0])
        process.expect(rf"ready: .* peer {own}, .*")
    pauses = [later - earlier for earlier, later in zip(closed, closed[1:])]
    assert pauses[2] > 1.9, pauses
    process.finish()


def test_revision_0(lost):
    """The device of 2010: its size is its own, and the dialect is found out again."""
    big = wire.memory_fd(1 << 20)
    process, connection = lost(3, big, "--revision", "0", "--size", "1M")
    connection.greeting(5, big)
    process.expect(r"ready: .* peer 5, memory 1 MiB")
    vmm = process.vmm()
    assert vmm.register(vu.IV_POSITION) == 5
    os.close(big)
    process.finish()

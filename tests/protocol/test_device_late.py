# SPDX-License-Identifier: BSD-2-Clause
"""ivshmem-device of revision 0: servers that are late, and servers of 2010, which say no version."""

import mmap
import os
import re
import time

import pytest

import ivshmem_wire as wire
import vfio_user as vu
from ivshmem_wire import MEMORY
from vfio_user import BAR2, INTX, MSIX
from vfio_user_fixtures import MIB, SIZE, ring_until_known

REVISION_0 = ("--revision", "0", "--size", "1")


@pytest.fixture
def memory():
    fd = wire.memory_fd(SIZE)
    yield fd
    os.close(fd)


@pytest.fixture
def large_memory():
    """Of 1 MiB: sizes of revision 0 are in MiB."""
    fd = wire.memory_fd(MIB)
    yield fd
    os.close(fd)


@pytest.mark.parametrize("own_id", [0, 1, 5, 65535])
@pytest.mark.parametrize("msi", ["on", "off"])
def test_113_server_of_2010(device_at_fake, large_memory, eventfds, own_id, msi):
    """No version: the first number is the id, which may be 0 and look like one."""
    process, connection = device_at_fake(*REVISION_0, "--msi", msi)
    fds, peers, triggers = eventfds(2), eventfds(2), eventfds(2)
    other = 3
    connection.send(own_id)
    connection.send(MEMORY, large_memory)
    for fd in peers:
        connection.send(other, fd)
    for fd in fds:
        connection.send(own_id, fd)
    vmm = process.expect_ready().vmm()
    wire.wait_until(lambda: vmm.register(vu.IV_POSITION) == own_id, "the id")
    with mmap.mmap(large_memory, MIB) as view:
        vmm.write(BAR2, 0, b"2010")
        assert view[:4] == b"2010"
    ring_until_known(vmm, other, 1, peers[1])
    if msi == "on":
        vmm.assign(MSIX, 0, *triggers)
        for ring, trigger in zip(fds, triggers):
            wire.ring(ring)
            wire.wait_rings(trigger)
    else:
        vmm.assign(INTX, 0, triggers[0])
        vmm.set_register(vu.INTR_MASK, 1)
        wire.ring(fds[1])
        wire.wait_rings(triggers[0])
        assert vmm.register(vu.INTR_STATUS) == 1
    # A peer leaves, another one comes.
    connection.send(other)
    new = eventfds(1)
    connection.send(other + 1, new[0])
    ring_until_known(vmm, other + 1, 0, new[0])
    wire.rings(peers[0])
    vmm.ring(other, 0)
    assert wire.rings(peers[0]) == 0
    process.finish()


@pytest.mark.parametrize("own_id", [0, 5])
def test_revision_0_with_a_server_of_today(device_at_fake, large_memory, eventfds, own_id):
    process, connection = device_at_fake(*REVISION_0)
    fds, triggers = eventfds(2), eventfds(2)
    connection.greeting(own_id, large_memory, vectors=fds)
    vmm = process.expect_ready().vmm()
    wire.wait_until(lambda: vmm.register(vu.IV_POSITION) == own_id, "the id")
    vmm.assign(MSIX, 0, *triggers)
    wire.ring(fds[1])
    wire.wait_rings(triggers[1])
    process.finish()


def test_022_revision_0_waits_for_ever(device_at_fake, large_memory, eventfds):
    """A guest starts, and its server takes its time; --timeout is not for that."""
    process, connection = device_at_fake(*REVISION_0, "--timeout", "0.2")
    vmm = process.expect_ready().vmm()
    [trigger] = eventfds(1)
    vmm.assign(MSIX, 0, trigger)
    time.sleep(0.5)
    assert vmm.register(vu.IV_POSITION) == 0xFFFFFFFF
    vmm.ring(0, 0)
    fds = eventfds(2)
    connection.greeting(4, large_memory, vectors=fds)
    wire.ring(fds[0])
    wire.wait_rings(trigger)
    assert vmm.register(vu.IV_POSITION) == 4
    process.finish()


def test_revision_0_and_a_memory_that_is_too_small(device_at_fake, memory):
    """It comes late, so the VM runs already; it goes on without, and the reason names both sizes."""
    process, connection = device_at_fake(*REVISION_0)
    vmm = process.expect_ready().vmm()
    connection.greeting(4, memory)
    assert connection.closed_by_client()
    wire.wait_until(lambda: re.search(r"\b(64 KiB|65536)\b", process.stderr), "told")
    assert re.search(r"\b(1 MiB|1048576)\b", process.stderr)
    assert vmm.register(vu.IV_POSITION) == 0xFFFFFFFF
    assert vmm.read(BAR2, 0, 4) == b"\xff" * 4
    process.finish()


@pytest.mark.parametrize("numbers", [[-5], [65536], [0, 70000], [3, -7]], ids=str)
def test_revision_0_and_a_server_that_lies(device_at_fake, numbers):
    process, connection = device_at_fake(*REVISION_0)
    vmm = process.expect_ready().vmm()
    for number in numbers:
        connection.send(number)
    assert connection.closed_by_client()
    process.expect(r"ivshmem-device: .*server.*", stream="stderr")
    assert vmm.register(vu.IV_POSITION) == 0xFFFFFFFF
    process.finish()


def test_revision_1_and_a_server_of_2010(device_at_fake, memory):
    """Refused, with a hint at what it is."""
    process, connection = device_at_fake()
    connection.send(5)
    try:
        connection.send(MEMORY, memory)
    except BrokenPipeError:
        pass  # it has gone already
    assert process.wait() == 1, process.describe()
    assert "version" in process.stderr

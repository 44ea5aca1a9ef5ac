# SPDX-License-Identifier: BSD-2-Clause
"""vfio-user: MSI-X eventfds, and every way in which SET_IRQS can be wrong."""

import os
import threading
import time

import pytest

import ivshmem_wire as wire
import vfio_user as vu
from vfio_user import BOOL, ERR, EVENTFD, INTX, MSIX, NONE, TRIGGER, UNMASK
from vfio_user_fixtures import VECTORS, expect_ring

@pytest.mark.parametrize("argsz", [20, 21, 4096, 0xFFFFFFFF])
def test_argsz_is_at_least_20(vmm, eventfds, argsz):
    vmm.set_irqs(EVENTFD | TRIGGER, MSIX, 0, 1, fds=list(eventfds(1)), argsz=argsz)


# ---- assigning -----------------------------------------------------------------------------------------


def test_068_ring_reaches_its_eventfd(group, vmm, arm):
    group.expect_interrupts(arm(vmm))


def test_count_without_descriptors(group, vmm, eventfds):
    """What QEMU sends when MSI-X is enabled and no vector is in use yet."""
    vmm.set_irqs(EVENTFD | TRIGGER, MSIX, 0, 1)
    fds = eventfds(2)
    vmm.assign(MSIX, 0, fds[0])
    expect_ring(group.at_device[0], fds[0])
    vmm.unassign(MSIX, 0, VECTORS)
    wire.ring(group.at_device[0])
    vmm.assign(MSIX, 0, fds[1])
    wire.wait_rings(fds[1])
    assert wire.rings(fds[0]) == 0


def test_073_rings_without_eventfd_are_kept_and_come_once(group, vmm, arm):
    for _ in range(3):
        wire.ring(group.at_device[1])
    group.wait_taken(1)
    wire.wait_rings(arm(vmm)[1])
    vmm.info()
    # and not again with another eventfd
    others = arm(vmm)
    vmm.info()
    assert others.rings() == [0] * VECTORS


def test_073_rings_before_the_vmm_came_are_of_its_life_before(group, arm):
    """Power-on forgets them: nobody waits for them."""
    group.vmm()
    group.ring_and_wait()
    group.device.forget_vmms()
    group.device.assert_idle()
    vmm = group.vmm()
    fds = arm(vmm)
    vmm.info()
    assert fds.rings() == [0] * VECTORS


def test_disable_closes_all(group, vmm, arm):
    before = len(group.device.fds())
    fds = arm(vmm)
    group.device.wait_fds(before + VECTORS)
    vmm.disable(MSIX)
    group.device.wait_fds(before)
    vmm.disable(MSIX)
    vmm.assign(MSIX, 0, *fds)
    group.expect_interrupts(fds)


def test_reassigning_closes_the_one_before(group, vmm, arm):
    fds = arm(vmm)
    before = len(group.device.fds())
    for _ in range(100):
        vmm.assign(MSIX, 0, *fds)
        vmm.assign(MSIX, 2, fds[2])
    group.device.wait_fds(before)


def test_in_the_middle(group, vmm, eventfds):
    fds = eventfds(VECTORS)
    vmm.assign(MSIX, 1, fds[1], fds[2])
    for fd in group.at_device:
        wire.ring(fd)
    wire.wait_rings(fds[1])
    wire.wait_rings(fds[2])
    vmm.assign(MSIX, 0, fds[0])
    wire.wait_rings(fds[0])
    assert wire.rings(fds[3]) == 0


def test_many_vectors_in_chunks_of_16(own_group, eventfds):
    """As QEMU and Cloud Hypervisor do."""
    group = own_group(vectors=128)
    with group.serving() as vmm:
        fds = eventfds(128)
        before = len(group.device.fds())
        for start in range(0, 128, 16):
            vmm.assign(MSIX, start, *fds[start : start + 16])
        group.device.wait_fds(before + 128)
        group.expect_interrupts(fds)
        group.expect_doorbells(vmm)
        # All vectors without descriptors in one message, and off.
        vmm.unassign(MSIX, 0, 128)
        group.device.wait_fds(before)


def test_none_trigger_fires(vmm, arm):
    vmm.set_irqs(NONE | TRIGGER, MSIX, 0, VECTORS)
    fds = arm(vmm)
    vmm.set_irqs(NONE | TRIGGER, MSIX, 1, 2)
    vmm.set_irqs(BOOL | TRIGGER, MSIX, 0, VECTORS, data=b"\0\1\0\1")
    assert fds.rings() == [0, 2, 1, 1]
    vmm.set_irqs(BOOL | TRIGGER, MSIX, 3, 1, data=b"\xff")
    assert fds.rings() == [0, 0, 0, 1]


def test_swapping_loses_no_ring(group, vmm, eventfds):
    """KVM's VMMs replace the eventfd at every mask and unmask: rings come all the time meanwhile."""
    fds = eventfds(2)
    vmm.assign(MSIX, 0, fds[0])
    done = threading.Event()
    lost = []

    def ringer():
        for number in range(wire.sized(1000, 20000)):
            wire.ring(group.at_device[0])
            deadline = time.monotonic() + wire.TIMEOUT
            while not any(wire.rings(fd) for fd in fds):
                if time.monotonic() > deadline:
                    lost.append(number)
                    done.set()
                    return
        done.set()

    thread = threading.Thread(target=ringer)
    thread.start()
    try:
        swaps = 0
        while not done.is_set():
            swaps += 1
            if swaps % 3 == 0:
                vmm.unassign(MSIX, 0)
            vmm.assign(MSIX, 0, fds[swaps & 1])
    finally:
        thread.join()
    assert not lost, f"ring {lost[0]} was lost"
    assert swaps > 20


def test_072_many_rings_are_at_least_one_at_most_as_many(group, vmm, arm):
    fds = arm(vmm)
    for _ in range(100):
        wire.ring(group.at_device[0])
    group.wait_taken()
    vmm.info()
    assert 1 <= wire.rings(fds[0]) <= 100


def test_msix_masks_are_the_clients(group, vmm, arm):
    """The client emulates the table: neither enable bit, nor masks, nor bus mastering may hold anything back."""
    fds = arm(vmm)
    for control in (0, 0x8000, 0xC000, 0):
        vmm.set_config(0x42, 2, control)
        group.expect_interrupts(fds)
    vmm.set_config(4, 2, 0)
    group.expect_interrupts(fds)


def test_err(group, vmm, arm):
    """QEMU installs an eventfd if there is a count; the device has no error to report, ever."""
    if vmm.irq_info(ERR)[1] == 0:
        return
    before = len(group.device.fds())
    fds = arm(vmm, 1, ERR)
    vmm.unassign(ERR, 0)
    vmm.assign(ERR, 0, *fds)
    vmm.reset()
    vmm.disable(ERR)
    group.device.wait_fds(before)
    assert wire.rings(fds[0]) == 0


# ---- hostile eventfds ----------------------------------------------------------------------------------


def test_a_full_eventfd_of_the_vmm_blocks_nobody(group, vmm, eventfds):
    fds = eventfds(2)
    os.write(fds[0], (0xFFFFFFFFFFFFFFFE).to_bytes(8, "little"))
    os.set_blocking(fds[0], True)
    vmm.assign(MSIX, 0, *fds)
    wire.ring(group.at_device[0])
    expect_ring(group.at_device[1], fds[1])
    vmm.ring(group.id, 0)
    vmm.set_irqs(NONE | TRIGGER, MSIX, 0, 1)
    assert wire.rings(fds[0]) >= 0xFFFFFFFFFFFFFFFE


def full_pipe():
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    try:
        while True:
            os.write(writer, bytes(65536))
    except BlockingIOError:
        os.set_blocking(writer, True)
    return writer, reader


def half_a_pipe(end):
    """One end of a pipe; the other one is closed."""
    fds = os.pipe()
    os.close(fds[1 - end])
    return fds[end : end + 1]


# Each of a kind that is no eventfd: the one to give away, and others to keep open.
STRANGE = {
    "a pipe that is full": lambda room: full_pipe(),
    "a pipe without reader": lambda room: half_a_pipe(1),
    "a pipe without writer": lambda room: half_a_pipe(0),
    "a directory": lambda room: [os.open(room.path, os.O_RDONLY)],
    "a file": lambda room: [os.open(room.file("file"), os.O_RDWR | os.O_CREAT)],
    "/dev/null": lambda room: [os.open("/dev/null", os.O_RDWR)],
    "a name only": lambda room: [os.open(room.path, os.O_PATH)],
}


@pytest.fixture(params=STRANGE.values(), ids=STRANGE.keys())
def strange(request, room):
    fds = request.param(room)
    yield fds[0]
    for fd in fds:
        os.close(fd)


def test_a_descriptor_that_is_no_eventfd(group, vmm, strange, eventfds):
    """Refused or taken, and then useless: but no signal, nothing that blocks, nothing that stays open."""
    [good] = eventfds(1)
    vmm.assign(MSIX, 1, good)
    vmm.tolerated(*vu.set_irqs(EVENTFD | TRIGGER, MSIX, 0, 1), [strange])
    for _ in range(3):
        wire.ring(group.at_device[0])
        expect_ring(group.at_device[1], good)
        vmm.ring(group.id, 0)
    vmm.unassign(MSIX, 0)


def test_a_resample_descriptor_that_is_no_eventfd(intx_group, strange, arm):
    """Also one that is always readable must not keep the device busy."""
    with intx_group.serving() as vmm:
        [trigger] = arm(vmm, 1, INTX)
        vmm.tolerated(*vu.set_irqs(EVENTFD | UNMASK, INTX, 0, 1), [strange])
        intx_group.device.expect_idle()
        vmm.set_register(vu.INTR_MASK, 1)
        expect_ring(intx_group.at_device[0], trigger)
        vmm.unmask()
        wire.wait_rings(trigger)

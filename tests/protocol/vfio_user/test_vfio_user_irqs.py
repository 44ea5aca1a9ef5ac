# SPDX-License-Identifier: BSD-2-Clause
"""vfio-user: MSI-X eventfds, and every way in which SET_IRQS can be wrong."""

import errno
import os
import struct
import threading
import time

import pytest

import ivshmem_wire as wire
import vfio_user as vu
from vfio_user import BOOL, ERR, EVENTFD, INTX, MASK, MSI, MSIX, NONE, REQ, TRIGGER, UNMASK
from vfio_user_fixtures import VECTORS

# ---- validation ----------------------------------------------------------------------------------------

# flags, index, start, count, data, number of descriptors, argsz: each is right but for one thing.
WRONG = {
    "no flags": (0, MSIX, 0, 1, b"", 1, 20),
    "no data type": (TRIGGER, MSIX, 0, 1, b"", 0, 20),
    "no action": (EVENTFD, MSIX, 0, 1, b"", 1, 20),
    "none and eventfd": (NONE | EVENTFD | TRIGGER, MSIX, 0, 1, b"", 1, 20),
    "none and bool": (NONE | BOOL | TRIGGER, MSIX, 0, 1, b"\1", 0, 20),
    "bool and eventfd": (BOOL | EVENTFD | TRIGGER, MSIX, 0, 1, b"\1", 1, 20),
    "all data types": (7 | TRIGGER, MSIX, 0, 1, b"\1", 1, 20),
    "mask and unmask": (NONE | MASK | UNMASK, MSIX, 0, 1, b"", 0, 20),
    "mask and trigger": (NONE | MASK | TRIGGER, MSIX, 0, 1, b"", 0, 20),
    "unmask and trigger": (NONE | UNMASK | TRIGGER, MSIX, 0, 1, b"", 0, 20),
    "all actions": (EVENTFD | MASK | UNMASK | TRIGGER, MSIX, 0, 1, b"", 1, 20),
    "unknown flag": (EVENTFD | TRIGGER | 64, MSIX, 0, 1, b"", 1, 20),
    "highest flag": (EVENTFD | TRIGGER | 1 << 31, MSIX, 0, 1, b"", 1, 20),
    "index 5": (EVENTFD | TRIGGER, 5, 0, 1, b"", 1, 20),
    "largest index": (EVENTFD | TRIGGER, 0xFFFFFFFF, 0, 1, b"", 1, 20),
    "index without interrupts": (EVENTFD | TRIGGER, MSI, 0, 1, b"", 1, 20),
    "no pin": (EVENTFD | TRIGGER, INTX, 0, 1, b"", 1, 20),
    "requests": (EVENTFD | TRIGGER, REQ, 0, 1, b"", 1, 20),
    "start at the end": (EVENTFD | TRIGGER, MSIX, VECTORS, 1, b"", 1, 20),
    "start beyond": (EVENTFD | TRIGGER, MSIX, 0xFFFFFFFF, 1, b"", 1, 20),
    "count too large": (EVENTFD | TRIGGER, MSIX, 0, VECTORS + 1, b"", VECTORS + 1, 20),
    "count beyond the end": (EVENTFD | TRIGGER, MSIX, 1, VECTORS, b"", VECTORS, 20),
    "count overflows": (EVENTFD | TRIGGER, MSIX, 1, 0xFFFFFFFF, b"", 0, 20),
    "count overflows to one": (EVENTFD | TRIGGER, MSIX, 2, 0xFFFFFFFF, b"", 0, 20),
    "largest count": (EVENTFD | TRIGGER, MSIX, 0, 0xFFFFFFFF, b"", 0, 20),
    "fewer descriptors": (EVENTFD | TRIGGER, MSIX, 0, 3, b"", 2, 20),
    "more descriptors": (EVENTFD | TRIGGER, MSIX, 0, 1, b"", 2, 20),
    "descriptors with none": (NONE | TRIGGER, MSIX, 0, 1, b"", 1, 20),
    "descriptors with disable": (NONE | TRIGGER, MSIX, 0, 0, b"", 1, 20),
    "descriptors with bool": (BOOL | TRIGGER, MSIX, 0, 1, b"\1", 1, 20),
    "bool without data": (BOOL | TRIGGER, MSIX, 0, 1, b"", 0, 20),
    "bool with less data": (BOOL | TRIGGER, MSIX, 0, 2, b"\1", 0, 20),
    "bool with more data": (BOOL | TRIGGER, MSIX, 0, 1, b"\1\1", 0, 20),
    "eventfd with count 0": (EVENTFD | TRIGGER, MSIX, 0, 0, b"", 0, 20),
    "eventfd with count 0 and a descriptor": (EVENTFD | TRIGGER, MSIX, 0, 0, b"", 1, 20),
    "bool with count 0": (BOOL | TRIGGER, MSIX, 0, 0, b"", 0, 20),
    "disable from 1": (NONE | TRIGGER, MSIX, 1, 0, b"", 0, 20),
    "mask with count 0": (NONE | MASK, MSIX, 0, 0, b"", 0, 20),
    "unmask with count 0": (NONE | UNMASK, MSIX, 0, 0, b"", 0, 20),
    "argsz 0": (EVENTFD | TRIGGER, MSIX, 0, 1, b"", 1, 0),
    "argsz 19": (EVENTFD | TRIGGER, MSIX, 0, 1, b"", 1, 19),
    "two errors": (EVENTFD | TRIGGER, ERR, 0, 2, b"", 2, 20),
    "error 1": (EVENTFD | TRIGGER, ERR, 1, 1, b"", 1, 20),
    "mask errors": (NONE | MASK, ERR, 0, 1, b"", 0, 20),
    "unmask errors": (NONE | UNMASK, ERR, 0, 1, b"", 0, 20),
}


@pytest.mark.parametrize("case", WRONG.values(), ids=WRONG.keys())
def test_set_irqs_wrong(group, vmm, eventfds, case):
    """EINVAL, every descriptor closed, and what was assigned before stays."""
    flags, index, start, count, data, n_fds, argsz = case
    own = eventfds(VECTORS)
    vmm.assign(MSIX, 0, *own)
    before = len(group.device.fds())
    others = eventfds(n_fds)
    assert vmm.set_irqs_refused(flags, index, start, count, data, list(others), argsz) == errno.EINVAL
    group.device.wait_fds(before)
    for vector in range(VECTORS):
        wire.ring(group.at_device[vector])
        wire.wait_rings(own[vector])
    assert [wire.rings(fd) for fd in others] == [0] * n_fds


@pytest.mark.parametrize("length", [0, 1, 12, 16, 19])
def test_set_irqs_too_short(group, vmm, eventfds, length):
    before = len(group.device.fds())
    payload = struct.pack("=IIIII", 20, EVENTFD | TRIGGER, MSIX, 0, 1)[:length]
    assert vmm.refused(vu.SET_IRQS, payload, list(eventfds(1))) == errno.EINVAL
    group.device.wait_fds(before)


@pytest.mark.parametrize("argsz", [20, 21, 4096, 0xFFFFFFFF])
def test_argsz_is_at_least_20(vmm, eventfds, argsz):
    vmm.set_irqs(EVENTFD | TRIGGER, MSIX, 0, 1, fds=list(eventfds(1)), argsz=argsz)


def test_intx_of_another_revision_is_checked(intx_group, eventfds):
    """Without MSI-X, index 2 has nothing."""
    vmm = intx_group.vmm()
    for flags, index, start, count, n_fds in (
        (EVENTFD | TRIGGER, MSIX, 0, 1, 1),
        (EVENTFD | TRIGGER, INTX, 1, 1, 1),
        (EVENTFD | TRIGGER, INTX, 0, 2, 2),
        (EVENTFD | UNMASK, INTX, 0, 1, 2),
        (EVENTFD | UNMASK, INTX, 0, 2, 2),
        (EVENTFD | UNMASK, INTX, 1, 1, 1),
        (NONE | MASK, INTX, 0, 2, 0),
        (NONE | MASK, INTX, 1, 1, 0),
        (NONE | UNMASK, INTX, 0, 2, 0),
        (NONE | UNMASK, INTX, 0, 0, 0),
    ):
        before = len(intx_group.device.fds())
        assert vmm.set_irqs_refused(flags, index, start, count, fds=list(eventfds(n_fds))) == errno.EINVAL
        intx_group.device.wait_fds(before)


# ---- assigning -----------------------------------------------------------------------------------------


def test_068_ring_reaches_its_eventfd(group, vmm, eventfds):
    fds = eventfds(VECTORS)
    vmm.assign(MSIX, 0, *fds)
    for vector in range(VECTORS):
        wire.ring(group.at_device[vector])
        wire.wait_rings(fds[vector])
    assert [wire.rings(fd) for fd in fds] == [0] * VECTORS


def test_count_without_descriptors(group, vmm, eventfds):
    """What QEMU sends when MSI-X is enabled and no vector is in use yet."""
    vmm.set_irqs(EVENTFD | TRIGGER, MSIX, 0, 1)
    fds = eventfds(2)
    vmm.assign(MSIX, 0, fds[0])
    wire.ring(group.at_device[0])
    wire.wait_rings(fds[0])
    vmm.unassign(MSIX, 0, VECTORS)
    wire.ring(group.at_device[0])
    vmm.assign(MSIX, 0, fds[1])
    wire.wait_rings(fds[1])
    assert wire.rings(fds[0]) == 0


def test_073_rings_without_eventfd_are_kept_and_come_once(group, vmm, eventfds):
    for _ in range(3):
        wire.ring(group.at_device[1])
    # Each answered message gives the device time, but nobody announces that it has taken the rings.
    wire.wait_until(lambda: not wire.readable(group.at_device[1], 0), "the device takes the rings")
    fds = eventfds(VECTORS)
    vmm.assign(MSIX, 0, *fds)
    wire.wait_rings(fds[1])
    vmm.info()
    assert [wire.rings(fd) for fd in fds] == [0] * VECTORS
    # and not again with another eventfd
    others = eventfds(VECTORS)
    vmm.assign(MSIX, 0, *others)
    vmm.info()
    assert [wire.rings(fd) for fd in others] == [0] * VECTORS


def test_073_rings_before_the_vmm_came_are_of_its_life_before(group, eventfds):
    """Power-on forgets them: nobody waits for them."""
    vmm = group.vmm()
    wire.ring(group.at_device[0])
    wire.wait_until(lambda: not wire.readable(group.at_device[0], 0), "the device takes the ring")
    group.device.forget_vmms()
    group.device.assert_idle()
    vmm = group.vmm()
    fds = eventfds(1)
    vmm.assign(MSIX, 0, *fds)
    vmm.info()
    assert wire.rings(fds[0]) == 0


def test_disable_closes_all(group, vmm, eventfds):
    before = len(group.device.fds())
    fds = eventfds(VECTORS)
    vmm.assign(MSIX, 0, *fds)
    group.device.wait_fds(before + VECTORS)
    vmm.disable(MSIX)
    group.device.wait_fds(before)
    vmm.disable(MSIX)
    vmm.assign(MSIX, 0, *fds)
    wire.ring(group.at_device[3])
    wire.wait_rings(fds[3])


def test_reassigning_closes_the_one_before(group, vmm, eventfds):
    fds = eventfds(VECTORS)
    vmm.assign(MSIX, 0, *fds)
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
    vmm = group.vmm()
    fds = eventfds(128)
    before = len(group.device.fds())
    for start in range(0, 128, 16):
        vmm.assign(MSIX, start, *fds[start : start + 16])
    group.device.wait_fds(before + 128)
    for fd in group.at_device:
        wire.ring(fd)
    for fd in fds:
        wire.wait_rings(fd)
    for vector in range(128):
        vmm.ring(group.peer_id, vector)
    assert [wire.rings(fd) for fd in group.at_peer] == [1] * 128
    # All vectors without descriptors in one message, and off.
    vmm.unassign(MSIX, 0, 128)
    group.device.wait_fds(before)
    vmm.disable(MSIX)


def test_none_trigger_fires(group, vmm, eventfds):
    fds = eventfds(VECTORS)
    vmm.assign(MSIX, 0, *fds)
    vmm.set_irqs(NONE | TRIGGER, MSIX, 1, 2)
    vmm.set_irqs(BOOL | TRIGGER, MSIX, 0, VECTORS, data=b"\0\1\0\1")
    assert [wire.rings(fd) for fd in fds] == [0, 2, 1, 1]
    vmm.set_irqs(BOOL | TRIGGER, MSIX, 3, 1, data=b"\xff")
    assert wire.rings(fds[3]) == 1


def test_firing_without_eventfd(group, vmm, eventfds):
    vmm.set_irqs(NONE | TRIGGER, MSIX, 0, VECTORS)
    assert vmm.info()[0] == 16


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


def test_072_many_rings_are_at_least_one_at_most_as_many(group, vmm, eventfds):
    fds = eventfds(1)
    vmm.assign(MSIX, 0, *fds)
    for _ in range(100):
        wire.ring(group.at_device[0])
    wire.wait_until(lambda: not wire.readable(group.at_device[0], 0), "the device takes the rings")
    vmm.info()
    assert 1 <= wire.rings(fds[0]) <= 100


def test_msix_masks_are_the_clients(group, vmm, eventfds):
    """The client emulates the table: neither enable bit, nor masks, nor bus mastering may hold anything back."""
    fds = eventfds(1)
    vmm.assign(MSIX, 0, *fds)
    for control in (0, 0x8000, 0xC000, 0):
        vmm.set_config(0x42, 2, control)
        wire.ring(group.at_device[0])
        wire.wait_rings(fds[0])
    vmm.set_config(4, 2, 0)
    wire.ring(group.at_device[0])
    wire.wait_rings(fds[0])


def test_err(group, vmm, eventfds):
    """QEMU installs an eventfd if there is a count; the device has no error to report, ever."""
    if vmm.irq_info(ERR)[1] == 0:
        return
    fds = eventfds(1)
    before = len(group.device.fds())
    vmm.assign(ERR, 0, *fds)
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
    wire.ring(group.at_device[1])
    wire.wait_rings(fds[1])
    vmm.ring(group.id, 0)
    vmm.set_irqs(NONE | TRIGGER, MSIX, 0, 1)
    assert vmm.info()[0] == 16
    assert wire.rings(fds[0]) >= 0xFFFFFFFFFFFFFFFE


def strange_descriptors(room):
    """Each of a kind that is no eventfd: (name, the one to give away, others to keep open)."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    try:
        while True:
            os.write(writer, bytes(65536))
    except BlockingIOError:
        os.set_blocking(writer, True)
    yield "a pipe that is full", writer, [reader]
    reader, writer = os.pipe()
    os.close(reader)
    yield "a pipe without reader", writer, []
    reader, writer = os.pipe()
    os.close(writer)
    yield "a pipe without writer", reader, []
    yield "a directory", os.open(room.path, os.O_RDONLY), []
    yield "a file", os.open(room.file("file"), os.O_RDWR | os.O_CREAT), []
    yield "/dev/null", os.open("/dev/null", os.O_RDWR), []
    yield "a name only", os.open(room.path, os.O_PATH), []


KINDS = range(7)


def close_all(made):
    for _, one, others in made:
        for fd in [one, *others]:
            os.close(fd)


@pytest.mark.parametrize("kind", KINDS)
def test_a_descriptor_that_is_no_eventfd(group, vmm, room, eventfds, kind):
    """Refused or taken, and then useless: but no signal, nothing that blocks, nothing that stays open."""
    made = list(strange_descriptors(room))
    name, fd, _ = made[kind]
    try:
        fds = eventfds(1)
        vmm.assign(MSIX, 1, *fds)
        before = len(group.device.fds())
        try:
            vmm.assign(MSIX, 0, fd)
        except vu.Refused as refusal:
            assert refusal.error == errno.EINVAL
        for _ in range(3):
            wire.ring(group.at_device[0])
            wire.ring(group.at_device[1])
            wire.wait_rings(fds[0])
            vmm.ring(group.id, 0)
        vmm.unassign(MSIX, 0)
        group.device.wait_fds(before)
    finally:
        close_all(made)


@pytest.mark.parametrize("kind", KINDS)
def test_a_resample_descriptor_that_is_no_eventfd(intx_group, room, eventfds, kind):
    """Also one that is always readable must not keep the device busy."""
    vmm = intx_group.vmm()
    made = list(strange_descriptors(room))
    name, fd, _ = made[kind]
    try:
        [trigger] = eventfds(1)
        vmm.assign(INTX, 0, trigger)
        try:
            vmm.set_irqs(EVENTFD | UNMASK, INTX, 0, 1, fds=[fd])
        except vu.Refused as refusal:
            assert refusal.error == errno.EINVAL
        used = intx_group.device.cpu_seconds()
        time.sleep(0.3)
        assert intx_group.device.cpu_seconds() - used < 0.15, f"busy with {name}"
        vmm.set_register(vu.INTR_MASK, 1)
        wire.ring(intx_group.at_device[0])
        wire.wait_rings(trigger)
        vmm.set_irqs(NONE | UNMASK, INTX, 0, 1)
        wire.wait_rings(trigger)
        vmm.disable(INTX)
    finally:
        close_all(made)

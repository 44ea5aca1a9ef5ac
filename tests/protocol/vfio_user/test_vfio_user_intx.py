# SPDX-License-Identifier: BSD-2-Clause
"""vfio-user: the interrupt pin of revision 0, level triggered over eventfds that only know edges."""

import os

import pytest

import ivshmem_wire as wire
import vfio_user as vu
from vfio_user import EVENTFD, INTR_MASK, INTR_STATUS, INTX, MASK, NONE, TRIGGER, UNMASK
from vfio_user_fixtures import MIB

INTX_DISABLE = 0x400
INTX_PENDING = 8


def unmask(vmm):
    vmm.set_irqs(NONE | UNMASK, INTX, 0, 1)


def mask(vmm):
    vmm.set_irqs(NONE | MASK, INTX, 0, 1)


@pytest.fixture
def vmm(intx_group):
    return intx_group.vmm()


@pytest.fixture
def pin(vmm, eventfds):
    """The trigger, assigned, and IntrMask open."""
    [fd] = eventfds(1)
    vmm.assign(INTX, 0, fd)
    vmm.set_register(INTR_MASK, 1)
    return fd


def none_fired(vmm, fd):
    vmm.info()
    return wire.rings(fd) == 0


def test_015_016_ring_raises_reading_lowers(intx_group, vmm, pin):
    assert not vmm.config(6, 2) & INTX_PENDING
    wire.ring(intx_group.at_device[0])
    wire.wait_rings(pin)
    assert vmm.config(6, 2) & INTX_PENDING
    assert vmm.register(INTR_STATUS) == 1
    assert vmm.register(INTR_STATUS) == 0
    assert not vmm.config(6, 2) & INTX_PENDING
    unmask(vmm)
    assert none_fired(vmm, pin)
    wire.ring(intx_group.at_device[3])
    wire.wait_rings(pin)


def test_015_by_status_and_mask(vmm, pin):
    vmm.set_register(INTR_STATUS, 2)
    assert none_fired(vmm, pin), "2 is not in the mask"
    vmm.set_register(INTR_MASK, 2)
    assert wire.rings(pin) == 1
    vmm.set_register(INTR_MASK, 0)
    unmask(vmm)
    assert none_fired(vmm, pin)
    vmm.set_register(INTR_MASK, 0xFFFFFFFF)
    assert wire.rings(pin) == 1


def test_017_ring_while_the_mask_is_closed(intx_group, vmm, pin):
    vmm.set_register(INTR_MASK, 0)
    wire.ring(intx_group.at_device[0])
    wire.wait_until(lambda: vmm.register(INTR_STATUS), "status follows")
    assert none_fired(vmm, pin)
    wire.ring(intx_group.at_device[0])
    wire.wait_until(lambda: not wire.readable(intx_group.at_device[0], 0), "the device takes the ring")
    vmm.set_register(INTR_MASK, 1)
    wire.wait_rings(pin)


def test_018_256_rings_are_one(intx_group, vmm, pin):
    os.write(intx_group.at_device[0], (256).to_bytes(8, "little"))
    wire.wait_rings(pin)
    assert vmm.register(INTR_STATUS) == 1


def test_028_own_doorbell(intx_group, vmm, pin):
    vmm.ring(intx_group.id, 0)
    wire.wait_rings(pin)
    assert vmm.register(INTR_STATUS) == 1


def test_masked_after_firing(intx_group, vmm, pin):
    """However much happens, there is one event until somebody unmasks; then one more if the level is high."""
    for _ in range(5):
        vmm.set_register(INTR_STATUS, 1)
        vmm.set_register(INTR_MASK, 0)
        vmm.set_register(INTR_MASK, 1)
        wire.ring(intx_group.at_device[1])
    wire.wait_rings(pin)
    assert none_fired(vmm, pin)
    for _ in range(3):
        unmask(vmm)
        assert wire.rings(pin) == 1
    wire.wait_until(lambda: not wire.readable(intx_group.at_device[1], 0), "the device takes the rings")
    vmm.register(INTR_STATUS)
    unmask(vmm)
    assert none_fired(vmm, pin)


def test_mask_and_unmask(vmm, pin):
    mask(vmm)
    mask(vmm)
    vmm.set_register(INTR_STATUS, 1)
    assert none_fired(vmm, pin)
    unmask(vmm)
    assert wire.rings(pin) == 1
    # Unmasking is cheap and idempotent: Cloud Hypervisor does it after every access.
    vmm.register(INTR_STATUS)
    for _ in range(10):
        unmask(vmm)
    assert none_fired(vmm, pin)
    vmm.set_register(INTR_STATUS, 1)
    assert wire.rings(pin) == 1


def test_resample(intx_group, vmm, pin, eventfds):
    """The guest's end of interrupt comes as an event, without a message."""
    [resample, trigger] = eventfds(2)
    # What QEMU sends with KVM.
    vmm.assign(INTX, 0, trigger)
    mask(vmm)
    vmm.set_irqs(EVENTFD | UNMASK, INTX, 0, 1, fds=[resample])
    unmask(vmm)
    wire.ring(intx_group.at_device[0])
    wire.wait_rings(trigger)
    for _ in range(5):
        wire.ring(resample)  # the handler has not read IntrStatus yet
        wire.wait_rings(trigger)
    assert vmm.register(INTR_STATUS) == 1
    wire.ring(resample)
    wire.wait_until(lambda: not wire.readable(resample, 0), "the device takes the event")
    assert none_fired(vmm, trigger)
    wire.ring(intx_group.at_device[0])
    wire.wait_rings(trigger)
    assert wire.rings(pin) == 0, "it was replaced"


def test_resample_is_replaced_and_removed(intx_group, vmm, pin, eventfds):
    [first, second] = eventfds(2)
    before = len(intx_group.device.fds())
    vmm.set_irqs(EVENTFD | UNMASK, INTX, 0, 1, fds=[first])
    vmm.set_irqs(EVENTFD | UNMASK, INTX, 0, 1, fds=[second])
    intx_group.device.wait_fds(before + 1)
    vmm.set_register(INTR_STATUS, 1)
    wire.wait_rings(pin)
    wire.ring(first)
    wire.ring(second)
    wire.wait_rings(pin)
    assert none_fired(vmm, pin)
    assert wire.rings(first) == 1, "nobody reads it any more"
    vmm.set_irqs(EVENTFD | UNMASK, INTX, 0, 1)
    intx_group.device.wait_fds(before)
    wire.ring(second)
    assert none_fired(vmm, pin)
    assert wire.rings(second) == 1


def test_resample_before_the_trigger(intx_group, vmm, eventfds):
    [trigger, resample] = eventfds(2)
    vmm.set_irqs(EVENTFD | UNMASK, INTX, 0, 1, fds=[resample])
    vmm.assign(INTX, 0, trigger)
    vmm.set_register(INTR_MASK, 1)
    vmm.set_register(INTR_STATUS, 1)
    wire.wait_rings(trigger)
    wire.ring(resample)
    wire.wait_rings(trigger)


def test_disable_forgets_all(intx_group, vmm, eventfds):
    before = len(intx_group.device.fds())
    [trigger, resample] = eventfds(2)
    vmm.assign(INTX, 0, trigger)
    vmm.set_irqs(EVENTFD | UNMASK, INTX, 0, 1, fds=[resample])
    mask(vmm)
    vmm.disable(INTX)
    intx_group.device.wait_fds(before)
    vmm.set_register(INTR_MASK, 1)
    vmm.set_register(INTR_STATUS, 1)
    # Not masked any more, and the level is high: the next one who comes is told.
    vmm.assign(INTX, 0, trigger)
    assert wire.rings(trigger) == 1
    wire.ring(resample)
    assert none_fired(vmm, trigger)


def test_assigned_while_the_level_is_high(intx_group, vmm, eventfds):
    vmm.set_register(INTR_MASK, 1)
    wire.ring(intx_group.at_device[0])
    wire.wait_until(lambda: vmm.config(6, 2) & INTX_PENDING, "the level is high")
    [trigger] = eventfds(1)
    vmm.set_irqs(EVENTFD | TRIGGER, INTX, 0, 1)
    vmm.assign(INTX, 0, trigger)
    wire.wait_rings(trigger)


def test_the_device_can_be_told_to_be_silent(intx_group, vmm, pin):
    """Bit 10 of the command register; QEMU does not look at it for us."""
    vmm.set_config(4, 2, INTX_DISABLE)
    wire.ring(intx_group.at_device[0])
    wire.wait_until(lambda: vmm.config(6, 2) & INTX_PENDING, "it would like to")
    assert none_fired(vmm, pin)
    unmask(vmm)
    assert none_fired(vmm, pin)
    vmm.set_config(4, 2, 0)
    wire.wait_rings(pin)


def test_reset_lowers_it_and_keeps_the_eventfd(intx_group, vmm, pin):
    vmm.set_register(INTR_STATUS, 1)
    wire.wait_rings(pin)
    vmm.reset()
    assert not vmm.config(6, 2) & INTX_PENDING
    assert vmm.register(INTR_MASK) == 0
    unmask(vmm)
    assert none_fired(vmm, pin)
    vmm.set_register(INTR_MASK, 1)
    vmm.set_register(INTR_STATUS, 1)
    wire.wait_rings(pin)


def test_client_may_fire_it(vmm, pin):
    vmm.set_irqs(NONE | TRIGGER, INTX, 0, 1)
    assert wire.rings(pin) == 1


def test_019_msix_silences_the_pin(shared, eventfds):
    """A function with MSI-X enabled must not use its pin."""
    group = shared("--revision", "0", "--size", "1", size=MIB)
    vmm = group.vmm()
    [pin, vector] = eventfds(2)
    vmm.assign(INTX, 0, pin)
    vmm.set_register(INTR_MASK, 1)
    vmm.set_register(INTR_STATUS, 1)
    assert wire.rings(pin) == 1
    unmask(vmm)
    assert wire.rings(pin) == 1
    vmm.set_config(0x42, 2, 0x8000)
    unmask(vmm)
    assert none_fired(vmm, pin)
    vmm.disable(INTX)
    vmm.assign(vu.MSIX, 0, vector)
    wire.ring(group.at_device[0])
    wire.wait_rings(vector)


def test_020_revision_1_has_no_pin(group):
    vmm = group.vmm()
    vmm.set_register(INTR_MASK, 0xFFFFFFFF)
    vmm.set_register(INTR_STATUS, 0xFFFFFFFF)
    assert not vmm.config(6, 2) & INTX_PENDING

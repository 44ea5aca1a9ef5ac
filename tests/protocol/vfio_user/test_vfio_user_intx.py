# SPDX-License-Identifier: BSD-2-Clause
"""vfio-user: the interrupt pin of revision 0, level triggered over eventfds that only know edges."""

import os

import pytest

import ivshmem_wire as wire
from vfio_user import INTR_MASK, INTR_STATUS, INTX, NONE, TRIGGER
from vfio_user_fixtures import expect_ring

INTX_DISABLE = 0x400
INTX_PENDING = 8


@pytest.fixture
def group(intx_group):
    return intx_group


@pytest.fixture
def pin(vmm, arm):
    """The trigger, assigned, and IntrMask open."""
    [fd] = arm(vmm, 1, INTX)
    vmm.set_register(INTR_MASK, 1)
    return fd


def none_fired(vmm, fd):
    vmm.info()
    return wire.rings(fd) == 0


def test_015_016_ring_raises_reading_lowers(group, vmm, pin):
    assert not vmm.config(6, 2) & INTX_PENDING
    expect_ring(group.at_device[0], pin)
    assert vmm.config(6, 2) & INTX_PENDING
    assert vmm.register(INTR_STATUS) == 1
    assert vmm.register(INTR_STATUS) == 0
    assert not vmm.config(6, 2) & INTX_PENDING
    vmm.unmask()
    assert none_fired(vmm, pin)
    expect_ring(group.at_device[3], pin)


def test_015_by_status_and_mask(vmm, pin):
    vmm.set_register(INTR_STATUS, 2)
    assert none_fired(vmm, pin), "2 is not in the mask"
    vmm.set_register(INTR_MASK, 2)
    assert wire.rings(pin) == 1
    vmm.set_register(INTR_MASK, 0)
    vmm.unmask()
    assert none_fired(vmm, pin)
    vmm.set_register(INTR_MASK, 0xFFFFFFFF)
    assert wire.rings(pin) == 1


def test_017_ring_while_the_mask_is_closed(group, vmm, pin):
    vmm.set_register(INTR_MASK, 0)
    wire.ring(group.at_device[0])
    wire.wait_until(lambda: vmm.register(INTR_STATUS), "status follows")
    assert none_fired(vmm, pin)
    group.ring_and_wait()
    vmm.set_register(INTR_MASK, 1)
    wire.wait_rings(pin)


def test_018_256_rings_are_one(group, vmm, pin):
    os.write(group.at_device[0], (256).to_bytes(8, "little"))
    wire.wait_rings(pin)
    assert vmm.register(INTR_STATUS) == 1


def test_028_own_doorbell(group, vmm, pin):
    vmm.ring(group.id, 0)
    wire.wait_rings(pin)
    assert vmm.register(INTR_STATUS) == 1


def test_masked_after_firing(group, vmm, pin):
    """However much happens, there is one event until somebody unmasks; then one more if the level is high."""
    for _ in range(5):
        vmm.set_register(INTR_STATUS, 1)
        vmm.set_register(INTR_MASK, 0)
        vmm.set_register(INTR_MASK, 1)
        wire.ring(group.at_device[1])
    wire.wait_rings(pin)
    assert none_fired(vmm, pin)
    for _ in range(3):
        vmm.unmask()
        assert wire.rings(pin) == 1
    group.wait_taken(1)
    vmm.register(INTR_STATUS)
    vmm.unmask()
    assert none_fired(vmm, pin)


def test_mask_and_unmask(vmm, pin):
    vmm.mask()
    vmm.mask()
    vmm.set_register(INTR_STATUS, 1)
    assert none_fired(vmm, pin)
    vmm.unmask()
    assert wire.rings(pin) == 1
    # Unmasking is cheap and idempotent: Cloud Hypervisor does it after every access.
    vmm.register(INTR_STATUS)
    for _ in range(10):
        vmm.unmask()
    assert none_fired(vmm, pin)
    vmm.set_register(INTR_STATUS, 1)
    assert wire.rings(pin) == 1


def test_resample(group, vmm, pin, eventfds):
    """The guest's end of interrupt comes as an event, without a message."""
    [resample, trigger] = eventfds(2)
    # What QEMU sends with KVM.
    vmm.assign(INTX, 0, trigger)
    vmm.mask()
    vmm.resample(resample)
    vmm.unmask()
    expect_ring(group.at_device[0], trigger)
    for _ in range(5):
        expect_ring(resample, trigger)  # the handler has not read IntrStatus yet
    assert vmm.register(INTR_STATUS) == 1
    wire.ring(resample)
    wire.wait_until(lambda: not wire.readable(resample, 0), "the device takes the event")
    assert none_fired(vmm, trigger)
    expect_ring(group.at_device[0], trigger)
    assert wire.rings(pin) == 0, "it was replaced"


def test_resample_is_replaced_and_removed(group, vmm, pin, eventfds):
    [first, second] = eventfds(2)
    before = len(group.device.fds())
    vmm.resample(first)
    vmm.resample(second)
    group.device.wait_fds(before + 1)
    vmm.set_register(INTR_STATUS, 1)
    wire.wait_rings(pin)
    wire.ring(first)
    expect_ring(second, pin)
    assert none_fired(vmm, pin)
    assert wire.rings(first) == 1, "nobody reads it any more"
    vmm.resample()
    group.device.wait_fds(before)
    wire.ring(second)
    assert none_fired(vmm, pin)
    assert wire.rings(second) == 1


def test_resample_before_the_trigger(vmm, eventfds):
    [trigger, resample] = eventfds(2)
    vmm.resample(resample)
    vmm.assign(INTX, 0, trigger)
    vmm.set_register(INTR_MASK, 1)
    vmm.set_register(INTR_STATUS, 1)
    wire.wait_rings(trigger)
    expect_ring(resample, trigger)


def test_disable_forgets_all(group, vmm, eventfds):
    before = len(group.device.fds())
    [trigger, resample] = eventfds(2)
    vmm.assign(INTX, 0, trigger)
    vmm.resample(resample)
    vmm.mask()
    vmm.disable(INTX)
    group.device.wait_fds(before)
    vmm.set_register(INTR_MASK, 1)
    vmm.set_register(INTR_STATUS, 1)
    # Not masked any more, and the level is high: the next one who comes is told.
    vmm.assign(INTX, 0, trigger)
    assert wire.rings(trigger) == 1
    wire.ring(resample)
    assert none_fired(vmm, trigger)


def test_assigned_while_the_level_is_high(group, vmm, arm):
    vmm.set_register(INTR_MASK, 1)
    wire.ring(group.at_device[0])
    wire.wait_until(lambda: vmm.config(6, 2) & INTX_PENDING, "the level is high")
    vmm.unassign(INTX, 0)
    [trigger] = arm(vmm, 1, INTX)
    wire.wait_rings(trigger)


def test_the_device_can_be_told_to_be_silent(group, vmm, pin):
    """Bit 10 of the command register; QEMU does not look at it for us."""
    vmm.set_config(4, 2, INTX_DISABLE)
    wire.ring(group.at_device[0])
    wire.wait_until(lambda: vmm.config(6, 2) & INTX_PENDING, "it would like to")
    assert none_fired(vmm, pin)
    vmm.unmask()
    assert none_fired(vmm, pin)
    vmm.set_config(4, 2, 0)
    wire.wait_rings(pin)


def test_reset_lowers_it_and_keeps_the_eventfd(vmm, pin):
    vmm.set_register(INTR_STATUS, 1)
    wire.wait_rings(pin)
    vmm.reset()
    assert not vmm.config(6, 2) & INTX_PENDING
    assert vmm.register(INTR_MASK) == 0
    vmm.unmask()
    assert none_fired(vmm, pin)
    vmm.set_register(INTR_MASK, 1)
    vmm.set_register(INTR_STATUS, 1)
    wire.wait_rings(pin)


def test_client_may_fire_it(vmm, pin):
    vmm.set_irqs(NONE | TRIGGER, INTX, 0, 1)
    assert wire.rings(pin) == 1


def test_019_msix_silences_the_pin(old_group, arm):
    """A function with MSI-X enabled must not use its pin."""
    vmm = old_group.vmm()
    [pin] = arm(vmm, 1, INTX)
    vmm.set_register(INTR_MASK, 1)
    vmm.set_register(INTR_STATUS, 1)
    assert wire.rings(pin) == 1
    vmm.unmask()
    assert wire.rings(pin) == 1
    vmm.set_config(0x42, 2, 0x8000)
    vmm.unmask()
    assert none_fired(vmm, pin)
    vmm.disable(INTX)
    old_group.expect_interrupts(arm(vmm))


def test_020_revision_1_has_no_pin(shared):
    vmm = shared().vmm()
    vmm.set_register(INTR_MASK, 0xFFFFFFFF)
    vmm.set_register(INTR_STATUS, 0xFFFFFFFF)
    assert not vmm.config(6, 2) & INTX_PENDING

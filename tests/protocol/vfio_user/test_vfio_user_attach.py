# SPDX-License-Identifier: BSD-2-Clause
"""
vfio-user: what VMMs send, in their order: QEMU 11.1 as it was observed, Cloud Hypervisor as its client
works. Every answer must be what they need, and nothing may be logged: there is nothing to complain about.
"""

import os
import struct

import pytest

import ivshmem_wire as wire
import vfio_user as vu
from vfio_user import BAR0, BAR1, BAR2, CONFIG, ERR, INTX, MSIX
from vfio_user_fixtures import VECTORS, expect_ring


@pytest.fixture
def ram():
    fd = wire.memory_fd(1 << 20)
    yield fd
    os.close(fd)


@pytest.fixture(autouse=True)
def nothing_is_logged(group, intx_group):
    lengths = [len(each.device.stderr) for each in (group, intx_group)]
    yield
    for each, length in zip((group, intx_group), lengths):
        assert each.device.stderr[length:] == ""


def qemu_memory(ram):
    """The memory of a q35 machine before its firmware runs: RAM with, ROMs without descriptor."""
    return [
        (*vu.dma_map(0, 0xC0000), [ram]),
        (*vu.dma_map(0xC0000, 0x20000, 1), []),
        (*vu.dma_map(0xE0000, 0x20000, 1), []),
        (*vu.dma_map(0x100000, 0x7F00000), [ram]),
        (*vu.dma_map(0xFFFC0000, 0x40000, 1), []),
    ]


def qemu_attaches(group, ram, eventfds):
    """Up to the point where the guest runs; (vmm, mapping of BAR2, INTx trigger or None)"""
    vmm = group.device.connect()
    minor, _ = vmm.version(vu.QEMU_VERSION)
    assert minor == 0
    for reply in vmm.pipeline(qemu_memory(ram)):
        assert (reply.flags, reply.size) == (vu.REPLY, 16)
    assert vmm.info()[2:] == (9, 5)
    regions = {index: vmm.region_info(index) for index in (0, 1, 2, 3, 4, 5, 7)}
    assert regions[BAR0].size == 256
    memory = regions[BAR2].map()
    assert len(memory) == group.size
    vmm.tolerated(*vu.get_irq_info(ERR))
    config = bytearray(vmm.read(CONFIG, 0, regions[CONFIG].size))
    assert config[:4] == bytes.fromhex("f41a1011")
    assert vmm.bar_size(0x30) == 0, "the ROM"
    # Types of the BARs.
    assert vmm.config(0x10) & 0xF == 0
    if regions[BAR1].size:
        assert vmm.config(0x14) & 0xF == 0
    assert vmm.config(0x18) & 0x9 == config[0x18] & 0x9
    if config[0x34]:
        at = config[0x34]
        control = vmm.config(at + 2, 2)
        table, pending = vmm.config(at + 4), vmm.config(at + 8)
        assert (table & 7, pending & 7) == (1, 1)
        entries = (control & 0x7FF) + 1
        assert (table & ~7) + 16 * entries <= pending & ~7 < regions[BAR1].size
        assert vmm.irq_info(MSIX) == (vu.IRQ_EVENTFD, entries)
    pin = None
    if vmm.config(0x3D, 1):
        [pin] = eventfds(1)
        arm_intx(vmm, pin, eventfds(1)[0])
    machine_reset(vmm, pin)
    return vmm, memory, pin


def arm_intx(vmm, pin, resample):
    vmm.assign(INTX, 0, pin)
    vmm.mask()
    vmm.resample(resample)
    vmm.unmask()


def machine_reset(vmm, pin):
    if pin is not None:
        vmm.disable(INTX)
    command = vmm.config(4, 2)
    vmm.set_config(4, 2, command & ~0x407)
    vmm.reset()
    assert vmm.config(0x3D, 1) == (1 if pin is not None else 0)
    if pin is not None:
        vmm.assign(INTX, 0, pin)
    for register in range(0x10, 0x28, 4):
        vmm.set_config(register, 4, 0)


def firmware_places_bars(vmm, group, ram, has_table=True):
    """Sizes, places, and the maps of RAM and of our own BAR2 that come and go with it."""
    for register in range(0x10, 0x28, 4):
        vmm.set_config(register, 4, 0xFFFFFFFF)
        vmm.config(register)
        vmm.set_config(register, 4, 0)
    vmm.set_config(0x10, 4, 0xFEBF1000)
    if has_table:
        vmm.set_config(0x14, 4, 0xFEBF0000)
    vmm.set_config(0x18, 4, 0xC000000C if has_table else 0xC0000000)
    vmm.set_config(0x3C, 1, 11)
    for at in range(6):
        vmm.set_config(4, 2, 0x107)
        vmm.dma_map(0xC0000000, group.size)
        for reply in vmm.pipeline(
            [(*vu.dma_unmap(0xC0000 + at * 0x4000, 0x4000), [])]
            + [(*vu.dma_map(0xC0000 + at * 0x4000, 0x4000), [ram])]
        ):
            assert not reply.flags & vu.ERROR
        vmm.set_config(4, 2, 0x104)
        vmm.dma_unmap(0xC0000000, group.size)
    vmm.set_config(4, 2, 0x107)
    vmm.dma_map(0xC0000000, group.size)


def cloud_hypervisor_attaches(group, ram, eventfds):
    vmm = group.device.connect()
    assert vmm.version(vu.RUST_VERSION)[0] == 1
    assert vmm.info(argsz=32) == (16, 3, 9, 5)
    # It repeats the number of the message when it asks for a region again.
    regions = [vmm.region_info(index) for index in range(9)]
    vmm.config(6, 2)
    walk_capabilities(vmm)
    has_table = bool(regions[BAR1].size)
    if has_table:
        assert vmm.irq_info(MSIX)[1] > 0, "it panics without"
        vmm.config(0x42, 2), vmm.config(0x44), vmm.config(0x48)
    pin = None
    if vmm.irq_info(INTX)[1]:
        [pin] = eventfds(1)
        vmm.assign(INTX, 0, pin)
    vmm.dma_map(0, 1 << 20, fds=[ram])
    bar = 0
    while bar < 6:
        wide = vmm.config(0x10 + 4 * bar) & 6 == 4
        assert vmm.bar_size(0x10 + 4 * bar, 64 if wide else 32) == regions[bar].size
        bar += 2 if wide else 1
    assert vmm.bar_size(0x30) == 0
    return vmm, regions[BAR2].map(), pin


def walk_capabilities(vmm):
    """It does this before every read of config space."""
    at = vmm.config(0x34, 1)
    for _ in range(48):
        if not at:
            return
        vmm.config(at, 1)
        at = vmm.config(at + 1, 1)
    raise AssertionError("the list of capabilities does not end")


def linux_enables_msix(vmm, fds):
    """All vectors."""
    vmm.set_config(0x42, 2, 0xC000 | VECTORS - 1)
    vmm.unassign(MSIX, 0)
    vmm.set_config(4, 2, vmm.config(4, 2) | 0x400)
    vmm.set_config(0x42, 2, 0x8000 | VECTORS - 1)
    for vector in range(VECTORS):
        vmm.assign(MSIX, vector, fds[vector])


@pytest.fixture(params=[qemu_attaches, cloud_hypervisor_attaches], ids=["qemu", "cloud-hypervisor"])
def attaches(request, ram, eventfds):
    """attaches(group): (vmm, mapping of BAR2, INTx trigger or None)"""
    return lambda group: request.param(group, ram, eventfds)


def test_its_guest_works(group, attaches, ram, eventfds):
    vmm, memory, _ = attaches(group)
    firmware_places_bars(vmm, group, ram)
    fds, masked = eventfds(VECTORS), eventfds(VECTORS)
    linux_enables_msix(vmm, fds)
    group.expect_interrupts(fds)
    # KVM's habit of another eventfd at every mask.
    for vector in range(VECTORS):
        vmm.assign(MSIX, vector, masked[vector])
        expect_ring(group.at_device[vector], masked[vector])
        vmm.assign(MSIX, vector, fds[vector])
    group.expect_interrupts(fds)
    group.expect_doorbells(vmm)
    assert vmm.register(vu.IV_POSITION) == group.id
    memory[:16] = b"written by guest"
    assert group.memory[:16] == b"written by guest"
    # The pending bits are the only part of BAR1 that VMMs ask for.
    assert vmm.read_number(BAR1, 0x800, 8) == 0
    vmm.disable(MSIX)
    vmm.dma_unmap(0, 1 << 20)
    memory.close()


def test_qemu_reboots_its_guest(group, ram, eventfds):
    """Twice each time on some machines; eventfds and maps stay until they are replaced."""
    vmm, memory, _ = qemu_attaches(group, ram, eventfds)
    firmware_places_bars(vmm, group, ram)
    fds = eventfds(VECTORS)
    memory[:4] = b"data"
    for _ in range(3):
        linux_enables_msix(vmm, fds)
        group.expect_interrupts(fds)
        for vector in range(VECTORS):
            vmm.assign(MSIX, vector, fds[vector])
        vmm.disable(MSIX)
        machine_reset(vmm, None)
        machine_reset(vmm, None)
        firmware_places_bars(vmm, group, ram)
    assert memory[:4] == b"data"
    memory.close()


def test_it_quits_and_another_one_comes(group, attaches, eventfds):
    """
    Just the end of the stream; and the next one finds a device that was just switched on. Cloud Hypervisor does this
    when its guest reboots, with the new connection at once.
    """
    for _ in range(20):
        vmm, memory, _ = attaches(group)
        linux_enables_msix(vmm, eventfds(VECTORS))
        assert vmm.register(vu.INTR_MASK) == 0
        vmm.set_register(vu.INTR_MASK, 1)
        memory.close()
        vmm.close()


def test_intx(intx_group, attaches):
    """Without resample: all goes by message, and after every access, it is unmasked."""
    vmm, memory, pin = attaches(intx_group)
    memory.close()
    vmm.set_register(vu.INTR_MASK, 1)
    vmm.unmask()
    for at in range(5):
        expect_ring(intx_group.at_device[0], pin)
        vmm.write_number(BAR2, 4 * at, 4, at + 1)
        vmm.unmask()
        assert wire.rings(pin) == 1, "the handler has not read the status yet"
        assert vmm.register(vu.INTR_STATUS) == 1
        vmm.unmask()
        assert wire.rings(pin) == 0
        assert vmm.read_number(BAR2, 4 * at, 4) == at + 1
    assert struct.unpack_from("<5I", intx_group.memory) == (1, 2, 3, 4, 5)


def test_qemu_with_intx_and_resample(intx_group, ram, eventfds):
    vmm, memory, _ = qemu_attaches(intx_group, ram, eventfds)
    firmware_places_bars(vmm, intx_group, ram, has_table=False)
    [pin, resample] = eventfds(2)
    arm_intx(vmm, pin, resample)
    vmm.set_register(vu.INTR_MASK, 1)
    for _ in range(3):
        expect_ring(intx_group.at_device[0], pin)
        assert vmm.register(vu.INTR_STATUS) == 1
        wire.ring(resample)
        wire.wait_until(lambda: not wire.readable(resample, 0), "the end of interrupt is seen")
    # A change of the route.
    vmm.mask()
    vmm.unmask()
    vmm.disable(INTX)
    memory.close()

# SPDX-License-Identifier: BSD-2-Clause
"""vfio-user: what the device says about itself, its regions and its interrupts."""

import mmap
import os
import struct

import pytest

import vfio_user as vu
from vfio_user import BAR0, BAR1, BAR2, CONFIG, ERR, INTX, MAPPABLE, MSI, MSIX, READABLE, REQ, WRITABLE
from vfio_user_fixtures import KIB, MIB, SIZE, VECTORS

RW = READABLE | WRITABLE


# ---- GET_INFO ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("argsz", [16, 17, 32, 1 << 20, 0xFFFFFFFF])
def test_info(vmm, argsz):
    """Cloud Hypervisor says 32. Flags are RESET and PCI."""
    assert vmm.info(argsz) == (16, 3, 9, 5)


# ---- GET_REGION_INFO -----------------------------------------------------------------------------------


def check_regions(vmm, bar1, memory_size):
    """What is not given here is the same for every device."""
    for index in range(9):
        info = vmm.region_info(index)
        assert info.index == index
        assert info.argsz == 32, "no capabilities, so no need for more"
        assert info.cap_offset == 0
        wanted = {BAR0: (256, RW), BAR1: (bar1, RW if bar1 else 0), CONFIG: (256, RW)}
        wanted[BAR2] = (memory_size, RW | MAPPABLE)
        assert (info.size, info.flags) == wanted.get(index, (0, 0)), f"region {index}"
        assert (info.fd is not None) == (index == BAR2)


@pytest.mark.parametrize(
    "vectors, size", [(1, 4096), (2, 4096), (33, 4096), (128, 4096), (254, 4096), (255, 8192), (2048, 65536)]
)
def test_006_007_bar1_by_vectors(shared, vectors, size):
    """One peer's eventfds are enough: the device has room for more vectors than the server gives."""
    vmm = shared(device_vectors=vectors, vectors=1).vmm()
    check_regions(vmm, size, SIZE)
    # NORESIZE would make QEMU disable MSI-X at every new vector.
    assert vmm.irq_info(MSIX, argsz=4096) == (vu.IRQ_EVENTFD, vectors)
    assert vmm.config(6, 2) & 0x10
    assert vmm.config(0x34, 1) == 0x40
    pending = max(0x800, 16 * vectors)
    assert vmm.read(CONFIG, 0x40, 12) == struct.pack("<BBHII", 0x11, 0, vectors - 1, 1, pending | 1)


def test_regions_of_other_devices(old_group, intx_group, plain):
    check_regions(old_group.vmm(), 4096, MIB)
    check_regions(intx_group.vmm(), 0, MIB)
    check_regions(plain().vmm(), 0, SIZE)


def test_revision_0_maps_only_its_own_part(shared):
    """The memory may be larger than BAR2."""
    group = shared("--revision", "0", "--size", "1", size=4 * MIB)
    vmm = group.vmm()
    check_regions(vmm, 4096, MIB)
    with vmm.region_info(BAR2).map() as memory:
        memory[-4:] = b"last"
    assert group.memory[MIB - 4 : MIB] == b"last"


@pytest.mark.parametrize("argsz", [32, 33, 64, 4096, 0xFFFFFFFF])
@pytest.mark.parametrize("index", [BAR0, BAR2, 3, CONFIG])
def test_never_more_than_argsz(vmm, index, argsz):
    info = vmm.region_info(index, argsz)
    assert info.argsz == 32
    assert not info.flags & vu.CAPABILITIES


def test_region_info_does_not_believe_what_the_request_fills_in(vmm):
    """Only argsz and index mean something in a request."""
    request = struct.pack("=IIIIQQ", 32, 0xFFFFFFFF, BAR0, 0xFFFFFFFF, (1 << 64) - 1, (1 << 64) - 1)
    answer = struct.unpack("=IIIIQQ", vmm.call(vu.GET_REGION_INFO, request))
    assert answer[:5] == (32, RW, BAR0, 0, 256)


def test_bar2_can_be_mapped(group, vmm):
    info = vmm.region_info(BAR2)
    assert info.offset % mmap.PAGESIZE == 0
    assert os.fstat(info.fd).st_size >= info.offset + info.size
    with info.map() as memory:
        memory[0:5] = b"first"
        memory[-4:] = b"last"
        assert group.memory[0:5] == b"first" and group.memory[-4:] == b"last"
        group.memory[100:104] = b"back"
        assert memory[100:104] == b"back"


def test_asking_often_leaks_nothing(vmm):
    """The first answer is thrown away by clients that ask again with more room; and no reply, no descriptor."""
    for _ in range(100):
        vmm.close_fd(vmm.region_info(BAR2).fd)
        vmm.send(*vu.get_region_info(BAR2), flags=vu.NO_REPLY)


# ---- GET_IRQ_INFO --------------------------------------------------------------------------------------


def test_irqs(vmm, old_group, intx_group, plain):
    """How many of INTx, MSI, MSI-X and requests."""
    intx_vmm = intx_group.vmm()
    for each, expected in (
        (vmm, [0, 0, VECTORS, 0]),
        (old_group.vmm(), [1, 0, VECTORS, 0]),
        (intx_vmm, [1, 0, 0, 0]),
        (plain().vmm(), [0, 0, 0, 0]),
    ):
        assert [each.irq_info(index)[1] for index in (INTX, MSI, MSIX, REQ)] == expected
    assert intx_vmm.irq_info(INTX)[0] == vu.IRQ_EVENTFD | vu.IRQ_MASKABLE | vu.IRQ_AUTOMASKED


def test_qemu_is_content_with_err(vmm):
    """It complains at every start about a device without ERR, unless that is an error or has a count."""
    reply = vmm.tolerated(*vu.get_irq_info(ERR))
    assert reply is None or reply.payload == struct.pack("=IIII", 16, vu.IRQ_EVENTFD, ERR, 1)


# ---- config space --------------------------------------------------------------------------------------


def test_001_identity(vmm):
    config = vmm.read(CONFIG, 0, 256)
    assert struct.unpack_from("<HH", config) == (0x1AF4, 0x1110)
    assert config[9:12] == bytes([0, 0, 5])
    assert config[14] == 0
    assert struct.unpack_from("<HH", config, 0x2C) == (0x1AF4, 0x1100)


def test_002_revision_and_pin(vmm, intx_group, plain):
    assert (vmm.config(8, 1), vmm.config(0x3D, 1)) == (1, 0)
    old = intx_group.vmm()
    assert (old.config(8, 1), old.config(0x3D, 1)) == (0, 1)
    simple = plain().vmm()
    assert (simple.config(8, 1), simple.config(0x3D, 1)) == (1, 0)


def test_003_004_sizing(vmm, intx_group, plain):
    """Cloud Hypervisor sizes BARs by writing ones, with 64 bits both halves."""
    assert vmm.bar_size(0x10) == 256
    assert vmm.bar_size(0x14) == 4096
    assert vmm.config(0x18) & 0xF == 0xC
    assert vmm.bar_size(0x18, bits=64) == SIZE
    for register in (0x20, 0x24, 0x30):
        assert vmm.bar_size(register) == 0
    old = intx_group.vmm()
    assert [old.bar_size(register) for register in (0x10, 0x14, 0x1C, 0x20, 0x24, 0x30)] == [256, 0, 0, 0, 0, 0]
    assert old.config(0x18) & 0xF == 0
    assert old.bar_size(0x18) == MIB
    assert plain(size=128 * KIB).vmm().bar_size(0x18, bits=64) == 128 * KIB


def test_005_plain_has_no_capability(plain):
    vmm = plain().vmm()
    assert vmm.config(0x34, 1) == 0
    assert not vmm.config(6, 2) & 0x10


def test_what_can_be_written(vmm):
    """Command, cache line, latency timer, interrupt line, MSI-X control; nothing else but the BARs."""
    vmm.write(CONFIG, 0, b"\xff" * 256)
    config = vmm.read(CONFIG, 0, 256)
    assert struct.unpack_from("<H", config, 4)[0] == 0x0547
    assert config[0xC:0xF] == b"\xff\xff\0"
    assert config[0x3C:0x3E] == b"\xff\0"
    assert struct.unpack_from("<H", config, 0x42)[0] == 0xC000 | VECTORS - 1
    assert struct.unpack_from("<IIII", config, 0x10) == (0xFFFFFF00, 0xFFFFF000, 0xFFFF000C, 0xFFFFFFFF)
    assert config[0x4C:] == bytes(256 - 0x4C)
    assert config[0x30:0x34] == bytes(4)


def test_041_ivposition_is_the_id(group, vmm, plain):
    assert vmm.register(vu.IV_POSITION) == group.id
    assert plain().vmm().register(vu.IV_POSITION) == 0

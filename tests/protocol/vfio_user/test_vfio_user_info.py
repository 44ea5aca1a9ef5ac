# SPDX-License-Identifier: BSD-2-Clause
"""vfio-user: what the device says about itself, its regions and its interrupts."""

import errno
import mmap
import os
import struct

import pytest

import ivshmem_wire as wire
import vfio_user as vu
from vfio_user import BAR0, BAR1, BAR2, CONFIG, ERR, INTX, MAPPABLE, MSI, MSIX, READABLE, REQ, WRITABLE
from vfio_user_fixtures import KIB, MIB, SIZE, VECTORS

RW = READABLE | WRITABLE


# ---- GET_INFO ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("argsz", [16, 17, 32, 1 << 20, 0xFFFFFFFF])
def test_info(vmm, argsz):
    """Cloud Hypervisor says 32. Flags are RESET and PCI."""
    assert vmm.info(argsz) == (16, 3, 9, 5)


@pytest.mark.parametrize("argsz", [0, 1, 15])
def test_info_without_room(vmm, argsz):
    assert vmm.refused(vu.GET_INFO, struct.pack("=IIII", argsz, 0, 0, 0)) == errno.EINVAL
    assert vmm.info()[0] == 16


@pytest.mark.parametrize("length", [0, 1, 4, 15])
def test_info_too_short(vmm, length):
    assert vmm.refused(vu.GET_INFO, struct.pack("=IIII", 16, 0, 0, 0)[:length]) == errno.EINVAL
    assert vmm.info()[0] == 16


def test_reply_sizes(vmm):
    """Too long kills QEMU's stream, too short hangs Cloud Hypervisor."""
    assert vmm.exchange(vu.GET_INFO, struct.pack("=IIII", 32, 0, 0, 0)).size == 32
    assert vmm.exchange(vu.GET_REGION_INFO, struct.pack("=IIIIQQ", 32, 0, BAR0, 0, 0, 0)).size == 48
    assert vmm.exchange(vu.GET_IRQ_INFO, struct.pack("=IIII", 16, 0, MSIX, 0)).size == 32
    assert vmm.exchange(vu.SET_IRQS, struct.pack("=IIIII", 20, 33, MSIX, 0, 0)).size == 16
    assert vmm.exchange(vu.REGION_READ, struct.pack("=QII", 0, CONFIG, 256)).size == 32 + 256
    assert vmm.exchange(vu.REGION_WRITE, struct.pack("=QIII", 0, BAR0, 4, 1)).size == 32
    assert vmm.exchange(vu.DMA_MAP, struct.pack("=IIQQQ", 32, 3, 0, 0, 4096)).size == 16
    assert vmm.exchange(vu.DMA_UNMAP, struct.pack("=IIQQ", 24, 0, 0, 4096)).size == 40
    assert vmm.exchange(vu.RESET).size == 16
    assert vmm.exchange(vu.WRITE_MULTI, struct.pack("=QQII8s", 1, 0, BAR0, 4, b"1234")).size == 24


# ---- GET_REGION_INFO -----------------------------------------------------------------------------------


def check_regions(vmm, sizes, memory_size):
    """Sizes of region 0, 1; the rest is the same for every device."""
    for index in range(9):
        info = vmm.region_info(index)
        assert info.index == index
        assert info.argsz == 32, "no capabilities, so no need for more"
        assert info.cap_offset == 0
        wanted = {BAR0: (sizes[0], RW), BAR1: (sizes[1], RW if sizes[1] else 0), CONFIG: (256, RW)}
        wanted[BAR2] = (memory_size, RW | MAPPABLE)
        assert (info.size, info.flags) == wanted.get(index, (0, 0)), f"region {index}"
        assert (info.fd is not None) == (index == BAR2)


def test_every_region(vmm):
    check_regions(vmm, (256, 4096), SIZE)


@pytest.mark.parametrize("vectors, size", [(1, 4096), (128, 4096), (254, 4096), (255, 8192), (2048, 65536)])
def test_007_bar1_by_vectors(shared, vectors, size):
    """One peer's eventfds are enough: the device has room for more vectors than the server gives."""
    vmm = shared(device_vectors=vectors, vectors=1).vmm()
    check_regions(vmm, (256, size), SIZE)
    assert vmm.irq_info(MSIX) == (vu.IRQ_EVENTFD, vectors)


def test_region_sizes_of_revision_0(shared, intx_group):
    check_regions(shared("--revision", "0", "--size", "1", size=MIB).vmm(), (256, 4096), MIB)
    check_regions(intx_group.vmm(), (256, 0), MIB)


def test_revision_0_maps_only_its_own_part(shared):
    """The memory may be larger than BAR2."""
    group = shared("--revision", "0", "--size", "1", size=4 * MIB)
    vmm = group.vmm()
    check_regions(vmm, (256, 4096), MIB)
    with vmm.region_info(BAR2).map() as memory:
        memory[-4:] = b"last"
    assert group.memory[MIB - 4 : MIB] == b"last"


def test_region_sizes_of_a_plain_device(plain):
    check_regions(plain().vmm(), (256, 0), SIZE)


@pytest.mark.parametrize("index", [9, 10, 255, 0x80000000, 0xFFFFFFFF])
def test_no_such_region(vmm, index):
    request = struct.pack("=IIIIQQ", 32, 0, index, 0, 0, 0)
    assert vmm.refused(vu.GET_REGION_INFO, request) == errno.EINVAL
    assert vmm.region_info(0).size == 256


@pytest.mark.parametrize("argsz", [32, 33, 64, 4096, 0xFFFFFFFF])
@pytest.mark.parametrize("index", [BAR0, BAR2, 3, CONFIG])
def test_never_more_than_argsz(vmm, index, argsz):
    info = vmm.region_info(index, argsz)
    assert info.argsz == 32
    assert not info.flags & vu.CAPABILITIES


@pytest.mark.parametrize("argsz", [0, 16, 31])
@pytest.mark.parametrize("index", [BAR0, BAR2])
def test_no_room(vmm, index, argsz):
    request = struct.pack("=IIIIQQ", argsz, 0, index, 0, 0, 0)
    assert vmm.refused(vu.GET_REGION_INFO, request) == errno.EINVAL


@pytest.mark.parametrize("length", [0, 8, 12, 31])
def test_region_info_too_short(vmm, length):
    request = struct.pack("=IIIIQQ", 32, 0, BAR2, 0, 0, 0)[:length]
    assert vmm.refused(vu.GET_REGION_INFO, request) == errno.EINVAL


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


def test_asking_often_leaks_nothing(group, vmm):
    """The first answer is thrown away by clients that ask again with more room."""
    before = len(group.device.fds())
    for _ in range(100):
        vmm.close_fd(vmm.region_info(BAR2).fd)
    group.device.wait_fds(before)


def test_descriptor_only_when_it_is_wanted(group, vmm):
    """No reply, no descriptor that nobody takes."""
    before = len(group.device.fds())
    vmm.send(vu.GET_REGION_INFO, struct.pack("=IIIIQQ", 32, 0, BAR2, 0, 0, 0), flags=vu.NO_REPLY)
    vmm.info()
    group.device.wait_fds(before)


# ---- GET_IRQ_INFO --------------------------------------------------------------------------------------


def test_irqs(vmm):
    assert vmm.irq_info(INTX)[1] == 0, "no pin"
    assert vmm.irq_info(MSI)[1] == 0
    # NORESIZE would make QEMU disable MSI-X at every new vector.
    assert vmm.irq_info(MSIX) == (vu.IRQ_EVENTFD, VECTORS)
    assert (vmm.config(0x42, 2) & 0x7FF) + 1 == VECTORS
    assert vmm.irq_info(REQ)[1] == 0


def test_qemu_is_content_with_err(vmm):
    """It complains at every start about a device without ERR, unless that is an error or has a count."""
    try:
        assert vmm.irq_info(ERR) == (vu.IRQ_EVENTFD, 1)
    except vu.Refused:
        pass


def test_irqs_of_revision_0(shared, intx_group):
    vmm = intx_group.vmm()
    assert vmm.irq_info(INTX) == (vu.IRQ_EVENTFD | vu.IRQ_MASKABLE | vu.IRQ_AUTOMASKED, 1)
    assert vmm.irq_info(MSIX)[1] == 0
    vmm = shared("--revision", "0", "--size", "1", size=MIB).vmm()
    assert vmm.irq_info(INTX)[1] == 1, "the pin is there"
    assert vmm.irq_info(MSIX)[1] == VECTORS


def test_irqs_of_a_plain_device(plain):
    vmm = plain().vmm()
    assert [vmm.irq_info(index)[1] for index in (INTX, MSI, MSIX, REQ)] == [0, 0, 0, 0]


@pytest.mark.parametrize("index", [5, 6, 255, 0xFFFFFFFF])
def test_no_such_irq(vmm, index):
    assert vmm.refused(vu.GET_IRQ_INFO, struct.pack("=IIII", 16, 0, index, 0)) == errno.EINVAL


@pytest.mark.parametrize("argsz", [0, 15])
def test_irq_info_without_room(vmm, argsz):
    assert vmm.refused(vu.GET_IRQ_INFO, struct.pack("=IIII", argsz, 0, MSIX, 0)) == errno.EINVAL


@pytest.mark.parametrize("length", [0, 8, 15])
def test_irq_info_too_short(vmm, length):
    assert vmm.refused(vu.GET_IRQ_INFO, struct.pack("=IIII", 16, 0, MSIX, 0)[:length]) == errno.EINVAL


def test_irq_info_with_much_room(vmm):
    assert vmm.irq_info(MSIX, argsz=4096)[1] == VECTORS


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


def test_006_msix_capability(vmm):
    assert vmm.config(6, 2) & 0x10
    assert vmm.config(0x34, 1) == 0x40
    assert vmm.read(CONFIG, 0x40, 12) == struct.pack("<BBHII", 0x11, 0, VECTORS - 1, 1, 0x801)


def test_msix_of_many_vectors(shared):
    vmm = shared(device_vectors=2048, vectors=1).vmm()
    assert vmm.read(CONFIG, 0x40, 12) == struct.pack("<BBHII", 0x11, 0, 2047, 1, 0x8001)


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


def test_022_memory_that_comes_late(device, fake, eventfds, room):
    """Revision 0: the guest runs while the server has not said all yet."""
    process = device("--server", fake.path, "--revision", "0", "--size", "1", ready=False)
    connection = fake.accept()
    process.expect_ready()
    vmm = process.vmm()
    assert vmm.register(vu.IV_POSITION) == 0xFFFFFFFF
    assert vmm.read(BAR2, 0, 4) == b"\xff" * 4
    vmm.write(BAR2, 0, b"lost")
    assert vmm.region_info(BAR2).size == MIB
    connection.send(wire.VERSION)
    connection.send(5)
    connection.wait_taken()
    assert vmm.register(vu.IV_POSITION) == 0xFFFFFFFF, "the memory is missing"
    memory = wire.memory_fd(MIB)
    connection.send(wire.MEMORY, memory)
    wire.wait_until(lambda: vmm.register(vu.IV_POSITION) == 5, "the memory is there")
    assert vmm.read(BAR2, 0, 4) == bytes(4)
    vmm.write(BAR2, 8, b"here")
    with mmap.mmap(memory, MIB) as view:
        assert view[8:12] == b"here"
    [own] = eventfds(1)
    connection.send(5, own)
    # A VMM that attaches now can map it.
    process.forget_vmms()
    vmm = process.vmm()
    info = vmm.region_info(BAR2)
    assert info.flags & MAPPABLE
    with info.map() as view:
        assert view[8:12] == b"here"
    os.close(memory)
    process.idle_fds = process.fds()

# SPDX-License-Identifier: BSD-2-Clause
"""vfio-user: DMA_MAP and DMA_UNMAP of a device that does no DMA: all is accepted and nothing kept."""

import errno
import os
import struct

import pytest

import ivshmem_wire as wire
import vfio_user as vu
from vfio_user_fixtures import SIZE


def map_request(address=0, size=4096, flags=3, offset=0, argsz=32):
    return struct.pack("=IIQQQ", argsz, flags, offset, address, size)


def unmap_request(address=0, size=4096, flags=0, argsz=24):
    return struct.pack("=IIQQ", argsz, flags, address, size)


@pytest.fixture
def memory(closing):
    fd = wire.memory_fd(1 << 20)
    yield fd
    os.close(fd)


def test_with_and_without_memory(group, vmm, memory):
    before = len(group.device.fds())
    vmm.dma_map(0, 1 << 20, fds=[memory])
    vmm.dma_map(0xFFFC0000, 0x40000, flags=1)
    vmm.dma_map(0x100000000, SIZE, flags=3)  # our own BAR2, mapped back to us
    vmm.dma_map(0x100000000, SIZE, flags=3)
    group.device.wait_fds(before)
    for address, size in ((0x100000000, SIZE), (0, 1 << 20), (0x5000, 4096)):
        vmm.dma_unmap(address, size)
    assert vmm.info()[0] == 16


@pytest.mark.parametrize(
    "address, size, flags, offset",
    [
        (0, 0, 3, 0),
        (1, 1, 3, 1),
        (0, 4096, 0, 0),
        (0, 4096, 2, 0),
        (0, (1 << 64) - 1, 3, 0),
        ((1 << 64) - 4096, 4096, 3, 0),
        ((1 << 64) - 4096, 8192, 3, 0),
        (0, 1 << 40, 7, (1 << 64) - 1),
        (0, 4096, 15, 0),
    ],
)
def test_whatever_it_is(vmm, memory, address, size, flags, offset):
    vmm.dma_map(address, size, flags, offset)
    vmm.dma_map(address, size, flags, offset, fds=[memory])
    vmm.dma_unmap(address, size)


def test_unmap_all(vmm):
    vmm.dma_unmap(0, 0, flags=2)


def test_unmap_with_dirty_bitmap(vmm):
    """Asked for by nobody: there is nothing to log. The answer must be whole in any case."""
    bitmap = struct.pack("=QQ", 4096, 8)
    try:
        payload = vmm.call(vu.DMA_UNMAP, unmap_request(flags=1, argsz=24 + 16 + 8) + bitmap)
        assert payload[:24] == unmap_request(flags=1, argsz=24 + 16 + 8)
    except vu.Refused as refusal:
        assert refusal.error in (errno.EINVAL, errno.ENOTSUP)
    vmm.dma_unmap(0, 4096)


@pytest.mark.parametrize("command, request_", [(vu.DMA_MAP, map_request()), (vu.DMA_UNMAP, unmap_request())])
@pytest.mark.parametrize("cut", [1, 8, 16])
def test_too_short(group, vmm, memory, command, request_, cut):
    before = len(group.device.fds())
    assert vmm.refused(command, request_[:-cut], [memory]) == errno.EINVAL
    assert vmm.refused(command, b"") == errno.EINVAL
    group.device.wait_fds(before)


@pytest.mark.parametrize("argsz", [0, 23])
def test_argsz_too_small(vmm, argsz):
    """In a map it is just the size of the struct, and says nothing about the reply."""
    try:
        vmm.call(vu.DMA_MAP, map_request(argsz=argsz))
    except vu.Refused as refusal:
        assert refusal.error == errno.EINVAL
    try:
        assert vmm.call(vu.DMA_UNMAP, unmap_request(argsz=argsz)) == unmap_request(argsz=argsz)
    except vu.Refused as refusal:
        assert refusal.error == errno.EINVAL
    assert vmm.info()[0] == 16


def test_more_descriptors_than_one(group, vmm):
    before = len(group.device.fds())
    canaries = [wire.Canary() for _ in range(16)]
    try:
        vmm.call(vu.DMA_MAP, map_request(), [canary.fd for canary in canaries])
    except vu.Refused as refusal:
        assert refusal.error == errno.EINVAL
    for canary in canaries:
        canary.close_own()
        canary.assert_closed()
    group.device.wait_fds(before)


def test_bursts(group, vmm):
    """Nothing is waited for: a memory map that changes, with a descriptor each, and all back again."""
    before = len(group.device.fds())
    memory = wire.memory_fd(1 << 20)
    count = wire.sized(1000, 20000)
    messages = [(vu.DMA_MAP, map_request(at << 20, 1 << 20), [memory]) for at in range(count)]
    messages += [(vu.DMA_UNMAP, unmap_request(at << 20, 1 << 20), []) for at in range(count)]
    replies = vmm.pipeline(messages)
    os.close(memory)
    assert {(reply.flags, reply.size) for reply in replies[:count]} == {(vu.REPLY, 16)}
    assert {(reply.flags, reply.size) for reply in replies[count:]} == {(vu.REPLY, 40)}
    group.device.wait_fds(before)


def test_bursts_among_other_things(group, vmm):
    """Strictly in order, whatever is asked in between."""
    canary = wire.Canary()
    messages = []
    for at in range(200):
        messages.append((vu.DMA_MAP, map_request(at << 20), [canary.fd]))
        messages.append((vu.REGION_WRITE, struct.pack("=QIII", vu.INTR_MASK, vu.BAR0, 4, at), []))
        messages.append((vu.REGION_READ, struct.pack("=QII", vu.INTR_MASK, vu.BAR0, 4), []))
    replies = vmm.pipeline(messages)
    assert [struct.unpack_from("=I", reply.payload, 16)[0] for reply in replies[2::3]] == list(range(200))
    canary.close_own()
    canary.assert_closed()


def test_a_sealed_or_strange_memory_is_only_closed(group, vmm, room):
    before = len(group.device.fds())
    for fd in (os.open(room.path, os.O_RDONLY), os.open("/dev/null", os.O_RDONLY), wire.eventfd()):
        vmm.dma_map(0, 4096, fds=[fd])
        os.close(fd)
    group.device.wait_fds(before)


def test_maps_without_reply(group, vmm):
    before = len(group.device.fds())
    canary = wire.Canary()
    for at in range(100):
        vmm.send(vu.DMA_MAP, map_request(at << 12), [canary.fd], flags=vu.NO_REPLY)
        vmm.send(vu.DMA_UNMAP, unmap_request(at << 12), flags=vu.NO_REPLY)
    assert vmm.info()[0] == 16
    group.device.wait_fds(before)
    canary.close_own()
    canary.assert_closed()

# SPDX-License-Identifier: BSD-2-Clause
"""vfio-user: DMA_MAP and DMA_UNMAP of a device that does no DMA: all is accepted and nothing kept."""

import os
import struct

import pytest

import ivshmem_wire as wire
import vfio_user as vu
from vfio_user_fixtures import SIZE


def test_with_and_without_memory(group, vmm, memory):
    before = len(group.device.fds())
    vmm.dma_map(0, 1 << 20, fds=[memory])
    vmm.dma_map(0xFFFC0000, 0x40000, flags=1)
    vmm.dma_map(0x100000000, SIZE, flags=3)  # our own BAR2, mapped back to us
    vmm.dma_map(0x100000000, SIZE, flags=3)
    group.device.wait_fds(before)
    for address, size in ((0x100000000, SIZE), (0, 1 << 20), (0x5000, 4096)):
        vmm.dma_unmap(address, size)


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
    command, request = vu.dma_unmap(flags=1, argsz=24 + 16 + 8)
    reply = vmm.tolerated(command, request + bitmap)
    assert reply is None or reply.payload[:24] == request


@pytest.mark.parametrize("argsz", [0, 23])
def test_argsz_too_small(vmm, argsz):
    """In a map it is just the size of the struct, and says nothing about the reply."""
    vmm.tolerated(*vu.dma_map(argsz=argsz))
    command, request = vu.dma_unmap(argsz=argsz)
    reply = vmm.tolerated(command, request)
    assert reply is None or reply.payload == request


def test_bursts(vmm, memory):
    """Nothing is waited for: a memory map that changes, with a descriptor each, and all back again."""
    count = wire.sized(1000, 20000)
    messages = [(*vu.dma_map(at << 20, 1 << 20), [memory]) for at in range(count)]
    messages += [(*vu.dma_unmap(at << 20, 1 << 20), []) for at in range(count)]
    replies = vmm.pipeline(messages)
    assert {(reply.flags, reply.size) for reply in replies[:count]} == {(vu.REPLY, 16)}
    assert {(reply.flags, reply.size) for reply in replies[count:]} == {(vu.REPLY, 40)}


def test_bursts_among_other_things(vmm, given_away):
    """Strictly in order, whatever is asked in between."""
    [fd] = given_away()
    messages = []
    for at in range(200):
        messages.append((*vu.dma_map(at << 20), [fd]))
        messages.append((*vu.region_write(vu.BAR0, vu.INTR_MASK, struct.pack("=I", at)), []))
        messages.append((*vu.region_read(vu.BAR0, vu.INTR_MASK, 4), []))
    replies = vmm.pipeline(messages)
    assert [struct.unpack_from("=I", reply.payload, 16)[0] for reply in replies[2::3]] == list(range(200))


def test_a_sealed_or_strange_memory_is_only_closed(vmm, room):
    for fd in (os.open(room.path, os.O_RDONLY), os.open("/dev/null", os.O_RDONLY), wire.eventfd()):
        vmm.dma_map(0, 4096, fds=[fd])
        os.close(fd)


def test_maps_without_reply(vmm, given_away):
    [fd] = given_away()
    for at in range(100):
        vmm.send(*vu.dma_map(at << 12), [fd], flags=vu.NO_REPLY)
        vmm.send(*vu.dma_unmap(at << 12), flags=vu.NO_REPLY)

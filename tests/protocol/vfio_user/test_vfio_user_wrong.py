# SPDX-License-Identifier: BSD-2-Clause
"""vfio-user: requests that are right but for one thing, or too short. Each is refused, and nothing else happens."""

import errno
import struct

import pytest

import vfio_user as vu
from vfio_user import BAR0, BAR2, BOOL, ERR, EVENTFD, INTX, MASK, MSI, MSIX, NONE, REQ, TRIGGER, UNMASK
from vfio_user_fixtures import SIZE, VECTORS

ASSIGN = EVENTFD | TRIGGER
MANY = 0xFFFFFFFF
WRITE = (BAR2, 0, b"12345678")

# What is wrong with it: the request, and how many descriptors come with it.
WRONG = {
    **{f"info, argsz {argsz}": (vu.get_info(argsz), 0) for argsz in (0, 1, 15)},
    **{f"region info, region {index}": (vu.get_region_info(index), 0) for index in (9, 10, 255, 1 << 31, MANY)},
    **{f"region info, argsz {argsz}": (vu.get_region_info(BAR0, argsz), 0) for argsz in (0, 16, 31)},
    **{f"memory info, argsz {argsz}": (vu.get_region_info(BAR2, argsz), 0) for argsz in (0, 16, 31)},
    **{f"interrupt info, index {index}": (vu.get_irq_info(index), 0) for index in (5, 6, 255, MANY)},
    **{f"interrupt info, argsz {argsz}": (vu.get_irq_info(MSIX, argsz), 0) for argsz in (0, 15)},
    **{f"io fds, region {index}": (vu.get_io_fds(index), 0) for index in (9, 255, MANY)},
    **{f"io fds, argsz {argsz}": (vu.get_io_fds(BAR0, argsz), 0) for argsz in (0, 1, 15)},
    **{f"io fds, flags {flags:#x}": (vu.get_io_fds(BAR0, flags=flags), 0) for flags in (1, 1 << 31)},
    **{f"read {count}": (vu.region_read(BAR2, 0, count), 0) for count in ((1 << 20) + 1, 1 << 21, 1 << 31, MANY)},
    "write more than it says": (vu.region_write(BAR2, 0, b"12345", 4), 0),
    "write nothing, it says": (vu.region_write(BAR2, 0, b"1", 0), 0),
    "write 4 GiB, it says": (vu.region_write(BAR2, 0, b"1234", MANY), 0),
    "many writes, fewer": (vu.write_multi(WRITE, count=2), 0),
    "many writes, more": (vu.write_multi(WRITE, count=0), 0),
    "many writes, overflow": (vu.write_multi(WRITE, count=1 << 61), 0),
    "many writes, most": (vu.write_multi(WRITE, count=(1 << 64) - 1), 0),
    "many writes, of 9 bytes": (vu.write_multi((BAR2, 0, b"123456789")), 0),
    "many writes, of 4 GiB": ((vu.WRITE_MULTI, struct.pack("=QQII8s", 1, 0, BAR2, MANY, b"12345678")), 0),
    "no flags": (vu.set_irqs(0, MSIX, 0, 1), 1),
    "no data type": (vu.set_irqs(TRIGGER, MSIX, 0, 1), 0),
    "no action": (vu.set_irqs(EVENTFD, MSIX, 0, 1), 1),
    "none and eventfd": (vu.set_irqs(NONE | ASSIGN, MSIX, 0, 1), 1),
    "none and bool": (vu.set_irqs(NONE | BOOL | TRIGGER, MSIX, 0, 1, b"\1"), 0),
    "bool and eventfd": (vu.set_irqs(BOOL | ASSIGN, MSIX, 0, 1, b"\1"), 1),
    "all data types": (vu.set_irqs(7 | TRIGGER, MSIX, 0, 1, b"\1"), 1),
    "mask and unmask": (vu.set_irqs(NONE | MASK | UNMASK, MSIX, 0, 1), 0),
    "mask and trigger": (vu.set_irqs(NONE | MASK | TRIGGER, MSIX, 0, 1), 0),
    "unmask and trigger": (vu.set_irqs(NONE | UNMASK | TRIGGER, MSIX, 0, 1), 0),
    "all actions": (vu.set_irqs(ASSIGN | MASK | UNMASK, MSIX, 0, 1), 1),
    "unknown flag": (vu.set_irqs(ASSIGN | 64, MSIX, 0, 1), 1),
    "highest flag": (vu.set_irqs(ASSIGN | 1 << 31, MSIX, 0, 1), 1),
    "index 5": (vu.set_irqs(ASSIGN, 5, 0, 1), 1),
    "largest index": (vu.set_irqs(ASSIGN, MANY, 0, 1), 1),
    "index without interrupts": (vu.set_irqs(ASSIGN, MSI, 0, 1), 1),
    "no pin": (vu.set_irqs(ASSIGN, INTX, 0, 1), 1),
    "requests": (vu.set_irqs(ASSIGN, REQ, 0, 1), 1),
    "start at the end": (vu.set_irqs(ASSIGN, MSIX, VECTORS, 1), 1),
    "start behind the end": (vu.set_irqs(ASSIGN, MSIX, VECTORS + 1, 1), 1),
    "start beyond": (vu.set_irqs(ASSIGN, MSIX, MANY, 1), 1),
    "count too large": (vu.set_irqs(ASSIGN, MSIX, 0, VECTORS + 1), VECTORS + 1),
    "count beyond the end": (vu.set_irqs(ASSIGN, MSIX, 1, VECTORS), VECTORS),
    "count overflows": (vu.set_irqs(ASSIGN, MSIX, 1, MANY), 0),
    "count overflows to one": (vu.set_irqs(ASSIGN, MSIX, 2, MANY), 0),
    "largest count": (vu.set_irqs(ASSIGN, MSIX, 0, MANY), 0),
    "fewer descriptors": (vu.set_irqs(ASSIGN, MSIX, 0, 3), 2),
    "more descriptors": (vu.set_irqs(ASSIGN, MSIX, 0, 1), 2),
    "descriptors with none": (vu.set_irqs(NONE | TRIGGER, MSIX, 0, 1), 1),
    "descriptors with disable": (vu.set_irqs(NONE | TRIGGER, MSIX, 0, 0), 1),
    "descriptors with bool": (vu.set_irqs(BOOL | TRIGGER, MSIX, 0, 1, b"\1"), 1),
    "bool without data": (vu.set_irqs(BOOL | TRIGGER, MSIX, 0, 1), 0),
    "bool with less data": (vu.set_irqs(BOOL | TRIGGER, MSIX, 0, 2, b"\1"), 0),
    "bool with more data": (vu.set_irqs(BOOL | TRIGGER, MSIX, 0, 1, b"\1\1"), 0),
    "eventfd with count 0": (vu.set_irqs(ASSIGN, MSIX, 0, 0), 0),
    "eventfd with count 0 and a descriptor": (vu.set_irqs(ASSIGN, MSIX, 0, 0), 1),
    "bool with count 0": (vu.set_irqs(BOOL | TRIGGER, MSIX, 0, 0), 0),
    "disable from 1": (vu.set_irqs(NONE | TRIGGER, MSIX, 1, 0), 0),
    "mask with count 0": (vu.set_irqs(NONE | MASK, MSIX, 0, 0), 0),
    "unmask with count 0": (vu.set_irqs(NONE | UNMASK, MSIX, 0, 0), 0),
    "argsz 0": (vu.set_irqs(ASSIGN, MSIX, 0, 1, argsz=0), 1),
    "argsz 19": (vu.set_irqs(ASSIGN, MSIX, 0, 1, argsz=19), 1),
    "two errors": (vu.set_irqs(ASSIGN, ERR, 0, 2), 2),
    "error 1": (vu.set_irqs(ASSIGN, ERR, 1, 1), 1),
    "mask errors": (vu.set_irqs(NONE | MASK, ERR, 0, 1), 0),
    "unmask errors": (vu.set_irqs(NONE | UNMASK, ERR, 0, 1), 0),
    "version again": ((vu.VERSION, vu.QEMU_VERSION), 0),
}

# At a device with a pin and without MSI-X.
WRONG_INTX = [
    (vu.set_irqs(ASSIGN, MSIX, 0, 1), 1),
    (vu.set_irqs(ASSIGN, INTX, 1, 1), 1),
    (vu.set_irqs(ASSIGN, INTX, 0, 2), 2),
    (vu.set_irqs(EVENTFD | UNMASK, INTX, 0, 1), 2),
    (vu.set_irqs(EVENTFD | UNMASK, INTX, 0, 2), 2),
    (vu.set_irqs(EVENTFD | UNMASK, INTX, 1, 1), 1),
    (vu.set_irqs(NONE | MASK, INTX, 0, 2), 0),
    (vu.set_irqs(NONE | MASK, INTX, 1, 1), 0),
    (vu.set_irqs(NONE | UNMASK, INTX, 0, 2), 0),
    (vu.set_irqs(NONE | UNMASK, INTX, 0, 0), 0),
]

SHORTEST = {
    "info": vu.get_info(),
    "region info": vu.get_region_info(BAR2),
    "interrupt info": vu.get_irq_info(MSIX),
    "io fds": vu.get_io_fds(BAR0),
    "interrupts": vu.set_irqs(ASSIGN, MSIX, 0, 1),
    "bools": vu.set_irqs(BOOL | TRIGGER, MSIX, 0, 1, b"\1"),
    "read": vu.region_read(BAR2, 0, 4),
    "write": vu.region_write(BAR2, 0, b"1234"),
    "writes": vu.write_multi(WRITE),
    "map": vu.dma_map(),
    "unmap": vu.dma_unmap(),
}


def expect_refused(group, vmm, eventfds, own, request, n_fds):
    """EINVAL, what was assigned before stays, and the fixture `vmm` sees every descriptor closed."""
    others = eventfds(n_fds)
    assert vmm.refused(*request, list(others)) == errno.EINVAL
    group.expect_interrupts(own)
    assert others.rings() == [0] * n_fds
    assert group.memory[:] == bytes(SIZE)


@pytest.mark.parametrize("case", WRONG.values(), ids=WRONG.keys())
def test_wrong(group, vmm, arm, eventfds, case):
    expect_refused(group, vmm, eventfds, arm(vmm), *case)


def test_wrong_with_intx(intx_group, eventfds):
    with intx_group.serving() as vmm:
        for request, n_fds in WRONG_INTX:
            before = len(intx_group.device.fds())
            assert vmm.refused(*request, list(eventfds(n_fds))) == errno.EINVAL
            intx_group.device.wait_fds(before)


@pytest.mark.parametrize("command, payload", SHORTEST.values(), ids=SHORTEST.keys())
def test_each_shorter_length(group, vmm, arm, eventfds, command, payload):
    own = arm(vmm)
    n_fds = int(command == vu.SET_IRQS)
    for length in range(len(payload)):
        expect_refused(group, vmm, eventfds, own, (command, payload[:length]), n_fds)

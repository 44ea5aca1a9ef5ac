#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Writes the seeds of the fuzz target vfio_user into a folder: what VMMs send, in the target's format (vfio_user.c)."""

import os
import pathlib
import struct
import sys

tests = next(folder for folder in pathlib.Path(__file__).resolve().parents if folder.name == "tests")
sys.path.insert(0, str(tests / "support"))

import vfio_user as vu
from vfio_user import BOOL, CONFIG, ERR, EVENTFD, INTX, MASK, MSIX, NONE, QEMU_JSON, RESET, RUST_JSON, TRIGGER, UNMASK

REVISION_1, MSI, LEGACY, MASTER, LATE, IOEVENTFD, WORDS = 1, 2, 4, 8, 16, 32, 64


def step(what, parameter=0):
    return bytes([what | parameter << 3])


def raw(data, fds=0, kind=0):
    assert len(data) < 256
    return step(0, fds) + (bytes([kind]) if fds else b"") + bytes([len(data)]) + data


def message(command, body=b"", fds=0, kind=0, flags=0):
    given = body[:255]
    assert not body[255:].strip(b"\0")
    head = struct.pack(">BBHB", command, flags, len(body), len(given))
    return step(1, fds) + (bytes([kind]) if fds else b"") + head + given


def vector(peer, kind=0):
    return step(2, peer | kind << 3)


def left(peer):
    return step(3, peer)


def ring_own(number):
    return step(4, number)


def ring_vmm(number):
    return step(4, 16 | number)


DISPATCH = step(5)
NEXT_VMM = step(6)
GREETING = step(7)


def sent(request):
    """A request of vfio_user, in the target's format."""
    return lambda *arguments, **options: message(*request(*arguments, **options))


region_info, irq_info, read = sent(vu.get_region_info), sent(vu.get_irq_info), sent(vu.region_read)
mig_read, mig_write = sent(vu.mig_read), sent(vu.mig_write)


def version(json, minor):
    return message(vu.VERSION, vu.version_payload(json, minor=minor))


def dma_map(address, size, flags=3, fds=0):
    return message(*vu.dma_map(address, size, flags), fds, 0x89)


def io_fds(first=0, argsz=4096, index=0):
    return message(*vu.get_io_fds(index, argsz, first))


def set_irqs(flags, index, start, count, fds=0, kind=0, data=b""):
    return message(*vu.set_irqs(flags, index, start, count, data, 20 + len(data)), fds, kind)


def write(region, offset, data, flags=0):
    return message(*vu.region_write(region, offset, data), flags=flags)


def write32(region, offset, value, flags=0):
    return write(region, offset, struct.pack("<I", value), flags)


def feature(flags, data=b""):
    return message(*vu.feature(flags, data, 16))


def set_state(state):
    return feature(vu.SET | vu.MIG_DEVICE_STATE, struct.pack("=II", state, 0))


def shape(flags, vectors):
    """`vectors` is a place in the table of choose_config()."""
    return bytes([flags, vectors])


def qemu_attach():
    return (
        version(QEMU_JSON, 0)
        + b"".join(dma_map(i << 30, 1 << 30, fds=1) for i in range(3))
        + dma_map(0xFFFC0000, 0x40000, flags=1)
        + message(*vu.get_info())
        + b"".join(region_info(i) for i in (0, 1, 2, 3, 4, 5, 7))
        + irq_info(ERR)
        + set_irqs(EVENTFD | TRIGGER, ERR, 0, 1, fds=1, kind=7)
        + read(CONFIG, 0, 256)
        + read(CONFIG, 0x30, 4)
        + write32(CONFIG, 0x30, 0xFFFFF800)
        + read(CONFIG, 0x30, 4)
        + b"".join(read(CONFIG, 0x10 + 4 * i, 4) for i in range(4))
        + read(CONFIG, 0x42, 2)
        + irq_info(MSIX)
        + read(CONFIG, 0x3D, 1)
    )


def qemu_reset():
    return (
        read(CONFIG, 4, 2)
        + write(CONFIG, 4, b"\0\0")
        + message(RESET)
        + read(CONFIG, 0x3D, 1)
        + b"".join(write32(CONFIG, 0x10 + 4 * i, 0) for i in range(6))
    )


def qemu_msix():
    """A guest with two vectors, as Linux enables them; QEMU with KVM."""
    return (
        write(CONFIG, 0x42, b"\x01\xc0")
        + set_irqs(EVENTFD | TRIGGER, MSIX, 0, 1)
        + write(CONFIG, 4, b"\x06\x04")
        + write(CONFIG, 0x42, b"\x01\x80")
        + set_irqs(EVENTFD | TRIGGER, MSIX, 0, 1, fds=1, kind=0)
        + set_irqs(EVENTFD | TRIGGER, MSIX, 1, 1, fds=1, kind=1)
        + vector(0) * 2
        + vector(3) * 2
        + DISPATCH
        + write32(0, 12, 1 << 16 | 1)
        + ring_own(0)
        + ring_own(1)
        + DISPATCH
        + set_irqs(EVENTFD | TRIGGER, MSIX, 1, 1, fds=1, kind=2)
        + ring_own(1)
        + DISPATCH
        + left(1)
        + DISPATCH
        + read(1, 0x800, 8)
        + set_irqs(NONE | TRIGGER, MSIX, 0, 0)
    )


def qemu_intx():
    """The pin with a resample eventfd."""
    return (
        set_irqs(EVENTFD | TRIGGER, INTX, 0, 1, fds=1, kind=0)
        + set_irqs(NONE | MASK, INTX, 0, 1)
        + set_irqs(EVENTFD | UNMASK, INTX, 0, 1, fds=1, kind=1)
        + set_irqs(NONE | UNMASK, INTX, 0, 1)
        + vector(0)
        + DISPATCH
        + write32(0, 0, 0xFFFFFFFF)
        + ring_own(0)
        + DISPATCH
        + read(0, 4, 4)
        + ring_vmm(1)
        + DISPATCH
        + ring_own(0)
        + DISPATCH
        + ring_vmm(1)
        + DISPATCH
        + read(0, 4, 4)
        + set_irqs(NONE | TRIGGER, INTX, 0, 0)
    )


def cloud_hypervisor_attach():
    return (
        version(RUST_JSON, 1)
        + message(*vu.get_info(32))
        + b"".join(region_info(i) for i in range(9))
        + read(CONFIG, 6, 2)
        + read(CONFIG, 0x34, 1)
        + read(CONFIG, 0x40, 2)
        + irq_info(MSIX)
        + read(CONFIG, 0x42, 2)
        + read(CONFIG, 0x44, 4)
        + read(CONFIG, 0x48, 4)
        + irq_info(INTX)
        + dma_map(0, 1 << 29, fds=1)
        + b"".join(
            read(CONFIG, 0x10 + 4 * i, 4) + write32(CONFIG, 0x10 + 4 * i, 0xFFFFFFFF) + read(CONFIG, 0x10 + 4 * i, 4)
            for i in range(6)
        )
        + set_irqs(EVENTFD | TRIGGER, MSIX, 0, 16, fds=16, kind=0x81)
        + set_irqs(EVENTFD | TRIGGER, MSIX, 16, 1, fds=1, kind=3)
        + set_irqs(NONE | TRIGGER, MSIX, 0, 0)
        + message(*vu.dma_unmap(0, 1 << 29))
    )


def migration():
    source = (
        feature(0x10001)
        + feature(0x70002)
        + feature(0x10002)
        + set_state(6)
        + mig_read(4096)
        + set_state(3)
        + mig_read(1000)
        + mig_read(65536)
        + mig_read(65536)
        + set_state(2)
    )
    header = b"ivshmig\0" + struct.pack(">IIQ", 1, 400, 65536)
    return source + set_state(4) + mig_write(header) + mig_write(b"ivshmem\0") + set_state(1) + message(RESET)


def header_bytes(command, size):
    return vu.HEADER.pack(77, command, size, 0, 0)


SEEDS = {
    "qemu-msix": shape(REVISION_1, 1) + qemu_attach() + qemu_reset() + qemu_msix() + NEXT_VMM + qemu_attach(),
    "qemu-intx": shape(0, 0) + qemu_attach() + qemu_intx() + qemu_reset() + NEXT_VMM + version(QEMU_JSON, 0),
    "qemu-late": shape(LATE | MSI, 1) + qemu_attach() + GREETING + region_info(2) + read(2, 0, 8) + qemu_msix(),
    "cloud-hypervisor": shape(REVISION_1, 5) + cloud_hypervisor_attach() + NEXT_VMM + cloud_hypervisor_attach(),
    "cloud-hypervisor-intx": shape(0, 0)
    + version(RUST_JSON, 1)
    + set_irqs(EVENTFD | TRIGGER, INTX, 0, 1, fds=1)
    + vector(0)
    + DISPATCH
    + write32(0, 0, 1)
    + (ring_own(0) + DISPATCH + read(0, 4, 4) + set_irqs(NONE | UNMASK, INTX, 0, 1)) * 3,
    "io-fds": shape(REVISION_1 | IOEVENTFD, 3)
    + version(QEMU_JSON, 1)
    + b"".join(vector(i % 8) for i in range(40))
    + DISPATCH
    + b"".join(io_fds(first) for first in (0, 16, 32, 99))
    + left(1)
    + DISPATCH
    + io_fds(0, 100)
    + io_fds(0, 4096, 2),
    "io-fds-words": shape(REVISION_1 | IOEVENTFD | WORDS, 3)
    + version(QEMU_JSON, 1)
    + region_info(4)
    + vector(3) * 2
    + vector(4) * 2
    + DISPATCH
    + io_fds(0, 4096, 4)
    + io_fds(2, 4096, 4)
    + write32(4, 1 << 12, 1)
    + read(4, 0, 4),
    "io-fds-legacy": shape(REVISION_1 | IOEVENTFD | LEGACY, 6)
    + version(RUST_JSON, 1)
    + vector(3) * 9
    + DISPATCH
    + io_fds(2),
    "migration": shape(MSI | MASTER, 1) + version(QEMU_JSON, 1) + migration(),
    "migration-pin": shape(MASTER, 0) + version(b"{}", 1) + qemu_intx() + migration() + qemu_intx(),
    "migration-of-a-peer": shape(MSI, 1) + version(b"{}", 1) + feature(0x10001) + set_state(3) + mig_read(10),
    "bulk": shape(REVISION_1, 0)
    + version(b"", 1)
    + read(2, 3, 65533)
    + write(2, 5, bytes(range(200)))
    + read(2, 65530, 16)
    + read(2, 0xFFFFFFFFFFFFFFF8, 16)
    + read(8, 0, 4)
    + read(0, 0, 256)
    + read(CONFIG, 252, 100)
    + write(2, 1, bytes(65000)),
    "write-multi": shape(REVISION_1, 1)
    + version(QEMU_JSON, 1)
    + vector(3)
    + DISPATCH
    + message(*vu.write_multi((0, 12, b"\0\0\1\0"), (2, 9, b"abc"))),
    "irqs-wrong": shape(MSI, 4)
    + version(QEMU_JSON, 1)
    + set_irqs(BOOL | TRIGGER, MSIX, 2, 3, data=b"\1\0\1")
    + set_irqs(EVENTFD | TRIGGER, MSIX, 0, 3, fds=2)
    + set_irqs(EVENTFD | TRIGGER, MSIX, 0, 3, fds=3, kind=0x88)
    + set_irqs(NONE | TRIGGER, MSIX, 0xFFFFFFFF, 2)
    + set_irqs(EVENTFD | MASK, INTX, 0, 1, fds=1)
    + set_irqs(EVENTFD | UNMASK, INTX, 0, 1, fds=1, kind=0x88),
    "no-reply": shape(REVISION_1, 1)
    + version(QEMU_JSON, 1)
    + write32(0, 0, 7, flags=0x10)
    + message(99, flags=0x10)
    + message(RESET, flags=0x10)
    + message(*vu.get_region_info(2), flags=0x10)
    + message(RESET, flags=1),
    "first-is-wrong": shape(REVISION_1, 1) + message(*vu.get_info()) * 2,
    "version-wrong": shape(REVISION_1, 1)
    + NEXT_VMM.join(version(json, 1) for json in (b"[", b"[]", b'{"capabilities":[]}', b"\33[0m")),
    "raw-pieces": shape(REVISION_1, 1)
    + version(QEMU_JSON, 1)
    + raw(header_bytes(vu.REGION_READ, 32)[:5])
    + raw(header_bytes(vu.REGION_READ, 32)[5:] + struct.pack("=QI", 0, 2), fds=2)
    + raw(struct.pack("=I", 4) + header_bytes(RESET, 16) * 3)
    + raw(header_bytes(RESET, 16), fds=3, kind=0x81)
    + raw(header_bytes(RESET, 15)),
    "raw-too-large": shape(REVISION_1, 1) + raw(header_bytes(vu.VERSION, 0x7FFFFFFF)) + NEXT_VMM + raw(b"abc", fds=1),
    "too-many-fds": shape(REVISION_1, 1) + version(b"{}", 1) + message(vu.DMA_MAP, bytes(32), fds=17) + raw(b"\0", 3) * 12,
    "server-breaks-off": shape(REVISION_1, 1)
    + version(b"{}", 1)
    + vector(0)
    + step(7, 1)
    + struct.pack(">q", -2)
    + DISPATCH
    + read(0, 8, 4),
    "impostors": shape(REVISION_1 | IOEVENTFD, 3)
    + version(b"{}", 1)
    + (vector(3, 3) + vector(3)) * 3
    + DISPATCH
    + io_fds(),
}


def main():
    (folder,) = sys.argv[1:]
    os.makedirs(folder, exist_ok=True)
    for name, data in SEEDS.items():
        with open(os.path.join(folder, name), "wb") as file:
            file.write(data)


if __name__ == "__main__":
    main()

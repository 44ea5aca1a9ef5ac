# SPDX-License-Identifier: BSD-2-Clause
"""vfio-user: config space, registers, MSI-X table and memory by message."""

import os
import random
import struct
import sys

import pytest

import ivshmem_wire as wire
import vfio_user as vu
from vfio_user import BAR0, BAR1, BAR2, CONFIG, DOORBELL, INTR_MASK, INTR_STATUS, IV_POSITION
from vfio_user_fixtures import SIZE, VECTORS, ring_until_known
from vfio_user_migration import check_power_on, configure


# ---- what is not there ---------------------------------------------------------------------------------

NOT_THERE = [
    (BAR0, 256, 4),
    (BAR0, 254, 4),
    (BAR0, 1 << 32, 4),
    (BAR0, (1 << 64) - 4, 4),
    (BAR0, (1 << 64) - 1, 8),
    (BAR1, 4096, 4),
    (BAR1, 4092, 8),
    (BAR2, SIZE, 1),
    (BAR2, SIZE - 1, 2),
    (BAR2, SIZE - 4, 8),
    (BAR2, (1 << 64) - 8, 8),
    (BAR2, (1 << 64) - 16, 32),
    (CONFIG, 256, 4),
    (CONFIG, 4096, 4),
    (CONFIG, (1 << 64) - 4, 4),
    *((region, 0, 4) for region in (3, 4, 5, 6, 8)),
]


@pytest.mark.parametrize("region, offset, count", NOT_THERE)
def test_reads_as_ones_and_takes_writes(group, vmm, region, offset, count):
    """An error would hang Cloud Hypervisor for ever."""
    assert vmm.read(region, offset, count)[-1] == 0xFF
    if (region, offset) not in ((BAR2, SIZE - 1), (BAR2, SIZE - 4), (BAR0, 254), (BAR1, 4092)):
        assert vmm.read(region, offset, count) == b"\xff" * count
    vmm.write(region, offset, bytes(range(1, count + 1)))
    if (region, offset) not in ((BAR2, SIZE - 1), (BAR2, SIZE - 4)):
        assert group.memory[:] == bytes(SIZE)
    assert [vmm.register(register) for register in (INTR_MASK, INTR_STATUS, IV_POSITION)] == [0, 0, group.id]


@pytest.mark.parametrize("region", [9, 10, 255, 0x7FFFFFFF, 0xFFFFFFFF])
def test_no_such_region(vmm, region):
    """No client asks; whatever the answer is, it must be a whole one."""
    reply = vmm.tolerated(*vu.region_read(region, 0, 4))
    assert reply is None or reply.payload[16:] == b"\xff" * 4
    vmm.tolerated(*vu.region_write(region, 0, bytes(4)))


def test_bar1_of_a_device_without_one(plain, intx_group):
    for vmm in (plain().vmm(), intx_group.vmm()):
        assert vmm.read(BAR1, 0, 4) == b"\xff" * 4
        vmm.write(BAR1, 0, bytes(4))


# ---- much and nothing ----------------------------------------------------------------------------------


def test_write_of_more_than_was_negotiated(group):
    """The stream cannot go on behind a message that nobody wants to take; or it can."""
    vmm = group.vmm()
    try:
        vmm.send(*vu.region_write(BAR2, 0, bytes((1 << 20) + 64)))
    except (BrokenPipeError, ConnectionResetError):
        pass
    replies = []
    try:
        vmm.sock.shutdown(1)
        replies = vmm.drain_to_end()
    except OSError:
        pass
    assert all(reply.flags & vu.ERROR for reply in replies)
    group.device.forget_vmms()
    assert group.vmm().config(0) == 0x11101AF4


@pytest.mark.parametrize("region", [BAR0, BAR1, BAR2, CONFIG])
def test_nothing_is_little_enough(vmm, region):
    assert vmm.read(region, 0, 0) == b""
    vmm.write(region, 0, b"")


def test_no_reply_to_a_write(group, vmm):
    """Posted writes; a failing one says nothing either."""
    vmm.send(*vu.region_write(BAR2, 0, b"posted"), flags=vu.NO_REPLY)
    vmm.send(*vu.region_write(BAR2, 0, b"short", 6), flags=vu.NO_REPLY)
    vmm.send(*vu.region_read(BAR2, 0, 4), flags=vu.NO_REPLY)
    assert vmm.read(BAR2, 0, 6) == b"posted"
    assert group.memory[:6] == b"posted"


# ---- registers -----------------------------------------------------------------------------------------


def test_012_013_014_020_registers(vmm):
    assert [vmm.register(register) for register in (INTR_MASK, INTR_STATUS, DOORBELL)] == [0, 0, 0]
    vmm.set_register(INTR_MASK, 0xFFFFFFFF)
    assert vmm.register(INTR_MASK) == 0xFFFFFFFF
    vmm.set_register(INTR_STATUS, 0x12345678)
    assert vmm.register(INTR_STATUS) == 0x12345678
    assert vmm.register(INTR_STATUS) == 0


def test_021_023_what_cannot_be_written(group, vmm):
    vmm.set_register(IV_POSITION, 77)
    assert vmm.register(IV_POSITION) == group.id
    for offset in range(16, 256, 4):
        vmm.set_register(offset, 0xFFFFFFFF)
        assert vmm.register(offset) == 0


def test_024_only_aligned_32_bits_act(group, vmm):
    vmm.set_register(INTR_MASK, 0x01020304)
    vmm.set_register(INTR_STATUS, 0x01020304)
    for size in (1, 2, 8):
        for offset in range(0, 16):
            vmm.write(BAR0, offset, b"\xff" * size)
            assert not any(vmm.read(BAR0, offset, size)), f"{size} bytes at {offset}"
    for size in (3, 5, 6, 7, 12, 16, 256):
        vmm.write(BAR0, 0, b"\xff" * size)
        vmm.read(BAR0, 0, size)
        vmm.read(BAR0, 4, size)
    for offset in (1, 2, 3, 5, 10, 13):
        vmm.write_number(BAR0, offset, 4, group.peer_id << 16)
        assert vmm.read_number(BAR0, offset, 4) == 0
    assert vmm.register(INTR_MASK) == 0x01020304
    assert vmm.register(INTR_STATUS) == 0x01020304
    assert group.rung() == [0] * VECTORS


# ---- the doorbell --------------------------------------------------------------------------------------


def test_025_ring_every_vector_of_the_peer(group, vmm):
    """The peer is kicked before the reply, so its eventfd is readable when the reply is here."""
    group.expect_doorbells(vmm)


def test_025_kick_before_reply(group, vmm):
    request = vu.message(*vu.region_write(BAR0, DOORBELL, struct.pack("<I", group.peer_id << 16)))
    fd = group.at_peer[0]
    for _ in range(2000):
        vmm.send_bytes(request)
        # Woken by the reply, and nothing was read of it yet.
        assert wire.readable(vmm, wire.TIMEOUT)
        assert wire.readable(fd, 0), "the reply was quicker than the ring"
        assert wire.rings(fd) == 1
        vmm.receive()


def test_026_rings_add_up(group, vmm):
    for _ in range(5):
        vmm.ring(group.peer_id, 1)
    assert wire.rings(group.at_peer[1]) == 5


def test_027_rings_for_nobody(group, vmm):
    for peer, vector in ((0, VECTORS), (0, 65535), (0, 255), (2, 0), (100, 0), (0xFFFF, 0), (0xFFFF, 0xFFFF)):
        vmm.ring(peer, vector)
    assert group.rung() == [0] * VECTORS


def test_027_the_departed(group, vmm):
    known = len(group.device.fds())
    other = group.server.client()
    fd = os.dup(other.peers[other.id][0])
    ring_until_known(vmm, other.id, VECTORS - 1, other.peers[other.id][VECTORS - 1])
    other.close()
    group.device.wait_fds(known)
    vmm.ring(other.id, 0)
    assert wire.rings(fd) == 0
    os.close(fd)
    group.expect_alone()


def test_028_ring_oneself(group, vmm, arm):
    """It comes back through our own eventfd to the VMM's."""
    fds = arm(vmm)
    for vector in range(VECTORS):
        vmm.ring(group.id, vector)
        wire.wait_rings(fds[vector])
    vmm.ring(group.id, VECTORS)
    vmm.ring(group.id, 0)
    wire.wait_rings(fds[0])
    assert fds.rings() == [0] * VECTORS


def test_029_rings_without_server(plain):
    vmm = plain().vmm()
    for value in (0, 1, 1 << 16, 0xFFFFFFFF):
        vmm.set_register(DOORBELL, value)
    assert vmm.register(IV_POSITION) == 0


def test_030_all_16_bits_of_the_vector_count(group, vmm):
    vmm.ring(group.peer_id, 0x0100)
    assert group.rung() == [0] * VECTORS


def test_030_legacy_doorbell(shared):
    group = shared("--legacy-doorbell")
    vmm = group.vmm()
    vmm.ring(group.peer_id, 0x0100)
    vmm.ring(group.peer_id, 0xFF01)
    assert group.rung() == [1, 1, 0, 0]


def test_031_a_full_eventfd_of_a_peer(group, vmm):
    """Also when the peer makes it a blocking one, which is a property of the eventfd, not of a descriptor."""
    fd = group.at_peer[2]
    os.write(fd, (0xFFFFFFFFFFFFFFFE).to_bytes(8, "little"))
    os.set_blocking(fd, True)
    try:
        for _ in range(3):
            vmm.ring(group.peer_id, 2)
        assert os.get_blocking(fd), "the flag is the peer's"
    finally:
        os.set_blocking(fd, False)
    assert wire.rings(fd) >= 0xFFFFFFFFFFFFFFFE
    vmm.ring(group.peer_id, 2)
    assert wire.rings(fd) == 1


# ---- BAR1 ----------------------------------------------------------------------------------------------


def test_075_table(vmm):
    for vector in range(VECTORS):
        at = vector * 16
        assert vmm.read(BAR1, at, 8) == bytes(8)
        assert vmm.read_number(BAR1, at + 12, 4) == 1, "masked after reset"
        vmm.write_number(BAR1, at, 4, 0xFEE00000 | vector << 12)
        vmm.write_number(BAR1, at + 8, 4, 0x4000 + vector)
        vmm.write_number(BAR1, at + 12, 4, 0)
        assert vmm.read_number(BAR1, at, 8) == 0xFEE00000 | vector << 12
        assert vmm.read_number(BAR1, at + 8, 8) == 0x4000 + vector
    for size in (1, 2):
        for at in range(16):
            vmm.write(BAR1, at, b"\xff" * size)
            assert not any(vmm.read(BAR1, at, size))
    assert vmm.read_number(BAR1, 0, 8) == 0xFEE00000


def test_071_pending_bits_cannot_be_written(vmm):
    assert vmm.read(BAR1, 0x800, 8) == bytes(8)
    vmm.write(BAR1, 0x800, b"\xff" * 8)
    vmm.write(BAR1, 0x800, b"\xff" * 4)
    assert vmm.read(BAR1, 0x800, 8) == bytes(8)


# ---- BAR2 by message -----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_every_size_and_alignment(group, vmm, size):
    generator = random.Random(size)
    group.memory[:64] = generator.randbytes(64)
    expected = bytearray(group.memory[:64])
    for offset in range(0, 24):
        assert vmm.read(BAR2, offset, size) == expected[offset : offset + size]
        data = generator.randbytes(size)
        vmm.write(BAR2, offset, data)
        expected[offset : offset + size] = data
        assert group.memory[:64] == expected


@pytest.mark.parametrize("size", [3, 5, 7, 16, 100, 4095, 4096, SIZE - 1, SIZE])
def test_in_bulk(group, vmm, size):
    data = random.Random(size).randbytes(size)
    vmm.write(BAR2, SIZE - size, data)
    assert group.memory[SIZE - size :] == data
    assert not any(group.memory[: SIZE - size])
    assert vmm.read(BAR2, SIZE - size, size) == data


def test_as_much_as_was_negotiated(plain, room):
    """1 MiB in one message, both ways, and the stream goes on behind it."""
    vmm = plain(size=4 << 20).vmm()
    data = random.Random(1).randbytes(1 << 20)
    vmm.write(BAR2, 1 << 20, data)
    assert vmm.read(BAR2, 1 << 20, 1 << 20) == data
    with open(room.file("memory"), "rb") as file:
        file.seek(1 << 20)
        assert file.read(1 << 20) == data


def test_032_over_its_whole_size(group, vmm):
    """A different word in each place, some by message, some through the mapping, seen from all sides."""
    with vmm.region_info(BAR2).map() as view:
        for offset in range(0, SIZE, 256):
            data = struct.pack("<QQ", offset, ~offset & (1 << 64) - 1)
            if offset & 256:
                view[offset : offset + 16] = data
            else:
                vmm.write(BAR2, offset, data)
            assert group.memory[offset : offset + 16] == data
            assert vmm.read(BAR2, offset, 16) == data
        for offset in range(0, SIZE, 256):
            assert struct.unpack_from("<Q", group.memory, offset)[0] == offset
        assert view[:] == group.memory[:]


def test_033_another_vmm_another_device(group, vmm, device, room):
    second = device("--server", group.server.path, "--vectors", str(VECTORS), path=room.file("second"))
    other = second.vmm()
    vmm.write(BAR2, 40, b"from one to the other")
    assert other.read(BAR2, 40, 21) == b"from one to the other"
    assert other.register(IV_POSITION) != group.id
    second.finish()
    group.peer.follow(lambda: len(group.peer.peers) == 2, "it left again")


CHANGER = """
import mmap, sys
view = memoryview(mmap.mmap(int(sys.argv[1]), int(sys.argv[2]))).cast("Q")
while True:
    view[0] = 0
    view[0] = (1 << 64) - 1
"""


def test_while_the_mapping_changes_it(vmm, processes):
    """Aligned accesses are single loads and stores: no half-written words are seen."""
    memory = vmm.region_info(BAR2).fd
    processes.append(
        wire.Process([sys.executable, "-c", CHANGER, str(memory), str(SIZE)], pass_fds=[memory])
    )
    halves = [bytes(8), b"\xff" * 8]
    wire.wait_until(lambda: vmm.read(BAR2, 0, 8) == halves[1], "it began")
    seen = {vmm.read(BAR2, 0, 8) for _ in range(5000)}
    assert seen <= set(halves)
    # Killed before it is nobody's memory but the next test's.
    processes[-1].kill()


# ---- many writes at once -------------------------------------------------------------------------------


def test_write_multi(group, vmm):
    """Never offered, so it may be refused; if it is taken, then wholly and in order."""
    writes = [(BAR2, 8 * at, struct.pack("<Q", at)) for at in range(100)]
    writes += [(BAR0, DOORBELL, struct.pack("<I", group.peer_id << 16))] * 3
    writes += [(BAR0, INTR_MASK, struct.pack("<I", 9)), (BAR2, 2, b"x")]
    assert vmm.write_multi(*writes) == len(writes)
    assert wire.rings(group.at_peer[0]) == 3
    assert vmm.register(INTR_MASK) == 9
    assert group.memory[2:3] == b"x"
    assert struct.unpack_from("<Q", group.memory, 99 * 8)[0] == 99
    assert vmm.write_multi() == 0


def test_write_multi_posted_as_qemu_would(vmm):
    writes = [(BAR2, at * 8, struct.pack("=Q", at)) for at in range(200)]
    for _ in range(19):
        vmm.send(*vu.write_multi(*writes), flags=vu.NO_REPLY)
    assert vmm.read_number(BAR2, 199 * 8, 8) == 199


# ---- reset ---------------------------------------------------------------------------------------------


def test_034_rule_18_reset(group, vmm, arm):
    """Eventfds, peers and the memory stay."""
    fds = arm(vmm)
    configure(vmm, group)
    vmm.write(BAR2, 0, b"stays")
    vmm.reset()
    check_power_on(vmm, group)
    assert vmm.read(BAR2, 0, 5) == b"stays"
    group.expect_interrupts(fds)
    group.expect_doorbells(vmm)


@pytest.mark.parametrize("payload", [b"\0", bytes(16), bytes(100)], ids=len)
def test_reset_with_something(vmm, payload):
    """It has no payload; one that comes all the same is the sender's mistake, and the stream goes on."""
    vmm.tolerated(vu.RESET, payload)

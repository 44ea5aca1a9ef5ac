# SPDX-License-Identifier: BSD-2-Clause
"""vfio-user: headers, and how messages are cut, glued, lengthened and adorned on the socket."""

import errno
import os
import random
import struct

import pytest

import ivshmem_wire as wire
import vfio_user as vu
from vfio_user import BAR0, BAR2, CONFIG, GET_INFO, MSIX, NO_REPLY, message
from vfio_user_fixtures import SIZE, expect_ring

IDENTITY = bytes.fromhex("f41a1011")
ASK = vu.region_read(CONFIG, 0, 4)

# A request of each kind in its shortest right form.
REQUESTS = {
    "VERSION": (vu.VERSION, vu.QEMU_VERSION),
    "DMA_MAP": vu.dma_map(),
    "DMA_UNMAP": vu.dma_unmap(),
    "GET_INFO": vu.get_info(),
    "GET_REGION_INFO": vu.get_region_info(BAR2),
    "GET_REGION_IO_FDS": vu.get_io_fds(BAR0, 4096),
    "GET_IRQ_INFO": vu.get_irq_info(MSIX),
    "SET_IRQS": vu.set_irqs(vu.NONE | vu.TRIGGER, MSIX, 0, 0),
    "REGION_READ": ASK,
    "REGION_WRITE": vu.region_write(BAR2, 0, b"\1\0\0\0"),
    "RESET": (vu.RESET, b""),
    "WRITE_MULTI": vu.write_multi((BAR2, 0, b"1234")),
    "FEATURE": vu.feature(vu.GET | vu.MIGRATION, bytes(8)),
    "MIG_READ": vu.mig_read(4),
    "MIG_WRITE": vu.mig_write(bytes(4)),
}


def each_command(*leave_out):
    return pytest.mark.parametrize("name", [name for name in REQUESTS if name not in leave_out])


@pytest.fixture
def serves(group):
    """After whatever happened, the next VMM is served, and the device has nothing of this one."""
    yield
    group.device.forget_vmms()
    group.device.assert_idle()
    assert group.vmm().read(CONFIG, 0, 4) == IDENTITY


# ---- headers -------------------------------------------------------------------------------------------


def test_unknown_commands(vmm):
    for command in (0, 11, 12, 14, 19, 20, 100, 0x7FFF, 0x8000, 65535):
        for payload in (b"", bytes(8), bytes(1000)):
            assert vmm.refused(command, payload) in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)


@pytest.mark.parametrize("number", [0, 1, 0x1234, 0x8000, 0xFFFF])
def test_number_and_command_are_echoed(group, number):
    """QEMU's counter goes on over connections, Cloud Hypervisor uses one twice."""
    vmm = group.device.connect()
    for command, payload in [*REQUESTS.values(), *REQUESTS.values()]:
        reply = vmm.reply_to(vmm.send(command, payload, number=number), command)
        assert reply.number == number


def test_sizes_that_cannot_be(plain):
    """Where the next message begins is not known then: an error that the log tells, and the end."""
    process = plain()
    for size in (0, 1, 15, (1 << 20) + 4096, 1 << 31, 0xFFFFFFFF):
        vmm = process.vmm()
        number = vmm.send(*vu.get_info(), size=size)
        [reply] = vmm.drain_to_end()
        assert (reply.number, reply.command, reply.size) == (number, GET_INFO, 16)
        assert (reply.flags, reply.error) == (vu.REPLY | vu.ERROR, errno.EINVAL)
        process.expect(rf".*\b{size} bytes.*", stream="stderr")
        process.forget_vmms()
        process.assert_idle()


@pytest.mark.parametrize("flags", [1, 2, 7, 15])
def test_what_is_no_command(group, serves, flags):
    """Nobody asked for a reply. An error, or the end, or both; never an answer to it."""
    vmm = group.vmm()
    vmm.send(*vu.get_info(), flags=flags)
    vmm.sock.shutdown(1)
    replies = vmm.drain_to_end()
    assert all(reply.flags == vu.REPLY | vu.ERROR for reply in replies)


@pytest.mark.parametrize("flags, error", [(0, 5), (0x20, 0), (0x40, 0), (0x20, 22), (0x80000000, 0xFFFFFFFF)])
def test_meaningless_bits(vmm, flags, error):
    """The error bit and number mean something in replies only; others are for later versions."""
    reply = vmm.tolerated(*vu.get_info(), flags=flags, error=error)
    assert reply is None or reply.payload == struct.pack("=IIII", 16, 3, 9, 5)


@each_command("VERSION")
def test_no_reply_means_none(vmm, name):
    command, payload = REQUESTS[name]
    vmm.send(command, payload, flags=NO_REPLY)
    vmm.send(command, payload[:-1] if payload else b"", flags=NO_REPLY)
    vmm.send(command, b"", flags=NO_REPLY)
    vmm.send(777, b"", flags=NO_REPLY)
    vmm.info()  # the first reply is that to this


# ---- pieces --------------------------------------------------------------------------------------------


@each_command("VERSION", "MIG_READ", "MIG_WRITE", "FEATURE")
def test_in_two_pieces_and_byte_by_byte(vmm, name):
    """Header and payload in two writes among them, and any others."""
    command, payload = REQUESTS[name]
    expected = vmm.exchange(command, payload, number=7)
    data = message(command, payload, 7)
    for pieces in (*((data[:cut], data[cut:]) for cut in range(1, len(data))), [bytes([byte]) for byte in data]):
        for piece in pieces:
            vmm.send_bytes(piece)
            vmm.wait_taken()
        assert vmm.receive()[:5] == expected[:5]


@pytest.mark.parametrize("step", [4, 15, 17])
def test_version_in_small_pieces(group, step):
    """The device reads none of it before it is complete, and a socket holds some seventy pieces."""
    vmm = group.device.connect()
    data = message(vu.VERSION, vu.QEMU_VERSION, 1)
    for at in range(0, len(data), step):
        vmm.send_bytes(data[at : at + step])
    assert not vmm.reply_to(1, vu.VERSION).flags & vu.ERROR


STEPS = [1, 3, 7, 16, 17, 100, 4095, 4096, 4097, 1 << 20]


@pytest.mark.parametrize("steps", [*([step] for step in STEPS), (1, 10, 16, 50, 3000, 20000)], ids=str)
def test_glued_and_cut_anywhere(group, vmm, steps):
    """Reads and writes of any size in one stream, whose pieces have some size, with the replies in the right order."""
    generator = random.Random(3)
    sizes = (1, 2, 4, 8) if steps == [1] else (1, 2, 4, 8, 100, 5000)
    requests = []
    for _ in range(20 if steps == [1] else 400):
        offset = generator.randrange(0, 4096)
        data = generator.randbytes(generator.choice(sizes))
        if generator.random() < 0.5:
            requests.append(vu.region_write(BAR2, offset, data))
        else:
            requests.append(vu.region_read(BAR2, offset, len(data)))
    stream = b"".join(message(*request, number) for number, request in enumerate(requests))
    shadow = bytearray(SIZE)
    sent = 0
    for number, (command, payload) in enumerate(requests):
        while not vmm.waiting() and sent < len(stream):
            size = generator.choice(steps)
            vmm.send_bytes(stream[sent : sent + size])
            sent += size
            if size < 16:
                vmm.wait_taken()
        reply = vmm.reply_to(number, command)
        offset, _, size = struct.unpack_from("=QII", payload)
        if command == vu.REGION_WRITE:
            shadow[offset : offset + size] = payload[16:]
        else:
            assert reply.payload[16:] == shadow[offset : offset + size]
    assert group.memory[:] == shadow


@each_command("RESET")
@pytest.mark.parametrize("missing", [1, 4])
def test_truncated_and_the_end(group, serves, name, missing):
    """The sender is gone in the middle of a message: it must have no effect, and no reply is needed."""
    vmm = group.device.connect() if name == "VERSION" else group.vmm()
    data = message(*REQUESTS[name])
    vmm.send_bytes(data[:-missing])
    vmm.sock.shutdown(1)
    vmm.assert_ended()
    assert group.memory[:4] == bytes(4)


@each_command("VERSION", "MIG_READ", "MIG_WRITE", "FEATURE")
def test_one_byte_more(vmm, name):
    """Refused or ignored, but the next message is found where it begins."""
    command, payload = REQUESTS[name]
    vmm.tolerated(command, payload + b"\xff")


# ---- descriptors where none belong ---------------------------------------------------------------------


@each_command("FEATURE", "MIG_READ", "MIG_WRITE")
@pytest.mark.parametrize("count", [1, 2, 16])
def test_descriptors_with_anything(group, given_away, name, count):
    """All are closed, whether that is an error or not."""
    vmm = group.device.connect() if name == "VERSION" else group.vmm()
    vmm.tolerated(*REQUESTS[name], given_away(count))
    assert vmm.info()[0] == 16


@pytest.mark.parametrize("count", [17, 32, 33, 100, 253])
@pytest.mark.parametrize("name", ["SET_IRQS", "DMA_MAP", "GET_INFO"])
def test_far_too_many_descriptors(group, serves, given_away, name, count):
    """Up to what the kernel passes. The connection may be ended for it, the device may not."""
    vmm = group.vmm()
    number = vmm.send(*REQUESTS[name], given_away() * count)
    vmm.sock.shutdown(1)
    replies = vmm.drain_to_end()
    assert [reply.number for reply in replies] in ([], [number])
    assert all(reply.flags & vu.ERROR for reply in replies)


ASSIGN = vu.set_irqs(vu.EVENTFD | vu.TRIGGER, MSIX, 0, 1)


@pytest.mark.parametrize("at", [1, 15, 16, 20, 35])
def test_descriptors_with_a_later_byte(group, vmm, eventfds, at):
    """They belong to the message whose bytes they came with."""
    [fd] = eventfds(1)
    data = message(*ASSIGN, 5)
    vmm.send_bytes(data[:at])
    vmm.send_bytes(data[at:], [fd])
    try:
        reply = vmm.reply_to(5, vu.SET_IRQS)
    except vu.Ended:
        return
    if not reply.flags & vu.ERROR:
        expect_ring(group.at_device[0], fd)


def test_descriptors_in_a_burst_stay_with_their_message(group, vmm, eventfds):
    """SET_IRQS of one vector after the other without waiting, other messages before and after each."""
    fds = eventfds(4)
    messages = []
    for vector in (2, 0, 3, 1):
        messages.append((*vu.get_info(), []))
        messages.append((*vu.set_irqs(vu.EVENTFD | vu.TRIGGER, MSIX, vector, 1), [fds[vector]]))
        messages.append((*ASK, []))
    for reply in vmm.pipeline(messages * 20):
        assert not reply.flags & vu.ERROR
    group.expect_interrupts(fds)


def test_descriptors_and_the_end(group, serves, given_away):
    """Half a message with descriptors, and gone."""
    for length in (1, 16, 20, 35):
        group.vmm().send_bytes(message(*ASSIGN)[:length], given_away() * 4)
        group.device.forget_vmms()


# ---- anything ------------------------------------------------------------------------------------------


def test_random_messages(group, serves):
    """Right headers and random bodies, and random flags: every one is answered, until it ends the connection."""
    generator = random.Random(20)
    vmm = group.vmm()
    answered = 0
    for _ in range(wire.sized(2000, 50000)):
        command = generator.choice([*range(1, 20), generator.randrange(65536)])
        length = generator.choice((0, 4, 8, 16, 20, 24, 32, 40, generator.randrange(300)))
        payload = bytearray(generator.randbytes(length))
        for at in range(0, length - 3, 4):
            if generator.random() < 0.7:
                payload[at : at + 4] = struct.pack("=I", generator.choice((0, 1, 2, 4, 7, 16, 20, 32, 33, 36, 64)))
        try:
            number = vmm.send(command, bytes(payload))
            reply = vmm.receive()
            if reply is not None:
                assert (reply.number, reply.command) == (number, command)
                for fd in reply.fds:
                    vmm.close_fd(fd)
                answered += 1
                continue
        except BrokenPipeError:
            pass
        group.device.forget_vmms()
        vmm = group.vmm()
    assert answered > 1000


def test_random_bytes(group, serves):
    generator = random.Random(21)
    for _ in range(wire.sized(100, 5000)):
        vmm = group.vmm()
        try:
            vmm.send_bytes(generator.randbytes(generator.randrange(1, 500)))
            vmm.sock.shutdown(1)
        except BrokenPipeError:
            pass
        vmm.drain_to_end()
        group.device.forget_vmms()


def test_complaints_do_not_fill_the_disk(group, vmm):
    """A VMM that sends nonsense all day is told of a few times, not each time."""
    before = len(group.device.stderr)
    for _ in range(2000):
        vmm.refused(777)
    assert len(group.device.stderr) - before < 10000


def test_memory_stays_bounded(group, vmm):
    """Large messages, one after the other: no more than one of them is kept."""
    grown = 64 << 10 if wire.sanitized("ivshmem-device") else 8 << 10
    data = os.urandom(1 << 20)
    vmm.write(BAR2, 0, data)
    before = group.device.resident()
    for _ in range(wire.sized(30, 1000)):
        vmm.write(BAR2, 0, data)
        vmm.read(BAR2, 0, 1 << 20)
    assert group.device.resident() < before + grown

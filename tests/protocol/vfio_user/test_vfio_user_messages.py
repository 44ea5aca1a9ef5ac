# SPDX-License-Identifier: BSD-2-Clause
"""vfio-user: headers, and how messages are cut, glued, lengthened and adorned on the socket."""

import errno
import os
import random
import struct

import pytest

import ivshmem_wire as wire
import vfio_user as vu
from vfio_user import BAR2, CONFIG, GET_INFO, HEADER, NO_REPLY, message

INFO = struct.pack("=IIII", 16, 0, 0, 0)
IDENTITY = struct.pack("=QII", 0, CONFIG, 4)

# A request of each kind in its shortest right form, and the size of its reply.
REQUESTS = {
    "VERSION": (vu.VERSION, vu.QEMU_VERSION),
    "DMA_MAP": (vu.DMA_MAP, struct.pack("=IIQQQ", 32, 3, 0, 0, 4096)),
    "DMA_UNMAP": (vu.DMA_UNMAP, struct.pack("=IIQQ", 24, 0, 0, 4096)),
    "GET_INFO": (GET_INFO, INFO),
    "GET_REGION_INFO": (vu.GET_REGION_INFO, struct.pack("=IIIIQQ", 32, 0, 2, 0, 0, 0)),
    "GET_REGION_IO_FDS": (vu.GET_REGION_IO_FDS, struct.pack("=IIII", 4096, 0, 0, 0)),
    "GET_IRQ_INFO": (vu.GET_IRQ_INFO, struct.pack("=IIII", 16, 0, 2, 0)),
    "SET_IRQS": (vu.SET_IRQS, struct.pack("=IIIII", 20, 33, 2, 0, 0)),
    "REGION_READ": (vu.REGION_READ, IDENTITY),
    "REGION_WRITE": (vu.REGION_WRITE, struct.pack("=QIII", 0, BAR2, 4, 1)),
    "RESET": (vu.RESET, b""),
    "WRITE_MULTI": (vu.WRITE_MULTI, struct.pack("=QQII8s", 1, 0, BAR2, 4, b"12345678")),
    "FEATURE": (vu.FEATURE, struct.pack("=IIQ", 16, vu.GET | vu.MIGRATION, 0)),
    "MIG_READ": (vu.MIG_READ, struct.pack("=II", 12, 4)),
    "MIG_WRITE": (vu.MIG_WRITE, struct.pack("=III", 12, 4, 0)),
}


def each_command(*leave_out):
    return pytest.mark.parametrize("name", [name for name in REQUESTS if name not in leave_out])


@pytest.fixture
def serves(group):
    """After whatever happened, the next VMM is served, and the device has nothing of this one."""
    yield
    group.device.forget_vmms()
    group.device.assert_idle()
    assert group.vmm().read(CONFIG, 0, 4) == bytes.fromhex("f41a1011")


# ---- headers -------------------------------------------------------------------------------------------


def test_unknown_commands(vmm):
    for command in (0, 11, 12, 14, 19, 20, 100, 0x7FFF, 0x8000, 65535):
        for payload in (b"", bytes(8), bytes(1000)):
            assert vmm.refused(command, payload) in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)
    assert vmm.info()[0] == 16


def test_number_and_command_are_echoed(vmm):
    for number in (0, 1, 0x1234, 0xFFFF, 0xFFFF, 0):
        for command, payload in REQUESTS.values():
            try:
                vmm.exchange(command, payload, number=number)  # checks both
            except vu.Refused:
                pass


@pytest.mark.parametrize("size", [0, 1, 15, (1 << 20) + 4096, 1 << 31, 0xFFFFFFFF])
def test_sizes_that_cannot_be(group, vmm, serves, size):
    """Where the next message begins is not known then: an error, and the end."""
    number = vmm.send(GET_INFO, INFO, size=size)
    [reply] = vmm.drain_to_end()
    assert (reply.number, reply.command, reply.size) == (number, GET_INFO, 16)
    assert (reply.flags, reply.error) == (vu.REPLY | vu.ERROR, errno.EINVAL)


def test_log_names_the_size(plain):
    process = plain()
    for size in (0, 15, 0xFFFFFFFF):
        vmm = process.vmm()
        vmm.send(GET_INFO, INFO, size=size)
        vmm.drain_to_end()
        process.expect(rf".*\b{size} bytes.*", stream="stderr")
        process.forget_vmms()
        process.assert_idle()


@each_command("RESET")
def test_size_of_the_header_alone(group, vmm, name):
    """The rest is then the next message, and no good one, so only the header is sent."""
    assert vmm.refused(REQUESTS[name][0]) == errno.EINVAL
    assert vmm.info()[0] == 16


@pytest.mark.parametrize("flags", [1, 2, 7, 15])
def test_what_is_no_command(group, vmm, serves, flags):
    """Nobody asked for a reply. An error, or the end, or both; never an answer to it."""
    vmm.send(GET_INFO, INFO, flags=flags)
    vmm.sock.shutdown(1)
    replies = vmm.drain_to_end()
    assert all(reply.flags == vu.REPLY | vu.ERROR for reply in replies)


@pytest.mark.parametrize("flags, error", [(0, 5), (0x20, 0), (0x40, 0), (0x20, 22), (0x80000000, 0xFFFFFFFF)])
def test_meaningless_bits(vmm, flags, error):
    """The error bit and number mean something in replies only; others are for later versions."""
    try:
        assert vmm.call(GET_INFO, INFO, flags=flags, error=error)[8:] == struct.pack("=II", 9, 5)
    except vu.Refused as refusal:
        assert refusal.error == errno.EINVAL
    assert vmm.info()[0] == 16


@each_command("VERSION")
def test_no_reply_means_none(vmm, name):
    command, payload = REQUESTS[name]
    vmm.send(command, payload, flags=NO_REPLY)
    vmm.send(command, payload[:-1] if payload else b"", flags=NO_REPLY)
    vmm.send(command, b"", flags=NO_REPLY)
    vmm.send(777, b"", flags=NO_REPLY)
    assert vmm.info()[0] == 16, "the first reply is that to this"


# ---- pieces --------------------------------------------------------------------------------------------


@each_command("VERSION", "MIG_READ", "MIG_WRITE", "FEATURE")
def test_byte_by_byte(vmm, name):
    command, payload = REQUESTS[name]
    expected = vmm.exchange(command, payload, number=7)
    data = message(command, payload, 7)
    for at in range(len(data)):
        vmm.send_bytes(data[at : at + 1])
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


@pytest.mark.parametrize("cut", [1, 8, 15, 16, 17, 20, 24, 31, 35])
def test_in_two_pieces(vmm, group, cut):
    """Header and payload in two writes among them, and many others."""
    data = message(vu.REGION_WRITE, struct.pack("=QIII", 0, BAR2, 4, 0x1234), 9)
    vmm.send_bytes(data[:cut])
    vmm.wait_taken()
    vmm.send_bytes(data[cut:])
    assert not vmm.reply_to(9, vu.REGION_WRITE).flags & vu.ERROR
    assert group.memory[:4] == struct.pack("<I", 0x1234)


@pytest.mark.parametrize("step", [1, 3, 7, 16, 17, 100, 4095, 4096, 4097, 1 << 20])
def test_glued(group, vmm, step):
    """Many messages in one write, and cut anywhere."""
    count = 20 if step == 1 else 300
    data = b"".join(message(vu.REGION_READ, IDENTITY, number) for number in range(count))
    sent = 0
    for number in range(count):
        while sent < len(data) and not vmm.waiting():
            vmm.send_bytes(data[sent : sent + step])
            sent += step
            if step < 16:
                vmm.wait_taken()
        reply = vmm.reply_to(number, vu.REGION_READ)
        assert reply.payload[16:] == bytes.fromhex("f41a1011")


def test_random_pieces(group, vmm):
    """A mixture of everything, in pieces of any size, with the replies in the right order."""
    generator = random.Random(3)
    messages, at = [], {}
    for number in range(400):
        offset = generator.randrange(0, 4096)
        data = generator.randbytes(generator.choice((1, 2, 4, 8, 100, 5000)))
        if generator.random() < 0.5:
            messages.append((vu.REGION_WRITE, struct.pack("=QII", offset, BAR2, len(data)) + data))
        else:
            messages.append((vu.REGION_READ, struct.pack("=QII", offset, BAR2, len(data))))
        at[number] = messages[-1]
    stream = b"".join(message(command, payload, number) for number, (command, payload) in at.items())
    shadow = bytearray(65536)
    sent = 0
    for number, (command, payload) in at.items():
        while not vmm.waiting() and sent < len(stream):
            size = generator.choice((1, 10, 16, 50, 3000, 20000))
            vmm.send_bytes(stream[sent : sent + size])
            sent += size
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


@each_command("VERSION", "RESET")
def test_one_byte_less(vmm, name):
    command, payload = REQUESTS[name]
    if name == "FEATURE":
        payload = struct.pack("=IIII", 16, vu.SET | vu.MIG_DEVICE_STATE, 1, 0)
    if name == "SET_IRQS":
        payload = struct.pack("=IIIIIB", 20, vu.BOOL | vu.TRIGGER, 2, 0, 1, 1)
    error = vmm.refused(command, payload[:-1])
    assert error in ((errno.EINVAL, errno.ENOTTY) if name == "FEATURE" else (errno.EINVAL,))
    assert vmm.info()[0] == 16


@each_command("VERSION", "MIG_READ", "MIG_WRITE", "FEATURE")
def test_one_byte_more(vmm, name):
    """Refused or ignored, but the next message is found where it begins."""
    command, payload = REQUESTS[name]
    try:
        vmm.exchange(command, payload + b"\xff")
    except vu.Refused as refusal:
        assert refusal.error == errno.EINVAL
    assert vmm.info()[0] == 16


# ---- descriptors where none belong ---------------------------------------------------------------------


@each_command("VERSION", "FEATURE", "MIG_READ", "MIG_WRITE")
@pytest.mark.parametrize("count", [1, 2, 16])
def test_descriptors_with_anything(group, vmm, name, count):
    """All are closed, whether that is an error or not."""
    before = len(group.device.fds())
    canaries = [wire.Canary() for _ in range(count)]
    command, payload = REQUESTS[name]
    try:
        for fd in vmm.exchange(command, payload, [canary.fd for canary in canaries]).fds:
            vmm.close_fd(fd)
    except vu.Refused as refusal:
        assert refusal.error == errno.EINVAL
    for canary in canaries:
        canary.close_own()
        canary.assert_closed()
    assert vmm.info()[0] == 16
    group.device.wait_fds(before)


@pytest.mark.parametrize("count", [17, 32, 33, 100, 253])
@pytest.mark.parametrize("name", ["SET_IRQS", "DMA_MAP", "GET_INFO"])
def test_far_too_many_descriptors(group, vmm, serves, name, count):
    """Up to what the kernel passes. The connection may be ended for it, the device may not."""
    canary = wire.Canary()
    command, payload = REQUESTS[name]
    number = vmm.send(command, payload, [canary.fd] * count)
    vmm.sock.shutdown(1)
    replies = vmm.drain_to_end()
    assert [reply.number for reply in replies] in ([], [number])
    assert all(reply.flags & vu.ERROR for reply in replies)
    canary.close_own()
    canary.assert_closed()


@pytest.mark.parametrize("at", [1, 15, 16, 20, 35])
def test_descriptors_with_a_later_byte(group, vmm, eventfds, at):
    """They belong to the message whose bytes they came with."""
    fds = eventfds(1)
    data = message(vu.SET_IRQS, struct.pack("=IIIII", 20, vu.EVENTFD | vu.TRIGGER, vu.MSIX, 0, 1), 5)
    vmm.send_bytes(data[:at])
    vmm.send_bytes(data[at:], list(fds))
    try:
        reply = vmm.reply_to(5, vu.SET_IRQS)
    except vu.Ended:
        return
    if not reply.flags & vu.ERROR:
        wire.ring(group.at_device[0])
        wire.wait_rings(fds[0])


def test_descriptors_in_a_burst_stay_with_their_message(group, vmm, eventfds):
    """SET_IRQS of one vector after the other without waiting, other messages before and after each."""
    fds = eventfds(4)
    messages = []
    for vector in (2, 0, 3, 1):
        messages.append((GET_INFO, INFO, []))
        payload = struct.pack("=IIIII", 20, vu.EVENTFD | vu.TRIGGER, vu.MSIX, vector, 1)
        messages.append((vu.SET_IRQS, payload, [fds[vector]]))
        messages.append((vu.REGION_READ, IDENTITY, []))
    for reply in vmm.pipeline(messages * 20):
        assert not reply.flags & vu.ERROR
    for vector in range(4):
        wire.ring(group.at_device[vector])
        wire.wait_rings(fds[vector])
    assert [wire.rings(fd) for fd in fds] == [0] * 4


def test_descriptors_and_the_end(group, serves):
    """Half a message with descriptors, and gone."""
    canary = wire.Canary()
    for length in (1, 16, 20, 35):
        vmm = group.vmm()
        payload = struct.pack("=IIIII", 20, vu.EVENTFD | vu.TRIGGER, vu.MSIX, 0, 1)
        vmm.send_bytes(message(vu.SET_IRQS, payload)[:length], [canary.fd] * 4)
        group.device.forget_vmms()
    canary.close_own()
    canary.assert_closed()


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
    vmm.info()
    assert len(group.device.stderr) - before < 10000


def test_memory_stays_bounded(group, vmm):
    """Large messages, one after the other: no more than one of them is kept."""
    if wire.sanitized("ivshmem-device"):
        grown = 64 << 10
    else:
        grown = 8 << 10
    payload = struct.pack("=QII", 0, BAR2, 1 << 20) + os.urandom(1 << 20)
    vmm.call(vu.REGION_WRITE, payload)
    before = group.device.resident()
    for _ in range(wire.sized(30, 1000)):
        assert vmm.exchange(vu.REGION_WRITE, payload).size == HEADER.size + 16
        vmm.read(BAR2, 0, 1 << 20)
    assert group.device.resident() < before + grown

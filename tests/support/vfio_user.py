# SPDX-License-Identifier: BSD-2-Clause
"""
A vfio-user client in raw bytes: any message with anything wrong in it can be sent, and replies are taken
as strictly as the clients that exist take them. Nothing here uses the code under test.

Every reply must come whole, header, payload and descriptors, with one sendmsg: a client reads the header
alone and gives up, or panics, when the payload is not there yet. On this side of the socket that shows as
one piece of the stream, as long as it is not larger than the kernel's pieces.
"""

import array
import concurrent.futures
import errno
import fcntl
import json
import mmap
import os
import socket
import struct
import termios
import time
from typing import NamedTuple

import ivshmem_wire as wire

# Commands.
VERSION, DMA_MAP, DMA_UNMAP, GET_INFO, GET_REGION_INFO, GET_REGION_IO_FDS = 1, 2, 3, 4, 5, 6
GET_IRQ_INFO, SET_IRQS, REGION_READ, REGION_WRITE, DMA_READ, DMA_WRITE = 7, 8, 9, 10, 11, 12
RESET, DIRTY_PAGES, WRITE_MULTI, FEATURE, MIG_READ, MIG_WRITE = 13, 14, 15, 16, 17, 18

# Header flags.
REPLY, NO_REPLY, ERROR = 1, 0x10, 0x20

# Regions and interrupts.
BAR0, BAR1, BAR2, ROM, CONFIG, VGA, N_REGIONS = 0, 1, 2, 6, 7, 8, 9
INTX, MSI, MSIX, ERR, REQ, N_IRQS = 0, 1, 2, 3, 4, 5
READABLE, WRITABLE, MAPPABLE, CAPABILITIES = 1, 2, 4, 8
NONE, BOOL, EVENTFD, MASK, UNMASK, TRIGGER = 1, 2, 4, 8, 16, 32
IRQ_EVENTFD, IRQ_MASKABLE, IRQ_AUTOMASKED, IRQ_NORESIZE = 1, 2, 4, 8

# Registers of BAR0.
INTR_MASK, INTR_STATUS, IV_POSITION, DOORBELL = 0, 4, 8, 12

# DEVICE_FEATURE.
GET, SET, PROBE = 0x10000, 0x20000, 0x40000
MIGRATION, MIG_DEVICE_STATE = 1, 2

HEADER = struct.Struct("=HHIII")
# The kernel cuts what is sent on a stream socket into pieces, of 32 KiB and a little.
PIECE = 32768
# Most that a well-behaved server sends in a message.
LARGEST = (1 << 20) + 4096

QEMU_JSON = (
    b'{"capabilities": {"pgsizes": 4096, "max_msg_fds": 16, "max_dma_maps": 65535, '
    b'"max_data_xfer_size": 1048576, "migration": {"max_bitmap_size": 268435456, "pgsize": 4096}, '
    b'"write_multiple": true}}'
)
RUST_JSON = b'{"capabilities":{"max_msg_fds":1,"max_data_xfer_size":1048576,"migration":{"pgsize":4096}}}'


def version_payload(text, major=0, minor=0, end=b"\0"):
    """`text` is JSON as bytes, or what becomes some; None: nothing behind the numbers."""
    if text is None:
        return struct.pack("=HH", major, minor)
    if not isinstance(text, bytes):
        text = json.dumps(text).encode()
    return struct.pack("=HH", major, minor) + text + end


# VERSION as it is sent by QEMU 11.1 (214 bytes with its header) and by Cloud Hypervisor's library (112).
QEMU_VERSION = version_payload(QEMU_JSON)
RUST_VERSION = version_payload(RUST_JSON, minor=1)


class Reply(NamedTuple):
    number: int
    command: int
    flags: int
    error: int
    payload: bytes
    fds: tuple

    @property
    def size(self):
        return HEADER.size + len(self.payload)


class Refused(Exception):
    """The device answered with an error."""

    def __init__(self, reply):
        super().__init__(f"command {reply.command}: {errno.errorcode.get(reply.error, reply.error)}")
        self.error = reply.error


class Ended(Exception):
    """The stream ended where a reply should have come."""


def message(command, payload=b"", number=0, size=None, flags=0, error=0):
    """The bytes of a message; `size` is what its header claims."""
    return HEADER.pack(number, command, HEADER.size + len(payload) if size is None else size, flags, error) + payload


# ---- requests: the command and its payload, as the functions of Client that send messages take them --------
#
# What a request says about itself, such as argsz, can be set to something wrong.


def get_info(argsz=16):
    return GET_INFO, struct.pack("=IIII", argsz, 0, 0, 0)


def get_region_info(index, argsz=32):
    return GET_REGION_INFO, struct.pack("=IIIIQQ", argsz, 0, index, 0, 0, 0)


def get_irq_info(index, argsz=16):
    return GET_IRQ_INFO, struct.pack("=IIII", argsz, 0, index, 0)


def get_io_fds(index, argsz=1 << 16, first=0, flags=0):
    return GET_REGION_IO_FDS, struct.pack("=IIII", argsz, flags, index, first)


def set_irqs(flags, index, start, count, data=b"", argsz=20):
    return SET_IRQS, struct.pack("=IIIII", argsz, flags, index, start, count) + data


def region_read(region, offset, count):
    return REGION_READ, struct.pack("=QII", offset, region, count)


def region_write(region, offset, data, count=None):
    return REGION_WRITE, struct.pack("=QII", offset, region, len(data) if count is None else count) + data


def write_multi(*writes, count=None):
    """Of (region, offset, data), 8 bytes of data at most."""
    payload = struct.pack("=Q", len(writes) if count is None else count)
    for region, offset, data in writes:
        payload += struct.pack("=QII8s", offset, region, len(data), data)
    return WRITE_MULTI, payload


def dma_map(address=0, size=4096, flags=3, offset=0, argsz=32):
    return DMA_MAP, struct.pack("=IIQQQ", argsz, flags, offset, address, size)


def dma_unmap(address=0, size=4096, flags=0, argsz=24):
    return DMA_UNMAP, struct.pack("=IIQQ", argsz, flags, address, size)


def feature(flags, data=b"", argsz=None):
    return FEATURE, struct.pack("=II", 8 + len(data) if argsz is None else argsz, flags) + data


def set_state(state):
    return feature(SET | MIG_DEVICE_STATE, struct.pack("=II", state, 0xFFFFFFFF))


def mig_read(size, argsz=None):
    return MIG_READ, struct.pack("=II", 8 + size if argsz is None else argsz, size)


def mig_write(data, size=None, argsz=None):
    size = len(data) if size is None else size
    return MIG_WRITE, struct.pack("=II", 8 + size if argsz is None else argsz, size) + data


class Client:
    """One connection. Descriptors that were received are closed with it, unless taken out of `owned`."""

    def __init__(self, path, timeout=None):
        self.timeout = timeout or wire.TIMEOUT
        self.number = 0
        self.owned = set()
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(path)

    def fileno(self):
        return self.sock.fileno()

    # ---- bytes ----------------------------------------------------------------------------------------

    def send_bytes(self, data, fds=()):
        """All of it, the descriptors with the first byte."""
        control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        view = memoryview(data)
        deadline = time.monotonic() + self.timeout
        while view:
            self.sock.settimeout(max(0.001, deadline - time.monotonic()))
            sent = self.sock.sendmsg([view], control)
            view, control = view[sent:], []

    def next_number(self):
        self.number = self.number + 1 & 0xFFFF
        return self.number

    def send(self, command, payload=b"", fds=(), number=None, size=None, flags=0, error=0):
        """Returns the number of the message."""
        number = self.next_number() if number is None else number
        self.send_bytes(message(command, payload, number, size, flags, error), fds)
        return number

    def wait_taken(self):
        """Until the device has read all that was sent, so that what follows is a read of its own."""
        deadline = time.monotonic() + self.timeout
        while self.unread_by_device():
            assert time.monotonic() < deadline, "the device does not read what was sent"
            time.sleep(0)

    def unread_by_device(self, kind=termios.TIOCOUTQ):
        buffer = array.array("i", [0])
        fcntl.ioctl(self.sock, kind, buffer)
        return buffer[0]

    def waiting(self):
        """Bytes that wait for us in the socket."""
        return self.unread_by_device(termios.FIONREAD)

    def receive(self, timeout=None):
        """The next reply; None at the end of the stream; ConnectionResetError if that was not an orderly one."""
        self.sock.settimeout(self.timeout if timeout is None else timeout)
        peeked = self.sock.recv(PIECE, socket.MSG_PEEK)
        if not peeked:
            return None
        assert len(peeked) >= HEADER.size, f"the header came in pieces: {peeked!r}"
        number, command, size, flags, error = HEADER.unpack_from(peeked)
        assert HEADER.size <= size <= LARGEST, f"a message that claims {size} bytes"
        assert len(peeked) >= min(size, PIECE), f"{len(peeked)} of {size} bytes came: not one sendmsg"
        data, fds = bytearray(), []
        while len(data) < size:
            part, control, received, _ = self.sock.recvmsg(size - len(data), 2048, socket.MSG_CMSG_CLOEXEC)
            assert part, f"the stream ended after {len(data)} of {size} bytes"
            assert not received & socket.MSG_CTRUNC, "descriptors were lost"
            for level, kind, body in control:
                assert (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
                new = array.array("i", body[: len(body) // 4 * 4])
                self.owned.update(new)
                fds.extend(new)
                assert not data, "descriptors that came with the middle of a message"
            data += part
        return Reply(number, command, flags, error, bytes(data[HEADER.size :]), tuple(fds))

    def reply_to(self, number, command, timeout=None):
        """The next reply, which must be that to this command and well formed."""
        reply = self.receive(timeout)
        if reply is None:
            raise Ended(f"no reply to command {command}")
        assert (reply.number, reply.command) == (number, command), f"{reply} is no reply to {number}, {command}"
        if reply.flags == REPLY | ERROR:
            assert reply.payload == b"" and not reply.fds, f"an error with more than its header: {reply}"
            assert 0 < reply.error < 4096, f"no error number: {reply}"
        else:
            assert reply.flags == REPLY, f"flags {reply.flags:#x}"
            assert reply.error == 0, f"success with an error number: {reply}"
        return reply

    def call(self, command, payload=b"", fds=(), **options):
        """The payload of the reply; Refused, Ended."""
        reply = self.exchange(command, payload, fds, **options)
        assert not reply.fds, f"descriptors with the reply to command {command}"
        return reply.payload

    def exchange(self, command, payload=b"", fds=(), timeout=None, **options):
        number = self.send(command, payload, fds, **options)
        reply = self.reply_to(number, command, timeout)
        if reply.flags & ERROR:
            raise Refused(reply)
        return reply

    def refused(self, command, payload=b"", fds=(), **options):
        """The command must be refused; returns the errno."""
        try:
            payload = self.call(command, payload, fds, **options)
        except Refused as refusal:
            return refusal.error
        raise AssertionError(f"command {command} was accepted, {len(payload)} bytes of payload")

    def tolerated(self, command, payload=b"", fds=(), **options):
        """The reply to a command that may also be refused as invalid: None, then."""
        try:
            return self.exchange(command, payload, fds, **options)
        except Refused as refusal:
            assert refusal.error == errno.EINVAL
            return None

    def close_fd(self, fd):
        os.close(fd)
        self.owned.discard(fd)

    def assert_ended(self, timeout=None):
        """End of the stream and nothing before it; never a reset."""
        reply = self.receive(timeout)
        assert reply is None, f"{reply} instead of the end of the stream"

    def drain_to_end(self):
        """Until the end of the stream, whatever comes before it; returns the replies."""
        return list(iter(self.receive, None))

    def close(self):
        self.sock.close()
        for fd in self.owned:
            os.close(fd)
        self.owned.clear()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # ---- commands --------------------------------------------------------------------------------------

    def version(self, payload=QEMU_VERSION):
        """(minor, capabilities) of the reply."""
        answer = self.call(VERSION, payload)
        major, minor = struct.unpack_from("=HH", answer)
        assert major == 0
        assert answer.endswith(b"\0") and answer.count(b"\0", 4) == 1, f"no text with its NUL: {answer}"
        return minor, json.loads(answer[4:-1])["capabilities"]

    def attach(self, payload=QEMU_VERSION):
        self.version(payload)
        return self

    def info(self, argsz=16):
        """(argsz, flags, regions, irqs)"""
        return struct.unpack("=IIII", self.call(*get_info(argsz)))

    def region_info(self, index, argsz=32):
        """A RegionInfo; capabilities stay undecoded."""
        reply = self.exchange(*get_region_info(index, argsz))
        assert len(reply.fds) <= 1
        assert len(reply.payload) == max(32, min(argsz, struct.unpack_from("=I", reply.payload)[0]))
        return RegionInfo(*struct.unpack_from("=IIIIQQ", reply.payload), (reply.fds or (None,))[0])

    def irq_info(self, index, argsz=16):
        """(flags, count)"""
        size, flags, same, count = struct.unpack("=IIII", self.call(*get_irq_info(index, argsz)))
        assert (size, same) == (16, index)
        return flags, count

    def set_irqs(self, flags, index, start, count, data=b"", fds=(), argsz=20):
        assert self.call(*set_irqs(flags, index, start, count, data, argsz), fds) == b""

    def assign(self, index, start, *fds):
        """Eventfds for these interrupts."""
        self.set_irqs(EVENTFD | TRIGGER, index, start, len(fds), fds=fds)

    def unassign(self, index, start, count=1):
        self.set_irqs(EVENTFD | TRIGGER, index, start, count)

    def resample(self, *fds):
        """The eventfd that says that INTx can be looked at again, or none."""
        self.set_irqs(EVENTFD | UNMASK, INTX, 0, 1, fds=fds)

    def disable(self, index):
        self.set_irqs(NONE | TRIGGER, index, 0, 0)

    def mask(self):
        self.set_irqs(NONE | MASK, INTX, 0, 1)

    def unmask(self):
        self.set_irqs(NONE | UNMASK, INTX, 0, 1)

    def read(self, region, offset, count):
        command, request = region_read(region, offset, count)
        payload = self.call(command, request)
        assert payload[:16] == request, "the reply does not repeat the request"
        assert len(payload) == 16 + count, f"{len(payload) - 16} bytes instead of {count}"
        return payload[16:]

    def write(self, region, offset, data):
        command, request = region_write(region, offset, data)
        assert self.call(command, request) == request[:16]

    def read_number(self, region, offset, size):
        return int.from_bytes(self.read(region, offset, size), "little")

    def write_number(self, region, offset, size, value):
        self.write(region, offset, value.to_bytes(size, "little"))

    def register(self, offset):
        return self.read_number(BAR0, offset, 4)

    def set_register(self, offset, value):
        self.write_number(BAR0, offset, 4, value)

    def ring(self, peer, vector):
        self.set_register(DOORBELL, peer << 16 | vector)

    def config(self, offset, size=4):
        return self.read_number(CONFIG, offset, size)

    def set_config(self, offset, size, value):
        self.write_number(CONFIG, offset, size, value)

    def bar_size(self, register, bits=32):
        """By writing ones and reading the mask back, as firmware does; the old value is put back."""
        registers = range(register, register + bits // 8, 4)
        old = [self.config(at) for at in registers]
        mask = 0
        for shift, at in enumerate(registers):
            self.set_config(at, 4, 0xFFFFFFFF)
            mask |= self.config(at) << 32 * shift
        for value, at in zip(old, registers):
            self.set_config(at, 4, value)
        mask &= ~0xF
        return (~mask & (1 << bits) - 1) + 1 if mask else 0

    def reset(self):
        assert self.call(RESET) == b""

    def dma_map(self, *arguments, fds=(), **options):
        assert self.call(*dma_map(*arguments, **options), fds) == b""

    def dma_unmap(self, *arguments, **options):
        command, request = dma_unmap(*arguments, **options)
        assert self.call(command, request) == request

    def write_multi(self, *writes):
        """How many the device says it did."""
        return struct.unpack("=Q", self.call(*write_multi(*writes)))[0]

    def io_fds(self, index, argsz=1 << 16, first=0):
        """(argsz, count, entries with their descriptors)"""
        reply = self.exchange(*get_io_fds(index, argsz, first))
        need, flags, same, count = struct.unpack_from("=IIII", reply.payload)
        assert (flags, same) == (0, index)
        assert len(reply.payload) <= argsz
        assert (len(reply.payload) - 16) % 40 == 0
        entries = []
        for at in range(16, len(reply.payload), 40):
            entry = IoFd(*struct.unpack_from("=QQIIIIQ", reply.payload, at))
            assert entry.fd_index < len(reply.fds), f"{entry} of {len(reply.fds)} descriptors"
            entries.append((entry, reply.fds[entry.fd_index]))
        return need, count, entries

    def feature(self, flags, data=b"", argsz=None):
        """The data of the reply."""
        payload = self.call(*feature(flags, data, argsz))
        assert struct.unpack_from("=I", payload, 4)[0] == flags
        return payload[8:]

    def state(self):
        return struct.unpack("=II", self.feature(GET | MIG_DEVICE_STATE, argsz=16))[0]

    def set_state(self, state):
        command, request = set_state(state)
        assert self.call(command, request) == request, "the request is not echoed"

    def mig_read(self, size):
        payload = self.call(*mig_read(size))
        argsz, got = struct.unpack_from("=II", payload)
        assert got <= size
        assert len(payload) - 8 in (got, size), f"{len(payload) - 8} bytes for {got} of {size}"
        assert argsz >= 8 + got
        return payload[8 : 8 + got]

    def mig_write(self, data):
        assert self.call(*mig_write(data)) == b""

    def pipeline(self, messages):
        """
        Send (command, payload, fds) one after the other without waiting, taking replies as they come so
        that neither end has to wait for the other for ever. Returns the replies.
        """
        numbered = [(self.next_number(), *sent) for sent in messages]

        def send_all():
            for number, command, payload, fds in numbered:
                self.send(command, payload, fds, number)

        with concurrent.futures.ThreadPoolExecutor(1) as threads:
            sending = threads.submit(send_all)
            replies = [self.reply_to(number, command) for number, command, _, _ in numbered]
            sending.result()
        return replies


class RegionInfo(NamedTuple):
    argsz: int
    flags: int
    index: int
    cap_offset: int
    size: int
    offset: int
    fd: int

    def map(self):
        """The whole region, as a client does."""
        return mmap.mmap(self.fd, self.size, offset=self.offset)


class IoFd(NamedTuple):
    offset: int
    size: int
    fd_index: int
    kind: int
    flags: int
    padding: int
    datamatch: int

# SPDX-License-Identifier: BSD-2-Clause
"""
A real QEMU with an ivshmem-doorbell device and no guest: the test plays the guest's part through qtest, one
access to the machine's memory or ports at a time.
"""

import json
import os
import shutil
import socket

import ivshmem_wire as wire

BAR0, BAR1, BAR2 = 0xE0000000, 0xE0010000, 0x4000000000
SLOT = 5

REG_MASK, REG_STATUS, REG_POSITION, REG_DOORBELL = 0, 4, 8, 12
MSIX_ENABLE, MSIX_MASK_ALL = 0x8000, 0x4000


def binary():
    return shutil.which("qemu-system-x86_64")


class Refused(Exception):
    """QEMU ended by itself, such as when it cannot make the device."""


_idle_eventfds = {}


def idle_eventfds(guest):
    """How many eventfds QEMU has for itself: those it has with a server that gives none."""
    if guest not in _idle_eventfds:
        room = wire.Room()
        server = wire.Server(room.socket, vectors=0)
        qemu = Qemu(room, room.socket, guest=guest)
        _idle_eventfds[guest] = qemu.eventfds()
        qemu.kill()
        server.kill()
        room.close()
    return _idle_eventfds[guest]


class Qemu(wire.Process):
    """
    A paused machine with the device in slot 5. With guest=True the test can act for the guest; without,
    it is a machine that only has the device.
    """

    def __init__(self, room, server_path, vectors=1, guest=True, ready=True, name="vm", properties=""):
        self.files = {kind: room.file(f"{name}-{kind}") for kind in ("qmp", "qtest")}
        self.listeners = {}
        for kind, path in self.files.items():
            # We listen and QEMU connects, so that nothing has to be tried until it is there.
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            listener.bind(path)
            listener.listen(1)
            listener.settimeout(wire.TIMEOUT)
            self.listeners[kind] = listener
        argv = [
            binary(), "-nodefaults", "-no-user-config", "-display", "none", "-S", "-machine", "pc",
            "-m", "32M", "-accel", "tcg", "-name", name,
            "-chardev", f"socket,id=ivshmem,path={server_path}",
            "-device", f"ivshmem-doorbell,id=dev,chardev=ivshmem,vectors={vectors},addr={SLOT:#x}{properties}",
            "-qmp", f"unix:{self.files['qmp']}",
        ]  # fmt: skip
        if guest:
            argv += ["-qtest", f"unix:{self.files['qtest']}", "-qtest-log", "none"]
        super().__init__(argv)
        self.vectors = vectors
        self.guest = guest
        self.qmp = self.qtest = None
        if ready:
            self.ready()

    def accept(self, kind):
        listener = self.listeners[kind]
        listener.settimeout(0.2)
        for _ in range(int(wire.TIMEOUT * 5)):
            try:
                stream = listener.accept()[0]
                stream.settimeout(wire.TIMEOUT)
                return stream.makefile("rwb", buffering=0)
            except TimeoutError:
                if not self.running():
                    raise Refused(self.describe()) from None
        raise AssertionError(f"QEMU does not start\n{self.describe()}")

    def ready(self):
        """The device exists: QEMU answers only after it has made it."""
        if self.guest:
            self.qtest = self.accept("qtest")
        self.qmp = self.accept("qmp")
        assert "QMP" in json.loads(self.line(self.qmp))
        self.command("qmp_capabilities")
        if self.guest:
            self.set_up_pci()
        return self

    def line(self, stream):
        data = b""
        while not data.endswith(b"\n"):
            try:
                part = stream.readline()
            except ConnectionResetError:
                part = b""
            if not part:
                status = self.wait()
                raise Refused(f"QEMU ended with status {status}\n{self.describe()}")
            data += part
        return data.decode()

    def command(self, name, **arguments):
        self.qmp.write(json.dumps({"execute": name, "arguments": arguments}).encode() + b"\n")
        while True:
            answer = json.loads(self.line(self.qmp))
            if "return" in answer:
                return answer["return"]
            assert "error" not in answer, answer

    def alive(self):
        """It answers, so its main loop runs and has handled what came before."""
        assert self.running(), self.describe()
        assert self.command("query-status")["status"] in ("prelaunch", "paused")
        return True

    def access(self, *words):
        self.qtest.write((" ".join(words) + "\n").encode())
        while True:
            answer = self.line(self.qtest).split()
            if answer[0] == "IRQ":
                continue
            assert answer[0] == "OK", f"{words}: {answer}"
            return int(answer[1], 0) if len(answer) > 1 else None

    def read(self, address, bits=32):
        return self.access({8: "readb", 16: "readw", 32: "readl", 64: "readq"}[bits], hex(address))

    def write(self, address, value, bits=32):
        return self.access({8: "writeb", 16: "writew", 32: "writel", 64: "writeq"}[bits], hex(address), hex(value))

    def config_address(self, offset):
        self.access("outl", "0xcf8", hex(0x80000000 | SLOT << 11 | (offset & 0xFC)))

    def config_read(self, offset):
        self.config_address(offset)
        return self.access("inl", "0xcfc")

    def config_write(self, offset, value, bits=32):
        self.config_address(offset)
        self.access({16: "outw", 32: "outl"}[bits], hex(0xCFC + (offset & 3)), hex(value))

    def set_up_pci(self):
        assert self.config_read(0) == 0x11101AF4
        self.config_write(0x18, 0xFFFFFFFF)
        self.config_write(0x1C, 0xFFFFFFFF)
        low, high = self.config_read(0x18), self.config_read(0x1C)
        self.memory_size = -((high << 32 | low & ~0xF) - (1 << 64))
        self.config_write(0x10, BAR0)
        self.config_write(0x14, BAR1)
        self.config_write(0x18, BAR2 & 0xFFFFFFFF)
        self.config_write(0x1C, BAR2 >> 32)
        self.config_write(4, 0x0006, 16)  # memory and bus master
        self.msix = self.config_read(0x34) & 0xFF
        assert self.config_read(self.msix) & 0xFF == 0x11
        assert (self.config_read(self.msix) >> 16 & 0x7FF) + 1 == self.vectors
        self.pba = BAR1 + (self.config_read(self.msix + 8) & ~7)
        # Enabled but every vector masked, as after a reset: a ring sets a bit that can be read at leisure.
        self.config_write(self.msix + 2, MSIX_ENABLE, 16)

    @property
    def id(self):
        return self.read(BAR0 + REG_POSITION)

    def ring(self, peer, vector=0):
        self.write(BAR0 + REG_DOORBELL, peer << 16 | vector)

    def pending(self):
        """The vectors that were rung and not delivered, all being masked."""
        return {
            vector
            for word in range((self.vectors + 63) // 64)
            for bits in [self.read(self.pba + 8 * word, 64)]
            for vector in range(64 * word, min(64 * word + 64, self.vectors))
            if bits >> (vector % 64) & 1
        }

    def wait_pending(self, vectors):
        wire.wait_until(lambda: self.pending() == set(vectors), f"pending vectors {set(vectors)}")

    def clear_pending(self):
        """Let the vectors out into ordinary memory, one after the other."""
        for vector in self.pending():
            entry = BAR1 + 16 * vector
            self.write(entry, 0xFEE00000 + 0)
            self.write(entry + 4, 0)
            self.write(entry + 8, 0x40)
            self.write(entry + 12, 0)
            self.write(entry + 12, 1)
        assert not self.pending()

    def peer_eventfds(self):
        """Eventfds that came from the server, its own included."""
        return self.eventfds() - idle_eventfds(self.guest)

    def wait_peer_eventfds(self, count):
        try:
            wire.wait_until(lambda: self.peer_eventfds() == count, "")
        except AssertionError:
            raise AssertionError(f"{self.peer_eventfds()} eventfds in QEMU instead of {count}") from None

    def kill(self):
        super().kill()
        for stream in [self.qmp, self.qtest, *self.listeners.values()]:
            if stream is not None:
                stream.close()
        for path in self.files.values():
            if os.path.exists(path):
                os.unlink(path)

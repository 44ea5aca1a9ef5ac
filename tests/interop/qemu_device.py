# SPDX-License-Identifier: BSD-2-Clause
"""
A real QEMU with an ivshmem-doorbell device and no guest: the test plays the guest's part through qtest, one
access to the machine's memory or ports at a time.
"""

import shutil

import ivshmem_wire as wire
from qtest import QemuMachine, Refused  # noqa: F401
from vfio_user import DOORBELL, IV_POSITION

BAR0, BAR1, BAR2 = 0xE0000000, 0xE0010000, 0x4000000000
SLOT = 5

MSIX_ENABLE = 0x8000


def binary():
    return shutil.which("qemu-system-x86_64")


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


def doorbell_device(server_path, vectors, *properties):
    """The arguments for QEMU's device, attached to a server."""
    properties = "".join(f",{each}" for each in properties)
    return [
        "-chardev", f"socket,id=ivshmem,path={server_path}",
        "-device", f"ivshmem-doorbell,id=dev,chardev=ivshmem,vectors={vectors},addr={SLOT:#x}{properties}",
    ]  # fmt: skip


class Qemu(QemuMachine):
    """
    A paused machine with the device in slot 5. With guest=True the test can act for the guest; without,
    it is a machine that only has the device.
    """

    def __init__(
        self, room, server_path, vectors=1, guest=True, ready=True, name="vm", properties=(), program=None, more=()
    ):
        """
        properties	more of the device
        program		the QEMU; the machine's own by default
        more		arguments
        """
        argv = [program or binary(), "-machine", "pc", "-accel", "tcg", "-name", name]
        super().__init__(room, [*argv, *doorbell_device(server_path, vectors, *properties), *more], guest, name)
        self.vectors = vectors
        if ready:
            self.ready()

    def ready(self, placed=True):
        """The device exists: QEMU answers only after it has made it. Firmware has placed it unless told otherwise."""
        super().ready()
        if self.guest and placed:
            self.set_up_pci()
        return self

    def plug(self, server_path, vectors, name, **place):
        """Another device, while the machine runs."""
        address = {"type": "unix", "data": {"path": server_path}}
        backend = {"type": "socket", "data": {"addr": address, "server": False}}
        self.command("chardev-add", id=f"{name}-server", backend=backend)
        self.command(
            "device_add", driver="ivshmem-doorbell", id=name, chardev=f"{name}-server", vectors=vectors, **place
        )

    def config_read(self, offset, size=4):
        return super().config_read(SLOT, offset, size)

    def config_write(self, offset, value, size=4):
        super().config_write(SLOT, offset, value, size)

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
        self.config_write(4, 0x0006, 2)  # memory and bus master
        self.msix = self.config_read(0x34) & 0xFF
        assert self.config_read(self.msix) & 0xFF == 0x11
        assert (self.config_read(self.msix) >> 16 & 0x7FF) + 1 == self.vectors
        self.pba = BAR1 + (self.config_read(self.msix + 8) & ~7)
        # Enabled but every vector masked, as after a reset: a ring sets a bit that can be read at leisure.
        self.config_write(self.msix + 2, MSIX_ENABLE, 2)

    @property
    def id(self):
        return self.read(BAR0 + IV_POSITION)

    def ring(self, peer, vector=0):
        self.write(BAR0 + DOORBELL, peer << 16 | vector)

    def pending(self):
        """The vectors that were rung and not delivered, all being masked."""
        return {
            vector
            for word in range((self.vectors + 63) // 64)
            for bits in [self.read(self.pba + 8 * word, 8)]
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

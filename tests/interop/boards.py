# SPDX-License-Identifier: BSD-2-Clause
"""
The device in different machines, behind one interface: QEMU's own device, ours in QEMU over vfio-user, ours
as a raw vfio-user client sees it, and ours in a program that embeds it. Each is a member of a group of its
own, with the same server, memory and peers around it.
"""

import mmap
import os
import shutil
import sys

import ivshmem_wire as wire

sys.path.insert(0, os.path.join(wire.ROOT, "scripts"))

import vm
from qemu_device import SLOT, doorbell_device
from qtest import Machine, QemuMachine
from vfio_user import DOORBELL, INTR_MASK as MASK, INTR_STATUS as STATUS, IV_POSITION as POSITION  # noqa: F401
from vfio_user_fixtures import Device

# The lower half of BAR2's address is all that revision 0 takes.
BARS = {0: 0xE0000000, 1: 0xE0100000, 2: 0x40_E0200000}
REGISTERS = {0: 0x10, 1: 0x14, 2: 0x18}
COMMAND, MSIX_CONTROL = 0x04, 0x42

# Where the guest lets vectors write their messages: ordinary memory, which the test looks into.
MESSAGES = 0x200000

# In each group: who was there first, the device, and who came last.
FIRST, OWN, LAST = 0, 1, 2
ABSENT = (3, 0x7FFF, 0xFFFF)


class Group:
    """A server with memory, and two raw peers that were there before and came after the device."""

    def __init__(self, room, name, vectors, size):
        self.server = wire.Server(room.file(f"{name}-server"), "-l", str(size), vectors=vectors)
        self.vectors = vectors
        self.first = self.server.client()
        self.memory = mmap.mmap(self.first.memory, size)

    def complete(self):
        """The device has joined: the last one does."""
        self.first.follow_until_knows([FIRST, OWN])
        self.last = self.server.client()
        self.first.follow_until_knows([FIRST, OWN, LAST])

    def rung(self):
        """What was rung since the last call, other than of the device: (peer, vector) to how often."""
        counts = {}
        for client in (self.first, self.last):
            for vector, fd in enumerate(client.peers[client.id]):
                count = wire.rings(fd)
                if count:
                    counts[client.id, vector] = count
        return counts

    def ring(self, vector):
        """The host rings the device."""
        wire.ring(self.first.peers[OWN][vector])

    def wait_taken(self):
        """Until the device has read all its eventfds."""
        own = self.first.peers[OWN]
        wire.wait_until(lambda: not any(wire.readable(fd, 0) for fd in own), "the device takes its rings")

    def finish(self):
        self.server.finish()

    def close(self):
        self.memory.close()
        self.server.kill()
        self.server.check_sanitizer()


class PlainMemory:
    """What a device without server has."""

    vectors = 0

    def __init__(self, room, name, size):
        self.path = room.file(f"{name}-memory")
        with open(self.path, "w+b") as file:
            file.truncate(size)
            self.memory = mmap.mmap(file.fileno(), size)

    def rung(self):
        return {}

    def nothing_to_do(self):
        pass

    complete = wait_taken = finish = nothing_to_do

    def close(self):
        self.memory.close()


class Board:
    """
    What a guest can do with the device, and what can be seen of it from outside.

    kind	a word for it
    has_msix	the table masks; messages reach memory
    reach	vectors that a doorbell write can name

    What differs between machines, and each class of them has, beside the accesses:

    launch()	start what the device and its machine consist of
    reset()	of the machine, when all is settled; the BARs are not placed any more
    settle()	until all that was rung has had its effect
    messages()	what the vectors wrote since the last call: vector to data
    """

    kind = None
    has_msix = True
    reach = 65536

    def __init__(self, room, name, vectors, size, *arguments):
        """
        vectors		0: a device without server
        arguments	of the device, or properties
        """
        self.room = room
        self.name = name
        self.vectors = vectors
        self.size = size
        self.arguments = arguments
        # How BAR1 is laid out: the table, the pending bits, a power of two.
        self.pba = max(0x800, 16 * vectors)
        self.bar1_size = max(0x1000, 1 << (self.pba + (vectors + 63) // 64 * 8 - 1).bit_length())
        if {"--legacy-doorbell", "ioeventfd=off"} & set(arguments):
            self.reach = 256
        self.bars = dict(BARS)
        if "--revision" in arguments:
            self.bars[2] &= 0xFFFFFFFF
        self.processes = []
        self.group = None

    def start(self):
        """The device is there and placed, and knows the others."""
        if self.vectors:
            self.group = Group(self.room, self.name, self.vectors, self.size)
        else:
            self.group = PlainMemory(self.room, self.name, self.size)
        self.launch()
        self.place()
        self.group.complete()
        if self.vectors:
            vector = min(self.vectors, self.reach) - 1
            fd = self.group.last.peers[LAST][vector]
            # The last of the vectors that it hears of.
            value = LAST << 16 | vector
            wire.wait_until(lambda: self.write(0, DOORBELL, 4, value) or wire.rings(fd), "the device knows all peers")
            self.settle()
            self.group.rung()
        return self

    def place(self):
        """As firmware does, with memory decoding and bus mastering on."""
        self.config_write(COMMAND, 2, 0)
        for bar, register in REGISTERS.items():
            self.config_write(register, 4, BARS[bar] & 0xFFFFFFFF)
        self.config_write(REGISTERS[2] + 4, 4, BARS[2] >> 32)
        self.config_write(COMMAND, 2, 6)

    def restart(self):
        self.reset()
        self.place()

    # ---- ends ------------------------------------------------------------------------------------------

    def finish(self):
        """Ours must have survived it all, and end well."""
        for process in reversed(self.processes):
            process.finish()
        self.group.finish()

    def add(self, process):
        self.processes.append(process)
        return process

    def close(self):
        for process in reversed(self.processes):
            process.kill()
        if self.group:
            self.group.close()
        for process in self.processes:
            process.check_sanitizer()


class MachineBoard(Board):
    """One that is driven through qtest."""

    machine = None

    def start_qemu(self, binary, *device):
        argv = [binary, "-machine", "pc", "-accel", "tcg", *device]
        self.machine = self.add(QemuMachine(self.room, argv, name=self.name))
        self.machine.ready()

    def config_read(self, offset, size):
        return self.machine.config_read(SLOT, offset, size)

    def config_write(self, offset, size, value):
        self.machine.config_write(SLOT, offset, value, size)

    def read(self, bar, offset, size):
        return self.machine.read(self.bars[bar] + offset, size)

    def write(self, bar, offset, size, value):
        self.machine.write(self.bars[bar] + offset, value, size)

    def reset(self):
        self.settle()
        self.reset_machine()
        self.messages()

    def reset_machine(self):
        self.machine.reset()

    def settle(self):
        self.group.wait_taken()
        # Whoever took a ring does something about it before it answers an access; and what a machine is told
        # by eventfds then, it has looked at when it has done another access after one.
        self.config_read(COMMAND, 2)
        for _ in range(3):
            self.machine.read(MESSAGES, 4)

    def messages(self):
        found = {}
        for vector in range(self.vectors):
            data = self.machine.read(MESSAGES + 16 * vector, 8)
            if data:
                found[vector] = data
                self.machine.write(MESSAGES + 16 * vector, 0, 8)
        return found


class BuiltIn(MachineBoard):
    """QEMU's own device."""

    kind = "built-in"
    qemu = None
    more = ()  # arguments of QEMU

    def launch(self):
        if self.vectors:
            device = doorbell_device(self.group.server.path, self.vectors, *self.arguments)
        else:
            properties = ",".join([f"id=dev,addr={SLOT:#x}", *self.arguments])
            device = [
                "-object", f"memory-backend-file,id=memory,share=on,size={self.size},mem-path={self.group.path}",
                "-device", f"ivshmem-plain,memdev=memory,{properties}",
            ]  # fmt: skip
        self.start_qemu(self.qemu or vm.qemu_with_vfio_user(), *device, *self.more)


class OlderQemu(BuiltIn):
    """The machine's own."""

    qemu = shutil.which("qemu-system-x86_64")


def start_device(board):
    """ivshmem-device, in the board's group."""
    if board.vectors:
        source = ["--server", board.group.server.path, "--vectors", str(board.vectors)]
    else:
        source = ["--file", board.group.path]
    if "--revision" in board.arguments:
        # Revision 0 has a default of its own.
        source += ["--size", f"{board.size >> 20}M"]
    return board.add(Device(board.room.file(f"{board.name}-device"), *source, *board.arguments))


class VfioUser(MachineBoard):
    """Ours, in QEMU."""

    kind = "vfio-user"

    def device_path(self):
        """The socket of a device that is ready."""
        return start_device(self).path

    def launch(self):
        self.start_qemu(vm.qemu_with_vfio_user(), *vm.vfio_user(self.device_path(), "dev", addr=f"{SLOT:#x}"))


class Embedded(MachineBoard):
    """Ours, in a program that has the table and all else from the library."""

    kind = "embedded"

    def launch(self):
        source = self.group.server.path if self.vectors else self.group.path

        def command(files):
            return [wire.program("tests/interop/qtest-machine"), files["qtest"], source, self.vectors]

        self.machine = self.add(Machine(self.room, command, name=self.name))
        self.machine.accept("qtest")

    def reset_machine(self):
        self.machine.access("reset")


class Raw(Board):
    """Ours, as it looks to whoever serves it: the table is there, but masks nothing."""

    kind = "raw"
    has_msix = False

    def launch(self):
        vmm = self.vmm = start_device(self).vmm()
        self.config_read, self.config_write = vmm.config, vmm.set_config
        self.read, self.write = vmm.read_number, vmm.write_number

    def reset(self):
        self.settle()
        self.vmm.reset()

    def settle(self):
        self.group.wait_taken()
        self.config_read(COMMAND, 2)

    def messages(self):
        return {}

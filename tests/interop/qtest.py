# SPDX-License-Identifier: BSD-2-Clause
"""
A machine without a guest: the test plays the guest's part through the qtest protocol, one access to memory
or ports at a time. It is QEMU, or a program that speaks the same protocol.
"""

import json
import os
import socket

import ivshmem_wire as wire

# How the protocol tells sizes, such as "readl".
SIZE = {1: "b", 2: "w", 4: "l", 8: "q"}


class Refused(Exception):
    """The machine ended by itself, such as when it cannot make the device, or crashed."""


class Machine(wire.Process):
    """
    command		its arguments; the sockets that it is to connect to are in `files`
    sockets		kinds of them
    """

    def __init__(self, room, command, sockets=("qtest",), name="vm"):
        self.files = {kind: room.file(f"{name}-{kind}") for kind in sockets}
        self.listeners = {}
        self.streams = {}
        self.lines_of = {}
        for kind, path in self.files.items():
            # We listen and the machine connects, so that nothing has to be tried until it is there.
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            listener.bind(path)
            listener.listen(1)
            self.listeners[kind] = listener
        super().__init__(command(self.files))

    def accept(self, kind):
        listener = self.listeners[kind]
        listener.settimeout(0.2)
        for _ in range(int(wire.TIMEOUT * 5)):
            try:
                stream = listener.accept()[0]
                stream.settimeout(wire.TIMEOUT)
                self.streams[kind] = stream
                self.lines_of[kind] = stream.makefile("rb")
                return
            except TimeoutError:
                if not self.running():
                    raise Refused(self.describe()) from None
        raise AssertionError(f"the machine does not start\n{self.describe()}")

    def line(self, kind):
        try:
            line = self.lines_of[kind].readline()
        except ConnectionResetError:
            line = b""
        if not line.endswith(b"\n"):
            raise self.ended()
        return line.decode()

    def say(self, kind, text):
        try:
            self.streams[kind].sendall(text.encode() + b"\n")
        except (BrokenPipeError, ConnectionResetError):
            raise self.ended() from None

    def ended(self):
        return Refused(f"the machine ended with status {self.wait()}\n{self.describe()}")

    def finish(self):
        """It ends with the test's end of the socket, and well."""
        self.streams["qtest"].shutdown(socket.SHUT_RDWR)
        status = self.wait()
        assert status == 0, f"exit status {status}\n{self.describe()}"

    def kill(self):
        super().kill()
        for stream in [*self.lines_of.values(), *self.streams.values(), *self.listeners.values()]:
            stream.close()
        for path in self.files.values():
            if os.path.exists(path):
                os.unlink(path)

    # ---- accesses --------------------------------------------------------------------------------------

    def send(self, *words):
        self.say("qtest", " ".join(words))

    def answer(self):
        while True:
            answer = self.line("qtest").split()
            if answer[0] == "IRQ":
                continue
            assert answer[0] == "OK", answer
            return int(answer[1], 0) if len(answer) > 1 else None

    def access(self, *words):
        self.send(*words)
        return self.answer()

    def read(self, address, size=4):
        return self.access("read" + SIZE[size], hex(address))

    def write(self, address, value, size=4):
        self.access("write" + SIZE[size], hex(address), hex(value))

    def config_address(self, slot, offset):
        self.access("outl", "0xcf8", hex(0x80000000 | slot << 11 | (offset & 0xFC)))

    def config_read(self, slot, offset, size=4):
        self.config_address(slot, offset)
        return self.access("in" + SIZE[size], hex(0xCFC + (offset & 3)))

    def config_write(self, slot, offset, value, size=4):
        self.config_address(slot, offset)
        self.access("out" + SIZE[size], hex(0xCFC + (offset & 3)), hex(value))


# Where a guest tells the machine "pc" that it has let go of devices, a bit for each slot (ACPI hot-plug).
EJECT = 0xAE08


class QemuMachine(Machine):
    """
    A paused QEMU, ready when ready() returns: it answers only after it has made its devices. Without a
    guest, nobody can access them.
    """

    def __init__(self, room, argv, guest=True, name="vm"):
        self.guest = guest
        self.events = []
        sockets = ("qtest", "qmp") if guest else ("qmp",)

        def command(files):
            more = ["-qtest", f"unix:{files['qtest']}", "-qtest-log", "none"] if guest else []
            return [
                *argv, "-nodefaults", "-no-user-config", "-display", "none", "-S", "-m", "32M",
                "-qmp", f"unix:{files['qmp']}", *more,
            ]  # fmt: skip

        super().__init__(room, command, sockets, name)

    def ready(self):
        for kind in self.files:
            self.accept(kind)
        assert "QMP" in json.loads(self.line("qmp"))
        self.command("qmp_capabilities")
        return self

    def next(self):
        """What QMP says next; events are kept."""
        answer = json.loads(self.line("qmp"))
        if "event" in answer:
            self.events.append(answer["event"])
        return answer

    def command(self, name, **arguments):
        self.say("qmp", json.dumps({"execute": name, "arguments": arguments}))
        while True:
            answer = self.next()
            if "return" in answer:
                return answer["return"]
            assert "error" not in answer, answer

    def finish(self):
        self.alive()
        self.command("quit")
        self.wait()

    def alive(self):
        """It answers, so its main loop runs and has handled what came before."""
        assert self.running(), self.describe()
        assert self.command("query-status")["status"] in ("prelaunch", "paused", "inmigrate", "postmigrate")
        return True

    def wait_event(self, name):
        """Of those since events.clear(). It may come before the answer of the command that brings it."""
        while name not in self.events:
            self.next()

    def reset(self):
        """As by the machine's button."""
        self.events.clear()
        self.command("system_reset")
        self.wait_event("RESET")

    def unplug(self, device, slot):
        """The machine wants the device back, and the guest lets it go at once."""
        self.events.clear()
        self.command("device_del", id=device)
        self.access("outl", hex(EJECT), hex(1 << slot))
        self.wait_event("DEVICE_DELETED")

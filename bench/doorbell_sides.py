# SPDX-License-Identifier: BSD-2-Clause
"""The processes that bench/doorbell is measured between: servers, devices, QEMUs."""

import mmap
import os
import shutil
import signal
import subprocess

from sides import Sides, wait_for

QEMU = "qemu-system-x86_64"
GUEST_MEMORY = 64 << 20
MAILBOX_AT = 0x8000  # tests/vmm/guest/mailbox.h
MAGIC = bytes.fromhex("6967766d")


class DoorbellSides(Sides):
    """The devices and QEMUs beside the processor that does not ring."""

    def __init__(self, build, machine):
        super().__init__(build)
        self.cpus = (machine.server_cpu, machine.driver_cpu)
        self.memories = []

    def __exit__(self, *exception):
        super().__exit__(*exception)
        for fd in self.memories:
            os.close(fd)

    def group(self, name):
        """A server of which the first id belongs to a peer that never looks."""
        server = self.server(name, 1)
        self.idle_peer(server)
        return server

    def beside(self, server, number, vectors, *options):
        return self.device(server, number, vectors, *options, cpu=self.cpus[1 - number])

    def devices(self, server):
        return ",".join(self.beside(server, number, 1) for number in range(2))

    def qemu(self, server, number):
        """A QEMU that has its guest started, and is stopped; process id and the file of its memory."""
        fd = os.memfd_create("guest")
        self.memories.append(fd)
        os.truncate(fd, GUEST_MEMORY)
        memory = f"/proc/{os.getpid()}/fd/{fd}"
        log = self.path(f"qemu-{number}")
        with open(log, "wb") as output:
            qemu = self.start(
                [QEMU, "-nodefaults", "-no-user-config", "-display", "none",
                 "-machine", "pc,accel=kvm,memory-backend=memory", "-m", GUEST_MEMORY >> 20,
                 "-object", f"memory-backend-file,id=memory,size={GUEST_MEMORY},mem-path={memory},share=on",
                 "-bios", os.path.join(self.build, "bench", "doorbell", "rom.bin"),
                 "-chardev", f"socket,id=server,path={server}",
                 "-device", "ivshmem-doorbell,chardev=server,vectors=1"],
                self.cpus[number], stdout=output, stderr=output)
        with mmap.mmap(fd, GUEST_MEMORY) as view:
            try:
                wait_for(lambda: view[MAILBOX_AT:MAILBOX_AT + 4] == MAGIC or qemu.poll() is not None, "the guest")
            except RuntimeError:
                pass
            if view[MAILBOX_AT:MAILBOX_AT + 4] != MAGIC:
                with open(log, encoding="utf-8", errors="replace") as file:
                    lines = file.read().strip().splitlines()
                raise RuntimeError(lines[-1] if lines and qemu.poll() is not None else "the guest does not start")
        qemu.send_signal(signal.SIGSTOP)
        return f"{qemu.pid},{memory}"

    def qemus(self, server):
        if shutil.which(QEMU) is None:
            raise RuntimeError(f"there is no {QEMU}")
        return ",".join(self.qemu(server, number) for number in range(2))


def qemu_version():
    words = subprocess.run([QEMU, "--version"], stdout=subprocess.PIPE, check=True).stdout.decode().split()
    return f"QEMU {words[3]}"

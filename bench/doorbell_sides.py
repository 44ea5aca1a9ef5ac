# SPDX-License-Identifier: BSD-2-Clause
"""The processes that bench/doorbell is measured between: servers, devices, QEMUs."""

import mmap
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from machine import child_setup

PATIENCE_S = 20
QEMU = "qemu-system-x86_64"
GUEST_MEMORY = 64 << 20
MAILBOX_AT = 0x8000  # tests/vmm/guest/mailbox.h
MAGIC = bytes.fromhex("6967766d")
MEMORY = "4M"  # shared, of each group


def wait_for(condition, what):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what} did not come")
        time.sleep(0.01)


class Sides:
    """Processes, and what they leave behind; a context manager that ends them all."""

    def __init__(self, build, machine):
        self.build = build
        self.machine = machine
        self.cpus = (machine.server_cpu, machine.driver_cpu)
        self.directory = tempfile.TemporaryDirectory(prefix="ivshmem-bench-")
        self.processes = []
        self.sockets = []
        self.memories = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in reversed(self.processes):
            process.kill()  # also one that is stopped
            process.wait()
            if process.stdout:
                process.stdout.close()
        for file in self.sockets:
            file.close()
        for fd in self.memories:
            os.close(fd)
        self.directory.cleanup()

    def path(self, name):
        return os.path.join(self.directory.name, name)

    def start(self, words, cpu=None, **pipes):
        process = subprocess.Popen([str(word) for word in words], stdin=subprocess.DEVNULL,
                                   preexec_fn=child_setup(cpu), **pipes)
        self.processes.append(process)
        return process

    def server(self, name, vectors, idle=True):
        """A server, and in it a client that never reads its eventfds, which has the first id."""
        path = self.path(name)
        self.start([os.path.join(self.build, "ivshmem-server"), "-F", "-S", path, "-l", MEMORY, "-n", vectors],
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(lambda: os.path.exists(path), "the server's socket")
        if idle:
            wait_for(lambda: self.join(path), "the server")
        return path

    def join(self, path):
        peer = socket.socket(socket.AF_UNIX)
        self.sockets.append(peer)
        try:
            peer.connect(path)
        except ConnectionRefusedError:
            return False
        greeting = b""
        while len(greeting) < 16:
            greeting += peer.recv(16 - len(greeting))
        return True

    def device(self, server, number, vectors, *options):
        """An ivshmem-device beside the processor that does not ring; its socket."""
        path = f"{server}-{number}"
        device = self.start([os.path.join(self.build, "ivshmem-device"), "--socket", path, "--server", server,
                             "--vectors", vectors, *options], self.cpus[1 - number], stdout=subprocess.PIPE)
        if not device.stdout.readline().startswith(b"ready"):
            raise RuntimeError("ivshmem-device did not start")
        return path

    def devices(self, server):
        return ",".join(self.device(server, number, 1) for number in range(2))

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

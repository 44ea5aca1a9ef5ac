# SPDX-License-Identifier: BSD-2-Clause
"""
Where the tests run that need KVM: here, if /dev/kvm is of use, else in a machine that emulates what KVM needs
(scripts/vm/kvm_machine.py). IVSHMEM_TEST_KVM=machine in the environment asks for the machine in any case.
"""

import fcntl
import glob
import os

import vm
from check.builds import PLAIN, ROOT, share_guest_images
from check.run import run

KVM_GET_API_VERSION, KVM_CREATE_VM = 0xAE00, 0xAE01
SUITE = "needs-kvm"

# Seconds. A program takes 20 at most, Linux guests some 300.
MACHINE_LIMIT = 1200

# MiB: two guests, and all that they need, which is in memory.
LINUX_MEMORY = 3072


def why_not_here():
    """None if this machine's /dev/kvm makes virtual machines, else the reason in words."""
    if os.environ.get("IVSHMEM_TEST_KVM") == "machine":
        return "IVSHMEM_TEST_KVM says so"
    try:
        kvm = os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC)
    except OSError as problem:
        return f"/dev/kvm: {problem.strerror}"
    try:
        if fcntl.ioctl(kvm, KVM_GET_API_VERSION) != 12:
            return "/dev/kvm is of another kind"
        os.close(fcntl.ioctl(kvm, KVM_CREATE_VM))
    except OSError as problem:
        return f"/dev/kvm makes no machines: {problem.strerror}"
    finally:
        os.close(kvm)
    return None


def needs_kvm(test):
    return any(suite.endswith(":" + SUITE) for suite in test["suite"])


def program_files(builds):
    """What the test programs that need KVM consist of, with the programs that they start."""
    for build in builds:
        yield from (test["cmd"][0] for test in build.tests() if needs_kvm(test))
        yield from (path for path in glob.glob(os.path.join(build.path, "ivshmem*")) if os.path.isfile(path))
        yield os.path.join(build.path, "tests", "vmm", "guest.bin")


def linux_files():
    """What tests/vm needs: its own files, and what starts guests."""
    yield from vm.guest_files("pytest", "xml.etree.ElementTree")
    for name in ("tests/vm", "tests/support", "tests/interop", "demo", "build/guest/parts"):
        yield os.path.join(ROOT, name)
    yield from (path for path in glob.glob(os.path.join(PLAIN.path, "ivshmem*")) if os.path.isfile(path))
    yield os.path.join(PLAIN.path, "guest")
    yield from glob.glob(os.path.join(PLAIN.path, "tests", "driver", "driver-*[!p]"))


class Kvm:
    """
    A machine for the test programs of some builds, or for Linux guests: one at a time, made when it is needed, because
    all that is in it takes memory.
    """

    def __init__(self, say):
        self.say = say
        self.reason = why_not_here()
        self.machines = {}

    def _machine(self, name, files, memory):
        if name not in self.machines:
            self.stop()
            share_guest_images()
            image = vm.build_image(os.path.join(ROOT, "build", "guest"), os.path.join(PLAIN.path, "ivshmem-static"), self.say)
            self.machines[name] = vm.KvmMachine(image, files, memory=memory, say=self.say)
        return self.machines[name]

    def programs(self, builds):
        """The machine for test programs, or None if they can run here."""
        if self.reason is None:
            return None
        self.say(f"programs that need KVM run in a machine that emulates it ({self.reason})")
        name = "programs of " + ", ".join(build.name for build in builds)
        return self._machine(name, list(program_files(builds)), 2048)

    def linux(self):
        return self._machine("linux", list(linux_files()), LINUX_MEMORY)

    def stop(self):
        for machine in self.machines.values():
            machine.stop()
        self.machines.clear()


def run_in(machine, command, *, timeout, cwd, env, say):
    """Like check.run.run(). A machine that dies may have done so of itself, so there is one more chance; that is said."""
    if machine is None:
        return run(command, timeout=timeout, cwd=cwd, env=env)
    factor = int(vm.KVM_MACHINE_ENVIRONMENT["TEST_TIMEOUT_FACTOR"])
    limit = min(timeout * factor, MACHINE_LIMIT)
    for last in (False, True):
        try:
            return machine.run(command, timeout=limit, cwd=cwd, env=env)
        except vm.KvmMachineError as problem:
            if last:
                return None, f"the machine that emulates KVM died, twice:\n{problem}"
            say(f"the machine that emulates KVM died during {os.path.basename(command[0])} and is started again")

# SPDX-License-Identifier: BSD-2-Clause
"""ivshmem-device as a process, a group around it, and what its tests have in common with pytest."""

import contextlib
import mmap
import os
import signal
import subprocess
import sys
import time

import pytest

import ivshmem_wire as wire
import vfio_user
from ivshmem_fixtures import lasting
from vfio_user import ERR, INTX, MSIX, Client

KIB, MIB = 1 << 10, 1 << 20
SIZE = 64 * KIB
VECTORS = 4


class Device(wire.Process):
    """ivshmem-device, ready."""

    def __init__(self, path, *arguments, ready=True, binary=None, **options):
        self.path = path
        self.vmms = []  # closed with kill()
        super().__init__([binary or wire.program("ivshmem-device"), "--socket", path, *arguments], **options)
        if ready:
            self.expect_ready()

    def expect_ready(self):
        self.expect(r"ready: .*")
        self.idle_fds = self.fds()
        return self

    def connect(self, **options):
        """A VMM that has said nothing yet."""
        vmm = Client(self.path, **options)
        self.vmms.append(vmm)
        return vmm

    def vmm(self, payload=vfio_user.QEMU_VERSION, **options):
        return self.connect(**options).attach(payload)

    def forget_vmms(self):
        for vmm in self.vmms:
            vmm.close()
        self.vmms.clear()

    def processes(self):
        """
        With --guard: the processes of this device, the guardian first. Each has the same command line; the oldest may be
        gone by now.
        """
        found = []
        for name in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{name}/cmdline", "rb") as file:
                    same = file.read() == b"".join(word.encode() + b"\0" for word in self.argv)
                with open(f"/proc/{name}/stat") as file:
                    state, parent = file.read().rsplit(") ", 1)[1].split()[:2]
            except (FileNotFoundError, ProcessLookupError):
                continue
            if same and state not in "ZX":
                found.append((int(name), int(parent)))
        pids = {pid for pid, _ in found}
        return [pid for pid, _ in sorted(found, key=lambda process: process[1] in pids)]

    def worker(self):
        """With --guard: the process that serves. There is one, sooner or later."""
        return wire.wait_until(lambda: self.processes()[1:] or None, "there is a worker")[0]

    def kill(self):
        if "--guard" in self.argv:
            # Each would make the other one anew.
            for number in signal.SIGSTOP, signal.SIGKILL:
                for pid in self.processes():
                    os.kill(pid, number)
        super().kill()
        self.forget_vmms()

    def assert_idle(self):
        """Nothing of any VMM is left in the device."""
        self.wait_fds(len(self.idle_fds), fewer=True)

    def wait_fds(self, count, fewer=False):
        """As many descriptors, soon: what came with a request may be closed just after the reply to it."""
        try:
            wire.wait_until(lambda: len(self.fds()) == count or (fewer and len(self.fds()) < count), "")
        except AssertionError:
            raise AssertionError(f"{sorted(self.fds().values())} instead of {count} descriptors") from None

    def expect_idle(self, seconds=0.3):
        """It has nothing to do, and takes next to no processor time."""
        used = self.cpu_seconds()
        time.sleep(seconds)
        assert self.cpu_seconds() - used < seconds / 2

    def finish(self, number=signal.SIGTERM):
        """End it as an administrator would; it must do so cleanly."""
        assert self.running(), f"the device is gone, status {self.process.returncode}\n{self.describe()}"
        self.signal(number)
        status = self.wait()
        assert status == 0, f"exit status {status}\n{self.describe()}"
        assert not os.path.lexists(self.path), "the socket is still there"


class Group:
    """
    A server, a raw peer in its group, and a device. The peer was there first: its id is 0 and the
    device's 1, or with device_first=True the reverse.

    vectors		of the server, and of the device unless it is given others
    size		of the memory
    """

    def __init__(self, *arguments, vectors=VECTORS, device_vectors=None, size=SIZE, device_first=False):
        self.room = wire.Room()
        self.vectors = vectors
        self.device_vectors = device_vectors or vectors
        self.size = size
        self.device = None
        self.server = wire.Server(self.room.file("server"), "-l", str(size), vectors=vectors)
        try:
            self.start(arguments, device_first)
        except BaseException:
            self.kill()
            raise

    def start(self, arguments, device_first):
        self.peer = None if device_first else self.server.client()
        source = ("--server", self.server.path, "--vectors", str(self.device_vectors))
        self.device = Device(self.room.file("device"), *source, *arguments, ready=False)
        self.device.expect_ready()
        if device_first:
            self.peer = self.server.client()
        self.id, self.peer_id = (0, 1) if device_first else (1, 0)
        self.peer.follow_until_knows([0, 1])
        self.memory = mmap.mmap(self.peer.memory, self.size)
        self.device.idle_fds = self.settled_fds()

    def settled_fds(self):
        """
        The device's descriptors once it has read all that the server had to say. The last of that are
        its own vectors, or those of a peer that came after it.
        """
        last = min(self.vectors, self.device_vectors) - 1
        self.ring_and_wait(last)
        known = min(last, 255)  # what a legacy doorbell can name
        ring_until_known(self.device.vmm(), self.peer_id, known, self.at_peer[known])
        with_vmm = len(self.device.fds())
        self.device.forget_vmms()
        wire.wait_until(lambda: len(self.device.fds()) < with_vmm, "the VMM is gone")
        return self.device.fds()

    def vmm(self, *arguments, **options):
        return self.device.vmm(*arguments, **options)

    @property
    def at_device(self):
        """The eventfds with which the peer rings the device."""
        return self.peer.peers[self.id]

    @property
    def at_peer(self):
        """The eventfds with which the device rings the peer."""
        return self.peer.peers[self.peer_id]

    def rung(self):
        """How often each vector of the peer was rung since the last call."""
        return [wire.rings(fd) for fd in self.at_peer]

    def wait_taken(self, vector=0):
        """Until the device has read its eventfd."""
        wire.wait_until(lambda: not wire.readable(self.at_device[vector], 0), "the device takes the rings")

    def ring_and_wait(self, vector=0):
        """A ring that nobody may hear of, but that the device has taken."""
        wire.ring(self.at_device[vector])
        self.wait_taken(vector)

    def expect_interrupts(self, fds):
        """Each vector of the device that the peer rings fires the VMM's eventfd, once, and no other one."""
        for vector, fd in enumerate(fds):
            expect_ring(self.at_device[vector], fd)
        assert not any(wire.rings(fd) for fd in fds)

    def expect_rung(self, vector, ring):
        """ring() rings this vector of the peer, once, and no other one."""
        ring()
        assert self.rung() == [int(at == vector) for at in range(len(self.at_peer))]

    def expect_doorbells(self, vmm):
        for vector in range(self.vectors):
            self.expect_rung(vector, lambda vector=vector: vmm.ring(self.peer_id, vector))

    def expect_alone(self):
        """All other peers have left."""
        self.peer.follow(lambda: len(self.peer.peers) == 2, "the others have left")

    @contextlib.contextmanager
    def serving(self, *arguments, **options):
        """
        A VMM. Whatever it has asked for in between, its next request is answered, and the device has no
        descriptor of it but eventfds for interrupts.
        """
        vmm = self.vmm(*arguments, **options)
        before = len(self.device.fds())
        yield vmm
        assert vmm.info() == (16, 3, 9, 5)
        for index in (INTX, MSIX, ERR):
            vmm.disable(index)
        self.device.wait_fds(before)

    def finished(self):
        """After a test: all VMMs go, and nothing of them may be left."""
        self.device.forget_vmms()
        self.device.check_sanitizer()
        assert self.device.running(), f"the device died, status {self.device.wait()}\n{self.device.describe()}"
        self.device.assert_idle()
        # Rings that the test did not look for are none of the next one's business.
        self.rung()
        self.memory[:] = bytes(self.size)

    def alive(self):
        return self.device.running() and self.server.running()

    def end(self):
        """In order, unless the test has seen the end of the server or the device."""
        try:
            if self.alive():
                self.device.finish()
                self.peer.follow(lambda: self.id not in self.peer.peers, "the others hear that the device left")
                self.server.finish()
        finally:
            self.kill()

    def kill(self):
        processes = [process for process in (self.device, self.server) if process is not None]
        for process in processes:
            process.kill()
        self.room.close()
        for process in processes:
            process.check_sanitizer()


class Eventfds:
    """Eventfds of a VMM: closed together."""

    def __init__(self, count, **options):
        self.fds = [wire.eventfd(**options) for _ in range(count)]

    def __getitem__(self, index):
        return self.fds[index]

    def __iter__(self):
        return iter(self.fds)

    def rings(self):
        """How often each was rung since the last call."""
        return [wire.rings(fd) for fd in self.fds]

    def close(self):
        for fd in self.fds:
            os.close(fd)


@pytest.fixture(scope="module")
def pool():
    """Groups that serve one test after the other, by the arguments they were made with."""
    groups = {}
    yield groups
    for group in groups.values():
        group.end()


@pytest.fixture
def shared(limit, pool):
    """shared(*arguments, **options): a group that other tests use, too, and that must survive this one."""
    used = set()

    def get(*arguments, **options):
        key = arguments, tuple(sorted(options.items()))
        if key not in pool or not pool[key].alive():
            pool[key] = Group(*arguments, **options)
        used.add(pool[key])
        return pool[key]

    yield get
    for group in used:
        try:
            group.finished()
        except BaseException:
            group.kill()
            raise


@pytest.fixture
def group(shared):
    """The usual group: revision 1."""
    return shared()


@pytest.fixture
def old_group(shared):
    """Revision 0."""
    return shared("--revision", "0", "--size", "1", size=MIB)


@pytest.fixture
def master(shared):
    """A group whose device has id 0 and is the master."""
    return shared("--master", "on", device_first=True)


@pytest.fixture
def intx_group(shared):
    """Revision 0 without MSI-X."""
    return shared("--revision", "0", "--msi", "off", "--size", "1", size=MIB)


@pytest.fixture
def vmm(group):
    """A VMM that has negotiated as QEMU does, and whose connection outlives the test."""
    with group.serving() as vmm:
        yield vmm


@pytest.fixture
def own_group(limit, closing):
    """own_group(*arguments, **options): a group for this test alone."""
    made = []

    def make(*arguments, **options):
        group = Group(*arguments, **options)
        made.append(group)
        return group

    yield make
    for group in made:
        group.end()


@pytest.fixture
def device(room, processes, limit):
    """start(*arguments): see lasting()."""
    yield from lasting(Device, room.file("device"), processes)


@pytest.fixture
def plain(device, room):
    """A device without server, on a file of 64 KiB."""

    def start(*arguments, size=SIZE, **options):
        path = room.file("memory")
        with open(path, "wb") as file:
            file.truncate(size)
        return device("--file", path, *arguments, **options)

    return start


@pytest.fixture
def memory():
    """As a server gives it."""
    fd = wire.memory_fd(SIZE)
    yield fd
    os.close(fd)


@pytest.fixture
def device_at_fake(room, processes, fake):
    """start(*arguments): a device that is not ready yet, and the connection of the fake server to it."""

    def start(*arguments, vectors=2, **options):
        arguments = ("--server", fake.path, "--vectors", str(vectors), *arguments)
        process = Device(room.file("device"), *arguments, ready=False, **options)
        processes.append(process)
        return process, fake.accept()

    return start


@pytest.fixture
def eventfds(closing):
    """eventfds(n): that many, closed after the test."""

    def make(count, **options):
        made = Eventfds(count, **options)
        closing.append(made)
        return made

    return make


@pytest.fixture
def arm(eventfds):
    """arm(vmm, n): eventfds for its first n vectors."""

    def arm(vmm, count=VECTORS, index=MSIX):
        fds = eventfds(count)
        vmm.assign(index, 0, *fds)
        return fds

    return arm


@pytest.fixture
def given_away(shared):
    """given_away(n): descriptors to send to somebody, who has closed them all when the test ends."""
    canaries = []

    def give(count=1):
        new = [wire.Canary() for _ in range(count)]
        canaries.extend(new)
        return [canary.fd for canary in new]

    yield give
    for canary in canaries:
        canary.close_own()
        canary.assert_closed()


@contextlib.contextmanager
def vmm_process(path, program):
    """A VMM, `vmm`, in a process of its own that is attached to the device, and does this."""
    program = f"""
import sys; sys.path[:0] = sys.argv[2:]
import vfio_user as vu
vmm = vu.Client(sys.argv[1]).attach()
print(flush=True)
{program}
"""
    with subprocess.Popen([sys.executable, "-c", program, path, *sys.path], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout.readline() == b"\n", "it is attached"
            yield process
        finally:
            process.kill()


def expect_ring(source, target):
    """A ring of one eventfd arrives at the other, once."""
    wire.ring(source)
    wire.wait_rings(target)


def ring_until_known(vmm, peer, vector, fd):
    """The device learns of a peer when it learns it: ring until that arrives, and leave no ring behind."""
    wire.wait_until(lambda: vmm.ring(peer, vector) or wire.rings(fd), f"the device knows peer {peer}")

# SPDX-License-Identifier: BSD-2-Clause
"""ivshmem-device as a process, a group around it, and what its tests have in common with pytest."""

import mmap
import os
import signal

import pytest

import ivshmem_wire as wire
import vfio_user
from vfio_user import Client

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

    def kill(self):
        super().kill()
        self.forget_vmms()

    def assert_idle(self):
        """Nothing of any VMM is left in the device."""
        try:
            wire.wait_until(lambda: len(self.fds()) <= len(self.idle_fds), "descriptors closed")
        except AssertionError:
            now = sorted(self.fds().values())
            raise AssertionError(f"{now} instead of {sorted(self.idle_fds.values())}") from None

    def wait_fds(self, count):
        """As many descriptors, soon: what came with a request may be closed just after the reply to it."""
        try:
            wire.wait_until(lambda: len(self.fds()) == count, "")
        except AssertionError:
            raise AssertionError(f"{sorted(self.fds().values())} instead of {count} descriptors") from None

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
        self.device = Device(
            self.room.file("device"),
            "--server",
            self.server.path,
            "--vectors",
            str(self.device_vectors),
            *arguments,
            ready=False,
        )
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
        wire.ring(self.at_device[last])
        wire.wait_until(lambda: not wire.readable(self.at_device[last], 0), "the device takes rings")
        ring_until_known(self.device.vmm(), self.peer_id, last, self.at_peer[last])
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

    def finished(self):
        """After a test: all VMMs go, and nothing of them may be left."""
        self.device.forget_vmms()
        self.device.check_sanitizer()
        assert self.device.running(), f"the device died, status {self.device.wait()}\n{self.device.describe()}"
        self.device.assert_idle()
        # Rings that the test did not look for are none of the next one's business.
        for fd in self.at_peer:
            wire.rings(fd)
        self.memory[:] = bytes(self.size)

    def alive(self):
        return self.device.running() and self.server.running()

    def end(self):
        try:
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

    def more(self, count=1, **options):
        new = [wire.eventfd(**options) for _ in range(count)]
        self.fds.extend(new)
        return new

    def close(self):
        for fd in self.fds:
            os.close(fd)


class Pool:
    """Groups that serve one test after the other, by the arguments they were made with."""

    def __init__(self):
        self.groups = {}

    def get(self, *arguments, **options):
        key = (arguments, tuple(sorted(options.items())))
        group = self.groups.get(key)
        if group is not None and not group.alive():
            self.groups.pop(key).kill()
            group = None
        if group is None:
            group = self.groups[key] = Group(*arguments, **options)
        return group

    def discard(self, group):
        for key, value in list(self.groups.items()):
            if value is group:
                del self.groups[key]
        group.kill()

    def end(self):
        groups, self.groups = list(self.groups.values()), {}
        for group in groups:
            if group.alive():
                group.end()
            else:
                group.kill()


@pytest.fixture(scope="module")
def pool():
    pool = Pool()
    yield pool
    pool.end()


@pytest.fixture
def shared(limit, pool):
    """shared(*arguments, **options): a group that other tests use, too, and that must survive this one."""
    used = []

    def get(*arguments, **options):
        group = pool.get(*arguments, **options)
        if group not in used:
            used.append(group)
        return group

    yield get
    for group in used:
        try:
            group.finished()
        except BaseException:
            pool.discard(group)
            raise


@pytest.fixture
def group(shared):
    """The usual group: revision 1."""
    return shared()


@pytest.fixture
def intx_group(shared):
    """Revision 0 without MSI-X."""
    return shared("--revision", "0", "--msi", "off", "--size", "1", size=MIB)


@pytest.fixture
def vmm(group):
    """A VMM that has negotiated as QEMU does."""
    return group.vmm()


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
        if group.alive():
            group.end()
        else:
            group.kill()


@pytest.fixture
def device(room, processes, limit):
    """start(*arguments): a device that must survive the test and end cleanly after it."""
    started = []

    def start(*arguments, path=None, **options):
        process = Device(path or room.file("device"), *arguments, **options)
        processes.append(process)
        started.append(process)
        return process

    yield start
    for process in started:
        if process.process.returncode is None:
            process.finish()


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


def ring_until_known(vmm, peer, vector, fd):
    """The device learns of a peer when it learns it: ring until that arrives, and leave no ring behind."""
    wire.wait_until(lambda: vmm.ring(peer, vector) or wire.rings(fd), f"the device knows peer {peer}")

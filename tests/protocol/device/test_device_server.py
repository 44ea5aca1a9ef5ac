# SPDX-License-Identifier: BSD-2-Clause
"""ivshmem-device and its server: one that dies, one that lies, one that does not stop talking."""

import os
import signal
import struct
import time

import pytest

import ivshmem_wire as wire
import vfio_user as vu
from ivshmem_wire import MEMORY, VERSION
from vfio_user import BAR2, MSIX
from vfio_user_fixtures import MIB, SIZE, VECTORS, Device, ring_until_known

@pytest.fixture
def memory():
    fd = wire.memory_fd(SIZE)
    yield fd
    os.close(fd)


def barrier(connection, process, vmm, eventfds, peer=60000):
    """All that was sent before has been handled when this peer can be rung."""
    [fd] = eventfds(1)
    connection.send(peer, fd)
    ring_until_known(vmm, peer, 0, fd)
    connection.send(peer)
    wire.wait_until(lambda: vmm.ring(peer, 0) or not wire.rings(fd), f"peer {peer} is gone again")


# ---- the server dies, and the VM goes on ----------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_066_server_death(own_group, eventfds, number):
    """Memory, and rings in both directions between those who knew each other."""
    group = own_group()
    vmm = group.vmm()
    fds = eventfds(VECTORS)
    vmm.assign(MSIX, 0, *fds)
    group.server.signal(number)
    group.server.wait()
    group.device.expect(r"ivshmem-device: .*server.*", stream="stderr")
    for vector in range(VECTORS):
        wire.ring(group.at_device[vector])
        wire.wait_rings(fds[vector])
        vmm.ring(group.peer_id, vector)
        assert wire.rings(group.at_peer[vector]) == 1
        vmm.ring(group.id, vector)
        wire.wait_rings(fds[vector])
    vmm.write(BAR2, 0, b"alive")
    assert group.memory[:5] == b"alive"
    assert vmm.register(vu.IV_POSITION) == group.id
    # Also over another life of the VMM.
    group.device.forget_vmms()
    vmm = group.vmm()
    vmm.assign(MSIX, 0, *fds)
    wire.ring(group.at_device[0])
    wire.wait_rings(fds[0])
    group.device.finish()
    assert len(group.device.stderr.splitlines()) == 2, "told once, and to the administrator of the next VM"


def test_066_server_death_takes_no_processor_time(own_group):
    group = own_group()
    group.server.finish()
    group.device.expect(r"ivshmem-device: .*server.*", stream="stderr")
    used = group.device.cpu_seconds()
    time.sleep(0.4)
    assert group.device.cpu_seconds() - used < 0.1


def test_peers_come_and_go_while_the_guest_works(group, eventfds):
    vmm = group.vmm()
    fds = eventfds(VECTORS)
    vmm.assign(MSIX, 0, *fds)
    before = len(group.device.fds())
    for _ in range(wire.sized(20, 500)):
        other = group.server.client()
        ring_until_known(vmm, other.id, VECTORS - 1, other.peers[other.id][VECTORS - 1])
        other.follow_until_knows([0, 1, other.id])
        for vector in range(VECTORS):
            vmm.ring(other.id, vector)
            assert wire.rings(other.peers[other.id][vector]) == 1
            wire.ring(other.peers[group.id][vector])
            wire.wait_rings(fds[vector])
        other.close()
    group.device.wait_fds(before)
    group.peer.follow(lambda: len(group.peer.peers) == 2, "all have left")


def test_fifty_peers_at_once(group):
    vmm = group.vmm()
    others = [group.server.client() for _ in range(50)]
    for other in others:
        ring_until_known(vmm, other.id, 3, other.peers[other.id][3])
    for other in others[::2]:
        other.close()
    for other in others[1::2]:
        vmm.ring(other.id, 1)
        assert wire.rings(other.peers[other.id][1]) == 1
    for other in others[1::2]:
        other.close()
    group.device.forget_vmms()
    group.device.assert_idle()
    group.peer.follow_until_knows([*[0, 1]])


# ---- a greeting that is wrong: an error with its reason, and exit status 1 -------------------------------


def ends_badly(process, *words):
    assert process.wait() == 1, process.describe()
    for word in words:
        assert word in process.stderr, process.describe()
    assert "ready" not in process.stdout
    assert not os.path.exists(process.path)


@pytest.mark.parametrize("version", [1, 2, 65535, 1 << 40, -5000])
def test_042_another_version(device_at_fake, version):
    process, connection = device_at_fake()
    connection.send(version)
    ends_badly(process, str(version), "version 0")


def test_042_refused_by_the_server(device_at_fake):
    process, connection = device_at_fake()
    connection.send(-87)  # EUSERS
    ends_badly(process, "refused", "--max-peers")


def test_043_descriptor_with_the_version(device_at_fake, eventfds):
    process, connection = device_at_fake()
    connection.send(VERSION, *eventfds(1))
    ends_badly(process, "version")


@pytest.mark.parametrize("peer", [-1, 65536, 1 << 40, -(1 << 63)])
def test_044_id_out_of_range(device_at_fake, peer):
    process, connection = device_at_fake()
    connection.send(VERSION)
    connection.send(peer)
    ends_badly(process, str(peer))


def test_044_id_with_descriptor(device_at_fake, eventfds):
    process, connection = device_at_fake()
    connection.send(VERSION)
    connection.send(3, *eventfds(1))
    ends_badly(process, "id")


def test_045_memory_without_descriptor(device_at_fake):
    process, connection = device_at_fake()
    for number in (VERSION, 3, MEMORY):
        connection.send(number)
    ends_badly(process, "memory")


@pytest.mark.parametrize("number", [-2, 65536, 1 << 62])
def test_046_number_that_is_nobody(device_at_fake, number):
    process, connection = device_at_fake()
    for each in (VERSION, 3, number):
        connection.send(each)
    ends_badly(process, str(number))


@pytest.mark.parametrize("sent", [b"", struct.pack("<q", 0), struct.pack("<qq", 0, 3), b"\0\0\0", bytes(12)])
def test_047_end_in_the_greeting(device_at_fake, sent):
    process, connection = device_at_fake()
    if sent:
        connection.send_bytes(sent)
    connection.close()
    ends_badly(process, "server")


@pytest.mark.parametrize("sent", [b"", struct.pack("<q", 0), struct.pack("<qq", 0, 3), bytes(12)])
def test_048_a_mute_server(device_at_fake, sent):
    """Bounded by --timeout, with a word on who is to blame."""
    process, connection = device_at_fake("--timeout", "0.3")
    if sent:
        connection.send_bytes(sent)
    began = time.monotonic()
    ends_badly(process, "server")
    assert time.monotonic() - began < 10


def test_048_a_mute_server_and_sigterm(device_at_fake):
    """Nobody has to wait an hour because the server does."""
    process, _ = device_at_fake("--timeout", "3000")
    process.signal(signal.SIGTERM)
    assert process.wait(10) in (0, 1)


@pytest.mark.parametrize("what", ["directory", "pipe", "read-only file", "empty", "eventfd"])
def test_055_memory_that_cannot_be_mapped(device_at_fake, room, what):
    process, connection = device_at_fake()
    if what == "directory":
        fds = [os.open(room.path, os.O_RDONLY)]
    elif what == "pipe":
        fds = list(os.pipe())
    elif what == "read-only file":
        with open(room.file("file"), "wb") as file:
            file.truncate(SIZE)
        fds = [os.open(room.file("file"), os.O_RDONLY)]
    elif what == "empty":
        fds = [os.memfd_create("empty")]
    else:
        fds = [wire.eventfd()]
    connection.send(VERSION)
    connection.send(3)
    connection.send(MEMORY, fds[0])
    for fd in fds:
        os.close(fd)
    ends_badly(process, "memory")


@pytest.mark.parametrize("size", [3 << 12, 3 * MIB, 100])
def test_010_memory_of_another_size(device_at_fake, size):
    """A BAR is a power of two, at least a page."""
    process, connection = device_at_fake()
    connection.send(VERSION)
    connection.send(3)
    fd = os.memfd_create("odd")
    os.ftruncate(fd, size)
    connection.send(MEMORY, fd)
    os.close(fd)
    ends_badly(process, "power of two" if size > 4096 else "4")


def test_085_master_with_another_id(device_at_fake, memory):
    process, connection = device_at_fake("--master", "on")
    connection.greeting(3, memory)
    ends_badly(process, "master", "0")


def test_flood_of_descriptors_in_the_greeting(device_at_fake, eventfds):
    """Peers without end, and never the memory: bounded by time, and by the descriptors that there are."""
    process, connection = device_at_fake("--timeout", "2")
    [fd] = eventfds(1)
    connection.sock.settimeout(5)
    try:
        connection.send(VERSION)
        connection.send(3)
        for number in range(1 << 20):
            connection.send(number % 60000 + 4, fd)
    except (BrokenPipeError, ConnectionResetError, TimeoutError):
        pass
    ends_badly(process)
    assert process.stderr.strip()


@pytest.mark.parametrize("path", ["none", "file", "directory"])
def test_no_server_there(room, processes, path):
    name = room.file(path)
    if path == "file":
        with open(name, "w"):
            pass
    elif path == "directory":
        os.mkdir(name)
    process = Device(room.file("device"), "--server", name, ready=False)
    processes.append(process)
    ends_badly(process, name)


# ---- greetings that are unusual but right ---------------------------------------------------------------


def test_049_byte_by_byte(device_at_fake, memory, eventfds):
    process, connection = device_at_fake()
    fds = eventfds(3)
    connection.send_bytewise(VERSION)
    connection.send_bytewise(7)
    connection.send_bytewise(9, fds[0])
    connection.send_bytewise(MEMORY, memory)
    connection.send_bytewise(7, fds[1])
    connection.send_bytewise(7, fds[2])
    vmm = process.expect_ready().vmm()
    assert vmm.register(vu.IV_POSITION) == 7
    ring_until_known(vmm, 9, 0, fds[0])
    process.finish()


def test_052_own_vectors_before_the_memory(device_at_fake, memory, eventfds):
    process, connection = device_at_fake()
    fds, triggers = eventfds(2), eventfds(2)
    connection.send(VERSION)
    connection.send(0)
    connection.send(0, fds[0])
    connection.send(0, fds[1])
    connection.send(MEMORY, memory)
    vmm = process.expect_ready().vmm()
    vmm.assign(MSIX, 0, *triggers)
    for ring, trigger in zip(fds, triggers):
        wire.ring(ring)
        wire.wait_rings(trigger)
    process.finish()


def test_053_more_vectors_than_the_device_has(device_at_fake, memory, eventfds):
    process, connection = device_at_fake(vectors=2)
    fds, triggers = eventfds(5), eventfds(2)
    connection.send(VERSION)
    connection.send(0)
    for fd in fds:
        connection.send(0, fd)
    connection.send(MEMORY, memory)
    vmm = process.expect_ready().vmm()
    vmm.assign(MSIX, 0, *triggers)
    for ring, trigger in zip(fds, triggers):
        wire.ring(ring)
        wire.wait_rings(trigger)
    vmm.ring(0, 2)
    assert wire.rings(fds[2]) == 0
    process.finish()


def test_054_074_fewer_vectors_than_the_device_has(device_at_fake, memory, eventfds):
    process, connection = device_at_fake(vectors=8)
    fds, triggers = eventfds(1), eventfds(8)
    connection.greeting(0, memory, vectors=fds)
    vmm = process.expect_ready().vmm()
    assert vmm.irq_info(MSIX)[1] == 8
    vmm.assign(MSIX, 0, *triggers)
    for vector in range(8):
        vmm.write_number(vu.BAR1, 16 * vector + 12, 4, 0)
    wire.ring(fds[0])
    wire.wait_rings(triggers[0])
    vmm.ring(0, 7)
    assert vmm.info()[0] == 16
    process.finish()


@pytest.mark.parametrize("own_id", [0, 1, 65535])
def test_065_ids(device_at_fake, memory, eventfds, own_id):
    process, connection = device_at_fake()
    connection.greeting(own_id, memory, vectors=eventfds(2))
    assert process.expect_ready().vmm().register(vu.IV_POSITION) == own_id
    process.finish()


# ---- while it runs -------------------------------------------------------------------------------------


@pytest.fixture
def running(device_at_fake, memory, eventfds):
    """A device at a fake server as peer 0: (process, connection, vmm, own eventfds, triggers)"""
    process, connection = device_at_fake()
    fds, triggers = eventfds(2), eventfds(2)
    connection.greeting(0, memory, vectors=fds)
    vmm = process.expect_ready().vmm()
    vmm.assign(MSIX, 0, *triggers)
    barrier(connection, process, vmm, eventfds)
    yield process, connection, vmm, fds, triggers
    for ring, trigger in zip(fds, triggers):
        wire.ring(ring)
        wire.wait_rings(trigger)
    process.finish()


def test_059_060_061_062_nonsense_is_survived(running, eventfds):
    process, connection, vmm, _, _ = running
    before = len(process.fds())
    [fd] = eventfds(1)
    for _ in range(3):
        connection.send(5, fd)
        connection.send(5)
    connection.send(5)
    connection.send(77)
    connection.send(0)
    other = wire.memory_fd(SIZE)
    connection.send(MEMORY, other)
    os.close(other)
    barrier(connection, process, vmm, eventfds, 60001)
    assert vmm.register(vu.IV_POSITION) == 0
    process.wait_fds(before)


def test_063_064_more_eventfds_than_vectors(running, eventfds):
    """Closed; and nobody's O_NONBLOCK is changed."""
    process, connection, vmm, _, _ = running
    fds = eventfds(4, flags=os.EFD_CLOEXEC)
    for fd in fds:
        connection.send(9, fd)
    barrier(connection, process, vmm, eventfds, 60001)
    for vector in range(4):
        vmm.ring(9, vector)
    assert [wire.rings(fd) for fd in fds] == [1, 1, 0, 0]
    assert all(os.get_blocking(fd) for fd in fds)
    connection.send(9)


def test_what_is_no_eventfd_is_not_rung(running, eventfds, room):
    """A full pipe would hang the guest, a file would be written to."""
    process, connection, vmm, _, _ = running
    path = room.file("victim")
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    reader, writer = os.pipe()
    [right] = eventfds(1)
    for peer, each in ((20, fd), (21, writer)):
        connection.send(peer, each)
        connection.send(peer, right)
    for each in (fd, reader, writer):
        os.close(each)
    barrier(connection, process, vmm, eventfds, 60001)
    for peer in (20, 21):
        vmm.ring(peer, 0)
        vmm.ring(peer, 1)
    assert os.stat(path).st_size == 0
    assert wire.rings(right) == 2, "the vectors behind it keep their numbers"


@pytest.mark.parametrize("number", [-2, 65536, -(1 << 62)])
def test_a_number_that_is_nobody_ends_the_connection(running, number):
    """There is no telling what the rest would mean; the VM goes on."""
    process, connection, _, _, _ = running
    connection.send(number)
    assert connection.closed_by_client()
    process.expect(rf".*{number}.*", stream="stderr")


def test_flood_of_descriptors(device_at_fake, memory, eventfds):
    """More than it may have open: the server is lost, what is there stays."""
    process, connection = device_at_fake(limit_files=200)
    fds, triggers = eventfds(2), eventfds(2)
    connection.greeting(0, memory, vectors=fds)
    vmm = process.expect_ready().vmm()
    vmm.assign(MSIX, 0, *triggers)
    [fd] = eventfds(1)
    try:
        for peer in range(1, 1000):
            connection.send(peer, fd)
    except (BrokenPipeError, ConnectionResetError):
        pass
    assert connection.closed_by_client()
    for ring, trigger in zip(fds, triggers):
        wire.ring(ring)
        wire.wait_rings(trigger)
    assert len(process.fds()) <= 200
    vmm.ring(1, 0)
    assert wire.rings(fd) >= 1
    process.finish()


def test_messages_without_end_let_others_have_their_turn(running, eventfds):
    """The guest's accesses go on while a server talks and talks."""
    process, connection, vmm, _, _ = running
    [fd] = eventfds(1)
    connection.sock.setblocking(False)
    deadline = time.monotonic() + 1
    accesses = 0
    while time.monotonic() < deadline:
        try:
            for _ in range(100):
                connection.sock.sendmsg(
                    [struct.pack("<q", 8)],
                    [(1, 1, struct.pack("i", fd))],  # SOL_SOCKET, SCM_RIGHTS
                )
                connection.sock.sendmsg([struct.pack("<q", 8)])
        except BlockingIOError:
            pass
        assert vmm.register(vu.IV_POSITION) == 0
        accesses += 1
    assert accesses > 20
    connection.sock.setblocking(True)
    connection.sock.settimeout(wire.TIMEOUT)
    barrier(connection, process, vmm, eventfds, 60001)


# ---- ready means: our own vectors are there --------------------------------------------------------------


def test_vectors_are_there_when_it_is_ready(server, device):
    srv = server(vectors=64)
    process = device("--server", srv.path, "--vectors", "64")
    # Of its own there is one more, and one for each VMM.
    assert process.eventfds() > 64
    assert process.stderr == ""


def test_too_few_descriptors_for_its_vectors(server, processes, room):
    """An error with its remedy, not a member that loses its group at once."""
    srv = server(vectors=64)
    process = Device(
        room.file("device"), "--server", srv.path, "--vectors", "64", ready=False, limit_files=40
    )
    processes.append(process)
    ends_badly(process, "no file descriptors are left", "ulimit -n")
    srv.assert_idle()


@pytest.mark.parametrize("ours, theirs", [(8, 2), (1, 0), (2, 8)])
def test_another_number_of_vectors_is_told(server, device, ours, theirs):
    srv = server(vectors=theirs)
    process = device("--server", srv.path, "--vectors", str(ours))
    if ours > theirs:
        pattern = rf".* gave us {theirs} vectors?, but the device has {ours}: .* the same number"
    else:
        pattern = rf".* more vectors than the {ours} that the device has: .* the same number"
    process.expect(pattern, stream="stderr")
    process.finish()
    assert len(process.stderr.splitlines()) == 1, process.stderr

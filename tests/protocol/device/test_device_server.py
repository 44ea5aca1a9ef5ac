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
from vfio_user_fixtures import MIB, SIZE, VECTORS, Device, expect_ring, ring_until_known

# ---- the server dies, and the VM goes on ----------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_066_server_death(own_group, arm, number):
    """Memory, and rings in both directions between those who knew each other."""
    group = own_group()
    vmm = group.vmm()
    fds = arm(vmm)
    group.server.signal(number)
    group.server.wait()
    group.device.expect(r"ivshmem-device: .*server.*", stream="stderr")
    group.device.expect_idle()
    group.expect_interrupts(fds)
    group.expect_doorbells(vmm)
    for vector in range(VECTORS):
        vmm.ring(group.id, vector)
        wire.wait_rings(fds[vector])
    vmm.write(BAR2, 0, b"alive")
    assert group.memory[:5] == b"alive"
    assert vmm.register(vu.IV_POSITION) == group.id
    # Also over another life of the VMM.
    group.device.forget_vmms()
    vmm = group.vmm()
    vmm.assign(MSIX, 0, *fds)
    group.expect_interrupts(fds)
    group.device.finish()
    assert len(group.device.stderr.splitlines()) == 2, "told once, and to the administrator of the next VM"


def test_peers_come_and_go_while_the_guest_works(group, vmm, arm):
    fds = arm(vmm)
    before = len(group.device.fds())
    for _ in range(wire.sized(20, 500)):
        other = group.server.client()
        ring_until_known(vmm, other.id, VECTORS - 1, other.peers[other.id][VECTORS - 1])
        other.follow_until_knows([0, 1, other.id])
        for vector in range(VECTORS):
            vmm.ring(other.id, vector)
            assert wire.rings(other.peers[other.id][vector]) == 1
            expect_ring(other.peers[group.id][vector], fds[vector])
        other.close()
    group.device.wait_fds(before)
    group.expect_alone()


def test_fifty_peers_at_once(group, vmm):
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
    group.expect_alone()


# ---- a greeting that is wrong: an error with its reason, and exit status 1 -------------------------------


def ends_badly(process, *words):
    assert process.wait() == 1, process.describe()
    assert process.stderr.startswith("ivshmem-device: ")
    for word in words:
        assert word in process.stderr, process.describe()
    assert "ready" not in process.stdout
    assert not os.path.exists(process.path)


@pytest.mark.parametrize(
    "numbers, with_fd, words",
    [
        *(([version], False, (str(version), "version 0")) for version in (1, 2, 65535, 1 << 40, -5000)),
        ([-87], False, ("refused", "--max-peers")),  # EUSERS
        ([-13], False, ("refused", "--allow-user")),  # EACCES
        ([-122], False, ("refused", "--max-peers-per-user")),  # EDQUOT
        ([VERSION], True, ["version"]),
        *(([VERSION, peer], False, [str(peer)]) for peer in (-1, 65536, 1 << 40, -(1 << 63))),
        ([VERSION, 3], True, ["id"]),
        ([VERSION, 3, MEMORY], False, ["memory"]),
        *(([VERSION, 3, number], False, [str(number)]) for number in (-2, 65536, 1 << 62)),
    ],
    ids=str,
)
def test_042_043_044_045_046_numbers_that_are_wrong(device_at_fake, eventfds, numbers, with_fd, words):
    """The last number is: another version, a refusal, an id or a peer that cannot be, a descriptor too many or missing."""
    process, connection = device_at_fake()
    for number in numbers[:-1]:
        connection.send(number)
    connection.send(numbers[-1], *eventfds(int(with_fd)))
    ends_badly(process, *words)


@pytest.mark.parametrize("closes", [True, False], ids=["ends", "mute"])
@pytest.mark.parametrize("sent", [b"", struct.pack("<q", 0), struct.pack("<qq", 0, 3), b"\0\0\0", bytes(12)])
def test_047_048_half_a_greeting(device_at_fake, sent, closes):
    """The end is seen at once, and a mute server is waited for by --timeout, with a word on who is to blame."""
    process, connection = device_at_fake("--timeout", "1000" if closes else "0.3")
    if sent:
        connection.send_bytes(sent)
    if closes:
        connection.close()
    began = time.monotonic()
    ends_badly(process, "server")
    assert time.monotonic() - began < 10


def test_048_a_mute_server_and_sigterm(device_at_fake):
    """Nobody has to wait an hour because the server does."""
    process, _ = device_at_fake("--timeout", "3000")
    process.signal(signal.SIGTERM)
    assert process.wait(10) in (0, 1)


@pytest.mark.parametrize("what", ["directory", "pipe", "empty", "eventfd"])
def test_055_memory_that_cannot_be_mapped(device_at_fake, room, what):
    fds = {
        "directory": lambda: [os.open(room.path, os.O_RDONLY)],
        "pipe": os.pipe,
        "empty": lambda: [os.memfd_create("empty")],
        "eventfd": lambda: [wire.eventfd()],
    }[what]()
    process, connection = device_at_fake()
    connection.greeting(3, fds[0])
    for fd in fds:
        os.close(fd)
    ends_badly(process, "memory")


@pytest.mark.parametrize("size", [3 << 12, 3 * MIB, 100])
def test_010_memory_of_another_size(device_at_fake, size):
    """A BAR is a power of two, at least a page."""
    process, connection = device_at_fake()
    fd = wire.memory_fd(size, seals=False)
    connection.greeting(3, fd)
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


@pytest.mark.parametrize("given", [2, 5])
def test_052_053_own_vectors_before_the_memory(device_at_fake, memory, eventfds, arm, given):
    """As many as the device has, or more."""
    process, connection = device_at_fake(vectors=2)
    fds = eventfds(given)
    connection.send(VERSION)
    connection.send(0)
    for fd in fds:
        connection.send(0, fd)
    connection.send(MEMORY, memory)
    vmm = process.expect_ready().vmm()
    for ring, trigger in zip(fds, arm(vmm, 2)):
        expect_ring(ring, trigger)
    vmm.ring(0, 2)
    assert fds.rings() == [0] * given
    process.finish()


def test_054_074_fewer_vectors_than_the_device_has(device_at_fake, memory, eventfds, arm):
    process, connection = device_at_fake(vectors=8)
    [fd] = eventfds(1)
    connection.greeting(0, memory, vectors=[fd])
    vmm = process.expect_ready().vmm()
    assert vmm.irq_info(MSIX)[1] == 8
    triggers = arm(vmm, 8)
    for vector in range(8):
        vmm.write_number(vu.BAR1, 16 * vector + 12, 4, 0)
    expect_ring(fd, triggers[0])
    vmm.ring(0, 7)
    assert triggers.rings() == [0] * 8
    process.finish()


@pytest.mark.parametrize("own_id", [0, 1, 65535])
def test_065_ids(device_at_fake, memory, eventfds, own_id):
    process, connection = device_at_fake()
    connection.greeting(own_id, memory, vectors=eventfds(2))
    assert process.expect_ready().vmm().register(vu.IV_POSITION) == own_id
    process.finish()


# ---- while it runs -------------------------------------------------------------------------------------


@pytest.fixture
def running(request, device_at_fake, memory, eventfds, arm):
    """
    A device at a fake server as peer 0, which is well afterwards: (process, connection, vmm, barrier). When barrier()
    returns, all that was sent has been handled.
    """
    process, connection = device_at_fake(**getattr(request, "param", {}))
    fds = eventfds(2)
    connection.greeting(0, memory, vectors=fds)
    vmm = process.expect_ready().vmm()
    triggers = arm(vmm, 2)

    def barrier(peer=60000):
        [fd] = eventfds(1)
        connection.send(peer, fd)
        ring_until_known(vmm, peer, 0, fd)
        connection.send(peer)
        wire.wait_until(lambda: vmm.ring(peer, 0) or not wire.rings(fd), f"peer {peer} is gone again")

    barrier()
    yield process, connection, vmm, lambda: barrier(60001)
    for ring, trigger in zip(fds, triggers):
        expect_ring(ring, trigger)
    process.finish()


def test_059_060_061_062_nonsense_is_survived(running, eventfds):
    process, connection, vmm, barrier = running
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
    barrier()
    assert vmm.register(vu.IV_POSITION) == 0
    process.wait_fds(before)


def test_063_064_more_eventfds_than_vectors(running, eventfds):
    """Closed; and nobody's O_NONBLOCK is changed."""
    process, connection, vmm, barrier = running
    fds = eventfds(4, flags=os.EFD_CLOEXEC)
    before = len(process.fds())
    for fd in fds:
        connection.send(9, fd)
    barrier()
    process.wait_fds(before + 2)
    for vector in range(4):
        vmm.ring(9, vector)
    assert fds.rings() == [1, 1, 0, 0]
    assert all(os.get_blocking(fd) for fd in fds)
    connection.send(9)


def test_what_is_no_eventfd_is_not_rung(running, eventfds, room):
    """A full pipe would hang the guest, a file would be written to."""
    process, connection, vmm, barrier = running
    path = room.file("victim")
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    reader, writer = os.pipe()
    [right] = eventfds(1)
    for peer, each in ((20, fd), (21, writer)):
        connection.send(peer, each)
        connection.send(peer, right)
    for each in (fd, reader, writer):
        os.close(each)
    barrier()
    for peer in (20, 21):
        vmm.ring(peer, 0)
        vmm.ring(peer, 1)
    assert os.stat(path).st_size == 0
    assert wire.rings(right) == 2, "the vectors behind it keep their numbers"


@pytest.mark.parametrize("number", [-2, 65536, -(1 << 62)])
def test_a_number_that_is_nobody_ends_the_connection(running, number):
    """There is no telling what the rest would mean; the VM goes on."""
    process, connection, _, _ = running
    connection.send(number)
    assert connection.closed_by_client()
    process.expect(rf".*{number}.*", stream="stderr")


@pytest.mark.parametrize("running", [{"limit_files": 200}], indirect=True)
def test_flood_of_descriptors(running, eventfds):
    """More than it may have open: the server is lost, what is there stays."""
    process, connection, vmm, _ = running
    [fd] = eventfds(1)
    try:
        for peer in range(1, 1000):
            connection.send(peer, fd)
    except (BrokenPipeError, ConnectionResetError):
        pass
    assert connection.closed_by_client()
    assert len(process.fds()) <= 200
    vmm.ring(1, 0)
    assert wire.rings(fd) >= 1


def test_messages_without_end_let_others_have_their_turn(running, eventfds):
    """The guest's accesses go on while a server talks and talks."""
    process, connection, vmm, barrier = running
    [fd] = eventfds(1)
    connection.sock.setblocking(False)
    deadline = time.monotonic() + 1
    accesses = 0
    while time.monotonic() < deadline:
        try:
            for _ in range(100):
                connection.send(8, fd)
                connection.send(8)
        except BlockingIOError:
            pass
        assert vmm.register(vu.IV_POSITION) == 0
        accesses += 1
    assert accesses > 20
    connection.sock.setblocking(True)
    connection.sock.settimeout(wire.TIMEOUT)
    barrier()


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

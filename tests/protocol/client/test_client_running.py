# SPDX-License-Identifier: BSD-2-Clause
"""The client library, through the command line tool, once it is attached."""

import ctypes
import fcntl
import os
import re
import signal
import socket
import struct
import subprocess
import time

import pytest

import ivshmem_wire as wire
from ivshmem_wire import MEMORY

PATIENT = ("--connect-timeout", "20")


class Attached:
    """The tool, attached to a fake server as peer 0 with two vectors."""

    def __init__(self, fake, process, own_id=0, vectors=2, own=None):
        self.fake = fake
        self.process = process
        self.memory = wire.memory_fd()
        self.own = own if own is not None else [wire.eventfd() for _ in range(vectors)]
        self.made = list(self.own)
        self.connection = fake.accept()
        self.connection.greeting(own_id, self.memory, self.own)

    def eventfds(self, count=1, flags=os.EFD_NONBLOCK | os.EFD_CLOEXEC):
        new = [wire.eventfd(flags=flags) for _ in range(count)]
        self.made.extend(new)
        return new

    def join(self, peer, count=1):
        new = self.eventfds(count)
        for fd in new:
            self.connection.send(peer, fd)
        return new

    def barrier(self, peer=60000):
        """All that was sent before has been handled when this peer is reported."""
        self.join(peer)
        self.process.expect(rf"peer {peer} joined \(1 vector\)")
        self.connection.send(peer)
        self.process.expect(rf"peer {peer} left")

    def close(self):
        for fd in self.made:
            os.close(fd)
        os.close(self.memory)


@pytest.fixture
def monitor(cli, fake, closing):
    def start(*arguments, own_id=0, vectors=2, own=None, **options):
        process = cli(*PATIENT, "monitor", *arguments, **options)
        attached = Attached(fake, process, own_id, vectors, own)
        closing.append(attached)
        process.expect(rf"attached as peer {own_id} \(.*\)")
        return attached

    return start


@pytest.fixture
def shell(cli, fake, closing):
    def start(own_id=0, vectors=2, **options):
        process = cli(*PATIENT, "shell", stdin=subprocess.PIPE, **options)
        attached = Attached(fake, process, own_id, vectors)
        closing.append(attached)
        process.write("say ready\n")
        process.expect("ready")
        return attached

    return start


def test_057_connect_makes_vectors_ringable_in_order(shell):
    a = shell()
    fds = a.join(3, 3)
    a.process.expect(r"peer 3 (?:joined|has) .*3 vectors.*")
    for vector in (2, 0, 1, 1):
        a.process.write(f"ring 3:{vector}\n")
    wire.wait_rings(fds[1], 2)
    wire.wait_rings(fds[2], 1)
    wire.wait_rings(fds[0], 1)


def test_057_vectors_that_come_later(shell):
    """The number of a peer's vectors grows as long as messages come."""
    a = shell()
    first = a.join(3, 1)
    a.process.expect(r"peer 3 joined \(1 vector\)")
    second = a.join(3, 1)
    a.process.expect(r"peer 3 has 2 vectors")
    a.process.write("ring 3:1; ring 3:0\n")
    wire.wait_rings(second[0])
    wire.wait_rings(first[0])


def test_058_disconnect_makes_unringable_and_closes(shell):
    a = shell()
    before = a.process.eventfds()
    fds = a.join(3, 4)
    a.process.expect(r"peer 3 (?:joined|has) .*4 vectors.*")
    assert a.process.eventfds() == before + 4
    a.connection.send(3)
    a.process.expect("peer 3 left")
    assert a.process.eventfds() == before
    a.process.write("ring 3:0\n")
    a.process.expect("ivshmem: .*3.*", "stderr")
    assert not any(wire.rings(fd) for fd in fds)


def test_059_connect_disconnect_connect(shell):
    """The same id, again and again, each time with new eventfds."""
    a = shell()
    before = len(a.process.fds())
    for turn in range(wire.sized(100, 5000)):
        fds = a.join(7, 2)
        a.process.expect(r"peer 7 (?:joined|has) .*2 vectors.*")
        a.process.write("ring 7:1\n")
        wire.wait_rings(fds[1])
        assert wire.rings(fds[0]) == 0
        a.connection.send(7)
        a.process.expect("peer 7 left")
        for fd in fds:
            a.made.remove(fd)
            os.close(fd)
    assert len(a.process.fds()) == before


def test_060_departures_of_unknown_peers(monitor):
    """Twice the same, and of peers that were never there: ignored."""
    a = monitor()
    a.join(4, 2)
    a.process.expect(r"peer 4 (?:joined|has) .*2 vectors.*")
    for peer in (4, 4, 4, 9, 65535, 1, 9):
        a.connection.send(peer)
    a.barrier()
    assert a.process.stdout.count("left") == 2, a.process.describe()
    a.join(4, 1)
    a.process.expect(r"peer 4 joined \(1 vector\)")


def test_061_departure_of_ourselves(monitor):
    """Logged; our vectors are what they were."""
    a = monitor()
    a.connection.send(0)
    a.process.expect("ivshmem: .*", "stderr")
    wire.ring(a.own[1])
    a.process.expect("interrupt vector 1 count 1")
    assert "lost" not in a.process.stdout
    a.barrier()


def test_062_second_memory(cli, fake, closing, monitor):
    """Logged, closed, and the mapping is the first one."""
    a = monitor()
    canary = wire.Canary()
    a.connection.send(MEMORY, canary.fd)
    canary.close_own()
    a.process.expect("ivshmem: .*memory.*", "stderr")
    canary.assert_closed()
    other = wire.memory_fd(1 << 16)
    a.connection.send(MEMORY, other)
    a.connection.send(MEMORY)
    a.process.expect("ivshmem: .*memory.*", "stderr")
    with open(f"/proc/{a.process.pid}/maps") as file:
        mapped = {int(line.split()[4]) for line in file if "memfd:test-memory" in line}
    assert mapped == {os.fstat(a.memory).st_ino}
    os.close(other)
    wire.ring(a.own[0])
    a.process.expect("interrupt vector 0 count 1")


@pytest.mark.parametrize("peer", [0, 3])
def test_063_extra_vectors_are_closed(monitor, peer):
    a = monitor(limit_files=8192)
    base = a.process.eventfds()
    (fd,) = a.eventfds()
    already = 2 if peer == 0 else 0
    for _ in range(2048 - already):
        a.connection.send(peer, fd)
    wire.wait_until(lambda: a.process.eventfds() == base + 2048 - already, "all possible vectors are held")
    canaries = [wire.Canary() for _ in range(5)]
    extra = a.eventfds(5)
    for one in extra:
        a.connection.send(peer, one)
    for canary in canaries:
        a.connection.send(peer, canary.fd)
        canary.close_own()
    for canary in canaries:
        canary.assert_closed()
    assert a.process.eventfds() == base + 2048 - already
    wire.ring(a.own[1])
    a.process.expect("interrupt vector 1 count 1")


@pytest.mark.parametrize("nonblocking", [True, False])
def test_064_flags_of_descriptors_are_left_alone(monitor, nonblocking):
    """O_NONBLOCK belongs to all who hold the eventfd: keeping, using and closing it changes nothing."""
    flags = os.EFD_CLOEXEC | (os.EFD_NONBLOCK if nonblocking else 0)
    own = [wire.eventfd(flags=flags) for _ in range(2)]
    a = monitor(own=own, limit_files=8192)
    (peer_fd,) = a.eventfds(1, flags)
    (extra,) = a.eventfds(1, flags)
    for _ in range(2048):
        a.connection.send(5, peer_fd)
    a.connection.send(5, extra)
    a.connection.send(-1, extra)
    wire.ring(own[0])
    a.process.expect("interrupt vector 0 count 1")
    a.barrier()
    a.connection.send(5)
    a.process.expect("peer 5 left")
    a.process.signal(15)
    assert a.process.wait() == 0
    for fd in own + [peer_fd, extra]:
        assert bool(fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_NONBLOCK) == nonblocking


def test_wait_for_a_vector_that_a_slow_server_announces_late(cli, fake, closing):
    """207 vectors are there when attaching is over, and the other 1841 come."""
    process = cli(*PATIENT, "wait", "--vector", "2047", limit_files=8192)
    a = Attached(fake, process, own=[wire.eventfd()] * 207)
    a.made = a.made[:1]
    closing.append(a)
    process.expect("ivshmem: waiting for vector 2047: we have 207 vectors so far", "stderr")
    for _ in range(2048 - 207 - 1):
        a.connection.send(0, a.own[0])
    (last,) = a.eventfds()
    a.connection.send(0, last)
    process.expect("ivshmem: waiting as peer 0", "stderr")
    wire.ring(last)
    assert process.wait() == 0, process.describe()
    assert process.stdout == "vector 2047 count 1\n"


@pytest.mark.parametrize("own", [0, 3])
@pytest.mark.parametrize("command", ["wait", "echo", "ping"])
def test_vector_that_a_slow_server_announces_late(cli, fake, closing, command, own):
    """Also when none of our vectors was there at first, and in the other commands that need one."""
    words = {
        "wait": ["wait", "--vector", "5"],
        "echo": ["echo", "0:5", "--count", "1"],
        "ping": ["ping", "0:5", "--count", "1"],
    }
    process = cli(*PATIENT, *words[command])
    a = Attached(fake, process, vectors=own)
    closing.append(a)
    process.expect(f"ivshmem: waiting for vector 5: we have {own} vectors so far", "stderr")
    late = a.eventfds(6 - own)
    for fd in late:
        a.connection.send(0, fd)
    wire.ring(late[-1])
    assert process.wait() == 0, process.describe()


def test_wait_for_a_vector_that_never_comes(cli, fake, closing):
    """What others announce does not count, and the message says how many we have in the end."""
    process = cli(*PATIENT, "wait", "--vector", "9")
    a = Attached(fake, process)
    closing.append(a)
    process.expect("ivshmem: waiting for vector 9: we have 2 vectors so far", "stderr")
    a.connection.send(0, *a.eventfds())
    try:
        while process.running():
            a.join(3)
            a.connection.send(3)
            os.close(a.made.pop())
            time.sleep(0.05)  # never silent for long
    except (BrokenPipeError, ConnectionResetError):
        pass
    assert process.wait() == 1, process.describe()
    assert "no vector 9: we have 3 vectors" in process.stderr, process.describe()


@pytest.mark.parametrize("end", ["signal", "server", "timeout"])
def test_wait_for_a_late_vector_ends(cli, fake, closing, end):
    """By a signal, with the server, and at --timeout, each at once."""
    process = cli(*PATIENT, "wait", "--vector", "9", *(["--timeout", "0"] if end == "timeout" else []))
    a = Attached(fake, process)
    closing.append(a)
    process.expect("ivshmem: waiting for vector 9: .*", "stderr")
    if end == "signal":
        process.signal(15)
    if end == "server":
        a.connection.close()
    assert process.wait() == 1, process.describe()
    assert ("interrupted" if end == "signal" else "no vector 9") in process.stderr, process.describe()


def test_066_end_of_the_server_ends_nothing_else(cli, fake, closing):
    """A wait that is under way ends when its rings have come, server or not."""
    process = cli(*PATIENT, "wait", "--vector", "1", "--count", "3")
    a = Attached(fake, process)
    closing.append(a)
    process.expect("ivshmem: waiting as peer 0", "stderr")
    wire.ring(a.own[1])
    fake.close()
    process.expect("ivshmem: .*lost.*", "stderr")
    wire.ring(a.own[1])
    wire.ring(a.own[1])
    assert process.wait() == 0, process.describe()
    assert "vector 1 count 3" in process.stdout


def test_066_peers_are_ringable_after_the_end_of_the_server(shell):
    a = shell()
    fds = a.join(3, 2)
    a.process.expect(r"peer 3 (?:joined|has) .*2 vectors.*")
    a.fake.close()
    a.process.expect("server lost: .*")
    a.process.write("ring 3:1\n")
    wire.wait_rings(fds[1])
    wire.ring(a.own[0])
    a.process.expect("interrupt vector 0 count 1")


NONSENSE = {
    "minus-5": (-5,),
    "minus-5-fd": (-5, "fd"),
    "70000": (70000,),
    "70000-fd": (70000, "fd"),
    "lowest": (-(1 << 63), "fd"),
}


@pytest.mark.parametrize("message", NONSENSE.values(), ids=NONSENSE.keys())
def test_067_numbers_out_of_range_close_the_connection(monitor, message):
    """The specification's policy: the connection is over; memory and interrupts go on."""
    a = monitor("--reconnect-interval", "60")
    a.barrier()
    number, *fds = message
    canary = wire.Canary()
    a.fake.close_listener()
    a.connection.send(number, *([canary.fd] if fds else []))
    canary.close_own()
    a.process.expect("server lost: .*")
    canary.assert_closed()
    assert a.connection.closed_by_client()
    assert re.search(rf"^server lost: .*({number}|protocol)", a.process.stdout, re.MULTILINE)
    wire.ring(a.own[0])
    a.process.expect("interrupt vector 0 count 1")


@pytest.mark.parametrize("message", NONSENSE.values(), ids=NONSENSE.keys())
def test_067_nonsense_right_behind_the_greeting(cli, fake, closing, message):
    """
    What comes while the client is still listening for announcements counts as well: it does not go on
    with a connection that it does not understand any more.
    """
    process = cli(*PATIENT, "monitor", "--no-reconnect")
    (fd,) = [wire.eventfd()]
    memory = wire.memory_fd()
    connection = fake.accept()
    number, *fds = message
    connection.greeting(0, memory, [fd])
    connection.send(number, *([fd] if fds else []))
    assert process.wait() == 1, process.describe()
    assert "protocol" in process.stdout + process.stderr or str(number) in process.stderr
    os.close(fd)
    os.close(memory)


def test_067_end_within_a_message(monitor):
    """Half a message with a descriptor, then the end: lost, and the descriptor is closed."""
    a = monitor("--reconnect-interval", "60")
    a.fake.close_listener()
    canary = wire.Canary()
    a.connection.send_bytes(struct.pack("<q", 3)[:4], canary.fd)
    canary.close_own()
    a.connection.wait_taken()
    a.connection.close()
    a.process.expect("server lost: .*")
    canary.assert_closed()


def test_067_no_reconnect_ends_with_1(monitor):
    a = monitor("--no-reconnect")
    a.connection.close()
    assert a.process.wait() == 1
    assert re.search("^server lost: .", a.process.stdout, re.MULTILINE)


def bad_vectors():
    def pipe_reader():
        reader, writer = os.pipe()
        os.write(writer, b"some text")
        os.close(writer)
        return reader

    def socket_end():
        one, other = socket.socketpair()
        other.send(b"some text")
        other.close()
        return one.detach()

    def timer():
        """Readable with eight bytes, now and again: nearly an eventfd."""
        libc = ctypes.CDLL(None)
        fd = libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK)
        libc.timerfd_settime(fd, 0, struct.pack("@llll", 0, 1000000, 0, 1000000), None)
        return fd

    return {
        "ended-pipe": pipe_reader,
        "ended-socket": socket_end,
        "memory": wire.memory_fd,
        "zeros": lambda: os.open("/dev/zero", os.O_RDWR),
        "directory": lambda: os.open("/", os.O_RDONLY),
        "path-only": lambda: os.open("/etc/passwd", os.O_PATH),
        "timer": timer,
    }


@pytest.mark.parametrize("kind", bad_vectors())
@pytest.mark.parametrize("when", ["greeting", "running"])
def test_client_vector_that_is_no_eventfd(cli, fake, closing, kind, when):
    """
    Something always readable in place of an own eventfd must not keep the client busy, and is never an
    interrupt. Vectors that follow keep their numbers, or the server is given up.
    """
    process = cli(*PATIENT, "monitor", "--reconnect-interval", "60")
    fd = bad_vectors()[kind]()
    own = [wire.eventfd(), fd, wire.eventfd()]
    if when == "greeting":
        a = Attached(fake, process, own=own)
    else:
        a = Attached(fake, process, own=own[:1])
        a.made = own
    closing.append(a)
    process.expect("attached as peer 0.*")
    if when == "running":
        for one in own[1:]:
            a.connection.send(0, one)
    used = process.cpu_seconds()
    time.sleep(0.5)  # a measurement, not a wait
    assert process.cpu_seconds() - used < 0.25, "busy with a descriptor that is no eventfd"
    wire.ring(own[0])
    process.expect(r"interrupt vector 0 count 1")
    if "lost" not in process.stdout:
        wire.ring(own[2])
        process.expect(r"interrupt vector 2 count 1")
    assert "interrupt vector 1" not in process.stdout


def test_client_ring_of_something_that_is_no_eventfd(shell):
    """A pipe that is full, or that nobody reads, as a peer's vector: ringing neither blocks nor kills."""
    a = shell()
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    try:
        while True:
            os.write(writer, bytes(65536))
    except BlockingIOError:
        pass
    os.set_blocking(writer, True)
    a.connection.send(3, writer)
    broken_reader, broken_writer = os.pipe()
    os.close(broken_reader)
    a.connection.send(3, broken_writer)
    (good,) = a.eventfds()
    a.connection.send(3, good)
    a.process.expect(r"(?:peer 3 (?:joined|has) .*3 vectors.*|server lost: .*)")
    a.process.write("ring 3:0\nring 3:1\nsay done\n")
    a.process.expect("done")
    for fd in (reader, writer, broken_writer):
        os.close(fd)


def test_client_saturated_counter_does_not_block_a_ring(shell):
    """
    Checklist 31: a peer's counter is full and somebody made the eventfd blocking; it rings already, so
    there is nothing to do.
    """
    a = shell()
    (fd,) = a.join(3, 1)
    a.process.expect(r"peer 3 joined \(1 vector\)")
    os.write(fd, (0xFFFFFFFFFFFFFFFE).to_bytes(8, "little"))
    os.set_blocking(fd, True)
    a.process.write("ring 3:0\nsay done\n")
    a.process.expect("done")
    assert "ivshmem:" not in a.process.stderr
    assert wire.rings(fd) >= 0xFFFFFFFFFFFFFFFE


def test_client_counts_are_exact(monitor):
    """Rings add up, also of a counter that is made to give one at a time."""
    own = [wire.eventfd(), wire.eventfd(flags=os.EFD_NONBLOCK | os.EFD_SEMAPHORE | os.EFD_CLOEXEC)]
    a = monitor(own=own)
    os.write(own[0], (1000).to_bytes(8, "little"))
    os.write(own[1], (30).to_bytes(8, "little"))

    def total(vector):
        return sum(
            int(match) for match in re.findall(rf"^interrupt vector {vector} count (\d+)$", a.process.stdout, re.M)
        )

    wire.wait_until(lambda: total(0) == 1000 and total(1) == 30, "all rings are reported")


def test_client_rings_before_attaching_are_not_lost(cli, fake, closing):
    """The eventfds of a peer exist before it knows: what is rung meanwhile is delivered."""
    process = cli(*PATIENT, "wait", "--vector", "0", "--count", "5")
    own = [wire.eventfd(5)]
    closing.append(Attached(fake, process, own=own))
    assert process.wait() == 0, process.describe()
    assert "vector 0 count 5" in process.stdout


def test_client_burst_of_announcements(monitor):
    """20 000 messages as fast as they go: all are followed, and nothing is left of those who left."""
    a = monitor(vectors=1)
    before = len(a.process.fds())
    (fd,) = a.eventfds()
    for turn in range(wire.sized(5000, 50000)):
        a.connection.send(1 + turn % 300, fd)
        a.connection.send(1 + turn % 300)
    a.barrier()
    assert len(a.process.fds()) == before
    for line in a.process.lines():
        assert not line.startswith("server lost"), a.process.describe()


def test_client_out_of_descriptors_at_run_time(monitor):
    """
    No room for a peer's eventfd is not the same as the peer's departure: the connection is given up,
    with the reason, and descriptors come back.
    """
    a = monitor("--reconnect-interval", "60", limit_files=32)
    a.fake.close_listener()
    (fd,) = a.eventfds()
    try:
        for peer in range(1, 60):
            a.connection.send(peer, fd)
    except (BrokenPipeError, ConnectionResetError):
        pass
    a.process.expect("server lost: .*descriptors.*")
    departures = re.findall(r"^peer \d+ left", a.process.stdout, re.MULTILINE)
    assert not departures, "a descriptor that did not fit was taken for a departure"
    wire.ring(a.own[0])
    a.process.expect("interrupt vector 0 count 1")


def test_118_attach_again(cli, fake, closing):
    """
    The server comes back, again and again, and gives a new id: the client follows, with the same number of
    descriptors and mappings each time.
    """
    process = cli(*PATIENT, "monitor", "--reconnect-interval", "0.01")
    seen = set()
    for turn in range(wire.sized(30, 1000)):
        a = Attached(fake, process, own_id=turn % 65536)
        peer = a.join(40000, 2)
        process.expect(rf"attached as peer {turn} \(.*\)")
        process.expect(r"peer 40000 (?:joined|has) .*2 vectors.*")
        wire.ring(a.own[1])
        process.expect("interrupt vector 1 count 1")
        with open(f"/proc/{process.pid}/maps") as file:
            mappings = sum("memfd:test-memory" in line for line in file)
        seen.add((len(process.fds()), mappings))
        a.connection.close()
        fake.connections.clear()
        process.expect("server lost: .*")
        assert wire.rings(peer[0]) == 0
        a.close()
    assert len(seen) == 1, f"descriptors and mappings differ from turn to turn: {seen}"


def test_118_attach_again_to_a_real_server(server, processes, cli, room):
    """The real thing restarts under the client."""
    first = wire.Server(room.socket, vectors=3)
    processes.append(first)
    monitor = cli("monitor", "--reconnect-interval", "0.05")
    monitor.expect(r"attached as peer 0 \(3 vectors.*")
    other = first.client()
    monitor.expect(r"peer 1 (?:joined|has) .*3 vectors.*")
    first.finish()
    monitor.expect("server lost: .*")
    second = server(vectors=2)
    monitor.expect(r"attached as peer 0 \(2 vectors.*")
    newcomer = second.client()
    newcomer.follow_until_knows([0, 1])
    wire.ring(newcomer.peers[0][1])
    monitor.expect("interrupt vector 1 count 1")
    assert other.id == 1


def test_112_real_server_and_real_client(server, cli):
    """Our client and a raw one, at our server, ring each other on every vector."""
    srv = server(vectors=5)
    raw = srv.client()
    monitor = cli("monitor")
    monitor.expect(r"attached as peer 1 \(5 vectors.*")
    monitor.expect(r"peer 0 joined \(5 vectors\)")
    raw.follow_until_knows([0, 1])
    for vector in range(5):
        wire.ring(raw.peers[1][vector])
        monitor.expect(rf"interrupt vector {vector} count 1")
    ring = cli("ring", "0:0", "0:4", "1:2")
    assert ring.wait() == 0, ring.describe()
    wire.wait_rings(raw.peers[0][0])
    wire.wait_rings(raw.peers[0][4])
    monitor.expect("interrupt vector 2 count 1")
    # Who only rings is nobody to be told of.
    other = srv.client()
    assert other.id == 2
    monitor.expect(r"peer 2 joined \(5 vectors\)")
    raw.follow_until_knows([0, 1, 2])
    assert raw.log.count(2) == 5


def test_a_hostile_server_does_not_fill_the_log(monitor):
    """Each connection has a share; how many connections there are is up to --reconnect-interval."""
    a = monitor("--reconnect-interval", "0.001")
    for server in range(3):
        for _ in range(1000):
            a.connection.send(77)
        a.barrier()
        if server < 2:
            a.connection.close()
            a.connection = a.fake.accept()
            a.connection.greeting(0, a.memory, a.own)
            a.process.expect(r"attached as peer 0 \(.*\)")
    told = [line for line in a.process.lines("stderr") if "unknown peer 77" in line]
    # A slow machine takes longer than the while in which there are 20.
    assert 20 <= len(told) <= 80, a.process.describe()


def test_ring_waits_for_what_a_slow_server_announces(cli, fake, closing):
    process = cli(*PATIENT, "ring", "3:2")
    a = Attached(fake, process)
    closing.append(a)
    time.sleep(0.5)  # longer than the library waits for the next message
    a.join(3, 1)
    time.sleep(0.5)
    fds = a.join(3, 2)
    wire.wait_rings(fds[1])
    assert process.wait() == 0, process.describe()


def test_ring_does_not_wait_for_ever(cli, fake, closing):
    """Others that come and go do not keep it."""
    process = cli(*PATIENT, "ring", "3:2")
    a = Attached(fake, process)
    closing.append(a)
    while process.process.poll() is None:
        try:
            a.join(7)
            a.connection.send(7)
        except (BrokenPipeError, ConnectionResetError):
            break
        time.sleep(0.05)
    assert process.wait() == 1
    assert "cannot ring peer 3: it is not connected" in process.stderr


def lose_the_server(a):
    """The next one takes the client in, and says nothing."""
    a.connection.close()
    a.process.expect("server lost: .*")
    return a.fake.accept()


def test_rings_are_reported_while_it_attaches_again(monitor):
    a = monitor("--reconnect-interval", "0.001")
    connection = lose_the_server(a)
    for _ in range(3):
        wire.ring(a.own[1])
        a.process.expect("interrupt vector 1 count 1")
    # And then it goes over to the new one.
    connection.greeting(5, a.memory, a.own)
    a.process.expect(r"attached as peer 5 \(.*\)")


def test_shell_answers_while_it_attaches_again(shell):
    a = shell()
    fds = a.join(3, 1)
    a.process.expect("peer 3 joined .*")
    lose_the_server(a)
    a.process.write("ring 3; say still here\n")
    a.process.expect("still here")
    wire.wait_rings(fds[0])
    a.process.write("quit\n")
    assert a.process.wait() == 0, a.process.describe()


def test_echo_that_is_ended_before_its_vector_came(cli, fake, closing):
    """Without --count, a signal is how it ends."""
    process = cli(*PATIENT, "echo", "3:5")
    a = Attached(fake, process)
    closing.append(a)
    process.expect(".*waiting for vector 5.*", "stderr")
    process.signal(signal.SIGTERM)
    assert process.wait() == 0, process.describe()


def test_shell_that_ends_while_warnings_were_left_out(cli, fake):
    """Their number is told at the very end, when the shell itself is nearly gone."""
    process = cli("shell", stdin=subprocess.PIPE)
    attached = Attached(fake, process)
    for _ in range(30):
        attached.connection.send(0)
    process.expect(r".*no more of this is told.*", "stderr")
    attached.connection.wait_taken()
    process.process.stdin.close()
    assert process.wait() == 0, process.describe()
    assert re.search(r"there were \d+ more warnings like the last ones", process.stderr), process.describe()

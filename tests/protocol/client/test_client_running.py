# SPDX-License-Identifier: BSD-2-Clause
"""The client library, through the command line tool, once it is attached."""

import ctypes
import fcntl
import os
import re
import signal
import socket
import struct
import time

import pytest

import ivshmem_wire as wire
from ivshmem_wire import MEMORY


def mappings(process):
    """The inodes of the memory that it has mapped."""
    with open(f"/proc/{process.pid}/maps") as file:
        return [int(line.split()[4]) for line in file if "memfd:test-memory" in line]


def test_057_connect_makes_vectors_ringable_in_order(attached):
    a = attached("shell")
    fds = a.introduce(3, 3)
    a.process.do("ring 3:2; ring 3:0; ring 3:1; ring 3:1")
    assert [wire.rings(fd) for fd in fds] == [1, 2, 1]


def test_057_vectors_that_come_later(attached):
    """The number of a peer's vectors grows as long as messages come."""
    a = attached("shell")
    fds = a.introduce(3, 1)
    fds += a.join(3, 1)
    a.process.expect(r"peer 3 has 2 vectors")
    a.process.do("ring 3:1; ring 3:0")
    assert [wire.rings(fd) for fd in fds] == [1, 1]


def test_058_disconnect_makes_unringable_and_closes(attached):
    a = attached("shell")
    before = a.process.eventfds()
    fds = a.introduce(3, 4)
    assert a.process.eventfds() == before + 4
    a.leave(3)
    assert a.process.eventfds() == before
    a.process.write("ring 3:0\n")
    a.process.expect("ivshmem: .*3.*", "stderr")
    assert not any(wire.rings(fd) for fd in fds)


def test_059_connect_disconnect_connect(attached):
    """The same id, again and again, each time with new eventfds."""
    a = attached("shell")
    before = len(a.process.fds())
    for _ in range(wire.sized(100, 5000)):
        fds = a.introduce(7, 2)
        a.process.write("ring 7:1\n")
        wire.wait_rings(fds[1])
        assert wire.rings(fds[0]) == 0
        a.leave(7)
    assert len(a.process.fds()) == before


def test_060_departures_of_unknown_peers(attached):
    """Twice the same, and of peers that were never there: ignored."""
    a = attached("monitor")
    a.introduce(4, 2)
    for peer in (4, 4, 4, 9, 65535, 1, 9):
        a.send(peer)
    a.barrier()
    assert a.process.stdout.count("left") == 2, a.process.describe()
    a.introduce(4)


def test_061_departure_of_ourselves(attached):
    """Logged; our vectors are what they were."""
    a = attached("monitor")
    a.send(0)
    a.process.expect("ivshmem: .*", "stderr")
    a.interrupt(1)
    assert "lost" not in a.process.stdout
    a.barrier()


def test_062_second_memory(attached):
    """Logged, closed, and the mapping is the first one."""
    a = attached("monitor")
    canary = wire.Canary()
    for fds in ([canary.fd], []):
        a.send(MEMORY, *fds)
        a.process.expect("ivshmem: .*memory.*", "stderr")
    canary.close_own()
    canary.assert_closed()
    assert mappings(a.process) == [os.fstat(a.memory).st_ino]
    a.interrupt(0)


@pytest.mark.parametrize("peer", [0, 3])
def test_063_extra_vectors_are_closed(attached, peer):
    a = attached("monitor", limit_files=8192)
    (fd,) = a.eventfds()
    possible = a.process.eventfds() + 2048 - (2 if peer == 0 else 0)
    for _ in range(2048 + 5):
        a.send(peer, fd)
    canary = wire.Canary()
    a.send(peer, canary.fd)
    canary.close_own()
    canary.assert_closed()
    assert a.process.eventfds() == possible
    a.interrupt(1)


@pytest.mark.parametrize("nonblocking", [True, False])
def test_064_flags_of_descriptors_are_left_alone(attached, nonblocking):
    """O_NONBLOCK belongs to all who hold the eventfd: keeping, using and closing it changes nothing."""
    flags = os.EFD_CLOEXEC | (os.EFD_NONBLOCK if nonblocking else 0)
    own = [wire.eventfd(flags=flags) for _ in range(2)]
    a = attached("monitor", own=own, limit_files=8192)
    a.made += own
    peer_fd, extra = a.eventfds(2, flags)
    for _ in range(2048):
        a.send(5, peer_fd)
    a.send(5, extra)
    a.send(MEMORY, extra)
    a.interrupt(0)
    a.barrier()
    a.leave(5)
    a.process.finish()
    for fd in own + [peer_fd, extra]:
        assert bool(fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_NONBLOCK) == nonblocking


def test_066_end_of_the_server_ends_nothing_else(attached):
    """A wait that is under way ends when its rings have come, server or not."""
    a = attached("wait", "--vector", "1", "--count", "3")
    a.process.expect("ivshmem: waiting as peer 0", "stderr")
    wire.ring(a.own[1])
    a.fake.close()
    a.process.expect("ivshmem: server lost: .*", "stderr")
    wire.ring(a.own[1])
    wire.ring(a.own[1])
    assert a.process.wait() == 0, a.process.describe()
    assert a.process.stdout == "vector 1 count 3\n"


def test_066_peers_are_ringable_after_the_end_of_the_server(attached):
    """That there is no other yet is told once, however often it looks."""
    a = attached("shell", "--reconnect-interval", "0.01")
    fds = a.introduce(3, 2)
    a.alone()
    a.process.expect("ivshmem: cannot attach again yet: .*", "stderr")
    a.process.write("ring 3:1\n")
    wire.wait_rings(fds[1])
    a.interrupt(0)
    time.sleep(0.3)  # in which it looks
    assert a.process.stderr.count("cannot attach again yet") == 1


NONSENSE = {
    "minus-5": (-5,),
    "minus-5-fd": (-5, "fd"),
    "70000": (70000,),
    "lowest": (-(1 << 63), "fd"),
}


@pytest.mark.parametrize("message", NONSENSE.values(), ids=NONSENSE.keys())
def test_067_numbers_out_of_range_close_the_connection(attached, message):
    """The specification's policy: the connection is over; memory and interrupts go on."""
    a = attached("monitor", "--reconnect-interval", "60")
    a.barrier()
    number, *fds = message
    canary = wire.Canary()
    a.fake.close_listener()
    a.send(number, *([canary.fd] if fds else []))
    canary.close_own()
    a.process.expect(f"server lost: .*({number}|protocol).*")
    canary.assert_closed()
    assert a.connection.closed_by_client()
    a.interrupt(0)


@pytest.mark.parametrize("message", NONSENSE.values(), ids=NONSENSE.keys())
def test_067_nonsense_right_behind_the_greeting(fake, cli, eventfds, message):
    """
    What comes while the client is still listening for announcements counts as well: it does not go on
    with a connection that it does not understand any more.
    """
    process = cli("--connect-timeout", "20", "monitor", "--no-reconnect")
    memory = wire.memory_fd()
    [fd] = eventfds(1)
    number, *fds = message
    connection = fake.accept()
    connection.greeting(0, memory, [fd])
    connection.send(number, *([fd] if fds else []))
    os.close(memory)
    assert process.wait() == 1, process.describe()
    assert "protocol" in process.stdout + process.stderr or str(number) in process.stderr


def test_067_end_within_a_message(attached):
    """Half a message with a descriptor, then the end: lost, and the descriptor is closed."""
    a = attached("monitor", "--reconnect-interval", "60")
    a.fake.close_listener()
    canary = wire.Canary()
    a.connection.send_bytes(struct.pack("<q", 3)[:4], canary.fd)
    canary.close_own()
    a.connection.wait_taken()
    a.lose()
    canary.assert_closed()


@pytest.mark.parametrize("count", [2, 4, 5, 253])
def test_050_several_descriptors_in_one_message(attached, count):
    """The first counts and the others are closed. With more than a few, the server is given up, and that is told."""
    a = attached("monitor", "--no-reconnect")
    canary = wire.Canary()
    a.send(5, *a.eventfds(), *[canary.fd] * (count - 1))
    canary.close_own()
    canary.assert_closed()
    if count <= 4:
        a.process.expect(r"peer 5 joined \(1 vector\)")
        a.barrier()
    else:
        a.process.expect("server lost: .*descriptor.*")
        assert a.process.wait() == 1


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
        "zeros": lambda: os.open("/dev/zero", os.O_RDWR),
        "path-only": lambda: os.open("/etc/passwd", os.O_PATH),
        "timer": timer,
    }


@pytest.mark.parametrize("kind", bad_vectors())
@pytest.mark.parametrize("when", ["greeting", "running"])
def test_client_vector_that_is_no_eventfd(attached, kind, when):
    """
    Something always readable in place of an own eventfd must not keep the client busy, and is never an
    interrupt. Vectors that follow keep their numbers.
    """
    own = [wire.eventfd(), bad_vectors()[kind](), wire.eventfd()]
    a = attached("monitor", own=own if when == "greeting" else own[:1])
    a.own, a.made = own, own
    if when == "running":
        a.send(0, own[1])
        a.send(0, own[2])
    used = a.process.cpu_seconds()
    time.sleep(0.5)  # a measurement, not a wait
    assert a.process.cpu_seconds() - used < 0.25, "busy with a descriptor that is no eventfd"
    a.interrupt(0)
    a.interrupt(2)
    assert "interrupt vector 1" not in a.process.stdout


def test_client_ring_of_something_that_is_no_eventfd(attached):
    """A pipe that is full, or that nobody reads, as a peer's vector: ringing neither blocks nor kills."""
    a = attached("shell")
    reader, full = os.pipe()
    wire.fill(full)
    broken_reader, broken = os.pipe()
    os.close(broken_reader)
    (good,) = a.eventfds()
    a.connection.say((3, full), (3, broken), (3, good))
    a.process.expect(r"peer 3 (?:joined|has) .*3 vectors.*")
    a.process.do("ring 3:0\nring 3:1\nring 3:2")
    wire.wait_rings(good)
    for fd in (reader, full, broken):
        os.close(fd)


def test_client_saturated_counter_does_not_block_a_ring(attached):
    """
    Checklist 31: a peer's counter is full and somebody made the eventfd blocking; it rings already, so
    there is nothing to do.
    """
    a = attached("shell")
    (fd,) = a.introduce(3)
    os.write(fd, (0xFFFFFFFFFFFFFFFE).to_bytes(8, "little"))
    os.set_blocking(fd, True)
    a.process.do("ring 3:0")
    assert "ivshmem:" not in a.process.stderr
    assert wire.rings(fd) >= 0xFFFFFFFFFFFFFFFE


def test_client_counts_are_exact(attached):
    """Rings add up, also of a counter that is made to give one at a time."""
    own = [wire.eventfd(), wire.eventfd(flags=os.EFD_NONBLOCK | os.EFD_SEMAPHORE | os.EFD_CLOEXEC)]
    a = attached("monitor", own=own)
    a.made += own
    os.write(own[0], (1000).to_bytes(8, "little"))
    os.write(own[1], (30).to_bytes(8, "little"))

    def total(vector):
        return sum(map(int, re.findall(rf"^interrupt vector {vector} count (\d+)$", a.process.stdout, re.M)))

    wire.wait_until(lambda: total(0) == 1000 and total(1) == 30, "all rings are reported")


def test_client_rings_before_attaching_are_not_lost(attached):
    """The eventfds of a peer exist before it knows: what is rung meanwhile is delivered."""
    own = [wire.eventfd(5)]
    a = attached("wait", "--vector", "0", "--count", "5", own=own)
    a.made += own
    assert a.process.wait() == 0, a.process.describe()
    assert a.process.stdout == "vector 0 count 5\n"


def test_client_burst_of_announcements(attached):
    """20 000 messages as fast as they go: all are followed, and nothing is left of those who left."""
    a = attached("monitor")
    before = len(a.process.fds())
    (fd,) = a.eventfds()
    for turn in range(wire.sized(5000, 50000)):
        a.send(1 + turn % 300, fd)
        a.send(1 + turn % 300)
    a.barrier()
    assert len(a.process.fds()) == before
    assert "server lost" not in a.process.stdout, a.process.describe()


def test_client_out_of_descriptors_at_run_time(attached):
    """
    No room for a peer's eventfd is not the same as the peer's departure: the connection is given up,
    with the reason, and descriptors come back.
    """
    a = attached("monitor", "--reconnect-interval", "60", limit_files=32)
    a.fake.close_listener()
    (fd,) = a.eventfds()
    a.connection.say(*[(peer, fd) for peer in range(1, 60)])
    a.process.expect("server lost: .*descriptors.*")
    left = re.search(r"^peer \d+ left", a.process.stdout, re.M)
    assert not left, "a descriptor that did not fit was taken for a departure"
    a.interrupt(0)


# ---- vectors of ours that a slow server announces late ---------------------------------------------------


def expect_waiting(a, vector, so_far):
    a.process.expect(f"ivshmem: waiting for vector {vector}: we have {so_far} vectors so far", "stderr")


def test_wait_for_a_vector_that_a_slow_server_announces_late(attached):
    """207 vectors are there when attaching is over, and the other 1841 come."""
    [fd, last] = own = [wire.eventfd(), wire.eventfd()]
    a = attached("wait", "--vector", "2047", own=[fd] * 207, limit_files=8192)
    a.made += own
    expect_waiting(a, 2047, 207)
    a.connection.say(*[(0, fd)] * (2048 - 207 - 1), (0, last))
    a.process.expect("ivshmem: waiting as peer 0", "stderr")
    wire.ring(last)
    assert a.process.wait() == 0, a.process.describe()
    assert a.process.stdout == "vector 2047 count 1\n"


@pytest.mark.parametrize("own", [0, 3])
@pytest.mark.parametrize("words", ["wait --vector 5", "echo 0:5 --count 1", "ping 0:5 --count 1"])
def test_vector_that_a_slow_server_announces_late(attached, words, own):
    """Also when none of our vectors was there at first, and in the other commands that need one."""
    a = attached(*words.split(), own=own)
    expect_waiting(a, 5, own)
    late = a.join(0, 6 - own)
    wire.ring(late[-1])
    assert a.process.wait() == 0, a.process.describe()


def test_wait_for_a_vector_that_never_comes(attached):
    """What others announce does not count, and the message says how many we have in the end."""
    a = attached("wait", "--vector", "9")
    expect_waiting(a, 9, 2)
    a.join(0)
    (fd,) = a.eventfds()
    while a.process.running():
        a.connection.say((3, fd), 3)
        time.sleep(0.05)  # never silent for long
    assert a.process.wait() == 1, a.process.describe()
    assert "no vector 9: we have 3 vectors" in a.process.stderr, a.process.describe()


@pytest.mark.parametrize("end", ["signal", "server", "timeout"])
def test_wait_for_a_late_vector_ends(attached, end):
    """By a signal, with the server, and at --timeout, each at once."""
    a = attached("wait", "--vector", "9", *(["--timeout", "0"] if end == "timeout" else []))
    expect_waiting(a, 9, 2)
    if end == "signal":
        a.process.signal(signal.SIGTERM)
    if end == "server":
        a.connection.close()
    assert a.process.wait() == 1, a.process.describe()
    assert ("interrupted" if end == "signal" else "no vector 9") in a.process.stderr, a.process.describe()


def test_ring_waits_for_what_a_slow_server_announces(attached):
    a = attached("ring", "3:2")
    fds = []
    for count in (1, 2):
        time.sleep(0.5)  # longer than the library waits for the next message
        fds += a.join(3, count)
    wire.wait_rings(fds[2])
    assert a.process.wait() == 0, a.process.describe()


def test_ring_does_not_wait_for_ever(attached):
    """Others that come and go do not keep it."""
    a = attached("ring", "3:2")
    (fd,) = a.eventfds()
    while a.process.running():
        a.connection.say((7, fd), 7)
        time.sleep(0.05)
    assert a.process.wait() == 1
    assert "cannot ring peer 3: it is not connected" in a.process.stderr


def test_echo_that_is_ended_before_its_vector_came(attached):
    """Without --count, a signal is how it ends."""
    a = attached("echo", "3:5")
    expect_waiting(a, 5, 2)
    a.process.finish()


# ---- one server after the other --------------------------------------------------------------------------


@pytest.mark.limit(600)
@pytest.mark.parametrize("command", ["monitor", "shell"])
def test_118_attach_again(attached, command):
    """
    The server comes back, again and again, and gives a new id: the client follows, with the same descriptors
    and mappings each time.
    """
    a = attached(command, "--reconnect-interval", "0.001")
    seen = set()
    for turn in range(1, wire.sized(100, 1000)):
        a.attach_again(turn)
        a.introduce(40000, 2)
        a.interrupt(1)
        seen.add((len(a.process.fds()), len(mappings(a.process))))
    assert len(seen) == 1, f"descriptors and mappings differ from turn to turn: {seen}"


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


def test_a_hostile_server_does_not_fill_the_log(attached):
    """Each connection has a share; how many connections there are is up to --reconnect-interval."""
    a = attached("monitor", "--reconnect-interval", "0.001")
    for server in range(3):
        if server > 0:
            a.attach_again()
        a.connection.say(*[77] * 1000)
        a.barrier()
    told = [line for line in a.process.lines("stderr") if "unknown peer 77" in line]
    # A slow machine takes longer than the while in which there are 20.
    assert 20 <= len(told) <= 80, a.process.describe()


def test_rings_are_reported_while_it_attaches_again(fake, attached):
    a = attached("monitor", "--reconnect-interval", "0.001")
    a.lose()
    connection = fake.accept()
    for _ in range(3):
        a.interrupt(1)
    # And then it goes over to the new one.
    connection.greeting(5, a.memory, a.own)
    a.process.expect(r"attached as peer 5 \(.*\)")


def test_shell_answers_while_it_attaches_again(fake, attached):
    a = attached("shell")
    fds = a.introduce(3)
    a.lose()
    fake.accept()
    a.process.do("ring 3")
    wire.wait_rings(fds[0])
    a.process.write("quit\n")
    assert a.process.wait() == 0, a.process.describe()


def test_shell_that_ends_while_warnings_were_left_out(attached):
    """Their number is told at the very end, when the shell itself is nearly gone."""
    a = attached("shell")
    a.connection.say(*[0] * 30)
    a.process.expect(r".*no more of this is told.*", "stderr")
    a.connection.wait_taken()
    a.process.process.stdin.close()
    assert a.process.wait() == 0, a.process.describe()
    assert re.search(r"there were \d+ more warnings like the last ones", a.process.stderr), a.process.describe()

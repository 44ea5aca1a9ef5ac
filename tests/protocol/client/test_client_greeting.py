# SPDX-License-Identifier: BSD-2-Clause
"""
The client library, through the command line tool, against a server that lies about everything: an error
with a sentence in bounded time, exit status 1, and no descriptor left.
"""

import errno
import fcntl
import glob
import json
import os
import re
import shutil
import socket
import signal
import struct
import time

import pytest

import ivshmem_wire as wire
from ivshmem_fixtures import root_only
from ivshmem_wire import MEMORY, VERSION

# Long enough for a machine under load, and short enough to be told apart from "never".
PATIENT = ("--connect-timeout", "20")
HASTY = ("--connect-timeout", "0.5")


@pytest.fixture
def memory(closing):
    fd = wire.memory_fd()
    yield fd
    os.close(fd)


@pytest.fixture
def eventfds():
    """make(count): eventfds that live as long as the test."""
    made = []

    def make(count=1, **options):
        new = [wire.eventfd(**options) for _ in range(count)]
        made.extend(new)
        return new

    yield make
    for fd in made:
        os.close(fd)


@pytest.fixture
def failing(fake, cli):
    """
    fail(play, *words): start the tool against play(connection); it must fail with a message that contains
    the words, long before its time-out.
    """

    def fail(play, *words, command="info"):
        process = cli(*PATIENT, command)
        began = time.monotonic()
        connection = fake.accept()
        try:
            play(connection)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has seen enough
        status = process.wait()
        assert status == 1, process.describe()
        assert process.stderr.startswith("ivshmem: "), process.describe()
        assert process.stdout == "", process.describe()
        assert time.monotonic() - began < 15, "it waited for its time-out instead of understanding"
        for word in words:
            assert word in process.stderr, process.describe()
        return process

    return fail


def attached(cli, fake, play, command="info", **options):
    """Start the tool against play(connection) for a greeting that is good in the end."""
    process = cli(*PATIENT, "--json", command, **options)
    connection = fake.accept()
    play(connection)
    return process, connection


def output_of(process):
    assert process.wait() == 0, process.describe()
    return json.loads(process.stdout)


def test_041_normal_sequence(cli, fake, memory, eventfds):
    process, _ = attached(
        cli,
        fake,
        lambda c: c.greeting(7, memory, eventfds(3), [(2, eventfds(3)), (5, eventfds(3))]),
    )
    info = output_of(process)
    assert (info["id"], info["vectors"], info["size"]) == (7, 3, 1 << 20)


def test_041_peers_of_a_normal_sequence(cli, fake, memory, eventfds):
    process, _ = attached(
        cli,
        fake,
        lambda c: c.greeting(7, memory, eventfds(3), [(5, eventfds(3)), (2, eventfds(3))]),
        "peers",
    )
    peers = output_of(process)
    assert peers["id"] == 7
    assert peers["peers"] == [{"id": 2, "vectors": 3}, {"id": 5, "vectors": 3}]


@pytest.mark.parametrize("version", [1, 2, -1, 65537, 1 << 32, (1 << 63) - 1, -(1 << 63), 1 << 56])
def test_042_other_version(failing, version):
    failing(lambda c: c.send(version), str(version), "version")


def test_042_socket_for_observers(failing):
    failing(lambda c: c.send(65536), "for observers", "observe:PATH")


def test_042_other_version_names_ours(failing):
    failing(lambda c: c.send(17), "17", "version 0")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EMFILE, errno.ENFILE, errno.EUSERS, errno.EPERM, errno.EBUSY])
def test_042_refusal_says_why(failing, number):
    process = failing(lambda c: (c.send(-number), c.close()), "refused")
    assert "closed" not in process.stderr, "the reason is what counts, not how it ended"


def test_043_descriptor_with_the_version(failing, eventfds):
    failing(lambda c: c.send(VERSION, *eventfds()))


def test_043_descriptor_with_the_id(failing, eventfds):
    def play(c):
        c.send(VERSION)
        c.send(3, *eventfds())

    failing(play)


@pytest.mark.parametrize("own", [-1, -2, 65536, 1 << 32, -(1 << 63)])
@pytest.mark.parametrize("with_fd", [False, True])
def test_044_impossible_id(failing, eventfds, own, with_fd):
    def play(c):
        c.send(VERSION)
        c.send(own, *eventfds(with_fd))

    failing(play, str(own))


@pytest.mark.parametrize("own", [0, 65535])
def test_044_possible_ids(cli, fake, memory, eventfds, own):
    process, _ = attached(cli, fake, lambda c: c.greeting(own, memory, eventfds(1)))
    assert output_of(process)["id"] == own


def test_045_memory_without_descriptor(failing):
    def play(c):
        c.send(VERSION)
        c.send(0)
        c.send(MEMORY)

    failing(play, "memory")


@pytest.mark.parametrize("number", [-2, -5, 65536, 70000, 1 << 32, 1 << 62, -(1 << 63)])
@pytest.mark.parametrize("with_fd", [False, True])
def test_046_numbers_out_of_range(failing, eventfds, number, with_fd):
    def play(c):
        c.send(VERSION)
        c.send(0)
        c.send(number, *eventfds(with_fd))

    failing(play, str(number))


@pytest.mark.parametrize("length", range(24))
def test_047_end_of_stream_at_every_byte(failing, length):
    """Before the version, within it, after it, and so on until the memory should come."""
    data = struct.pack("<qqq", VERSION, 0, MEMORY)[:length]

    def play(c):
        if data:
            c.send_bytes(data)
        c.close()

    failing(play, "closed")


def test_047_end_of_stream_within_the_memory_message(failing, memory):
    def play(c):
        c.send(VERSION)
        c.send(0)
        c.send_bytes(struct.pack("<q", MEMORY)[:5], memory)
        c.close()

    failing(play, "closed")


def test_047_reset(failing):
    """A server that closes without reading what we never sent looks like any other end."""

    def play(c):
        c.send(VERSION)
        c.sock.shutdown(socket.SHUT_RDWR)

    failing(play, "closed")


@pytest.mark.parametrize("messages", range(3))
@pytest.mark.parametrize("rest", [0, 3])
def test_048_silence(fake, cli, messages, rest):
    """A server that accepts and says nothing, or stops half way."""
    process = cli(*HASTY, "info")
    connection = fake.accept()
    data = struct.pack("<qqq", VERSION, 0, MEMORY)[: messages * 8 + rest]
    if data:
        connection.send_bytes(data)
    assert process.wait(10) in (1, 3), process.describe()
    assert process.stderr.startswith("ivshmem: ")
    assert "time" in process.stderr, process.describe()
    assert connection.closed_by_client()


def test_048_drip(fake, cli):
    """A byte now and then does not extend the time: the whole greeting has one limit."""
    process = cli("--connect-timeout", "1", "info")
    connection = fake.accept()
    data = struct.pack("<qqq", VERSION, 0, MEMORY)[:22]
    try:
        for byte in data:
            connection.send_bytes(bytes([byte]))
            time.sleep(0.15)  # the pace is the subject
            if not process.running():
                break
    except (BrokenPipeError, ConnectionResetError):
        pass
    assert process.wait(10) in (1, 3), process.describe()
    assert "time" in process.stderr, "the limit did not end it\n" + process.describe()


def test_048_endless_talk_without_the_memory(fake, cli):
    """Peers that leave and leave, and never the memory."""
    process = cli(*HASTY, "info")
    connection = fake.accept()
    connection.send(VERSION)
    connection.send(0)
    flood(connection, struct.pack("<q", 9) * 1000, process)
    assert process.wait(20) in (1, 3), process.describe()
    assert "time" in process.stderr


def test_048_endless_talk_after_the_memory(fake, cli, memory):
    """The moment of quiet that ends attaching never comes; attaching ends all the same."""
    process = cli(*HASTY, "info")
    connection = fake.accept()
    connection.greeting(0, memory)
    flood(connection, struct.pack("<q", 9) * 1000, process)
    assert process.wait(20) in (0, 1, 3), process.describe()


def flood(connection, data, process):
    """Send the same for ever, until the client closes."""
    connection.sock.settimeout(wire.TIMEOUT)
    try:
        while process.running():
            connection.sock.sendall(data)
    except (BrokenPipeError, ConnectionResetError):
        pass


def test_048_server_that_does_not_accept(room, cli, closing):
    """A full queue makes connect() itself wait."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    closing.append(listener)
    listener.bind(room.socket)
    listener.listen(0)
    waiting = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    closing.append(waiting)
    waiting.connect(room.socket)
    process = cli(*HASTY, "info")
    assert process.wait(10) in (1, 3), process.describe()
    assert process.stderr.startswith("ivshmem: ")


def test_049_byte_at_a_time(cli, fake, memory, eventfds):
    """Every message in eight reads; a descriptor comes with the first of them."""
    own, other = eventfds(2), eventfds(2)

    def play(c):
        for number, *fds in (
            [(VERSION,), (4,), (MEMORY, memory), (9, other[0]), (9, other[1]), (4, own[0]), (4, own[1])]
        ):
            c.send_bytewise(number, *fds)

    process, _ = attached(cli, fake, play, "peers")
    peers = output_of(process)
    assert (peers["id"], peers["vectors"]) == (4, 2)
    assert peers["peers"] == [{"id": 9, "vectors": 2}]


@pytest.mark.parametrize("split", range(1, 8))
def test_049_every_split_point(cli, fake, memory, eventfds, split):
    (own,) = eventfds()

    def play(c):
        for number, *fds in [(VERSION,), (4,), (MEMORY, memory), (4, own)]:
            data = struct.pack("<q", number)
            c.send_bytes(data[:split], *fds)
            c.wait_taken()
            c.send_bytes(data[split:])

    process, _ = attached(cli, fake, play)
    assert output_of(process)["vectors"] == 1


def test_what_came_in_time_counts_however_late_it_is_read(cli, fake, memory, eventfds):
    """A client that does not get the processor while vectors come has them all the same."""
    seen = []
    for _ in range(10):
        process = cli(*PATIENT, "--json", "info")
        connection = fake.accept()
        connection.greeting(3, memory, eventfds())
        connection.wait_taken()
        # Now it waits for a moment of quiet. If that was over before we stopped it, we try again.
        process.signal(signal.SIGSTOP)
        wire.wait_until(lambda: wire.process_state(process.pid) in "TZ", "it stands still")
        for fd in eventfds(3):
            connection.send(3, fd)
        time.sleep(0.1)
        process.signal(signal.SIGCONT)
        seen.append(output_of(process)["vectors"])
        if seen[-1] == 4:
            return
    raise AssertionError(f"vectors: {seen}")


def test_049_messages_that_arrive_together(cli, fake, memory, eventfds):
    """
    All is in the socket before the first read, messages without descriptor even in one send: nothing is
    attributed to a neighbour.
    """
    vectors, other = eventfds(2), eventfds(2)
    process = cli(*PATIENT, "--json", "peers")
    wire.wait_until(lambda: process.running(), "started")
    connection = fake.accept()
    connection.send_bytes(struct.pack("<qq", VERSION, 3))
    connection.send(MEMORY, memory)
    connection.send_bytes(struct.pack("<qq", 20, 21))  # two that left before we came: harmless
    for fd in other:
        connection.send(8, fd)
    for fd in vectors:
        connection.send(3, fd)
    peers = output_of(process)
    assert (peers["id"], peers["vectors"]) == (3, 2)
    assert peers["peers"] == [{"id": 8, "vectors": 2}]


@pytest.mark.parametrize("count", [2, 3, 16, 253])
def test_050_several_descriptors_in_one_message(cli, fake, memory, eventfds, count):
    """The first counts and the others are closed, or the server is given up: never a leak."""
    process = cli(*PATIENT, "monitor", "--reconnect-interval", "60")
    connection = fake.accept()
    connection.greeting(0, memory, eventfds())
    process.expect("attached as peer 0.*")
    before = len(process.fds())
    canary = wire.Canary()
    connection.send(5, *eventfds(), *[canary.fd] * (count - 1))
    canary.close_own()
    canary.assert_closed()
    connection_kept = True
    try:
        connection.send(6, *eventfds())
    except (BrokenPipeError, ConnectionResetError):
        connection_kept = False
    if connection_kept and "lost" not in process.stdout:
        process.expect(r"(?:peer 6 joined \(1 vector\)|server lost: .*)")
    # None of what was sent stays open. An attempt to attach again, which may be under way, has three for its loop, its
    # socket instead of the old one, and one that wakes us.
    assert len(process.fds()) <= before + 4
    assert process.running(), process.describe()


def test_050_several_descriptors_with_the_memory(cli, fake, memory, eventfds):
    process = cli(*PATIENT, "--json", "info")
    connection = fake.accept()
    connection.send(VERSION)
    connection.send(0)
    connection.send(MEMORY, memory, *eventfds(2))
    connection.send(0, *eventfds())
    status = process.wait()
    assert status in (0, 1), process.describe()
    if status == 0:
        assert json.loads(process.stdout)["size"] == 1 << 20


def test_051_peers_before_the_memory(cli, fake, memory, eventfds):
    def play(c):
        c.send(VERSION)
        c.send(1)
        for fd in eventfds(2):
            c.send(0, fd)
        c.send(MEMORY, memory)
        for fd in eventfds(2):
            c.send(1, fd)

    process, _ = attached(cli, fake, play, "peers")
    assert output_of(process)["peers"] == [{"id": 0, "vectors": 2}]


def test_052_own_vectors_before_the_memory(cli, fake, memory, eventfds):
    """Accepted or refused, but no crash."""
    process = cli(*PATIENT, "--json", "info")
    connection = fake.accept()
    connection.send(VERSION)
    connection.send(1)
    try:
        for fd in eventfds(2):
            connection.send(1, fd)
        connection.send(MEMORY, memory)
    except (BrokenPipeError, ConnectionResetError):
        pass
    status = process.wait()
    assert status in (0, 1), process.describe()
    if status == 0:
        assert json.loads(process.stdout)["vectors"] == 2


@pytest.mark.parametrize("before_memory", [False, True])
@pytest.mark.parametrize("peer", [0, 6])
def test_053_more_vectors_than_there_can_be(cli, fake, memory, eventfds, before_memory, peer):
    """Extra ones are closed, and the client goes on."""
    (vector,) = eventfds()

    def play(c):
        c.send(VERSION)
        c.send(0)
        if not before_memory:
            c.send(MEMORY, memory)
        for _ in range(2048 + 50):
            c.send(peer, vector)
        if before_memory:
            c.send(MEMORY, memory)
        if peer != 0:
            c.send(0, vector)

    process, _ = attached(cli, fake, play, "peers")
    peers = output_of(process)
    if peer == 0:
        assert peers["vectors"] == 2048
    else:
        assert peers["peers"] == [{"id": 6, "vectors": 2048}]


def test_054_no_own_vectors(cli, fake, memory, eventfds):
    process, _ = attached(cli, fake, lambda c: c.greeting(3, memory, (), [(1, eventfds(1))]))
    assert output_of(process)["vectors"] == 0


def test_054_fewer_own_vectors_than_others(cli, fake, memory, eventfds):
    process, _ = attached(cli, fake, lambda c: c.greeting(3, memory, eventfds(2), [(1, eventfds(5))]))
    assert output_of(process)["vectors"] == 2


def bad_memories():
    def write_sealed():
        fd = wire.memory_fd(1 << 20, seals=False)
        fcntl.fcntl(fd, wire.F_ADD_SEALS, wire.F_SEAL_WRITE)
        return fd

    def read_only():
        fd = wire.memory_fd()
        again = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY)
        os.close(fd)
        return again

    def write_only():
        fd = wire.memory_fd()
        again = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY)
        os.close(fd)
        return again

    return {
        "eventfd": wire.eventfd,
        "empty": lambda: wire.memory_fd(0),
        "one-byte": lambda: wire.memory_fd(1),
        "below-a-page": lambda: wire.memory_fd(4095),
        "above-a-page": lambda: wire.memory_fd(4097),
        "odd-size": lambda: wire.memory_fd((1 << 20) + 100),
        "read-only": read_only,
        "write-only": write_only,
        "write-sealed": write_sealed,
        "directory": lambda: os.open("/", os.O_RDONLY | os.O_DIRECTORY),
        "path-only": lambda: os.open("/etc/passwd", os.O_PATH),
        "device": lambda: os.open("/dev/zero", os.O_RDWR),
        "terminal": lambda: os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY),
        "socket": lambda: socket.socket(socket.AF_UNIX).detach(),
        "huge": lambda: wire.memory_fd(1 << 62, seals=False),
    }


@pytest.mark.parametrize("kind", bad_memories())
def test_055_memory_that_cannot_be_used(failing, eventfds, kind):
    fd = bad_memories()[kind]()

    def play(c):
        c.send(VERSION)
        c.send(0)
        c.send(MEMORY, fd)
        c.send(0, *eventfds())

    try:
        failing(play)
    finally:
        os.close(fd)


@pytest.mark.parametrize("size", [4096, 1 << 16, 5 << 30])
def test_055_sizes_that_can_be_used(cli, fake, eventfds, size):
    fd = wire.memory_fd(size)
    process, _ = attached(cli, fake, lambda c: c.greeting(0, fd, eventfds()))
    assert output_of(process)["size"] == size
    os.close(fd)


def bad_greetings(memory, vector):
    """Everything from above once, each as play(connection)."""
    unusable = wire.memory_fd(0)

    def messages(*parts):
        def play(c):
            for part in parts:
                c.send(*part)
            c.close()

        return play

    def raw(data, *fds):
        def play(c):
            if data:
                c.send_bytes(data, *fds)
            c.close()

        return play

    hello = [(VERSION,), (0,)]
    plays = [
        raw(b""),
        raw(struct.pack("<q", VERSION)[:3]),
        raw(struct.pack("<q", VERSION)[:3], vector),
        messages((1,)),
        messages((-errno.ENOSPC,)),
        messages((VERSION, vector)),
        messages((VERSION,), (0, vector)),
        messages((VERSION,), (-1, memory)),
        messages((VERSION,), (65536,)),
        messages(*hello),
        messages(*hello, (MEMORY,)),
        messages(*hello, (MEMORY, unusable)),
        messages(*hello, (MEMORY, vector)),
        messages(*hello, (-5, vector)),
        messages(*hello, (70000, vector)),
        messages(*hello, *[(7, vector)] * 20, *[(0, vector)] * 20),
        messages(*hello, *[(7, vector)] * 20, (MEMORY, unusable)),
        messages(*hello, (7, vector), (7,), (7, vector), (99999,)),
        messages(*hello, (MEMORY, memory, *[vector] * 252)),
        messages(*hello, (7, *[vector] * 200)),
    ]
    return plays


def test_056_no_descriptor_is_leaked(cli, fake, memory, eventfds):
    """
    A client that attaches again and again to a server that fails in every way has, when at last it
    succeeds, as many descriptors as at the beginning.
    """
    own = eventfds(2)
    process = cli(*PATIENT, "monitor", "--reconnect-interval", "0.02")
    connection = fake.accept()
    connection.greeting(0, memory, own)
    process.expect("attached as peer 0.*")
    before = sorted(re.sub(r"\d+", "N", target) for target in process.fds().values())
    connection.close()
    process.expect("server lost: .*")
    for _ in range(wire.sized(2, 50)):
        for play in bad_greetings(memory, own[0]):
            connection = fake.accept()
            try:
                play(connection)
            except (BrokenPipeError, ConnectionResetError):
                pass
            connection.close()
    connection = fake.accept()
    connection.greeting(1, memory, own)
    process.expect("attached as peer 1.*")
    wire.wait_until(
        lambda: sorted(re.sub(r"\d+", "N", target) for target in process.fds().values()) == before,
        "the same descriptors as before",
    )


def test_056_few_descriptors(fake, cli, memory, eventfds):
    """
    More peers than the client may have descriptors: that is an error with a remedy. It must not be
    taken for peers that left, nor end in a list with some of them missing.
    """
    process = cli(*PATIENT, "peers", limit_files=32)
    connection = fake.accept()
    try:
        connection.greeting(0, memory, eventfds(), [(peer, eventfds()) for peer in range(1, 101)])
    except (BrokenPipeError, ConnectionResetError):
        pass
    assert process.wait() == 1, process.describe()
    assert "limit" in process.stderr, process.describe()


def test_065_id_65535_and_sparse_ids(cli, fake, memory, eventfds):
    """Many peers all over the space of ids: memory grows with the peers, not with their numbers."""
    own = eventfds()
    ids = list(range(100, 65536, 65)) + [65535]
    process = cli(*PATIENT, "--json", "monitor", limit_files=4096)
    connection = fake.accept()
    connection.greeting(0, memory, own)
    process.expect('.*"attached".*')
    before = process.resident()
    for peer in ids:
        connection.send(peer, own[0])
    process.expect('.*"joined".*"peer": ?65535.*')
    allowed = 20000 if wire.sanitized("ivshmem") else 2000
    assert process.resident() - before < allowed, "KiB for a thousand peers with a vector each"


def test_client_no_server(room, cli):
    process = cli("info")
    assert process.wait() == 1
    assert "ivshmem-server" in process.stderr, "the remedy is to start one"
    assert room.socket in process.stderr


def test_client_stale_socket(room, cli):
    stale = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    stale.bind(room.socket)
    stale.close()
    process = cli("info")
    assert process.wait() == 1
    assert room.socket in process.stderr


@root_only
def test_client_without_permission(fake, processes, room):
    os.chmod(room.socket, 0o600)
    # A copy, with its library, because not everybody may look into the place of the build.
    for name in ["ivshmem"] + glob.glob("lib/libivshmem.so.?", root_dir=wire.BUILD):
        shutil.copy(os.path.join(wire.BUILD, name), room.path)
    process = wire.Cli(
        room.socket, "info", binary=room.file("ivshmem"), user=61616, env={"LD_LIBRARY_PATH": room.path}
    )
    processes.append(process)
    assert process.wait() == 1
    assert "permission" in process.stderr


def test_client_path_too_long(room, processes):
    process = wire.Cli("/tmp/" + "x" * 200, "info")
    processes.append(process)
    assert process.wait() == 1, process.describe()
    assert process.stderr


def test_client_never_sends_a_byte(fake, cli, memory, eventfds):
    """The protocol goes one way: a single byte would cost us the connection."""
    process = cli(*PATIENT, "monitor", "--no-reconnect")
    connection = fake.accept()
    own, other = eventfds(2), eventfds(2)
    connection.greeting(0, memory, own, [(1, other)])
    process.expect("attached as peer 0.*")
    process.expect("peer 1 joined .*")
    wire.ring(own[1])
    process.expect("interrupt vector 1 count 1")
    process.signal(15)
    assert process.wait() == 0
    connection.sock.settimeout(wire.TIMEOUT)
    assert connection.sock.recv(1) == b""


def test_client_random_messages(fake, cli, memory, eventfds):
    """Whatever comes, the tool ends by itself or goes on, without crash, hang or growing."""
    import random

    choice = random.Random(41)
    pool = eventfds(4)
    for _ in range(wire.sized(40, 2000)):
        process = cli("--connect-timeout", "0.3", "monitor", "--no-reconnect")
        connection = fake.accept()
        good = [(VERSION,), (2,), (MEMORY, memory)]
        cut = choice.randrange(5)
        try:
            for message in good[:cut]:
                connection.send(*message)
            for _ in range(choice.randrange(60)):
                number = choice.choice([-1, 0, 1, 2, 3, 65535, choice.randrange(-3, 70000)])
                fds = choice.choice([(), (choice.choice(pool),), (memory,), tuple(pool[:2])])
                data = struct.pack("<q", number)[: choice.choice([8, 8, 8, 8, 8, choice.randrange(1, 9)])]
                connection.send_bytes(data, *fds)
        except (BrokenPipeError, ConnectionResetError):
            pass
        connection.close()
        assert process.wait() == 1, process.describe()
        assert process.stderr or "lost" in process.stdout

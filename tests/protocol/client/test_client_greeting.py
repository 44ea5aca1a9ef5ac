# SPDX-License-Identifier: BSD-2-Clause
"""
The client library, through the command line tool, while a server greets it: a lie is an error with a sentence in bounded
time, exit status 1, and no descriptor left. What each message means in each state is tested in tests/unit/group, and a
message that is cut anywhere in tests/unit/wire.
"""

import errno
import fcntl
import json
import os
import random
import re
import signal
import struct
import time

import pytest

import ivshmem_wire as wire
from ivshmem_wire import MEMORY, VERSION

# Long enough for a machine under load, and short enough to be told apart from "never".
PATIENT = ("--connect-timeout", "20")
HASTY = ("--connect-timeout", "0.5")

END = b""


def pack(*numbers):
    return struct.pack(f"<{len(numbers)}q", *numbers)


def vectors(peer, count):
    return [(peer, "vector")] * count


def write_sealed():
    fd = wire.memory_fd(seals=False)
    fcntl.fcntl(fd, wire.F_ADD_SEALS, wire.F_SEAL_WRITE)
    return fd


UNUSABLE = {
    "eventfd": wire.eventfd,
    "empty": lambda: wire.memory_fd(0),
    "above-a-page": lambda: wire.memory_fd(4097),
    "write-sealed": write_sealed,
    "directory": lambda: os.open("/", os.O_RDONLY | os.O_DIRECTORY),
    "path-only": lambda: os.open("/etc/passwd", os.O_PATH),
    "huge": lambda: wire.memory_fd(1 << 62, seals=False),
}

# What `ivshmem peers` is to know: our id, our vectors, and those of the peers; and what the server says: numbers, bytes,
# or one of these with its descriptors.
RIGHT = {
    "041-normal_sequence": (
        7, 3, {2: 3, 5: 3}, VERSION, 7, (MEMORY, "memory"), *vectors(5, 3), *vectors(2, 3), *vectors(7, 3),
    ),
    "044-lowest_id": (0, 1, {}, VERSION, 0, (MEMORY, "memory"), (0, "vector")),
    "044-highest_id": (65535, 1, {}, VERSION, 65535, (MEMORY, "memory"), (65535, "vector")),
    # Two that left before we came are harmless.
    "049-messages_that_arrive_together": (
        3, 2, {8: 2}, pack(VERSION, 3), (MEMORY, "memory"), pack(20, 21), *vectors(8, 2), *vectors(3, 2),
    ),
    "050-several_descriptors_with_the_memory": (
        0, 1, {}, VERSION, 0, (MEMORY, "memory", "vector", "vector"), (0, "vector"),
    ),
    "051-peers_before_the_memory": (1, 2, {0: 2}, VERSION, 1, *vectors(0, 2), (MEMORY, "memory"), *vectors(1, 2)),
    "052-own_vectors_before_the_memory": (1, 2, {}, VERSION, 1, *vectors(1, 2), (MEMORY, "memory")),
    "053-more_vectors_than_there_can_be": (
        0, 2048, {6: 2048}, VERSION, 0, *vectors(6, 2100), (MEMORY, "memory"), *vectors(0, 2100),
    ),
    "054-no_own_vectors": (3, 0, {1: 1}, VERSION, 3, (MEMORY, "memory"), (1, "vector")),
    "054-fewer_own_vectors_than_others": (3, 2, {1: 5}, VERSION, 3, (MEMORY, "memory"), *vectors(1, 5), *vectors(3, 2)),
}

# A word of the message to the user, and what the server says.
WRONG = {
    "042-other_version": ("17 of the protocol, but we speak version 0", 17),
    "042-lowest_version": (str(-(1 << 63)), -(1 << 63)),
    "042-high_version": (str(1 << 32), 1 << 32),
    "042-socket_for_observers": ("observe:PATH", 65536),
    "042-refusal": ("refused us: no peer id can be used", -errno.ENOSPC, END),
    "043-descriptor_with_the_version": ("version", (VERSION, "vector")),
    "043-descriptor_with_the_id": ("id", VERSION, (3, "vector")),
    "044-impossible_id": ("-1", VERSION, -1),
    "044-impossible_id_with_descriptor": ("65536", VERSION, (65536, "vector")),
    "045-memory_without_descriptor": ("memory", VERSION, 0, MEMORY),
    "046-number_out_of_range": ("-2", VERSION, 0, -2),
    "046-number_out_of_range_with_descriptor": ("65536", VERSION, 0, (65536, "vector")),
    "046-number_out_of_range_behind_peers": ("99999", VERSION, 0, (7, "vector"), 7, *vectors(7, 20), *vectors(0, 20), 99999),
    "047-end_at_once": ("closed", END),
    "047-end_within_the_version": ("closed", bytes(3), END),
    "047-end_within_the_version_with_descriptor": ("closed", (bytes(3), "vector"), END),
    "047-end_after_the_version": ("closed", VERSION, END),
    "047-end_after_the_id": ("closed", VERSION, 0, END),
    "047-end_within_the_memory": ("closed", VERSION, 0, (pack(MEMORY)[:5], "memory"), END),
    "050-too_many_descriptors": ("more descriptors than one", VERSION, 0, (MEMORY, "memory", *["vector"] * 252)),
    "050-too_many_descriptors_with_a_peer": ("more descriptors than one", VERSION, 0, (7, *["vector"] * 200)),
    **{f"055-memory_{kind}": ("", VERSION, 0, *vectors(7, 20), (MEMORY, kind), (0, "vector")) for kind in UNUSABLE},
}


@pytest.fixture
def fd_of():
    """fd_of(name): the descriptor of this name."""
    kinds = {"vector": wire.eventfd, "memory": wire.memory_fd, **UNUSABLE}
    fds = {}

    def fd_of(kind):
        if kind not in fds:
            fds[kind] = kinds[kind]()
        return fds[kind]

    yield fd_of
    for fd in fds.values():
        os.close(fd)


@pytest.fixture
def say(fd_of):
    """say(connection, messages): one of the sequences from above."""

    def say(connection, messages):
        for message in messages:
            if isinstance(message, tuple):
                connection.say((message[0], *map(fd_of, message[1:])))
            elif message == END:
                connection.close()
            else:
                connection.say(message)

    return say


def expect_peers(process, own_id, n_vectors, peers):
    assert process.wait() == 0, process.describe()
    peers = [{"id": peer, "vectors": peers[peer]} for peer in sorted(peers)]
    assert json.loads(process.stdout) == {"id": own_id, "vectors": n_vectors, "peers": peers}


@pytest.mark.parametrize("greeting", RIGHT)
def test_greeting_that_is_right(fake, cli, say, greeting):
    own_id, n_vectors, peers, *messages = RIGHT[greeting]
    process = cli(*PATIENT, "--json", "peers")
    say(fake.accept(), messages)
    expect_peers(process, own_id, n_vectors, peers)


@pytest.mark.parametrize("greeting", WRONG)
def test_greeting_that_is_wrong(fake, cli, say, greeting):
    word, *messages = WRONG[greeting]
    process = cli(*PATIENT, "info")
    began = time.monotonic()
    say(fake.accept(), messages)
    assert process.wait() == 1, process.describe()
    assert time.monotonic() - began < 15, "it waited for its time-out instead of understanding"
    assert process.stderr.startswith("ivshmem: ") and word in process.stderr, process.describe()
    assert process.stdout == "", process.describe()
    assert "closed" in word or "closed" not in process.stderr, "the reason is what counts, not how it ended"


def descriptors(process):
    return sorted(re.sub(r"\d+", "N", target) for target in process.fds().values())


def test_056_no_descriptor_is_leaked(fake, attached, say):
    """
    A client that attaches again and again to a server that fails in every way has, when at last it
    succeeds, as many descriptors as at the beginning.
    """
    a = attached("monitor", "--reconnect-interval", "0.02")
    before = descriptors(a.process)
    a.lose()
    for _ in range(wire.sized(2, 50)):
        for _, *messages in WRONG.values():
            connection = fake.accept()
            say(connection, messages)
            connection.close()
    fake.accept().greeting(1, a.memory, a.own)
    a.process.expect("attached as peer 1.*")
    wire.wait_until(lambda: descriptors(a.process) == before, "the same descriptors as before")


def expect_out_of_time(process):
    assert process.wait(20) in (1, 3), process.describe()
    assert process.stderr.startswith("ivshmem: ") and "time" in process.stderr, process.describe()


@pytest.mark.parametrize("said", [b"", bytes(3), pack(VERSION), pack(VERSION, 0) + bytes(3)], ids=len)
def test_048_silence(fake, cli, said):
    """A server that accepts and says nothing, or stops half way."""
    process = cli(*HASTY, "info")
    connection = fake.accept()
    connection.say(said)
    expect_out_of_time(process)
    assert connection.closed_by_client()


def test_048_drip(fake, cli):
    """A byte now and then does not extend the time: the whole greeting has one limit."""
    process = cli("--connect-timeout", "1", "info")
    connection = fake.accept()
    for byte in pack(VERSION, 0, MEMORY)[:22]:
        connection.say(bytes([byte]))
        time.sleep(0.15)  # the pace is the subject
        if not process.running():
            break
    expect_out_of_time(process)


@pytest.mark.parametrize("memory", [False, True])
def test_048_endless_talk(fake, cli, say, memory):
    """Peers that leave and leave, and never the memory, or never the moment of quiet that ends attaching."""
    process = cli(*HASTY, "info")
    connection = fake.accept()
    say(connection, [VERSION, 0, *[(MEMORY, "memory")] * memory])
    with wire.until_gone:
        while process.running():
            connection.sock.sendall(pack(9) * 1000)
    if memory:
        assert process.wait() == 0, process.describe()
    else:
        expect_out_of_time(process)


def test_048_server_that_does_not_accept(room, cli, closing):
    """A full queue makes connect() itself wait."""
    closing.append(wire.bound(room.socket, backlog=0))
    closing.append(wire.connect(room.socket))
    process = cli(*HASTY, "info")
    assert process.wait(10) == 1, process.describe()
    assert "queue of clients stays full" in process.stderr


def test_049_byte_at_a_time(fake, cli, fd_of):
    """Every message in eight reads; a descriptor comes with the first of them."""
    process = cli(*PATIENT, "--json", "peers")
    connection = fake.accept()
    for number, *names in (VERSION,), (4,), (MEMORY, "memory"), *vectors(9, 2), *vectors(4, 2):
        connection.send_bytewise(number, *map(fd_of, names))
    expect_peers(process, 4, 2, {9: 2})


def test_what_came_in_time_counts_however_late_it_is_read(attached):
    """A client that does not get the processor while vectors come has them all the same."""
    seen = []
    for _ in range(10):
        a = attached("--json", "info", own_id=3, own=1)
        a.connection.wait_taken()
        # Now it waits for a moment of quiet. If that was over before we stopped it, we try again.
        a.process.signal(signal.SIGSTOP)
        wire.wait_until(lambda: wire.process_state(a.process.pid) in "TZ", "it stands still")
        a.connection.say(*[(3, fd) for fd in a.eventfds(3)])
        time.sleep(0.1)
        a.process.signal(signal.SIGCONT)
        assert a.process.wait() == 0, a.process.describe()
        seen.append(json.loads(a.process.stdout)["vectors"])
        if seen[-1] == 4:
            return
    raise AssertionError(f"vectors: {seen}")


def test_058_who_left_before_we_had_attached_is_not_told_of(fake, cli, say):
    process = cli(*PATIENT, "monitor")
    say(fake.accept(), [VERSION, 0, (MEMORY, "memory"), (7, "vector"), 7, (8, "vector"), (0, "vector")])
    process.expect(r"peer 8 joined \(1 vector\)")
    assert "peer 7" not in process.stdout


@pytest.mark.parametrize("size", [4096, 5 << 30])
def test_055_sizes_that_can_be_used(attached, size):
    process = attached("--json", "info", size=size).process
    assert process.wait() == 0, process.describe()
    assert json.loads(process.stdout)["size"] == size


def test_056_few_descriptors(fake, cli, say):
    """
    More peers than the client may have descriptors: that is an error with a remedy. It must not be
    taken for peers that left, nor end in a list with some of them missing.
    """
    process = cli(*PATIENT, "peers", limit_files=32)
    say(fake.accept(), [VERSION, 0, (MEMORY, "memory"), *[(peer, "vector") for peer in range(1, 101)]])
    assert process.wait() == 1, process.describe()
    assert "limit" in process.stderr, process.describe()


def test_065_id_65535_and_sparse_ids(attached):
    """Many peers all over the space of ids: memory grows with the peers, not with their numbers."""
    a = attached("monitor", limit_files=4096)
    before = a.process.resident()
    for peer in [*range(100, 65536, 65), 65535]:
        a.send(peer, a.own[0])
    a.process.expect("peer 65535 joined .*")
    allowed = 20000 if wire.sanitized("ivshmem") else 2000
    assert a.process.resident() - before < allowed, "KiB for a thousand peers with a vector each"


def test_client_random_messages(fake, cli, eventfds, fd_of):
    """Whatever comes, the tool ends by itself or goes on, without crash, hang or growing."""
    choice = random.Random(41)
    pool, memory = eventfds(4), fd_of("memory")
    for _ in range(wire.sized(40, 2000)):
        process = cli("--connect-timeout", "0.3", "monitor", "--no-reconnect")
        connection = fake.accept()
        connection.say(*[(VERSION,), (2,), (MEMORY, memory)][: choice.randrange(5)])
        for _ in range(choice.randrange(60)):
            number = choice.choice([-1, 0, 1, 2, 3, 65535, choice.randrange(-3, 70000)])
            fds = choice.choice([(), (pool[choice.randrange(4)],), (memory,), (pool[0], pool[1])])
            connection.say((pack(number)[: choice.choice([8, 8, 8, 8, 8, choice.randrange(1, 9)])], *fds))
        connection.close()
        assert process.wait() == 1, process.describe()
        assert process.stderr or "lost" in process.stdout

# SPDX-License-Identifier: BSD-2-Clause
"""The policy: who may come in, how many clients a user may have, and who gets the memory for reading only."""

import contextlib
import errno
import mmap
import os
import shutil

import pytest

import ivshmem_wire as wire
from ivshmem_fixtures import LONELY_UID
from observer import Observer

ANN, BOB, STAFF, GUESTS = 23456, 23457, 33456, 33457

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be several users")


@contextlib.contextmanager
def acting_as(user, *groups):
    """This process is somebody else meanwhile, with these groups; the first is the main one."""
    before = os.getgroups()
    os.setgroups(groups[1:])
    os.setegid(groups[0] if groups else user)
    os.seteuid(user)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(before)


@pytest.fixture
def group(server):
    """start(*arguments): a server to which every user can connect."""

    def start(*arguments, **options):
        return server("--socket-mode", "0666", *arguments, **options)

    return start


@pytest.fixture
def come(closing):
    """come(server, user, *groups): a client of this user; it has read nothing yet."""

    def connect(srv, user, *groups, observes=False):
        with acting_as(user, *groups):
            client = Observer(srv.path) if observes else wire.RawClient(srv.path, srv.vectors)
        closing.append(client)
        return client

    return connect


def expect_refused(client, error):
    client.expect(-error, False)
    client.assert_cut()


def test_only_users_that_are_named_come_in(group, come):
    srv = group("--allow-user", f"{ANN},root")
    assert come(srv, ANN).greet().id == 0
    assert srv.client().id == 1
    expect_refused(come(srv, BOB), errno.EACCES)
    assert come(srv, ANN).greet().id == 2


def test_only_members_of_groups_that_are_named_come_in(group, come):
    srv = group("--allow-group", f"{GUESTS}", "--allow-group", f"{STAFF}")
    assert come(srv, ANN, STAFF).greet().id == 0
    assert come(srv, BOB, BOB, 1, STAFF).greet().id == 1
    expect_refused(come(srv, BOB, BOB, 1, 2), errno.EACCES)
    expect_refused(come(srv, ANN), errno.EACCES)


def test_a_user_or_a_group_is_enough(group, come):
    srv = group("--allow-group", STAFF, "--allow-user", ANN)
    assert come(srv, ANN).greet().id == 0
    assert come(srv, BOB, BOB, STAFF).greet().id == 1
    expect_refused(come(srv, BOB), errno.EACCES)


def test_it_counts_for_observers_and_seats(group, come, room):
    srv = group("--allow-user", ANN, "--member", f"7={room.file('seat')}")
    assert come(srv, ANN, observes=True).greet()
    expect_refused(come(srv, BOB, observes=True), errno.EACCES)
    for user in BOB, ANN:
        with acting_as(user):
            client = wire.RawClient(room.file("seat"))
        if user == BOB:
            expect_refused(client, errno.EACCES)
            srv.expect(rf"ivshmem-server: a client for peer 7 is refused \(process {os.getpid()}, user {BOB}.*", "stderr")
        else:
            assert client.greet().id == 7
        client.close()


def test_who_is_refused_is_logged_once_with_the_reason(group, come):
    srv = group("--allow-user", ANN)
    for _ in range(30):
        expect_refused(come(srv, BOB), errno.EACCES)
    expect_refused(come(srv, LONELY_UID), errno.EACCES)
    srv.expect(rf"ivshmem-server: a client is refused \(process {os.getpid()}, user {LONELY_UID}, .*", "stderr")
    lines = [line for line in srv.lines("stderr") if f"user {BOB}" in line]
    assert len(lines) == 1
    assert f"a client is refused (process {os.getpid()}, user {BOB}, program " in lines[0]
    assert lines[0].endswith("neither its user nor one of its groups is allowed (--allow-user, --allow-group)")


def test_a_user_has_so_many_peers_and_observers(group, come):
    srv = group("--max-peers-per-user", "2", "--max-observers-per-user", "1")
    first = come(srv, ANN).greet()
    come(srv, ANN).greet()
    expect_refused(come(srv, ANN), errno.EDQUOT)
    srv.expect(r"ivshmem-server: a client is refused .*its user has as many peers as allowed \(--max-peers-per-user\)", "stderr")
    come(srv, ANN, observes=True).greet()
    expect_refused(come(srv, ANN, observes=True), errno.EDQUOT)
    srv.expect(r"ivshmem-server: an observer is refused .*\(--max-observers-per-user\)", "stderr")
    stays = come(srv, BOB).greet()
    first.close()
    stays.follow_until_knows([1, 2])
    assert come(srv, ANN).greet().id == 3
    expect_refused(come(srv, ANN), errno.EDQUOT)


def writable(action):
    """Can this be done? Only permission may be missing."""
    try:
        action()
        return True
    except PermissionError:
        return False


@pytest.mark.parametrize("memory", [[], ["-m", "/dev/shm"], ["-M", None]], ids=["memfd", "file", "shm"])
def test_who_may_only_read_cannot_write(group, come, memory, room):
    if memory and memory[-1] is None:
        memory = ["-M", os.path.basename(room.path)]
    srv = group("--read-only-user", ANN, "--read-only-group", STAFF, *memory)
    writer = come(srv, BOB).greet()
    os.pwrite(writer.memory, b"seen", 100)
    for reader, user in (come(srv, ANN), ANN), (come(srv, BOB, BOB, STAFF), BOB), (come(srv, ANN, observes=True), ANN):
        reader.greet()
        assert os.pread(reader.memory, 4, 100) == b"seen"
        with mmap.mmap(reader.memory, 4096, mmap.MAP_SHARED, mmap.PROT_READ) as view:
            assert view[100:104] == b"seen"
        assert not writable(lambda: mmap.mmap(reader.memory, 4096, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE))
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.pwrite(reader.memory, b"no", 0)
        path = f"/proc/self/fd/{reader.memory}"
        with acting_as(user):
            for flags in os.O_RDWR, os.O_WRONLY:
                assert not writable(lambda: os.close(os.open(path, flags)))
            assert not writable(lambda: os.chmod(path, 0o666))
    assert os.pread(writer.memory, 4, 0) == bytes(4)


def test_the_servers_own_user_can_open_it_for_writing(group, come):
    """docs/security.md says so: no mode keeps the owner and root out. The server warns of it."""
    srv = group("--read-only-user", "root")
    srv.expect("ivshmem-server: user 0 gets the memory for reading only, but can open it for writing: it is root", "stderr")
    reader = come(srv, 0).greet()
    assert not writable(lambda: mmap.mmap(reader.memory, 4096, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE))
    os.close(os.open(f"/proc/self/fd/{reader.memory}", os.O_RDWR))


@pytest.fixture
def tool(processes, room):
    """tool(server, user, *arguments): ivshmem as somebody else, until it ends."""
    binary = room.file("ivshmem")
    shutil.copy(wire.program("ivshmem"), binary)
    os.chmod(binary, 0o755)

    def run(srv, user, *arguments, target="unix"):
        process = wire.Process([binary, "-t", f"{target}:{srv.path}", *arguments], user=user)
        processes.append(process)
        process.wait()
        return process

    return run


def test_the_tools_say_why_they_are_refused(group, tool):
    srv = group("--allow-user", ANN, "--max-peers-per-user", "1")
    process = tool(srv, BOB, "write", "0", "x")
    assert process.wait() == 1
    assert "it allows neither our user nor one of our groups (--allow-user, --allow-group)" in process.stderr
    assert tool(srv, ANN, "write", "0", "x").wait() == 0
    with acting_as(ANN):
        client = wire.RawClient(srv.path)
    client.greet()
    process = tool(srv, ANN, "monitor")
    assert "our user has as many peers as it may have (--max-peers-per-user)" in process.stderr
    client.close()


def test_the_tools_say_that_memory_is_read_only(group, tool):
    srv = group("--read-only-user", ANN, "-l", "1M")
    assert tool(srv, BOB, "write", "0", "seen").wait() == 0
    process = tool(srv, ANN, "read", "0", "--text")
    assert process.wait() == 0 and process.stdout.startswith("seen"), process.describe()
    assert "read-only" in tool(srv, ANN, "info").stdout
    for command in ["write", "0", "no"], ["format"], ["recv", "door"]:
        process = tool(srv, ANN, *command)
        assert process.wait() != 0
        assert "--read-only-user" in process.stderr, process.describe()


@pytest.mark.parametrize("options", [
    ["--allow-user", "no-such-user"],
    ["--allow-user", "1,,2"],
    ["--allow-group", ""],
    ["--read-only-group", "4294967295"],
    ["--max-peers-per-user", "0"],
    ["--allow-user", ",".join(map(str, range(65)))],
])
def test_wrong_options_are_refused(refused, options):
    refused(*options, words=[options[0]])

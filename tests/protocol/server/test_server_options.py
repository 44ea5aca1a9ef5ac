# SPDX-License-Identifier: BSD-2-Clause
"""The server's command line and the memory it makes."""

import errno
import fcntl
import grp
import os
import pwd
import re
import resource
import stat
import subprocess

import pytest

import ivshmem_wire as wire
from ivshmem_fixtures import few_descriptors, root_only

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


@pytest.fixture
def run(launch):
    """run(*arguments): the program, which ends at once, and with this status."""

    def run(*arguments, status=1):
        process = launch("ivshmem-server", *arguments)
        assert process.wait() == status, process.describe()
        return process

    return run


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_108_help(run, option):
    """Which options there are, and that the manual page has the same, is checked in tests/manuals."""
    result = run(option, status=0)
    assert result.stderr == ""
    for word in ("--vectors", "/tmp/ivshmem_socket", "/run/ivshmem-server.pid"):
        assert word in result.stdout, f"{word} is not explained"


def test_108_version(run):
    assert re.search(r"ivshmem-server.* \d+\.\d+", run("--version", status=0).stdout)


@pytest.mark.parametrize("arguments", [["-x"], ["--no-such-option"], ["-S"], ["-l"], ["-n"], ["--vectors"]])
def test_108_unknown_option_or_missing_argument(run, arguments):
    assert "--vectors" in run(*arguments).stdout, "usage belongs on stdout"


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["-xF"], "unknown option '-x'"),
        (["-Fx"], "unknown option '-x'"),
        (["--foreground", "-xF"], "unknown option '-x'"),
        (["--no-such-option"], "unknown option '--no-such-option'"),
        (["--s"], "option '--s' is ambiguous"),
        (["--socket=x", "--m=0600"], "option '--m=0600' is ambiguous"),
        (["--foreground=1"], "option '--foreground' takes no value"),
        (["-FS"], "option '-S' needs a value"),
        (["-S"], "option '-S' needs a value"),
        (["--socket"], "option '--socket' needs a value"),
        (["-F", "--socket-mode"], "option '--socket-mode' needs a value"),
        (["-F", "--hugetlb", "2M", "-M", "name"], "--hugetlb cannot be combined with -M or -m"),
    ],
    ids=str,
)
def test_108_what_is_wrong_with_an_option_is_named(run, arguments, words):
    assert words in run(*arguments).stderr


@pytest.mark.parametrize("option", ["-v", "--verbose"])
def test_108_verbose_needs_foreground(run, option, room):
    assert "-v needs -F" in run(option, "-S", room.socket, "-p", room.file("pid")).stderr
    assert os.listdir(room.path) == []


def test_108_verbose_tells_what_happens(server):
    srv = server("-v")
    client = srv.client()
    srv.client().close()
    client.follow(lambda: client.log == [1, 1], "the other came and went")
    wire.wait_until(lambda: len(srv.lines()) >= 4, "join and leave are told")
    assert srv.stderr == ""


def test_108_not_verbose_is_quiet(server):
    srv = server()
    srv.client().close()
    srv.assert_idle()
    srv.finish()
    assert srv.stderr == ""


def test_108_long_names(launch, room, closing):
    process = launch("ivshmem-server", "--foreground", "--socket", room.socket, "--size", "64K", "--vectors=3")
    process.expect("ivshmem-server: listening on .*")
    client = wire.RawClient(room.socket, 3)
    closing.append(client)
    client.greet()
    assert os.fstat(client.memory).st_size == 64 * KIB
    assert len(client.peers[0]) == 3
    process.finish()


@pytest.mark.parametrize("text, vectors", [("0", 0), ("1", 1), ("65", 65), ("0x10", 16), ("010", 10)])
def test_108_number_of_vectors(server, text, vectors):
    srv = server("-n", text, vectors=None)
    srv.vectors = vectors
    first, second = srv.client(), srv.client()
    assert len(second.peers.get(first.id, [])) == vectors


@pytest.mark.parametrize(
    "text", ["2049", "4294967297", "18446744073709551617", "-1", "1x", "", " 1", "1 ", "0x", "1.5", "1K", "all"]
)
def test_109_bad_number_of_vectors(refused, text, room):
    refused("-n", text)
    assert not os.path.lexists(room.socket)


@pytest.mark.parametrize(
    "text, size, exact",
    [
        ("4096", 4096, True),
        ("0x10000", 64 * KIB, True),
        ("64k", 64 * KIB, True),
        ("0.5M", 512 * KIB, True),
        ("8G", 8 * GIB, True),
        ("5G", 8 * GIB, False),
        ("1", 4096, False),
        ("3M", 4 * MIB, False),
    ],
)
def test_104_sizes(server, text, size, exact):
    """Powers of two are taken as they are, others rounded up, and that is said."""
    srv = server("-l", text)
    assert os.fstat(srv.client().memory).st_size == size
    srv.finish()
    assert ("round" in srv.stdout + srv.stderr) != exact, srv.describe()


@pytest.mark.parametrize("text", ["0", "", "-1", "x", "4Mx", "4 M", " 4M", "4MB", "0x", "1.5", "nan", "0M"])
def test_104_bad_sizes(refused, text, room):
    refused("-l", text)
    assert not os.path.lexists(room.socket)


@pytest.mark.parametrize("text", ["16E", "5E", "18446744073709551616", "99999999999999999999G"])
def test_104_too_large_is_not_called_garbage(refused, text):
    assert "not a size" not in refused("-l", text, words=["too large"]).stderr


def seals(fd):
    return fcntl.fcntl(fd, wire.F_GET_SEALS)


def test_104_default_memory_is_sealed(server):
    """Nobody can truncate it under the others; everybody can write to it; it reads as zero."""
    client = server().client()
    assert seals(client.memory) & 7 == 7
    assert not seals(client.memory) & wire.F_SEAL_WRITE
    assert os.fstat(client.memory).st_size == 4 * MIB
    assert os.pread(client.memory, 4 * MIB, 0) == bytes(4 * MIB)
    assert os.readlink(f"/proc/self/fd/{client.memory}").startswith("/memfd:")


def test_105_named_object_is_made_and_removed(server, room):
    name = room.shm_name()
    srv = server("-M", name, "-l", "1M")
    client = srv.client()
    status = os.stat(f"/dev/shm/{name}")
    assert status.st_ino == os.fstat(client.memory).st_ino
    assert status.st_size == MIB
    assert stat.S_IMODE(status.st_mode) & 0o111 == 0, "memory is not a program"
    assert stat.S_IMODE(status.st_mode) & 0o007 == 0, "not for everybody unless asked for"
    srv.finish()
    assert not os.path.exists(f"/dev/shm/{name}")


@pytest.fixture
def shm(room):
    """shm(size, mode): an object that is there; its name."""

    def shm(size, mode=0o600):
        name = room.shm_name()
        with open(f"/dev/shm/{name}", "wb") as file:
            file.truncate(size)
        os.chmod(f"/dev/shm/{name}", mode)
        return name

    return shm


@pytest.mark.parametrize("size", ["1M", "64K"])
def test_105_existing_object_is_told(server, shm, size):
    """
    Also when it has just the size that was asked for; one of our own, for us alone, is no danger. It is not ours
    to remove.
    """
    name = shm(MIB)
    srv = server("-M", name, "-l", size)
    assert os.fstat(srv.client().memory).st_ino == os.stat(f"/dev/shm/{name}").st_ino
    assert "existing object" in srv.stdout
    srv.finish()
    assert srv.stderr == ""
    assert os.path.getsize(f"/dev/shm/{name}") == MIB


@pytest.mark.parametrize("owner, mode", [(None, 0o620), (None, 0o602), (12345, 0o600)])
def test_105_existing_object_that_others_may_resize(server, shm, owner, mode):
    name = shm(MIB, mode)
    if owner is not None:
        if os.geteuid() != 0:
            pytest.skip("only root gives files away")
        os.chown(f"/dev/shm/{name}", owner, -1)
    srv = server("-M", name, "-l", "1M")
    srv.finish()
    assert f"/{name}" in srv.stderr and f"{mode:04o}" in srv.stderr, srv.describe()
    assert str(owner or os.geteuid()) in srv.stderr


def more_than_fits(directory):
    """A size that can be had, sparse, but not used."""
    status = os.statvfs(directory)
    size = 4096
    while size <= status.f_blocks * status.f_frsize:
        size *= 2
    if status.f_blocks == 0 or size > 1 << 43:
        pytest.skip(f"{directory} has no limit that can be exceeded")
    return size


@pytest.mark.parametrize("kind", ["-M", "-m"])
def test_111_more_than_the_file_system_has(server, room, kind):
    """Said at start: later it is a SIGBUS in somebody's guest."""
    directory = room.path if kind == "-m" else "/dev/shm"
    what = room.path if kind == "-m" else room.shm_name()
    srv = server(kind, what, "-l", str(more_than_fits(directory)))
    srv.finish()
    assert "room for" in srv.stderr and "SIGBUS" in srv.stderr, srv.describe()


@pytest.mark.parametrize("kind", ["-M", "-m"])
def test_111_what_fits_is_no_matter_for_a_warning(server, room, kind):
    srv = server(kind, room.path if kind == "-m" else room.shm_name(), "-l", "64K")
    srv.finish()
    assert srv.stderr == ""


@root_only
def test_105_no_place_for_named_objects(refused, room):
    """A machine without /dev/shm: the message names it, and what works without."""
    setup = wire.private_mounts(("/dev", "tmpfs", ""))
    refused("-M", room.shm_name(), setup=setup, words=["no /dev/shm", "default memory"])


def test_105_failed_start_leaves_a_running_server_alone(server, refused, room):
    """The same arguments twice: the second gives up, the first keeps its socket and its memory's name."""
    name = room.shm_name()
    srv = server("-M", name, "-l", "1M")
    refused("-M", name, "-l", "8M")
    assert os.path.getsize(f"/dev/shm/{name}") == MIB, "somebody else's memory was grown by a failed start"
    assert os.fstat(srv.client().memory).st_ino == os.stat(f"/dev/shm/{name}").st_ino


def test_105_failed_start_removes_what_it_made(refused, room):
    name = room.shm_name()
    missing = room.file("no/such/directory/socket")
    refused("-M", name, path=missing, words=[missing, os.strerror(errno.ENOENT)])
    assert not os.path.exists(f"/dev/shm/{name}")


@pytest.mark.parametrize("mode", ["600", "0666"])
def test_105_mode_of_the_object(server, room, mode):
    name = room.shm_name()
    server("-M", name, "--memory-mode", mode)
    assert stat.S_IMODE(os.stat(f"/dev/shm/{name}").st_mode) == int(mode, 8)


@pytest.mark.parametrize("option", ["--memory-mode", "--socket-mode"])
@pytest.mark.parametrize("mode", ["", "9", "rw", "0o600", "77777", "-1", "600x"])
def test_108_bad_modes(refused, option, mode):
    refused(option, mode)


def test_111_directory(server, room):
    """A file without a name in that directory."""
    client = server("-m", room.path, "-l", "3M").client()
    assert os.fstat(client.memory).st_size == 4 * MIB
    assert os.readlink(f"/proc/self/fd/{client.memory}").startswith(room.path + "/")
    assert sorted(os.listdir(room.path)) == ["socket", "socket.control", "socket.observe"]


def test_108_last_of_shm_and_directory_wins(server, room):
    name = room.shm_name()
    directory = room.file("memory")
    os.mkdir(directory)
    srv = server("-M", name, "-m", directory)
    assert os.readlink(f"/proc/self/fd/{srv.client().memory}").startswith(directory)
    assert not os.path.exists(f"/dev/shm/{name}")
    srv.finish()
    srv = server("-m", directory, "-M", name)
    assert os.readlink(f"/proc/self/fd/{srv.client().memory}") == f"/dev/shm/{name}"


@pytest.mark.parametrize("page", ["", "4K", "2", "3M", "2M1", "1T"])
def test_111_hugetlb_bad_page_sizes(refused, page):
    refused("--hugetlb", page, words=["write 2M or 1G"])


@pytest.mark.parametrize("given, mode", [([], 0o660), (["--socket-mode", "0600"], 0o600), (["--socket-mode=777"], 0o777)])
def test_108_socket_mode(server, given, mode):
    srv = server(*given)
    assert stat.S_IMODE(os.stat(srv.path).st_mode) == mode
    srv.client()


@root_only
def test_108_socket_owner_and_group(server, room):
    user = pwd.getpwnam("nobody")
    group = grp.getgrnam("daemon")
    srv = server("--socket-owner", "nobody", "--socket-group", "daemon", "--socket-mode", "0660")
    status = os.stat(srv.path)
    assert (status.st_uid, status.st_gid) == (user.pw_uid, group.gr_gid)
    other = server("--socket-owner", "12345", "--socket-group", "23456", path=room.file("other"))
    status = os.stat(other.path)
    assert (status.st_uid, status.st_gid) == (12345, 23456)


@root_only
def test_108_socket_mode_is_enforced(server):
    """Who may not write to the socket does not get in."""
    srv = server("--socket-mode", "0600")
    result = subprocess.run(
        ["/usr/bin/setpriv", "--reuid=61616", "--regid=61616", "--clear-groups", "/usr/bin/python3", "-c"]
        + ["import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])", srv.path],
        capture_output=True,
        text=True,
        timeout=wire.TIMEOUT,
    )
    assert "PermissionError" in result.stderr


@pytest.mark.parametrize("option", ["--socket-owner", "--socket-group"])
@pytest.mark.parametrize("name", ["", "no-such-name-here", "-1", "4294967296", "1x"])
def test_108_unknown_owner_or_group(refused, option, name, room):
    refused(option, name)
    assert os.listdir(room.path) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("--max-peers", "0"),
        ("--max-peers", "65537"),
        ("--max-peers", "-1"),
        ("--max-peers", "many"),
        ("--stall-timeout", "-1"),
        ("--stall-timeout", "x"),
        ("--stall-timeout", ""),
        ("--stall-timeout", "0.0001"),
        ("--stall-timeout", "0.9ms"),
        ("--stall-timeout", "99999999999999999999"),
    ],
)
def test_108_bad_limits(refused, arguments):
    refused(*arguments)


def test_108_says_at_start_how_many_peers_fit(server):
    """The limit is raised as far as allowed, and what fits is told when it is asked for detail."""
    # A few are the server's own, and 1000 / 16 the observers'; a peer takes 65.
    assert "room for 14 peers of 64 vectors" in server(vectors=64, limit_files=1000).stdout


@few_descriptors
def test_108_no_room_for_anybody_is_no_start(start, room):
    """With every small limit: it refuses, naming the limit, or has the room that it tells of."""
    refusals, rooms = 0, []
    for limit in range(5, 36):
        srv = start(vectors=3, limit_files=limit)
        if not srv.started():
            refusals += "ulimit -n" in srv.stderr
            assert not os.path.lexists(room.socket)
            continue
        rooms.append(int(re.search(r"room for (\d+) peers", srv.stdout).group(1)))
        clients = [srv.client(keep_fds=False) for _ in range(rooms[-1])]
        assert clients[-1].knows(range(rooms[-1]))
        srv.finish()
    assert refusals >= 3
    assert rooms[0] == 1 and rooms == sorted(rooms) and rooms[-1] < 6, rooms


def test_111_long_name_of_a_directory_does_not_hide_the_reason(refused, room):
    refused("-m", room.file("x" * 900), words=[os.strerror(errno.ENAMETOOLONG)])


def test_103_soft_limit_is_raised(server):
    """The usual soft limit of 1024 does not matter as long as the hard one is higher."""
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 4096:
        pytest.skip("the hard limit is too low here")

    def soften():
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))

    srv = server(vectors=64, setup=soften)
    clients = [srv.client(keep_fds=False) for _ in range(20)]
    assert clients[-1].knows(range(20))

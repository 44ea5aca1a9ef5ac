# SPDX-License-Identifier: BSD-2-Clause
"""The server's command line and the memory it makes."""

import ctypes
import errno
import fcntl
import grp
import os
import pwd
import re
import stat
import subprocess

import pytest

import guardian
import ivshmem_wire as wire
from ivshmem_fixtures import few_descriptors, root_only

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30



@pytest.fixture
def refused(processes, room):
    """Start a server that must refuse to: exit status 1 and a sentence; returns it."""

    def start(*arguments, path=None, vectors=None, **options):
        process = wire.Server(path or room.socket, *arguments, vectors=vectors, ready=False, **options)
        processes.append(process)
        assert process.wait() == 1, process.describe()
        assert len(process.stderr.split()) >= 4, f"no sentence on stderr\n{process.describe()}"
        return process

    return start


def run(*arguments, **options):
    return subprocess.run(
        [wire.program("ivshmem-server"), *arguments],
        capture_output=True,
        text=True,
        timeout=wire.TIMEOUT,
        preexec_fn=wire.die_with_parent,
        stdin=subprocess.DEVNULL,
        **options,
    )


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_108_help(option):
    result = run(option)
    assert result.returncode == 0
    assert result.stderr == ""
    for word in "-h -v -F -p -S -M -m -l -n".split():
        assert re.search(rf"(^|\s){word}\b", result.stdout), f"{word} is not explained"
    for word in (
        "--help --verbose --foreground --pidfile --socket --shm --directory --size --vectors --hugetlb "
        "--socket-owner --socket-group --socket-mode --memory-mode --max-peers --stall-timeout --version"
    ).split():
        assert word in result.stdout, f"{word} is not explained"
    assert "/tmp/ivshmem_socket" in result.stdout
    assert "/var/run/ivshmem-server.pid" in result.stdout or "/run/ivshmem-server.pid" in result.stdout


def test_108_version():
    result = run("--version")
    assert result.returncode == 0
    assert re.search(r"ivshmem-server.* \d+\.\d+", result.stdout)


@pytest.mark.parametrize("arguments", [["-x"], ["--no-such-option"], ["-S"], ["-l"], ["-n"], ["--vectors"]])
def test_108_unknown_option_or_missing_argument(arguments):
    result = run(*arguments)
    assert result.returncode == 1
    assert "--vectors" in result.stdout, "usage belongs on stdout"


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
    ],
    ids=str,
)
def test_108_what_is_wrong_with_an_option_is_named(arguments, words):
    result = run(*arguments)
    assert result.returncode == 1
    assert words in result.stderr


@pytest.mark.parametrize("arguments", [["-v"], ["--verbose"]])
def test_108_verbose_needs_foreground(arguments, room):
    result = run(*arguments, "-S", room.socket, "-p", room.file("pid"))
    assert result.returncode == 1
    assert result.stderr
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


def test_108_long_names(processes, room, closing):
    process = wire.Process(
        [wire.program("ivshmem-server"), "--foreground", "--socket", room.socket, "--size", "64K", "--vectors=3"]
    )
    processes.append(process)
    process.expect("ivshmem-server: listening on .*")
    client = wire.RawClient(room.socket, 3)
    closing.append(client)
    client.greet()
    assert os.fstat(client.memory).st_size == 64 * KIB
    assert len(client.peers[0]) == 3
    process.signal(15)
    assert process.wait() == 0


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
    "text, size",
    [
        ("4096", 4096),
        ("1M", MIB),
        ("1m", MIB),
        ("0x10000", 64 * KIB),
        ("1048576B", MIB),
        ("64k", 64 * KIB),
        ("0.5M", 512 * KIB),
        ("1.5G", 2 * GIB),
        ("4G", 4 * GIB),
        ("8G", 8 * GIB),
        ("5G", 8 * GIB),
        ("1", 4096),
        ("4097", 8192),
        ("3M", 4 * MIB),
    ],
)
def test_104_sizes(server, text, size):
    """Powers of two are taken as they are, others rounded up, and that is said."""
    srv = server("-l", text)
    client = srv.client()
    assert os.fstat(client.memory).st_size == size
    exact = {"1.5G": False, "5G": False, "1": False, "4097": False, "3M": False}.get(text, True)
    srv.finish()
    said = [line for line in srv.lines("stderr") + srv.lines() if "round" in line]
    assert bool(said) != exact, srv.describe()


@pytest.mark.parametrize(
    "text",
    ["0", "", "-1", "x", "4Mx", "4 M", " 4M", "4MB", "0x", "1e6", "1.5", "nan", "inf", "0M"]
    + ["16E", "18446744073709551616", "17592186044416M", "9223372036854775808", "99999999999999999999G"],
)
def test_104_bad_sizes(refused, text, room):
    refused("-l", text)
    assert not os.path.lexists(room.socket)


@pytest.mark.parametrize("text", ["16E", "5E", "18446744073709551616"])
def test_104_too_large_is_not_called_garbage(refused, text):
    process = refused("-l", text)
    assert "too large" in process.stderr and "not a size" not in process.stderr


def test_104_default_size(server):
    assert os.fstat(server().client().memory).st_size == 4 * MIB


def seals(fd):
    return fcntl.fcntl(fd, wire.F_GET_SEALS)


def test_104_default_memory_is_sealed(server):
    """Nobody can truncate it under the others; everybody can write to it; it reads as zero."""
    srv = server("-l", "1M")
    client = srv.client()
    assert seals(client.memory) & 7 == 7
    assert not seals(client.memory) & wire.F_SEAL_WRITE
    for size in (0, 4096, 2 * MIB):
        with pytest.raises(PermissionError):
            os.ftruncate(client.memory, size)
    assert os.pread(client.memory, MIB, 0) == bytes(MIB)
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


def test_105_leading_slash_of_a_name(server, room):
    name = room.shm_name()
    srv = server("-M", "/" + name, "-l", "1M")
    assert os.stat(f"/dev/shm/{name}").st_ino == os.fstat(srv.client().memory).st_ino


@pytest.mark.parametrize("size", [MIB, 8 * MIB])
def test_105_existing_object_is_neither_shrunk_nor_removed(server, room, size):
    """One that is large enough keeps its size and contents; it is not ours to remove."""
    name = room.shm_name()
    path = f"/dev/shm/{name}"
    with open(path, "wb") as file:
        file.truncate(size)
        file.seek(size - 5)
        file.write(b"there")
    srv = server("-M", name, "-l", "1M")
    client = srv.client()
    assert os.fstat(client.memory).st_size == size
    assert os.pread(client.memory, 5, size - 5) == b"there"
    srv.finish()
    assert os.path.getsize(path) == size


@pytest.mark.parametrize("size", ["1M", "64K"])
def test_105_existing_object_is_told(server, room, size):
    """Also when it has just the size that was asked for; one of our own, for us alone, is no danger."""
    name = room.shm_name()
    with open(f"/dev/shm/{name}", "wb") as file:
        file.truncate(MIB)
    os.chmod(f"/dev/shm/{name}", 0o600)
    srv = server("-M", name, "-l", size)
    assert "existing object" in srv.stdout
    srv.finish()
    assert srv.stderr == ""


@pytest.mark.parametrize("owner, mode", [(None, 0o620), (None, 0o602), (12345, 0o600)])
def test_105_existing_object_that_others_may_resize(server, room, owner, mode):
    name = room.shm_name()
    path = f"/dev/shm/{name}"
    with open(path, "wb") as file:
        file.truncate(MIB)
    os.chmod(path, mode)
    if owner is not None:
        if os.geteuid() != 0:
            pytest.skip("only root gives files away")
        os.chown(path, owner, -1)
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
    process = refused("-M", room.shm_name(), setup=wire.private_mounts(("/dev", "tmpfs", "")))
    assert "no /dev/shm" in process.stderr and "default memory" in process.stderr


def test_105_existing_object_that_is_too_small(processes, room):
    """Grown, or refused as it is; never handed out too small, never removed."""
    name = room.shm_name()
    path = f"/dev/shm/{name}"
    with open(path, "wb") as file:
        file.write(b"old contents")
    srv = wire.Server(room.socket, "-M", name, "-l", "1M", ready=False)
    processes.append(srv)
    wire.wait_until(lambda: not srv.running() or "listening" in srv.stdout, "start or refusal")
    if srv.running():
        client = srv.client()
        assert os.fstat(client.memory).st_size == MIB
        assert os.pread(client.memory, 12, 0) == b"old contents"
        srv.finish()
    else:
        assert srv.wait() == 1 and srv.stderr
    with open(path, "rb") as file:
        assert file.read(12) == b"old contents"


def test_105_existing_object_of_an_odd_size(processes, room):
    """3 MiB would abort every QEMU: never handed out like that, never shrunk."""
    name = room.shm_name()
    path = f"/dev/shm/{name}"
    with open(path, "wb") as file:
        file.truncate(3 * MIB)
    srv = wire.Server(room.socket, "-M", name, "-l", "1M", ready=False)
    processes.append(srv)
    wire.wait_until(lambda: not srv.running() or "listening" in srv.stdout, "start or refusal")
    if srv.running():
        size = os.fstat(srv.client().memory).st_size
        assert size >= 4 * MIB and size & (size - 1) == 0
        srv.finish()
    else:
        assert srv.wait() == 1 and srv.stderr
    assert os.path.getsize(path) >= 3 * MIB


def test_105_failed_start_leaves_a_running_server_alone(server, refused, room):
    """The same arguments twice: the second gives up, the first keeps its socket and its memory's name."""
    name = room.shm_name()
    srv = server("-M", name, "-l", "1M")
    refused("-M", name, "-l", "8M")
    assert os.path.getsize(f"/dev/shm/{name}") == MIB, "somebody else's memory was grown by a failed start"
    assert os.fstat(srv.client().memory).st_ino == os.stat(f"/dev/shm/{name}").st_ino


def test_105_failed_start_removes_what_it_made(refused, room):
    name = room.shm_name()
    refused("-M", name, path=room.file("no/such/directory/socket"))
    assert not os.path.exists(f"/dev/shm/{name}")


def test_105_object_replaced_meanwhile_is_not_removed(server, room):
    """Somebody removed our object and made his own under the name: that is his."""
    name = room.shm_name()
    srv = server("-M", name, "-l", "1M")
    os.unlink(f"/dev/shm/{name}")
    with open(f"/dev/shm/{name}", "w") as file:
        file.write("mine")
    srv.finish()
    assert os.path.exists(f"/dev/shm/{name}")


@pytest.mark.parametrize(
    "name", ["", "/", "a/b", "x" * 256, ".."], ids=["empty", "slash", "two-parts", "too-long", "dots"]
)
def test_105_bad_object_names(refused, name):
    refused("-M", name)


@pytest.mark.parametrize("mode", ["600", "0660", "0666"])
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
    directory = room.file("memory")
    os.mkdir(directory)
    srv = server("-m", directory, "-l", "3M")
    client = srv.client()
    assert os.fstat(client.memory).st_size == 4 * MIB
    assert os.listdir(directory) == []
    assert os.readlink(f"/proc/self/fd/{client.memory}").startswith(directory + "/")
    assert os.pread(client.memory, 4 * MIB, 0) == bytes(4 * MIB)


def test_111_bad_directory(refused, room):
    refused("-m", room.file("not-there"))
    with open(room.file("file"), "w"):
        pass
    refused("-m", room.file("file"))


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


HUGETLBFS_MAGIC = 0x958458F6


def filesystem_type(fd):
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = (ctypes.c_long * 32)()
    assert libc.fstatfs(fd, buffer) == 0
    return buffer[0]


@pytest.fixture
def huge_pages():
    """Some huge pages of 2 MiB, for the time of a test."""
    pool = "/sys/kernel/mm/hugepages/hugepages-2048kB"
    if not os.path.isdir(pool):
        pytest.skip("this kernel has no huge pages of 2 MiB")
    with open(f"{pool}/nr_hugepages") as file:
        before = file.read().strip()
    wanted = int(before) + 8
    try:
        guardian.guard_setting(f"{pool}/nr_hugepages", before)
        with open(f"{pool}/nr_hugepages", "w") as file:
            file.write(str(wanted))
        with open(f"{pool}/free_hugepages") as file:
            free = int(file.read())
        if free < 8:
            pytest.skip(f"only {free} huge pages of 2 MiB can be had")
        yield 8
    except PermissionError:
        pytest.skip("reserving huge pages needs root")
    finally:
        try:
            with open(f"{pool}/nr_hugepages", "w") as file:
                file.write(before)
        except PermissionError:
            pass
        guardian.release("setting", f"{pool}/nr_hugepages")


def test_111_hugetlb_memfd(server, huge_pages):
    srv = server("--hugetlb", "2M", "-l", "3M")
    client = srv.client()
    assert filesystem_type(client.memory) & 0xFFFFFFFF == HUGETLBFS_MAGIC
    assert os.fstat(client.memory).st_size == 4 * MIB
    assert seals(client.memory) & 7 == 7
    address = map_shared(client.memory, 4 * MIB)
    address[4 * MIB - 1] = 7
    address.close()


def test_111_hugetlb_rounds_up_to_a_page(server, huge_pages):
    srv = server("--hugetlb", "2M", "-l", "4096")
    assert os.fstat(srv.client().memory).st_size == 2 * MIB
    srv.finish()
    assert "round" in srv.stderr + srv.stdout


def test_111_hugetlb_more_than_there_is(refused, huge_pages):
    """Said at start: later it would be a SIGBUS in somebody's guest."""
    refused("--hugetlb", "2M", "-l", "64G")


@pytest.mark.parametrize("page", ["", "4K", "2", "3M", "2M1", "1T"])
def test_111_hugetlb_bad_page_sizes(refused, page):
    refused("--hugetlb", page)


def map_shared(fd, size):
    import mmap

    return mmap.mmap(fd, size)


@root_only
def test_111_hugetlbfs_directory(server, room, huge_pages):
    """A mount of huge pages, as -m is meant for: the size is rounded up to what it takes."""
    mount_point = room.file("huge")
    os.mkdir(mount_point)
    private_mount = wire.private_mounts((mount_point, "hugetlbfs", "pagesize=2M"))
    srv = server("-m", mount_point, "-l", "4096", setup=private_mount)
    client = srv.client()
    assert filesystem_type(client.memory) & 0xFFFFFFFF == HUGETLBFS_MAGIC
    assert os.fstat(client.memory).st_size == 2 * MIB
    address = map_shared(client.memory, 2 * MIB)
    address[0] = 1
    address.close()


@pytest.mark.parametrize("mode", ["0600", "660", "0777"])
def test_108_socket_mode(server, mode):
    srv = server("--socket-mode", mode)
    assert stat.S_IMODE(os.stat(srv.path).st_mode) == int(mode, 8)
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
def test_108_socket_mode_is_enforced(server, room):
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
    srv = server("-v", vectors=64, limit_files=1000)
    srv.client()
    srv.finish()
    text = srv.stdout + srv.stderr
    numbers = {int(number) for number in re.findall(r"\b\d+\b", text)}
    assert numbers & set(range(10, 16)), f"1000 descriptors are about 15 peers of 65\n{text}"


@few_descriptors
def test_108_no_room_for_anybody_is_no_start(processes, room):
    """With every small limit: it refuses, naming the limit, or has the room that it tells of."""
    refusals, rooms = 0, []
    for limit in range(5, 24):
        srv = wire.Server(room.socket, vectors=3, limit_files=limit, ready=False)
        processes.append(srv)
        wire.wait_until(lambda: not srv.running() or "listening" in srv.stdout, "start or refusal")
        if not srv.running():
            assert srv.wait() == 1, srv.describe()
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
    process = refused("-m", room.file("x" * 900))
    assert os.strerror(errno.ENAMETOOLONG) in process.stderr


def test_103_soft_limit_is_raised(processes, room):
    """The usual soft limit of 1024 does not matter as long as the hard one is higher."""
    import resource

    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 4096:
        pytest.skip("the hard limit is too low here")

    def soften():
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))

    srv = wire.Server(room.socket, vectors=64, setup=soften)
    processes.append(srv)
    clients = [srv.client(keep_fds=False) for _ in range(20)]
    assert clients[-1].knows(range(20))
    srv.finish()


def test_108_errors_name_the_reason(refused, room):
    """A sentence that names what is wrong, not only that something is."""
    process = refused(path=room.file("missing/socket"))
    assert "missing/socket" in process.stderr
    assert os.strerror(errno.ENOENT) in process.stderr

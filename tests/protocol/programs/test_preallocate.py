# SPDX-License-Identifier: BSD-2-Clause
"""Memory that is allocated at the start, or said to be missing; never a SIGBUS later."""

import fcntl
import os

import pytest

import ivshmem_wire as wire
from ivshmem_fixtures import root_only
from vfio_user_fixtures import Device

MIB = 1 << 20


@pytest.fixture
def small(room):
    """setup(): for a child, a tmpfs of 1 MiB of its own at setup.path, and one at /dev/shm."""
    path = room.file("small")
    os.mkdir(path)
    setup = wire.private_mounts((path, "tmpfs", "size=1M"), ("/dev/shm", "tmpfs", "size=1M"))
    setup.path = path
    return setup


def allocated(fd):
    return os.fstat(fd).st_blocks * 512


@pytest.mark.parametrize("kind", ["memfd", "-M", "-m"])
@pytest.mark.parametrize("preallocate", [False, True])
def test_all_of_it_is_there_at_the_start(server, room, kind, preallocate):
    where = {"memfd": [], "-M": ["-M", room.shm_name()], "-m": ["-m", room.path]}[kind]
    srv = server("-l", "1M", *where, *(["--preallocate"] if preallocate else []))
    memory = srv.client().memory
    assert (allocated(memory) >= MIB) == preallocate
    assert os.pread(memory, MIB, 0) == bytes(MIB)
    assert (", allocated" in srv.stdout) == preallocate
    assert srv.stderr == ""


def assert_says_what_is_missing(line, what):
    """The object, its size, what is free, and what helps."""
    for words in (what, "2 MiB", "1 MiB free", "ask for less", "remount,size"):
        assert words in line, line


@root_only
@pytest.mark.parametrize("kind", ["-M", "-m"])
def test_a_file_system_that_is_too_small(processes, room, small, kind):
    name = "group" if kind == "-M" else small.path
    srv = wire.Server(room.socket, kind, name, "-l", "2M", "--preallocate", ready=False, setup=small)
    processes.append(srv)
    assert srv.wait() == 1, srv.describe()
    (line,) = srv.stderr.splitlines()
    assert_says_what_is_missing(line, name)
    assert os.listdir(room.path) == ["small"]


@root_only
def test_what_fits_exactly(server, small):
    srv = server("-m", small.path, "-l", "1M", "--preallocate", setup=small)
    assert allocated(srv.client().memory) == MIB


@root_only
def test_an_object_that_cannot_grow_stays_as_it_is(processes, room, small):
    """It is somebody's memory, and is never shrunk."""
    script = 'truncate -s 512K "$0"; "$@"; status=$?; stat -c "%s %b" "$0"; exit $status'
    process = wire.Process(
        ["/bin/sh", "-c", script, "/dev/shm/group", wire.program("ivshmem-server"), "-F", "-S", room.socket]
        + ["-M", "group", "-l", "2M", "--preallocate"],
        setup=small,
    )
    processes.append(process)
    assert process.wait() == 1, process.describe()
    (line,) = process.stderr.splitlines()
    assert_says_what_is_missing(line, "group")
    assert process.stdout.splitlines() == [f"{MIB // 2} 0"]


@root_only
def test_an_object_grows_and_is_allocated(processes, room, small):
    script = 'truncate -s 512K "$0" && exec "$@"'
    process = wire.Process(
        ["/bin/sh", "-c", script, "/dev/shm/group", wire.program("ivshmem-server"), "-F", "-S", room.socket]
        + ["-M", "group", "-l", "1M", "--preallocate"],
        setup=small,
    )
    processes.append(process)
    process.expect("ivshmem-server: listening on .*")
    memory = wire.RawClient(room.socket).greet().memory
    assert allocated(memory) == os.fstat(memory).st_size == MIB


def name_and_path(kind, small):
    return ("table", "/dev/shm/table") if kind == "--shm" else (small.path + "/table", small.path + "/table")


def make_first(small, path, size):
    """setup(): the small file systems, and in one of them a file of this size, sparse; none if it is 0."""

    def setup():
        small()
        if size:
            with open(path, "wb") as file:
                file.truncate(size)

    return setup


@root_only
@pytest.mark.parametrize("kind", ["--shm", "--file"])
@pytest.mark.parametrize("exists", [False, True])
def test_a_device_without_room(processes, room, small, kind, exists):
    """An object that does not fit does not come to be; one that is there, with holes, stays as it is."""
    name, path = name_and_path(kind, small)
    # The shell looks at what is left in the file systems that go with the process.
    script = '"$@"; status=$?; stat -c "%s %b" "$0" 2>/dev/null || echo none; exit $status'
    process = wire.Process(
        ["/bin/sh", "-c", script, path, wire.program("ivshmem-device"), "--socket", room.socket]
        + [kind, name, "--size", "2M", "--preallocate"],
        setup=make_first(small, path, 2 * MIB if exists else 0),
    )
    processes.append(process)
    assert process.wait() == 1, process.describe()
    (line,) = process.stderr.splitlines()
    assert_says_what_is_missing(line, name)
    assert process.stdout.splitlines() == [f"{2 * MIB} 0" if exists else "none"]


@root_only
@pytest.mark.parametrize("kind", ["--shm", "--file"])
@pytest.mark.parametrize("exists", [False, True])
def test_a_device_has_all_of_it(processes, room, small, kind, exists):
    name, path = name_and_path(kind, small)
    setup = make_first(small, path, MIB if exists else 0)
    device = Device(room.socket, kind, name, "--size", "1M", "--preallocate", setup=setup)
    processes.append(device)
    assert os.stat(f"/proc/{device.pid}/root{path}").st_blocks * 512 == MIB
    device.finish()


HUGE_PAGES = "/sys/kernel/mm/hugepages/hugepages-2048kB"


def huge_pages(which, new=None):
    with open(f"{HUGE_PAGES}/{which}", "r" if new is None else "w", encoding="ascii") as file:
        return int(file.read()) if new is None else file.write(str(new))


@pytest.fixture
def huge(room):
    """setup(): for a child, a hugetlbfs of its own at setup.path; two pages are free, borrowed from the system."""
    if not os.path.isdir(HUGE_PAGES):
        pytest.skip("this kernel has no huge pages of 2 MiB")
    path = room.file("huge")
    os.mkdir(path)
    setup = wire.private_mounts((path, "hugetlbfs", "pagesize=2M"))
    setup.path = path
    # The unit tests borrow some under this lock, too.
    lock = os.open(HUGE_PAGES, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    before = huge_pages("nr_hugepages")
    try:
        huge_pages("nr_hugepages", before + 2 - huge_pages("free_hugepages"))
        if huge_pages("free_hugepages") != 2:
            pytest.skip("two huge pages of 2 MiB cannot be reserved")
        yield setup
    finally:
        huge_pages("nr_hugepages", before)
        os.close(lock)


@root_only
@pytest.mark.parametrize("preallocate", [[], ["--preallocate"]])
def test_huge_pages_are_taken_at_the_start(server, huge, preallocate):
    """With or without the option: a page that is missing later would kill whoever uses it."""
    srv = server("-m", huge.path, "-l", "4M", *preallocate, setup=huge)
    assert huge_pages("free_hugepages") == 0
    client = srv.client()
    assert allocated(client.memory) == 4 * MIB
    client.close()
    srv.finish()
    assert huge_pages("free_hugepages") == 2


@root_only
@pytest.mark.parametrize("preallocate", [[], ["--preallocate"]])
def test_huge_pages_of_a_device(processes, room, huge, preallocate):
    device = Device(
        room.socket, "--file", f"{huge.path}/table", "--size", "4M", *preallocate, setup=huge
    )
    processes.append(device)
    assert huge_pages("free_hugepages") == 0
    device.finish()


@root_only
@pytest.mark.parametrize("where", ["memfd", "-m", "--file"])
def test_huge_pages_that_are_missing(processes, room, huge, where):
    """How many it needs, how many there are, and where to reserve them."""
    if where == "--file":
        words = ["ivshmem-device", "--socket", room.socket, "--file", f"{huge.path}/table", "--size", "8M"]
    else:
        memory = ["-m", huge.path] if where == "-m" else ["--hugetlb", "2M"]
        words = ["ivshmem-server", "-F", "-S", room.socket, *memory, "-l", "8M"]
    process = wire.Process([wire.program(words[0]), *words[1:], "--preallocate"], setup=huge)
    processes.append(process)
    assert process.wait() == 1, process.describe()
    (line,) = process.stderr.splitlines()
    for part in ("8 MiB in huge pages of 2 MiB", "4 pages needed, 2 free", "hugepages-2048kB/nr_hugepages"):
        assert part in line, line
    assert huge_pages("free_hugepages") == 2


def test_more_memory_than_the_machine_has(processes, room):
    """It says so, and does not have somebody killed to find out."""
    srv = wire.Server(room.socket, "-l", "1P", "--preallocate", ready=False)
    processes.append(srv)
    assert srv.wait() == 1, srv.describe()
    (line,) = srv.stderr.splitlines()
    assert "1 PiB" in line and "of memory left" in line and "add swap" in line, line

# SPDX-License-Identifier: BSD-2-Clause
"""Memory that is allocated at the start, or said to be missing; never a SIGBUS later."""

import fcntl
import os

import pytest

import ivshmem_wire as wire
from ivshmem_fixtures import expect_refusal, root_only
from vfio_user_fixtures import MIB


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


def expect_missing(process, what):
    """The object, its size, what is free, and what helps, in one line."""
    expect_refusal(process, what, "2 MiB", "1 MiB free", "ask for less", "remount,size")
    assert len(process.stderr.splitlines()) == 1, process.describe()


@root_only
@pytest.mark.parametrize("kind", ["-M", "-m"])
def test_a_file_system_that_is_too_small(start, room, small, kind):
    name = "group" if kind == "-M" else small.path
    expect_missing(start(kind, name, "-l", "2M", "--preallocate", setup=small), name)
    assert os.listdir(room.path) == ["small"]


@root_only
def test_what_fits_exactly(server, small):
    srv = server("-m", small.path, "-l", "1M", "--preallocate", setup=small)
    assert allocated(srv.client().memory) == MIB


def make_first(small, path, size):
    """setup(): the small file systems, and in one of them a file of this size, sparse; none if it is 0."""

    def setup():
        small()
        if size:
            with open(path, "wb") as file:
                file.truncate(size)

    return setup


@pytest.fixture
def run_and_look(processes):
    """run_and_look(path, setup, *argv): what it does, and the size and the blocks of a file that goes with its mounts."""

    def run_and_look(path, setup, name, *arguments):
        script = '"$@"; status=$?; stat -c "%s %b" "$0" 2>/dev/null || echo none; exit $status'
        process = wire.Process(["/bin/sh", "-c", script, path, wire.program(name), *arguments], setup=setup)
        processes.append(process)
        return process

    return run_and_look


@root_only
def test_an_object_that_cannot_grow_stays_as_it_is(run_and_look, room, small):
    """It is somebody's memory, and is never shrunk."""
    path = "/dev/shm/group"
    arguments = ["-F", "-S", room.socket, "-M", "group", "-l", "2M", "--preallocate"]
    process = run_and_look(path, make_first(small, path, MIB // 2), "ivshmem-server", *arguments)
    expect_missing(process, "group")
    assert process.stdout.splitlines() == [f"{MIB // 2} 0"]


@root_only
def test_an_object_grows_and_is_allocated(server, small):
    setup = make_first(small, "/dev/shm/group", MIB // 2)
    memory = server("-M", "group", "-l", "1M", "--preallocate", setup=setup).client().memory
    assert allocated(memory) == os.fstat(memory).st_size == MIB


def name_and_path(kind, small):
    return ("table", "/dev/shm/table") if kind == "--shm" else (small.path + "/table", small.path + "/table")


@root_only
@pytest.mark.parametrize("kind", ["--shm", "--file"])
@pytest.mark.parametrize("exists", [False, True])
def test_a_device_without_room(run_and_look, room, small, kind, exists):
    """An object that does not fit does not come to be; one that is there, with holes, stays as it is."""
    name, path = name_and_path(kind, small)
    setup = make_first(small, path, 2 * MIB if exists else 0)
    arguments = ["--socket", room.socket, kind, name, "--size", "2M", "--preallocate"]
    process = run_and_look(path, setup, "ivshmem-device", *arguments)
    expect_missing(process, name)
    assert process.stdout.splitlines() == [f"{2 * MIB} 0" if exists else "none"]


@root_only
@pytest.mark.parametrize("kind", ["--shm", "--file"])
@pytest.mark.parametrize("exists", [False, True])
def test_a_device_has_all_of_it(device, small, kind, exists):
    name, path = name_and_path(kind, small)
    made = device(kind, name, "--size", "1M", "--preallocate", setup=make_first(small, path, MIB if exists else 0))
    assert os.stat(f"/proc/{made.pid}/root{path}").st_blocks * 512 == MIB


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


def pages_in(where, huge):
    """Options of the server for memory in huge pages."""
    return {"memfd": ["--hugetlb", "2M"], "-m": ["-m", huge.path]}[where]


@root_only
@pytest.mark.parametrize("where", ["memfd", "-m"])
@pytest.mark.parametrize("preallocate", [[], ["--preallocate"]])
def test_huge_pages_are_taken_at_the_start(server, huge, where, preallocate):
    """With or without the option: a page that is missing later would kill whoever uses it."""
    srv = server(*pages_in(where, huge), "-l", "3M", *preallocate, setup=huge)
    assert huge_pages("free_hugepages") == 0
    client = srv.client()
    assert allocated(client.memory) == os.fstat(client.memory).st_size == 4 * MIB
    if where == "memfd":
        assert fcntl.fcntl(client.memory, wire.F_GET_SEALS) & 7 == 7
    client.close()
    srv.finish()
    assert huge_pages("free_hugepages") == 2


@root_only
@pytest.mark.parametrize("where", ["memfd", "-m"])
def test_the_size_is_rounded_up_to_a_huge_page(server, huge, where):
    srv = server(*pages_in(where, huge), "-l", "4096", setup=huge)
    assert os.fstat(srv.client().memory).st_size == 2 * MIB
    assert "round" in srv.stdout


@root_only
@pytest.mark.parametrize("preallocate", [[], ["--preallocate"]])
def test_huge_pages_of_a_device(device, huge, preallocate):
    device("--file", f"{huge.path}/table", "--size", "4M", *preallocate, setup=huge)
    assert huge_pages("free_hugepages") == 0


@root_only
@pytest.mark.parametrize("preallocate", [[], ["--preallocate"]])
@pytest.mark.parametrize("where", ["memfd", "-m", "--file"])
def test_huge_pages_that_are_missing(launch, room, huge, where, preallocate):
    """How many it needs, how many there are, and where to reserve them."""
    if where == "--file":
        words = ["ivshmem-device", "--socket", room.socket, "--file", f"{huge.path}/table", "--size", "8M"]
    else:
        words = ["ivshmem-server", "-F", "-S", room.socket, *pages_in(where, huge), "-l", "8M"]
    process = launch(*words, *preallocate, setup=huge)
    needs = ("8 MiB in huge pages of 2 MiB", "4 pages needed, 2 free", "hugepages-2048kB/nr_hugepages")
    expect_refusal(process, *needs)
    assert len(process.stderr.splitlines()) == 1, process.describe()
    assert huge_pages("free_hugepages") == 2


def test_more_memory_than_the_machine_has(refused):
    """It says so, and does not have somebody killed to find out."""
    process = refused("-l", "1P", "--preallocate", words=["1 PiB", "of memory left", "add swap"])
    assert len(process.stderr.splitlines()) == 1, process.describe()

# SPDX-License-Identifier: BSD-2-Clause
"""Memory that is allocated at the start, or said to be missing; never a SIGBUS later."""

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


def test_more_memory_than_the_machine_has(processes, room):
    """It says so, and does not have somebody killed to find out."""
    srv = wire.Server(room.socket, "-l", "1P", "--preallocate", ready=False)
    processes.append(srv)
    assert srv.wait() == 1, srv.describe()
    (line,) = srv.stderr.splitlines()
    assert "1 PiB" in line and "of memory left" in line and "add swap" in line, line

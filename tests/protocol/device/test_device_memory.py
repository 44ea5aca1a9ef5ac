# SPDX-License-Identifier: BSD-2-Clause
"""ivshmem-device without server: memory of a file or of a POSIX shared memory object."""

import mmap
import os
import re

import pytest

import ivshmem_wire as wire
import vfio_user as vu
from vfio_user import BAR2
from vfio_user_fixtures import KIB, MIB, SIZE

GIB = 1 << 30


def check_memory(process, path, size):
    """Of this size, seen from both sides, in its last bytes, too."""
    vmm = process.vmm()
    assert vmm.region_info(BAR2).size == size
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), size) as view:
        vmm.write(BAR2, size - 4, b"last")
        assert view[-4:] == b"last"
        view[:5] = b"first"
        assert vmm.read(BAR2, 0, 5) == b"first"
        with vmm.region_info(BAR2).map() as mapped:
            assert mapped[:5] == b"first" and mapped[-4:] == b"last"
    assert vmm.read(BAR2, size, 1) == b"\xff"


def make(path, size, begin=b""):
    with open(path, "wb") as file:
        file.write(begin)
        file.truncate(size)
    return path


@pytest.fixture(params=["shm", "file"])
def an_object(request, room):
    """(option, name, path) of an object that is not there yet."""
    if request.param == "file":
        return "--file", room.file("object"), room.file("object")
    name = room.shm_name()
    return "--shm", name, f"/dev/shm/{name}"


@pytest.fixture
def refused(room, processes):
    """start(*arguments): a device that must refuse to start; its process."""

    def start(*arguments):
        process = wire.Process([wire.program("ivshmem-device"), "--socket", room.socket, *arguments])
        processes.append(process)
        assert process.wait() == 1, process.describe()
        assert process.stdout == ""
        assert process.stderr.startswith("ivshmem-device: ")
        assert not os.path.exists(room.socket)
        return process

    return start


@pytest.mark.parametrize("revision", ["0", "1"])
def test_035_a_missing_object_is_made(device, an_object, revision):
    """With the size that was given, and zero; only we may use it. It outlives the device: it has a name."""
    option, name, path = an_object
    arguments = (option, name, "--size", "1M", "--revision", revision)
    process = device(*arguments)
    assert os.stat(path).st_size == MIB
    assert os.stat(path).st_mode & 0o077 == 0
    vmm = process.vmm()
    assert vmm.read(BAR2, 0, MIB) == bytes(MIB)
    vmm.write(BAR2, 100, b"kept")
    process.forget_vmms()
    check_memory(process, path, MIB)
    process.finish()
    assert device(*arguments).vmm().read(BAR2, 100, 4) == b"kept"


def test_036_a_larger_one_is_taken_as_it_is(device, an_object):
    """Revision 0: only the first part of it is BAR2."""
    option, name, path = an_object
    make(path, 3 * MIB, b"before")
    vmm = device(option, name, "--size", "1", "--revision", "0").vmm()
    assert os.stat(path).st_size == 3 * MIB
    assert vmm.read(BAR2, 0, 6) == b"before"
    assert vmm.region_info(BAR2).size == MIB
    assert vmm.read(BAR2, MIB, 1) == b"\xff"


@pytest.mark.parametrize(
    "there, arguments, words",
    [
        (64 * KIB, ("--size", "1M", "--revision", "0"), ("65536|64 KiB", "1048576|1 MiB")),
        (64 * KIB, ("--size", "1M", "--revision", "1"), ("65536|64 KiB", "1048576|1 MiB")),
        (MIB, ("--revision", "0"), ["4194304|4 MiB"]),
        (2 * MIB, ("--size", "1M"), ("2 MiB", "1 MiB")),
    ],
    ids=["smaller in revision 0", "smaller", "smaller than by default in revision 0", "larger"],
)
def test_036_another_size_is_an_error_that_names_both(refused, an_object, there, arguments, words):
    """In revision 1, a larger one, too."""
    option, name, path = an_object
    make(path, there)
    process = refused(option, name, *arguments)
    for each in words:
        assert re.search(rf"\b({each})\b", process.stderr), process.stderr
    assert os.stat(path).st_size == there


@pytest.mark.parametrize("size", [4096, SIZE, MIB])
def test_010_revision_1_takes_the_size_of_what_is_there(device, room, size):
    path = make(room.file("memory"), size)
    check_memory(device("--file", path), path, size)


@pytest.mark.parametrize("size", [0, 100, 2048, 3 * MIB])
def test_010_no_size_for_a_bar(refused, room, size):
    path = make(room.file("memory"), size)
    process = refused("--file", path)
    assert path in process.stderr or f"{size} bytes" in process.stderr
    assert os.stat(path).st_size == size


def test_a_missing_one_needs_a_size(refused, room):
    """Revision 1 has none by default."""
    for arguments in (("--shm", room.shm_name()), ("--file", room.file("missing"))):
        process = refused(*arguments)
        assert "size" in process.stderr
        assert os.listdir(room.path) == []
    assert not os.path.exists(f"/dev/shm/{room.shm_names[0]}")


@pytest.mark.parametrize(
    "revision, text, size",
    [
        *(("0", text, MIB) for text in ("1", "1M", "1m")),
        *(("0", text, GIB) for text in ("1G", "1g")),
        ("0", "64M", 64 * MIB),
        ("0", "2G", 2 * GIB),
        ("0", None, 4 * MIB),
        *(("1", text, 64 * KIB) for text in ("65536", "0x10000", "64K")),
        ("1", "0.5G", GIB // 2),
        ("1", "8G", 8 * GIB),
    ],
)
def test_037_104_sizes(device, room, revision, text, size):
    """As 2010 wrote them, or as the other programs write them. The file has holes, and nobody fills them."""
    path = room.file("memory")
    process = device("--file", path, "--revision", revision, *(("--size", text) if text else ()))
    assert os.stat(path).st_size == size
    check_memory(process, path, size)
    assert process.vmms[0].bar_size(0x18, bits=64 if revision == "1" else 32) == size


def test_104_the_largest_size(device, room):
    device("--file", room.file("memory"), "--size", "1T").finish()
    assert os.stat(room.file("memory")).st_size == 1 << 40


def test_039_server_and_shm(device, server, room):
    """Revision 0: a warning, and the server it is."""
    name = room.shm_name()
    srv = server("-l", "1M")
    process = device("--server", srv.path, "--shm", name, "--revision", "0", "--size", "1M")
    process.expect(r"ivshmem-device: .*(shm|chardev|server).*", stream="stderr")
    assert not os.path.exists(f"/dev/shm/{name}")
    vmm = process.vmm()
    wire.wait_until(lambda: vmm.register(vu.IV_POSITION) == 0, "the id of the server")
    assert vmm.irq_info(vu.MSIX)[1] == 1


def test_033_two_devices_on_one_object(device, room):
    name = room.shm_name()
    one = device("--shm", name, "--size", "1M").vmm()
    other = device("--shm", name, "--size", "1M", path=room.file("other")).vmm()
    one.write(BAR2, 77, b"to the other")
    assert other.read(BAR2, 77, 12) == b"to the other"


@pytest.mark.parametrize("what", ["/dev/null", "/dev/zero", "directory", "/proc/version"])
def test_what_is_no_memory(refused, room, what):
    path = what
    if what == "directory":
        path = room.file("directory")
        os.mkdir(path)
    process = refused("--file", path)
    assert path in process.stderr


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/b", ".."])
def test_names_that_are_no_objects(refused, name):
    assert len(refused("--shm", name, "--size", "1M").stderr.split()) >= 5


def test_revision_0_without_server_has_a_pin_and_status(device, room, arm):
    """Software may set IntrStatus itself; 2010 had the pin in shm mode, too."""
    vmm = device("--file", room.file("memory"), "--revision", "0", "--size", "1M").vmm()
    assert vmm.config(0x3D, 1) == 1
    assert vmm.config(0x34, 1) == 0
    [pin] = arm(vmm, 1, vu.INTX)
    vmm.set_register(vu.INTR_MASK, 1)
    vmm.set_register(vu.INTR_STATUS, 1)
    wire.wait_rings(pin)
    assert vmm.register(vu.INTR_STATUS) == 1

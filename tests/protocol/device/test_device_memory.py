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


@pytest.fixture
def refused(room, processes):
    """start(*arguments): a device that must refuse to start; its process."""

    def start(*arguments):
        process = wire.Process([wire.program("ivshmem-device"), "--socket", room.socket, *arguments])
        processes.append(process)
        assert process.wait() == 1, process.describe()
        assert process.stdout == ""
        assert not os.path.exists(room.socket)
        return process

    return start


@pytest.mark.parametrize("revision", ["0", "1"])
def test_035_a_missing_object_is_made(device, room, revision):
    """With the size that was given, and zero; only we may use it."""
    name = room.shm_name()
    process = device("--shm", name, "--size", "1M", "--revision", revision)
    status = os.stat(f"/dev/shm/{name}")
    assert status.st_size == MIB
    assert status.st_mode & 0o077 == 0
    assert process.vmm().read(BAR2, 0, MIB) == bytes(MIB)
    process.forget_vmms()
    check_memory(process, f"/dev/shm/{name}", MIB)


@pytest.mark.parametrize("revision", ["0", "1"])
def test_035_a_missing_file_is_made(device, room, revision):
    process = device("--file", room.file("new"), "--size", "2M", "--revision", revision)
    assert os.stat(room.file("new")).st_size == 2 * MIB
    check_memory(process, room.file("new"), 2 * MIB)


def test_it_outlives_the_device(device, room):
    """It has a name because somebody wants to find it again."""
    name = room.shm_name()
    process = device("--shm", name, "--size", "1M")
    process.vmm().write(BAR2, 0, b"kept")
    process.finish()
    assert device("--shm", name, "--size", "1M").vmm().read(BAR2, 0, 4) == b"kept"


@pytest.mark.parametrize("how", ["shm", "file"])
def test_036_a_larger_one_is_taken_as_it_is(device, room, how):
    """Revision 0: only the first part of it is BAR2."""
    if how == "shm":
        name = room.shm_name()
        path = f"/dev/shm/{name}"
    else:
        name = path = room.file("large")
    with open(path, "wb") as file:
        file.write(b"before")
        file.truncate(3 * MIB)
    process = device(f"--{how}", name, "--size", "1", "--revision", "0")
    assert os.stat(path).st_size == 3 * MIB
    vmm = process.vmm()
    assert vmm.read(BAR2, 0, 6) == b"before"
    assert vmm.region_info(BAR2).size == MIB
    assert vmm.read(BAR2, MIB, 1) == b"\xff"


@pytest.mark.parametrize("how", ["shm", "file"])
@pytest.mark.parametrize("revision", ["0", "1"])
def test_036_a_smaller_one_is_an_error_that_names_both_sizes(refused, room, how, revision):
    if how == "shm":
        name = room.shm_name()
        path = f"/dev/shm/{name}"
    else:
        name = path = room.file("small")
    with open(path, "wb") as file:
        file.truncate(64 * KIB)
    process = refused(f"--{how}", name, "--size", "1M", "--revision", revision)
    assert re.search(r"\b(64 KiB|65536)\b", process.stderr), process.stderr
    assert re.search(r"\b(1 MiB|1048576)\b", process.stderr), process.stderr
    assert os.stat(path).st_size == 64 * KIB


def test_036_by_default_revision_0_wants_4_mib(refused, room):
    with open(room.file("small"), "wb") as file:
        file.truncate(MIB)
    process = refused("--file", room.file("small"), "--revision", "0")
    assert re.search(r"\b(4 MiB|4194304)\b", process.stderr), process.stderr


def test_revision_1_wants_exactly_the_size(refused, room):
    with open(room.file("large"), "wb") as file:
        file.truncate(2 * MIB)
    process = refused("--file", room.file("large"), "--size", "1M")
    assert "2 MiB" in process.stderr and "1 MiB" in process.stderr


@pytest.mark.parametrize("size", [4096, SIZE, MIB])
def test_010_revision_1_takes_the_size_of_what_is_there(device, room, size):
    with open(room.file("memory"), "wb") as file:
        file.truncate(size)
    check_memory(device("--file", room.file("memory")), room.file("memory"), size)


@pytest.mark.parametrize("size", [0, 100, 2048, 3 * MIB])
def test_010_no_size_for_a_bar(refused, room, size):
    with open(room.file("memory"), "wb") as file:
        file.truncate(size)
    process = refused("--file", room.file("memory"))
    assert room.file("memory") in process.stderr or f"{size} bytes" in process.stderr
    assert os.stat(room.file("memory")).st_size == size


def test_a_missing_one_needs_a_size(refused, room):
    """Revision 1 has none by default."""
    for arguments in (("--shm", room.shm_name()), ("--file", room.file("missing"))):
        process = refused(*arguments)
        assert "size" in process.stderr
        assert os.listdir(room.path) == []
    assert not os.path.exists(f"/dev/shm/{room.shm_names[0]}")


@pytest.mark.parametrize(
    "text, size",
    [("1", MIB), ("1M", MIB), ("1m", MIB), ("1G", GIB), ("1g", GIB), ("64M", 64 * MIB), ("2G", 2 * GIB)],
)
def test_037_sizes(device, room, text, size):
    """The file has holes, and nobody fills them."""
    process = device("--file", room.file("memory"), "--size", text, "--revision", "0")
    assert os.stat(room.file("memory")).st_size == size
    check_memory(process, room.file("memory"), size)


@pytest.mark.parametrize(
    "text, size", [("65536", 64 * KIB), ("0x10000", 64 * KIB), ("64K", 64 * KIB), ("0.5G", GIB // 2), ("1T", 1 << 40)]
)
def test_sizes_of_revision_1(device, room, text, size):
    """As the other programs write them."""
    process = device("--file", room.file("memory"), "--size", text)
    assert os.stat(room.file("memory")).st_size == size
    process.finish()


def test_037_no_size_is_4_mib(device, room):
    process = device("--file", room.file("memory"), "--revision", "0")
    check_memory(process, room.file("memory"), 4 * MIB)


def test_104_more_than_32_bits(device, room):
    """Revision 1, 8 GiB, of which three pages exist."""
    process = device("--file", room.file("memory"), "--size", "8G")
    check_memory(process, room.file("memory"), 8 * GIB)
    assert process.vmms[0].bar_size(0x18, bits=64) == 8 * GIB


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


def test_without_server_no_interrupts(plain):
    vmm = plain().vmm()
    assert vmm.irq_info(vu.MSIX)[1] == 0
    for value in (0, 1, 0xFFFFFFFF):
        vmm.set_register(vu.DOORBELL, value)


def test_revision_0_without_server_has_a_pin_and_status(device, room, eventfds):
    """Software may set IntrStatus itself; 2010 had the pin in shm mode, too."""
    vmm = device("--file", room.file("memory"), "--revision", "0", "--size", "1M").vmm()
    assert vmm.config(0x3D, 1) == 1
    assert vmm.config(0x34, 1) == 0
    [pin] = eventfds(1)
    vmm.assign(vu.INTX, 0, pin)
    vmm.set_register(vu.INTR_MASK, 1)
    vmm.set_register(vu.INTR_STATUS, 1)
    wire.wait_rings(pin)
    assert vmm.register(vu.INTR_STATUS) == 1

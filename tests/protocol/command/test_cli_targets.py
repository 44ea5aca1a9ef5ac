# SPDX-License-Identifier: BSD-2-Clause
"""The command line tool on memory without a server: the targets shm:NAME and file:PATH."""

import json
import os
import subprocess

import pytest

import ivshmem_wire as wire
from ivshmem_cli import FAILURE, OK, USAGE, feed
from ivshmem_fixtures import LONELY_UID, root_only
from vfio_user import BAR2
from vfio_user_fixtures import MIB, SIZE


@pytest.fixture
def run_at(run_plain):
    """run_at(target, *arguments): the tool, to its end; its process, whose status must be the one expected."""

    def run_at(target, *arguments, status=OK, **options):
        process = run_plain("--target", target, *arguments, status=status, **options)
        if status != OK:
            assert process.stderr.startswith("ivshmem: ") and process.stdout == "", process.describe()
        return process

    return run_at


@pytest.fixture
def memory_shell(launch, memory):
    process = launch("ivshmem", "-t", "file:" + memory, "shell", stdin=subprocess.PIPE)
    process.expect(r"attached to memory alone \(.*\)")
    return process


@pytest.fixture
def memory(room):
    """A file of 64 KiB."""
    path = room.file("memory")
    with open(path, "wb") as file:
        file.truncate(SIZE)
    return path


# ---- with a guest's device ----------------------------------------------------------------------------


def test_memory_of_a_device_on_a_file(plain, room, run_at):
    """What the tool writes is in the guest's BAR, and what the guest writes is read."""
    vmm = plain().vmm()
    target = "file:" + room.file("memory")
    run_at(target, "write", "4K", "hello, guest")
    assert vmm.read(BAR2, 4096, 12) == b"hello, guest"
    vmm.write(BAR2, SIZE - 4, b"host")
    assert run_at(target, "read", str(SIZE - 4), "--hex").lines()[0].endswith("|host|")
    assert run_at(target + ",ro", "read", str(SIZE - 4), "--raw").stdout == "host"
    assert os.stat(room.file("memory")).st_size == SIZE


def test_memory_of_a_device_on_an_object(device, room, run_at):
    name = room.shm_name()
    vmm = device("--shm", name, "--size", "1M").vmm()
    run_at("shm:" + name, "write", "0x80000", stdin=b"z" * 65537)
    assert vmm.read(BAR2, 0x80000 - 1, 65539) == b"\0" + b"z" * 65537 + b"\0"
    vmm.write(BAR2, 0, b"a text\0")
    assert run_at(f"shm:/{name},ro", "read", "0", "--text").stdout == "a text\n"
    assert json.loads(run_at("shm:" + name, "info", "--json").stdout)["size"] == MIB


# ---- what there is, and what there is not -------------------------------------------------------------


def test_info(memory, run_at):
    target = "file:" + memory
    text = run_at(target, "info").stdout
    assert text.splitlines()[:2] == [f"target:   {target}", "back end: file"] and "own id:   none" in text
    assert "peers:    none" in text and "vectors:  none" in text and "64 KiB (65536 bytes)" in text
    assert "read-only" not in text
    assert "read-only" in run_at(target + ",ro", "info").stdout
    expected = {
        "target": target, "backend": "file", "id": None, "vectors": 0, "size": SIZE, "mapping": "write-back",
        "memory_only": True, "read_only": False,
    }
    assert json.loads(run_at(target, "info", "--json").stdout) == expected
    expected.update(target=target + ",ro", read_only=True)
    assert json.loads(run_at(target + ",ro", "info", "--json").stdout) == expected


@pytest.mark.parametrize("form", [(), ("--json",)])
@pytest.mark.parametrize(
    "command", [["peers"], ["ring", "1"], ["ring", "all"], ["wait"], ["monitor"], ["ping", "0"], ["echo", "0"]], ids=" ".join
)
def test_neither_peers_nor_interrupts(memory, run_at, command, form):
    process = run_at("file:" + memory, *command, *form, status=FAILURE)
    assert f"file:{memory} is memory alone, without peers and interrupts" in process.stderr
    assert "--target unix:PATH" in process.stderr


def test_shell(memory, run_at):
    commands = b"write 0 hi\ntext 0\npeers\nint all\nring 1\nwait any 1 5\nping 1\necho 1\ncounts\ninfo\n"
    process = run_at("file:" + memory, "shell", stdin=commands)
    lines = process.lines()
    assert lines[0] == f"attached to memory alone (64 KiB, file:{memory})"
    assert lines[1:3] == ["hi", "no vectors"] and lines[3] == f"target:   file:{memory}"
    assert process.stderr.count("is memory alone, without peers") == 6


@pytest.mark.parametrize("command", [["write", "0", "no"], ["write", "0"]])
def test_read_only_is_not_written(memory, run_at, command):
    fd = feed(b"no")
    process = run_at(f"file:{memory},ro", *command, status=FAILURE, stdin=fd)
    assert f"cannot write to file:{memory},ro" in process.stderr and "leave out the ,ro" in process.stderr
    assert os.lseek(fd, 0, os.SEEK_CUR) == 0, "nothing is taken from stdin"
    os.close(fd)
    with open(memory, "rb") as file:
        assert file.read(2) == b"\0\0"


# ---- what is not there, or no memory ------------------------------------------------------------------


def test_no_such_memory(room, run_at):
    """Each says which object, and what to do."""
    with open(room.file("empty"), "wb"), open(room.file("odd"), "wb") as odd:
        odd.truncate(100)
    wire.bound(room.file("sock")).close()
    for target, what, remedy in (
        ("shm:ivshmem-not-there", "no shared memory object '/dev/shm/ivshmem-not-there'", "start what makes it"),
        ("file:" + room.file("not-there"), f"no file '{room.file('not-there')}'", "start what makes it"),
        ("file:" + room.file("empty"), f"'{room.file('empty')}' has a size of 0", "start what gives it its size"),
        ("file:" + room.file("odd"), f"'{room.file('odd')}' has 100 bytes", "page size"),
        ("file:" + room.path, f"'{room.path}' is a folder", "name the file in it"),
        ("file:" + room.path + ",ro", f"'{room.path}' is a folder", "name the file in it"),
        ("file:" + room.file("sock"), f"'{room.file('sock')}' is no memory", "unix:PATH"),
        ("shm:a/b", "'a/b'", "without slashes"),
    ):
        process = run_at(target, "info", status=FAILURE)
        assert what in process.stderr and remedy in process.stderr, process.describe()
    for target in ("shm:", "file:"):
        assert "is not a target" in run_at(target, "info", status=USAGE).stderr
    assert "--backend" in run_at("shm:x", "info", "--backend", "sysfs", status=USAGE).stderr


@root_only
def test_no_permission(memory, run_at):
    os.chmod(memory, 0o644)
    process = run_at("file:" + memory, "info", status=FAILURE, user=LONELY_UID)
    assert f"no permission to write to file '{memory}'" in process.stderr and ",ro" in process.stderr
    run_at(f"file:{memory},ro", "info", user=LONELY_UID)
    os.chmod(memory, 0)
    for suffix in ("", ",ro"):
        process = run_at(f"file:{memory}{suffix}", "info", status=FAILURE, user=LONELY_UID)
        assert f"no permission to open file '{memory}'" in process.stderr and "chmod" in process.stderr


# ---- later, and no longer -----------------------------------------------------------------------------


@pytest.mark.parametrize("before", ["nothing", "without a size"])
def test_memory_that_comes_later(room, launch, before):
    """--wait is for it, too: it is there when it has its size."""
    path = room.file("memory")
    if before != "nothing":
        with open(path, "wb"):
            pass
    process = launch("ivshmem", "-t", "file:" + path, "--wait", "60", "info")
    with pytest.raises(AssertionError):
        process.expect(r".+", timeout=0.4)
    assert process.running() and process.stderr == "", process.describe()
    with open(path, "ab") as file:
        file.truncate(SIZE)
    assert process.wait() == OK, process.describe()


@pytest.mark.parametrize("command", ["read 0 16", "text 0", "write 0 hello"])
def test_truncated_while_it_is_mapped(memory, memory_shell, command):
    """An end with a sentence that names it, not by a signal."""
    os.truncate(memory, 0)
    memory_shell.write(command + "\n")
    assert memory_shell.wait() == FAILURE, memory_shell.describe()
    told = f"ivshmem: the shared memory of file:{memory} was truncated"
    assert memory_shell.stderr.startswith(told), memory_shell.describe()


def test_a_signal_ends_the_shell(memory_shell):
    memory_shell.finish()

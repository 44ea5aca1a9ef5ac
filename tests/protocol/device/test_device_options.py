# SPDX-License-Identifier: BSD-2-Clause
"""ivshmem-device's command line: what is wrong with it is named, with what to do about it."""

import os
import re
import subprocess

import pytest

import ivshmem_wire as wire
import vfio_user


def run(*arguments):
    return subprocess.run(
        [wire.program("ivshmem-device"), *arguments],
        capture_output=True,
        text=True,
        timeout=wire.TIMEOUT,
        preexec_fn=wire.die_with_parent,
        stdin=subprocess.DEVNULL,
        check=False,
    )


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help(option):
    result = run(option)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("Usage: ivshmem-device ")


def test_version():
    result = run("--version")
    assert (result.returncode, result.stderr) == (0, "")
    assert re.fullmatch(r"ivshmem-device \d+\.\d+\.\d+\n", result.stdout)


def test_every_option_is_explained():
    text = run("--help").stdout
    for word in (
        "--socket --server --shm --file --revision --size --vectors --msi --ioeventfd --role --master --spin "
        "--legacy-doorbell --doorbell-bar --socket-owner --socket-group --socket-mode --timeout --verbose --help "
        "--version"
    ).split():
        assert re.search(rf"(^|[\s{{]){word}\b", text), f"{word} is not explained"


HERE = ["--socket", "{room}/s"]
PLAIN = [*HERE, "--file", "{room}/m", "--size", "1M"]
SERVED = [*HERE, "--server", "{room}/nobody"]
OLD = [*SERVED, "--revision", "0"]


@pytest.mark.parametrize(
    "arguments, words",
    [
        # What is missing, or too much.
        ([], "there is no memory to share"),
        (["--shm", "x"], "--socket is missing"),
        (["--file", "{room}/m"], "--socket is missing"),
        (HERE, "give --server, --shm or --file"),
        ([*HERE, "--revision", "0"], "give --server, --shm or --file"),
        ([*PLAIN, "operand"], "'operand' is not an option"),
        ([*PLAIN, "--shm", "x"], "one place only"),
        ([*PLAIN, "--server", "{room}/nobody"], "one place only"),
        ([*SERVED, "--shm", "x"], "one place only"),
        ([*OLD, "--file", "{room}/m"], "one place only"),
        # What is not understood.
        (["--no-such-option"], "unknown option '--no-such-option'"),
        ([*PLAIN, "-x"], "unknown option '-x'"),
        ([*PLAIN, "--socket-"], "'--socket-'"),
        ([*PLAIN, "--verbose=yes"], "takes no value"),
        ([*PLAIN, "--legacy-doorbell=on"], "takes no value"),
        *(
            ([option], f"option '{option}' needs a value")
            for option in (
                "--socket --server --shm --file --revision --size --vectors --msi --ioeventfd --role --master "
                "--spin --doorbell-bar --socket-owner --socket-group --socket-mode --timeout"
            ).split()
        ),
        # Each one wrong once, or more often.
        (["--socket", "", "--file", "{room}/m"], "--socket: the name is empty"),
        ([*HERE, "--server", ""], "--server"),
        ([*HERE, "--server", "tcp:1234"], "not a UNIX socket"),
        ([*HERE, "--server", "unix:"], "--server"),
        ([*HERE, "--shm", ""], "--shm"),
        ([*HERE, "--file", ""], "--file"),
        *(([*PLAIN, "--revision", value], "--revision") for value in ("2", "-1", "", "x", "1x", "01x", "4294967296")),
        *(([*SERVED, "--vectors", value], "vectors") for value in ("0", "2049", "-1", "", "x", "1x", "4294967295")),
        ([*SERVED, "--vectors", "4294967297"], "vectors"),
        ([*SERVED, "--vectors", "18446744073709551617"], "vectors"),
        *(([*SERVED, "--msi", value], "msi") for value in ("", "maybe", "1", "ON")),
        *(([*SERVED, "--ioeventfd", value], "ioeventfd") for value in ("", "maybe", "1")),
        *(([*SERVED, "--master", value], "master") for value in ("", "yes please", "peer", "1")),
        *(([*SERVED, "--doorbell-bar", value], "doorbell-bar") for value in ("", "maybe", "1")),
        ([*PLAIN, "--spin", "-1"], "--spin"),
        ([*PLAIN, "--spin", "1000001"], "--spin"),
        ([*PLAIN, "--spin", "x"], "--spin"),
        *(([*SERVED, "--timeout", value], "--timeout") for value in ("0", "-1", "", "x", "1e99", "3601")),
        *(([*PLAIN, "--socket-mode", value], "--socket-mode") for value in ("", "8", "rw", "10000", "-1")),
        ([*PLAIN, "--socket-owner", "no-such-user"], "no-such-user"),
        ([*PLAIN, "--socket-group", "no-such-group"], "no-such-group"),
        # What does not go together.
        ([*SERVED, "--size", "1M"], "--size"),
        ([*SERVED, "--preallocate"], "give it to ivshmem-server"),
        ([*SERVED, "--role", "master"], "role"),
        ([*SERVED, "--msi", "off"], "msi"),
        ([*PLAIN, "--vectors", "2"], "--vectors"),
        ([*PLAIN, "--ioeventfd", "on"], "--ioeventfd"),
        ([*PLAIN, "--msi", "on"], "--msi"),
        ([*PLAIN, "--doorbell-bar", "on"], "--doorbell-bar"),
        ([*OLD, "--doorbell-bar", "on"], "use revision 1"),
        ([*OLD, "--master", "on"], "master"),
        ([*OLD, "--ioeventfd", "on", "--msi", "off"], "ioeventfd"),
        # 40: the role, exactly.
        *(([*OLD, "--role", value], "role must be peer or master") for value in ("peerx", "mast", "", "Peer")),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_wrong_usage(room, arguments, words):
    """Exit status 2, the sentence and where to read on; nothing is made."""
    result = run(*(argument.format(room=room.path) for argument in arguments))
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.startswith("ivshmem-device: ") and words in result.stderr
    assert result.stderr.endswith("Try 'ivshmem-device --help'.\n")
    assert os.listdir(room.path) == []


# 37 and 38
NO_SIZES = ["abc", "3M", "3", "", "0", "0M", "4Mx", "4MB", "-1", "1.5G", "0x10", "4 M", "M"]
# The last one has more than the 32 bits of BAR2.
NO_SIZES_OF_2010 = ["4K", "1T", "17592186044416", "4G"]


@pytest.mark.parametrize(
    "revision, size",
    [(revision, size) for revision in "01" for size in NO_SIZES]
    + [("0", size) for size in NO_SIZES_OF_2010]
    + [("1", size) for size in ("64", "1.5K", "32E")],
)
def test_010_037_038_sizes_that_are_none(room, revision, size):
    result = run("--socket", room.file("s"), "--file", room.file("m"), "--revision", revision, "--size", size)
    assert result.returncode == 2
    assert "size" in result.stderr and len(result.stderr.split()) >= 8
    assert os.listdir(room.path) == []


@pytest.mark.parametrize(
    "socket",
    ["{room}/missing/s", "{room}", "/proc/s", "{room}/" + "x" * 200],
    ids=["no directory", "a directory", "not writable", "too long"],
)
def test_no_place_for_the_socket(room, socket):
    with open(room.file("m"), "wb") as file:
        file.truncate(4096)
    path = socket.format(room=room.path)
    result = run("--socket", path, "--file", room.file("m"))
    assert result.returncode == 1
    assert path[:60] in result.stderr
    assert os.listdir(room.path) == ["m"]


@pytest.mark.parametrize("prefix", ["", "unix:"])
def test_server_as_qemu_writes_it(device, server, prefix):
    device("--server", prefix + server().path).vmm().info()


@pytest.mark.parametrize("vectors", ["1", "2048"])
def test_008_vectors_that_are_right(device, server, vectors):
    assert device("--server", server().path, "--vectors", vectors).vmm().irq_info(2)[1] == int(vectors)


def test_defaults_of_revision_1(device, server):
    """One vector, not the master, ioeventfds offered."""
    vmm = device("--server", server("-l", "64K").path).vmm()
    assert vmm.irq_info(2)[1] == 1
    assert vmm.region_info(2).size == 65536
    assert vmm.io_fds(0)[1] == 1
    with pytest.raises(vfio_user.Refused):
        vmm.state()


def test_037_defaults_of_revision_0(device, server):
    """4 MiB, MSI-X with one vector, the master, no ioeventfds."""
    vmm = device("--server", server("-l", "8M").path, "--revision", "0").vmm()
    wire.wait_until(lambda: vmm.register(8) == 0, "the memory")
    assert vmm.region_info(2).size == 4 << 20
    assert vmm.irq_info(2)[1] == 1
    assert vmm.io_fds(0)[1] == 0
    assert vmm.state() == 2


def test_ready_line(plain):
    """For whoever starts it, and for people."""
    process = plain()
    [line] = process.lines()
    assert line.startswith("ready: ") and process.path in line and "64 KiB" in line

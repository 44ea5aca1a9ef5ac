# SPDX-License-Identifier: BSD-2-Clause
"""What the surroundings of a program take from it or send to it: limits of resources, signals, full files."""

import os
import resource
import signal

import pytest

import ivshmem_wire as wire
from vfio_user_fixtures import MIB


def file_limit(size):
    """For `setup`: no file of the process can become larger. Python itself ignores SIGXFSZ; its children do not."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


# ---- RLIMIT_FSIZE --------------------------------------------------------------------------------------


def expect_no_room(process, room, *words):
    """It says what it could not do, and how to help it; nothing is left."""
    assert process.wait() == 1, process.describe()
    for word in ("File too large", "ulimit -f", *words):
        assert word in process.stderr, process.describe()
    assert len(process.stderr.splitlines()) == 1, process.describe()
    assert os.listdir(room.path) == []
    assert not any(os.path.lexists(f"/dev/shm/{name}") for name in room.shm_names)


@pytest.mark.parametrize("named", [False, True])
def test_server_under_a_limit_of_file_size(launch, room, named):
    memory = ["-M", room.shm_name()] if named else []
    process = launch("ivshmem-server", "-F", "-S", room.socket, *memory, "-l", "2M", setup=file_limit(MIB))
    expect_no_room(process, room, "2 MiB")


@pytest.mark.parametrize("kind", ["shm", "file"])
def test_device_under_a_limit_of_file_size(launch, room, kind):
    name = room.shm_name() if kind == "shm" else room.file("memory")
    process = launch(
        "ivshmem-device", "--socket", room.socket, f"--{kind}", name, "--size", "2M", setup=file_limit(MIB)
    )
    expect_no_room(process, room, name)


def test_daemon_without_room_for_its_pid_file(launch, room):
    pid_file = room.file("pid")
    process = launch("ivshmem-server", "-S", room.socket, "-p", pid_file, setup=file_limit(0))
    assert process.wait() == 1
    assert f"cannot write pid file '{pid_file}': File too large" in process.stderr
    assert os.listdir(room.path) == []


def full_file(room):
    """A file that has reached the limit, to write to the end of."""
    file = open(room.file("log"), "ab")
    file.truncate(8 * MIB)
    return file


def test_server_whose_log_is_full(server, room):
    """What it cannot say is lost, and it goes on."""
    with full_file(room) as log:
        srv = server("-v", ready=False, stdout=log, stderr=log, setup=file_limit(8 * MIB))
    wire.wait_until(lambda: can_connect(srv.client), "it serves")
    for _ in range(3):
        srv.client().close()
    assert os.path.getsize(room.file("log")) == 8 * MIB


def can_connect(connect):
    try:
        connect().close()
        return True
    except (ConnectionRefusedError, FileNotFoundError):
        return False


def test_device_whose_log_is_full(device, room):
    with full_file(room) as log:
        made = device(
            "--shm", room.shm_name(), "--size", "1M", "-v", ready=False, stdout=log, stderr=log,
            setup=file_limit(8 * MIB),
        )
    wire.wait_until(lambda: can_connect(made.vmm), "it serves")


def test_results_that_exceed_the_limit(server, launch, room):
    """`ivshmem read > FILE`: an error like a full disk, and told."""
    server("-l", "1M")
    path = room.file("result")
    with open(path, "wb") as result:
        process = launch(
            "ivshmem", "-t", room.socket, "read", "0", "1M", "--raw", stdout=result, setup=file_limit(65536)
        )
        assert process.wait() == 1, process.describe()
    assert "cannot write to stdout: File too large" in process.stderr
    assert os.path.getsize(path) == 65536


# ---- SIGHUP --------------------------------------------------------------------------------------------


def test_hangup_does_not_end_a_server(server):
    srv = server()
    client = srv.client()
    srv.signal(signal.SIGHUP)
    other = srv.client()
    client.follow_until_knows([client.id, other.id])


def test_hangup_does_not_end_a_device(plain):
    device = plain()
    vmm = device.vmm()
    device.signal(signal.SIGHUP)
    vmm.info()
    vmm.close()
    device.vmm().info()


def test_hangup_does_not_end_a_daemon(daemon, room):
    started = daemon()
    os.kill(started.daemon, signal.SIGHUP)
    wire.RawClient(room.socket).greet().close()
    started.finish()
    assert os.listdir(room.path) == []

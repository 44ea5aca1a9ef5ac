# SPDX-License-Identifier: BSD-2-Clause
"""--wait: a server that is not there yet, of ivshmem-device and of ivshmem."""

import os
import signal
import socket

import pytest

import ivshmem_wire as wire
from vfio_user_fixtures import SIZE, Device

TOOLS = ["ivshmem-device", "ivshmem"]


@pytest.fixture
def start(room, processes):
    """start(tool, seconds): a program that waits for the server on room.file("server")."""

    def start(tool, seconds):
        path = room.file("server")
        if tool == "ivshmem-device":
            process = Device(room.file("device"), "--server", path, "--wait", str(seconds), ready=False)
        else:
            arguments = ["-t", "unix:" + path, "--wait", str(seconds), "monitor"]
            process = wire.Process([wire.program("ivshmem"), *arguments])
        processes.append(process)
        return process

    return start


def is_waiting(process):
    """It sleeps between two looks, and has said nothing."""
    return process.running() and process.stdout == process.stderr == ""


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("before", ["nothing", "a socket that nobody listens on"])
def test_server_that_comes_later(start, room, processes, tool, before):
    if before != "nothing":
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(room.file("server"))
    process = start(tool, 60)
    with pytest.raises(AssertionError):
        process.expect(r".+", timeout=0.4)
    assert is_waiting(process), process.describe()
    processes.append(wire.Server(room.file("server"), "-l", str(SIZE)))
    process.expect(r"ready: .* peer 0, .*" if tool == "ivshmem-device" else r"attached as peer 0 .*")
    process.signal(signal.SIGTERM)
    assert process.wait() == 0, process.describe()


@pytest.mark.parametrize("tool", TOOLS)
def test_server_that_never_comes(start, room, tool):
    process = start(tool, 0.3)
    assert process.wait() == 1, process.describe()
    assert f"there is no socket '{room.file('server')}'" in process.stderr
    assert not os.path.exists(room.file("device"))


@pytest.mark.parametrize("tool", TOOLS)
def test_told_to_end_meanwhile(start, tool):
    process = start(tool, 3000)
    wire.wait_until(lambda: wire.blocked_signals(process.pid), "it waits for signals")
    process.signal(signal.SIGTERM)
    assert process.wait(10) in (0, 1, -signal.SIGTERM), process.describe()


@pytest.mark.parametrize("tool", TOOLS)
def test_nonsense(start, tool):
    process = start(tool, "soon")
    assert process.wait() == 2
    assert "--wait" in process.stderr

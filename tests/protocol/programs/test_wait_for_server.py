# SPDX-License-Identifier: BSD-2-Clause
"""--wait: a server that is not there yet, of ivshmem-device and of ivshmem."""

import os
import signal

import pytest

import ivshmem_wire as wire
from vfio_user_fixtures import SIZE

TOOLS = ["ivshmem-device", "ivshmem"]


@pytest.fixture
def waiting(room, launch):
    """waiting(tool, seconds): a program that waits for the server on room.file("server")."""

    def waiting(tool, seconds):
        path = room.file("server")
        if tool == "ivshmem-device":
            return launch(tool, "--socket", room.file("device"), "--server", path, "--wait", str(seconds))
        return launch(tool, "-t", "unix:" + path, "--wait", str(seconds), "monitor")

    return waiting


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("before", ["nothing", "a socket that nobody listens on"])
def test_server_that_comes_later(waiting, server, room, tool, before):
    if before != "nothing":
        wire.bound(room.file("server")).close()
    process = waiting(tool, 60)
    with pytest.raises(AssertionError):
        process.expect(r".+", timeout=0.4)
    assert process.running() and process.stdout == process.stderr == "", "it waits, and says nothing"
    server("-l", str(SIZE), path=room.file("server"))
    process.expect(r"ready: .* peer 0, .*" if tool == "ivshmem-device" else r"attached as peer 0 .*")
    process.finish()


@pytest.mark.parametrize("tool", TOOLS)
def test_server_that_never_comes(waiting, room, tool):
    process = waiting(tool, 0.3)
    assert process.wait() == 1, process.describe()
    assert f"there is no socket '{room.file('server')}'" in process.stderr
    assert not os.path.exists(room.file("device"))


@pytest.mark.parametrize("tool", TOOLS)
def test_told_to_end_meanwhile(waiting, tool):
    process = waiting(tool, 3000)
    wire.wait_until(lambda: wire.blocked_signals(process.pid), "it waits for signals")
    process.signal(signal.SIGTERM)
    assert process.wait(10) in (0, 1, -signal.SIGTERM), process.describe()


@pytest.mark.parametrize("tool", TOOLS)
def test_nonsense(waiting, tool):
    process = waiting(tool, "soon")
    assert process.wait() == 2
    assert "--wait" in process.stderr

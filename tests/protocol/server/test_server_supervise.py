# SPDX-License-Identifier: BSD-2-Clause
"""ivshmem-server --supervise: a parent that keeps the group while it replaces the server."""

import os
import shutil
import signal
import socket

import pytest

import ivshmem_wire as wire
from ivshmem_fixtures import expect_refusal
from ivshmem_wire import expect_rings
from supervised import supervising


@pytest.fixture
def supervised(room, processes):
    yield from supervising(room, processes)


def test_sighup_restarts_the_server_and_nobody_notices(supervised):
    parent = supervised()
    first, second = parent.client(), parent.client()
    first.follow_until_knows([0, 1])
    first.log.clear()
    parent.restart()
    n_fds = len(parent.fds())
    for _ in range(10):
        parent.restart()
        expect_rings(first, second)
    wire.wait_until(lambda: len(parent.fds()) == n_fds, "the parent keeps nothing while the server serves")
    assert parent.client().id == 2
    first.follow_until_knows([0, 1, 2])
    assert first.log == [2]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_with_its_server(supervised, room, number):
    parent = supervised()
    client, server = parent.client(), parent.server
    parent.finish(number)
    client.assert_cut()
    assert not os.path.exists(f"/proc/{server}")
    assert os.listdir(room.path) == ["run"] and os.listdir(room.file("run")) == []


def test_ctrl_c_reaches_both(supervised):
    parent = supervised(start_new_session=True)
    parent.client()
    os.killpg(parent.pid, signal.SIGINT)
    assert parent.wait() == 0


def test_it_ends_when_its_server_is_asked_to(supervised):
    parent = supervised()
    os.kill(parent.server, signal.SIGINT)
    assert parent.wait() == 0


def test_sigterm_to_the_server_alone_restarts_it(supervised):
    parent = supervised()
    client, server = parent.client(), parent.server
    os.kill(server, signal.SIGTERM)
    parent.expect(r"ivshmem-server: peers that stayed connected: 1")
    assert client.drain() and parent.server != server


def test_a_crash_is_told_and_a_new_group_made(supervised):
    parent = supervised()
    for _ in range(3):
        client, server = parent.client(), parent.server
        assert client.id == 0
        parent.crash()
        client.assert_cut()
        parent.expect(r"ivshmem-server: the server was killed by signal 9, and did not hand over its group: .*", "stderr")
        parent.expect(r"ivshmem-server: listening on .*")
        assert parent.server != server


def test_wrong_options_end_it(launch, room):
    for arguments in (["-S", "/nonexistent/x"], ["-l", "0"]):
        expect_refusal(launch("ivshmem-server", "-F", "--supervise", *arguments), arguments[1])
    expect_refusal(launch("ivshmem-server", "--supervise", "-S", room.socket), "needs -F")
    expect_refusal(launch("ivshmem-server", "-F", "--supervise", env={"LISTEN_FDS": "1"}), "LISTEN_FDS")


@pytest.fixture
def own_program(room):
    path = room.file("ivshmem-server")
    shutil.copy(wire.program("ivshmem-server"), path)
    return path


def test_an_upgrade(supervised, room, own_program):
    """Another file is put in the place of the program, as packages do it."""
    parent = supervised(binary=own_program)
    client = parent.client()
    before = os.stat(f"/proc/{parent.server}/exe").st_ino
    shutil.copy(own_program, room.file("new"))
    os.rename(room.file("new"), own_program)
    parent.restart()
    assert os.stat(f"/proc/{parent.server}/exe").st_ino == os.stat(own_program).st_ino != before
    assert client.drain()


def test_an_upgrade_that_does_not_work_can_be_taken_back(supervised, room, own_program):
    """The clients wait for a server that can go on."""
    parent = supervised(binary=own_program)
    first = parent.client()
    os.rename(own_program, room.file("good"))
    with open(own_program, "w") as file:
        file.write("#!/bin/sh\nexit 1\n")
    os.chmod(own_program, 0o755)
    parent.signal(signal.SIGHUP)
    for _ in range(2):
        parent.expect(r"ivshmem-server: the new server ended with status 1 before it took over the group; .*", "stderr")
    waiting = parent.connect()
    os.rename(room.file("good"), own_program)
    parent.signal(signal.SIGHUP)
    parent.expect(r"ivshmem-server: peers that stayed connected: 1")
    waiting.greet()
    first.follow_until_knows([0, 1])
    expect_rings(first, waiting)


def test_while_no_server_can_start_it_can_be_ended(supervised, room, own_program):
    parent = supervised(binary=own_program)
    client = parent.client()
    os.unlink(own_program)
    parent.signal(signal.SIGHUP)
    parent.expect(r"ivshmem-server: cannot run .*No such file or directory", "stderr")
    parent.signal(signal.SIGTERM)
    assert parent.wait() == 0
    client.assert_cut()
    # No server is there to remove them; the next one does not mind.
    assert {"socket", "socket.observe"} <= set(os.listdir(room.path))
    supervised().client()


def test_messages_of_others_do_not_count(supervised, room):
    parent = supervised()
    client = parent.client()
    (directory,) = os.listdir(room.file("run"))
    assert os.stat(room.file(f"run/{directory}")).st_mode & 0o777 == 0o700
    path = room.file(f"run/{directory}/notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        memory = wire.memory_fd(4096)
        for text in (b"FDSTORE=1\nFDNAME=ivshmem-group\nFDPOLL=0", b"FDSTOREREMOVE=1\nFDNAME=ivshmem-group", b"x"):
            sock.connect(path)
            socket.send_fds(sock, [text], [memory] * 3)
        os.close(memory)
    n_fds = len(parent.fds())
    parent.restart()
    assert client.drain()
    wire.wait_until(lambda: len(parent.fds()) <= n_fds, "what they sent is closed")


def test_it_has_a_supervisor_itself(supervised, room, closing):
    notify = wire.bound(room.file("notify"), socket.SOCK_DGRAM)
    closing.append(notify)
    process = wire.Process(
        [wire.program("ivshmem-server"), "-F", "--supervise", "-S", room.socket],
        env={"NOTIFY_SOCKET": room.file("notify"), "XDG_RUNTIME_DIR": room.file("run")},
    )
    closing.append(process)
    process.close = process.kill
    assert notify.recv(4096) == f"READY=1\nMAINPID={process.pid}".encode()
    process.finish()

# SPDX-License-Identifier: BSD-2-Clause
"""The server's socket: what can be in the way of it, and who may connect."""

import os
import signal
import socket
import stat
import time

import pytest

import ivshmem_wire as wire
import stepper
from ivshmem_fixtures import can_step, expect_refusal


def test_106_stale_socket_is_replaced(server, room):
    stale = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    stale.bind(room.socket)
    stale.close()
    assert os.path.exists(room.socket)
    server().client()


def test_106_socket_of_a_killed_server_is_replaced(server, start, room):
    first = start()
    first.expect("ivshmem-server: listening on .*")
    client = first.client()
    first.process.kill()
    first.process.wait()
    assert os.path.exists(room.socket)
    assert client.follow_to_end() == []
    assert server().client().id == 0


def test_106_live_socket_is_an_error(server, start):
    srv = server()
    client = srv.client()
    expect_refusal(start(), srv.path)
    another = srv.client()
    client.follow_until_knows([client.id, another.id])


def test_106_second_start_does_not_use_up_an_id(server, start):
    """
    Only peer 0 can be QEMU's migration master, and 0 comes once: looking whether a server lives must
    not cost it its first id.
    """
    srv = server()
    expect_refusal(start())
    assert srv.client().id == 0


def test_106_live_socket_of_somebody_who_is_too_busy(start, room, closing):
    """A listener whose queue is full does not answer, but lives."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    closing.append(listener)
    listener.bind(room.socket)
    listener.listen(0)
    for _ in range(3):
        waiting = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        waiting.setblocking(False)
        closing.append(waiting)
        try:
            waiting.connect(room.socket)
        except BlockingIOError:
            break
    inode = os.stat(room.socket).st_ino
    expect_refusal(start())
    assert os.stat(room.socket).st_ino == inode


def test_106_socket_of_another_kind_is_in_use(start, room, closing):
    """A datagram socket cannot be connected to with a stream, but it is alive."""
    datagram = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    closing.append(datagram)
    datagram.bind(room.socket)
    expect_refusal(start())
    assert stat.S_ISSOCK(os.stat(room.socket).st_mode)


def test_106_file_in_the_way(start, room):
    with open(room.socket, "w") as file:
        file.write("precious")
    expect_refusal(start(), room.socket)
    with open(room.socket) as file:
        assert file.read() == "precious"


def test_106_directory_in_the_way(start, room):
    os.mkdir(room.socket)
    expect_refusal(start(), room.socket)
    assert os.path.isdir(room.socket)


def test_106_dangling_link_in_the_way(start, room):
    os.symlink(room.file("elsewhere"), room.socket)
    expect_refusal(start(), room.socket)
    assert os.path.islink(room.socket)
    assert not os.path.lexists(room.file("elsewhere"))


def test_106_longest_path(server, room):
    """107 bytes are possible."""
    path = room.file("x" * (107 - len(room.path) - 1))
    assert len(path) == 107
    server(path=path).client()


@pytest.mark.parametrize("length", [108, 109, 200, 5000])
def test_106_path_too_long(start, room, length):
    path = room.file("x" * (length - len(room.path) - 1))
    process = start(path=path)
    expect_refusal(process, "long")
    assert os.listdir(room.path) == []


def test_106_empty_path(start, processes, room):
    process = wire.Process([wire.program("ivshmem-server"), "-F", "-S", ""])
    processes.append(process)
    expect_refusal(process)


@pytest.mark.parametrize("stale", [False, True])
def test_106_two_servers_start_at_once(processes, room, stale):
    """Exactly one of them gets the place, and it is the one that answers there."""
    for turn in range(wire.sized(12, 200)):
        path = room.file(f"socket-{turn}")
        if stale:
            left = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            left.bind(path)
            left.close()
        pair = [wire.Server(path, ready=False) for _ in range(3)]
        processes.extend(pair)
        wire.wait_until(
            lambda: sum(not server.running() for server in pair) >= 2, "two of three give up", timeout=20
        )
        (winner,) = [server for server in pair if server.running()]
        for server in pair:
            if server is not winner:
                assert server.wait() == 1, server.describe()
        winner.expect("ivshmem-server: listening on .*")
        winner.client()
        winner.finish()
        assert os.listdir(room.path) == [], "something was left"


@can_step
@pytest.mark.parametrize("instant", ["listen", "unlink"])
def test_106_second_start_in_the_wrong_instant(processes, start, room, instant):
    """
    A server is held just before it listens on what it has bound, or just before it removes the stale
    socket that it has found. The one that starts meanwhile must not remove the first one's socket, nor
    lose its own to it.
    """
    left = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    left.bind(room.socket)
    left.close()
    first = start(setup=stepper.trace_me)
    step = stepper.Stepper(first.pid)
    step.run_to(instant)
    second = start()
    time.sleep(0.5)  # the instant of the first is stretched, for the second to do wrong
    step.release()
    wire.wait_until(lambda: not first.running() or not second.running(), "one of them gives up")
    winner, loser = (first, second) if first.running() else (second, first)
    expect_refusal(loser)
    winner.expect("ivshmem-server: listening on .*")
    winner.client()
    winner.finish()


@can_step
def test_108_socket_is_at_no_instant_more_open_than_asked(start, room):
    """
    Also under a careless umask: nobody slips in between the making of the socket and the setting of its
    mode.
    """
    srv = start("--socket-mode", "0600", setup=lambda: (os.umask(0), stepper.trace_me()))
    step = stepper.Stepper(srv.pid)
    modes = []
    while not (modes and step.at("wait")):
        assert step.step(), srv.describe()
        if os.path.lexists(room.socket):
            modes.append(stat.S_IMODE(os.lstat(room.socket).st_mode))
    step.release()
    assert modes[-1] == 0o600
    assert not any(mode & 0o177 for mode in modes), [oct(mode) for mode in modes]
    srv.finish()


@can_step
def test_106_listens_only_when_the_memory_is_there(start, room):
    """Who connects early is refused; nobody gets in to wait for what may never come."""
    name = room.shm_name()
    srv = start("-M", name, "-l", "1M", setup=stepper.trace_me)
    step = stepper.Stepper(srv.pid)
    step.run_to("listen")
    with pytest.raises(ConnectionRefusedError):
        wire.RawClient(room.socket)
    assert os.path.getsize(f"/dev/shm/{name}") == 1 << 20
    step.release()
    srv.expect("ivshmem-server: listening on .*")
    srv.client()
    srv.finish()


@can_step
def test_108_link_put_in_the_place_of_the_socket_is_not_followed(start, room):
    """Who owns the directory does not get at the mode of other files through us."""
    victim = room.file("victim")
    with open(victim, "w"):
        pass
    os.chmod(victim, 0o600)
    srv = start("--socket-mode", "0666", setup=stepper.trace_me)
    step = stepper.Stepper(srv.pid)
    while not os.path.lexists(room.socket):
        assert step.step(), srv.describe()
    os.unlink(room.socket)
    os.symlink(victim, room.socket)
    step.release()
    expect_refusal(srv, room.socket)
    assert stat.S_IMODE(os.stat(victim).st_mode) == 0o600
    assert os.path.islink(room.socket)


def test_106_start_right_after_the_end_of_another(processes, room):
    """A predecessor that is just ending does not remove its successor's socket."""
    previous = None
    for _ in range(wire.sized(10, 100)):
        server = wire.Server(room.socket, ready=False)
        processes.append(server)
        if previous is not None:
            previous.signal(signal.SIGTERM)
        wire.wait_until(lambda: not server.running() or "listening" in server.stdout, "start or refusal")
        if previous is not None:
            assert previous.wait() == 0
        if not server.running():
            assert server.wait() == 1
            previous = None
            continue
        server.client()
        previous = server
    if previous is not None:
        previous.finish()

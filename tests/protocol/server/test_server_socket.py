# SPDX-License-Identifier: BSD-2-Clause
"""
The server's socket: what can be in the way of it, and who may connect. tests/unit/socket has every kind of what is in the
way, and every length of a path.
"""

import os
import signal
import socket
import stat
import time

import pytest

import ivshmem_wire as wire
import stepper
from ivshmem_fixtures import can_step, expect_refusal


def test_106_socket_of_a_killed_server_is_replaced(server, start, room):
    first = start()
    first.expect("ivshmem-server: listening on .*")
    client = first.client()
    first.process.kill()
    first.process.wait()
    assert os.path.exists(room.socket)
    assert client.follow_to_end() == []
    assert server().client().id == 0


def test_106_live_socket_is_an_error(server, refused):
    """
    And looking whether a server lives does not cost that one an id: only peer 0 can be QEMU's migration master, and 0
    comes once.
    """
    srv = server()
    refused(words=[srv.path])
    client, another = srv.client(), srv.client()
    assert client.id == 0
    client.follow_until_knows([0, another.id])


def test_106_socket_of_another_kind_is_in_use(refused, room, closing):
    """A datagram socket cannot be connected to with a stream, but it is alive."""
    closing.append(wire.bound(room.socket, socket.SOCK_DGRAM))
    refused()
    assert stat.S_ISSOCK(os.stat(room.socket).st_mode)


def test_106_file_in_the_way(refused, room):
    with open(room.socket, "w") as file:
        file.write("precious")
    refused(words=[room.socket])
    with open(room.socket) as file:
        assert file.read() == "precious"


def test_106_path_too_long(refused, room):
    refused(path=room.file("x" * (108 - len(room.path) - 1)), words=["long"])
    assert os.listdir(room.path) == []


@can_step
@pytest.mark.parametrize("instant", ["listen", "unlink"])
def test_106_second_start_in_the_wrong_instant(start, room, instant):
    """
    A server is held just before it listens on what it has bound, or just before it removes the stale
    socket that it has found. The one that starts meanwhile must not remove the first one's socket, nor
    lose its own to it.
    """
    wire.bound(room.socket).close()
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


def test_106_start_right_after_the_end_of_another(start):
    """A predecessor that is just ending does not remove its successor's socket."""
    previous = None
    for _ in range(wire.sized(10, 100)):
        srv = start()
        if previous is not None:
            previous.signal(signal.SIGTERM)
        started = srv.started()
        if previous is not None:
            assert previous.wait() == 0
        previous = srv if started else None
        if started:
            srv.client()
    if previous is not None:
        previous.finish()

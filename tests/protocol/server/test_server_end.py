# SPDX-License-Identifier: BSD-2-Clause
"""How the server ends, at any instant, and what is left then: nothing."""

import os
import random
import signal
import socket
import time

import pytest

import ivshmem_wire as wire
import stepper
from ivshmem_fixtures import can_step, root_only


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_107_signals_end_it_cleanly(server, room, number):
    name = room.shm_name()
    srv = server("-M", name)
    clients = [srv.client() for _ in range(5)]
    srv.finish(number)
    assert not os.path.exists(f"/dev/shm/{name}")
    assert os.listdir(room.path) == []
    # Either all hear that all others left, or nobody hears anything.
    stories = []
    for client in clients:
        client.drain()
        stories.append(client.peers.keys() == {client.id})
    assert all(stories) or not any(stories)


def test_107_signal_while_clients_are_stalled(server):
    srv = server(vectors=8)
    for _ in range(50):
        srv.connect()
    srv.finish()


def test_107_signals_blocked_by_the_parent(processes, room):
    """A mask inherited from a careless parent does not make it immortal."""
    srv = wire.Server(
        room.socket,
        setup=lambda: signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGINT]),
    )
    processes.append(srv)
    srv.client()
    srv.finish()


def test_107_signal_at_any_instant_of_the_start(processes, room):
    """
    SIGTERM after a random part of the time that a start takes: exit status 0 and nothing is left.
    Before the program has told the kernel that it handles the signal, the kernel's own way is the only
    one possible.
    """
    name = room.shm_name()

    def start():
        srv = wire.Server(room.socket, "-M", name, ready=False)
        processes.append(srv)
        return srv

    began = time.monotonic()
    srv = start()
    srv.expect("ivshmem-server: listening on .*")
    duration = time.monotonic() - began
    srv.finish()
    choice = random.Random(107)
    handled = 0
    for _ in range(wire.sized(60, 1000)):
        srv = start()
        time.sleep(choice.random() * duration * 1.3)  # the instant is the subject
        srv.signal(signal.SIGTERM)
        status = srv.wait()
        handled += status == 0
        assert status in (0, -signal.SIGTERM), srv.describe()
        assert not os.path.lexists(room.socket), f"the socket is left, status {status}\n{srv.describe()}"
        assert not os.path.exists(f"/dev/shm/{name}"), f"the memory is left, status {status}"
    assert handled, "the signal never came after the program's first steps"


@can_step
def test_107_signal_at_every_system_call_of_the_start(processes, room):
    """
    SIGTERM before and after each single system call, from the first to the one that waits for clients:
    exit status 0, or the kernel's own way before the signal is handled, and in any case nothing is
    left.
    """
    name = room.shm_name()

    def start():
        srv = wire.Server(room.socket, "-M", name, ready=False, setup=stepper.trace_me)
        processes.append(srv)
        return srv, stepper.Stepper(srv.pid)

    srv, step = start()
    total = step.run_to("wait")
    step.release(signal.SIGTERM)
    assert srv.wait() == 0, srv.describe()
    # Loading the program takes many calls, a sanitizer even more, and not always the same number; the program's own
    # are the last ones.
    handled = 0
    for count in range(max(0, total - 150), total + 1):
        srv, step = start()
        for _ in range(count):
            assert step.step(), srv.describe()
        # Once the program has blocked the signal, it must handle it.
        blocked = signal.SIGTERM in wire.blocked_signals(srv.pid)
        step.release(signal.SIGTERM)
        status = srv.wait()
        handled += blocked
        assert status == 0 or (status == -signal.SIGTERM and not blocked), (
            f"status {status} at stop {count} of {total}\n{srv.describe()}"
        )
        assert os.listdir(room.path) == [], f"the socket is left, stop {count} of {total}\n{srv.describe()}"
        assert not os.path.exists(f"/dev/shm/{name}"), f"the memory is left, stop {count} of {total}"
    assert handled > 30, "hardly any stop was after the program's first steps"


def test_107_signal_pending_from_the_first_instant(processes, room):
    """With the signal blocked when the program begins it cannot be killed, so it must end with 0."""
    for _ in range(10):
        srv = wire.Server(
            room.socket,
            ready=False,
            setup=lambda: (
                signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM]),
                os.kill(os.getpid(), signal.SIGTERM),
            ),
        )
        processes.append(srv)
        assert srv.wait() == 0, srv.describe()
        assert os.listdir(room.path) == []


@root_only
def test_107_signal_while_names_are_looked_up(start, room, closing):
    """A service of names that does not answer must not make the program immune to signals."""
    service = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    closing.append(service)
    service.bind(room.file("nscd"))
    service.listen()
    service.settimeout(wire.TIMEOUT)
    private_run = wire.private_mounts(("/run", "tmpfs", ""))

    def slow_names():
        private_run()
        os.mkdir("/run/nscd")
        os.symlink(room.file("nscd"), "/run/nscd/socket")

    srv = start("--socket-owner", "nobody", setup=slow_names)
    asked = service.accept()[0]
    closing.append(asked)
    srv.signal(signal.SIGTERM)
    assert srv.wait() == -signal.SIGTERM, srv.describe()
    assert not os.path.lexists(room.socket)


def test_107_second_signal(server, room):
    srv = server()
    for _ in range(5):
        try:
            srv.signal(signal.SIGTERM)
            srv.signal(signal.SIGINT)
        except ProcessLookupError:
            break
    assert srv.wait() == 0, srv.describe()
    assert os.listdir(room.path) == []


def test_107_socket_replaced_meanwhile_is_not_removed(server, room):
    """Somebody removed our socket and put his own there: it stays."""
    srv = server()
    os.unlink(room.socket)
    other = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    other.bind(room.socket)
    srv.signal(signal.SIGTERM)
    assert srv.wait() == 0
    assert os.path.exists(room.socket)
    other.close()


def test_107_clients_keep_their_memory_and_vectors(server):
    """The end of the server ends nothing between the peers."""
    srv = server()
    first, second = srv.client(), srv.client()
    first.follow_until_knows([0, 1])
    srv.finish()
    wire.ring(second.peers[0][0])
    wire.wait_rings(first.peers[0][0])
    os.pwrite(first.memory, b"still there", 0)
    assert os.pread(second.memory, 11, 0) == b"still there"

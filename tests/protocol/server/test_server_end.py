# SPDX-License-Identifier: BSD-2-Clause
"""How the server ends, at any instant, and what is left then: nothing."""

import os
import signal

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


def test_107_signals_blocked_by_the_parent(server):
    """A mask inherited from a careless parent does not make it immortal."""
    srv = server(setup=lambda: signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGINT]))
    srv.client()
    srv.finish()


@can_step
def test_107_signal_at_every_system_call_of_the_start(start, room):
    """
    SIGTERM before and after each single system call, from the first to the one that waits for clients:
    exit status 0, or the kernel's own way before the signal is handled, and in any case nothing is
    left.
    """
    name = room.shm_name()

    def stepped():
        srv = start("-M", name, setup=stepper.trace_me)
        return srv, stepper.Stepper(srv.pid)

    srv, step = stepped()
    total = step.run_to("wait")
    step.release(signal.SIGTERM)
    assert srv.wait() == 0, srv.describe()
    # Loading the program takes many calls, a sanitizer even more, and not always the same number; the program's own
    # are the last ones.
    handled = 0
    for count in range(max(0, total - 150), total + 1):
        srv, step = stepped()
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


def test_107_signal_pending_from_the_first_instant(start, room):
    """With the signal blocked when the program begins it cannot be killed, so it must end with 0."""

    def setup():
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        os.kill(os.getpid(), signal.SIGTERM)

    for _ in range(10):
        srv = start(setup=setup)
        assert srv.wait() == 0, srv.describe()
        assert os.listdir(room.path) == []


@root_only
def test_107_signal_while_names_are_looked_up(start, room, closing):
    """A service of names that does not answer must not make the program immune to signals."""
    service = wire.bound(room.file("nscd"), backlog=1)
    closing.append(service)
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

# SPDX-License-Identifier: BSD-2-Clause
"""
A server that is replaced by another one, and no client notices: with a supervisor that speaks systemd's protocol.
"""

import os
import shutil
import signal
import socket

import pytest

import guardian
import ivshmem_wire as wire
import stepper
from fake_supervisor import GROUP, FakeSupervisor
from ivshmem_fixtures import LONELY_UID, expect_refusal, few_descriptors, root_only
from ivshmem_wire import expect_rings, let_all_know
from kept_group import (  # noqa: F401
    NO_LEAKS,
    Group,
    Play,
    can_step,
    eventfd_id,
    first_system_calls,
    group,
    run_into,
    supervisor,
)
from observer import Observer


# ---- what clients see ----------------------------------------------------------------------------------


def test_nobody_notices(group):
    group = group(vectors=3)
    first, second = group.client(), group.client()
    first.follow_until_knows([0, 1])
    os.pwrite(first.memory, b"before", 0)
    for client in (first, second):
        client.log.clear()
    group.restart()
    expect_rings(first, second)
    third = group.client()
    assert third.id == 2
    for client in (first, second):
        client.follow_until_knows([0, 1, 2])
        assert client.log == [2, 2, 2], "and nothing else"
        expect_rings(client, third)
    assert os.pread(third.memory, 6, 0) == b"before"
    second.close()
    first.follow_until_knows([0, 2])
    third.follow_until_knows([0, 2])


@pytest.mark.limit(300)
@pytest.mark.parametrize("seed", range(wire.sized(4, 40)))
def test_what_clients_see_is_what_they_would_have_seen(room, processes, closing, seed):
    """Message for message, those included who have read half of theirs."""
    seats = lambda path: [f"--member=3={path}-3", f"--member=60000={path}-60000"]
    streams = []
    for restarts in (True, False):
        supervisor = FakeSupervisor(room.file(f"notify-{restarts}"), processes)
        closing.append(supervisor)
        path = room.file(f"socket-{restarts}")
        group = Group(path, supervisor, *seats(path), vectors=2)
        closing.append(group)
        streams.append(Play(group, seed, restarts).run(100))
    assert len(streams[0]) == len(streams[1])
    for number, (with_restarts, without) in enumerate(zip(*streams)):
        assert with_restarts == without, f"client {number}"


@pytest.mark.limit(300)
def test_twenty_times_in_a_row(group):
    group = group(vectors=2)
    clients = [group.client() for _ in range(50)]
    everybody = range(50)
    let_all_know(clients, everybody)
    before = {client: {peer: list(map(eventfd_id, fds)) for peer, fds in client.peers.items()} for client in clients}
    n_fds = len(group.server.fds())
    for turn in range(20):
        group.restart()
        wire.wait_until(lambda: len(group.server.fds()) == n_fds, "as many descriptors as before")
        expect_rings(clients[turn], clients[turn + 1])
    newcomer = group.client()
    assert newcomer.id == 50
    for client in clients:
        client.follow_until_knows([*everybody, 50])
        assert client.log == [50] * 2
        expect_rings(client, newcomer)
        for peer, ids in before[client].items():
            assert list(map(eventfd_id, newcomer.peers[peer])) == ids
    for client in clients:
        client.close()
    newcomer.follow_until_knows([50])
    wire.wait_until(lambda: len(group.server.fds()) <= n_fds - 49 * 3, "what the clients had is closed")


@pytest.mark.limit(300)
def test_while_all_are_stalled(group):
    """Each has read nothing, and its socket is full: it has the rest from the servers that come."""
    count = wire.sized(300, 2000)
    wire.raise_descriptor_limit()
    group = group("--stall-timeout=0")
    clients = [group.connect() for _ in range(count)]
    for client in clients:
        wire.wait_until(client.queued, "it is greeted")
    for _ in range(3):
        group.restart()
        group.server.expect(f"ivshmem-server: peers that stayed connected: {count}")
    newcomer = group.client()
    assert newcomer.id == count
    for client in (clients[0], clients[-1]):
        client.greet()
        client.follow(lambda c=client: newcomer.id in c.peers, "hearing of the last one")
        assert sorted(client.log) == sorted(set(client.log)), "nothing is told twice"
        assert client.peers.keys() == set(range(count + 1))
        expect_rings(client, newcomer)


class Background:
    """A server without -F, which writes its process id into a file; it ends with the test."""

    def __init__(self, supervisor, room):
        self.supervisor, self.pid_file = supervisor, room.file("pid")
        supervisor.messages.clear()
        argv = [wire.program("ivshmem-server"), "--keep-clients", "-S", room.socket, "-p", self.pid_file]
        assert supervisor.start(argv).wait() == 0
        with open(self.pid_file, encoding="ascii") as file:
            self.pid = int(file.read())
        guardian.guard_process(self.pid)
        supervisor.wait_for(f"MAINPID={self.pid}")
        assert supervisor.names() == []

    def alive(self):
        return os.path.exists(f"/proc/{self.pid}") and wire.process_state(self.pid) != "Z"

    def finish(self, number=signal.SIGTERM):
        os.kill(self.pid, number)
        wire.wait_until(lambda: not self.alive(), "the daemon ends")
        assert not os.path.exists(self.pid_file)

    def close(self):
        if self.alive():
            os.kill(self.pid, signal.SIGKILL)
        guardian.release("process", str(self.pid))


def test_a_daemon(supervisor, room, closing):
    """The daemon tells the supervisor that it is the main process, and not the process that started it."""

    def start():
        closing.append(Background(supervisor, room))
        return closing[-1]

    server = start()
    client = wire.RawClient(room.socket).greet()
    for _ in range(3):
        server.finish()
        assert supervisor.names() == [GROUP]
        server = start()
    with wire.RawClient(room.socket).greet() as newcomer:
        client.follow_until_knows([0, 1])
        expect_rings(client, newcomer)
    server.finish(signal.SIGINT)
    client.follow_to_end()
    client.close()
    assert os.listdir(room.path) == ["notify"]


def test_who_comes_without_a_server_waits(group):
    group = group()
    stays = group.client()
    group.stop()
    waiting = [group.connect() for _ in range(20)]
    gone = group.connect()
    gone.close()
    group.start()
    assert [client.greet().id for client in waiting] == list(range(1, 21))
    stays.follow_until_knows(range(21))


def test_who_goes_without_a_server_is_missed_afterwards(group):
    group = group()
    stays, goes, offends = group.client(), group.client(), group.client()
    stays.follow_until_knows([0, 1, 2])
    group.stop()
    goes.close()
    offends.sock.send(b"?")
    group.start()
    stays.follow_until_knows([0])
    offends.assert_cut()
    assert group.client().id == 3


def test_seats_and_observers_stay(group, room):
    paths = {own: room.file(f"seat-{own}") for own in (7, 9)}
    group = group(*(f"--member={own}={path}" for own, path in paths.items()), vectors=2)
    observer = group.connect(kind=Observer).greet()
    other, holder = group.client(), group.connect(paths[7]).greet()
    other.follow_until_knows([0, 7])
    group.restart()
    second = group.connect(paths[7])
    with pytest.raises(wire.Refused):
        second.greet()
    holder.close()
    group.restart()
    holder = group.connect(paths[7]).greet()
    expect_rings(holder, other)
    late = group.connect(paths[9]).greet()
    other.follow_until_knows([0, 7, 9])
    expect_rings(late, other)
    assert other.log.count(7) == 2, "it is told of a seat once"
    observer.follow_until_knows([0, 7, 9])


def test_its_own_sockets_stay_and_go_at_the_end(group, room):
    group = group()
    group.client()
    group.restart()
    group.supervisor.stop(signal.SIGINT)
    assert os.listdir(room.path) == ["notify"]


def test_a_named_memory_stays_and_goes_at_the_end(group, room):
    name = room.shm_name()
    group = group("-M", name)
    os.pwrite(group.client().memory, b"kept", 100)
    for _ in range(2):
        group.restart()
        with open(f"/dev/shm/{name}", "rb") as file:
            assert os.pread(file.fileno(), 4, 100) == b"kept"
    group.supervisor.stop(signal.SIGINT)
    assert not os.path.exists(f"/dev/shm/{name}")


def test_sockets_that_the_supervisor_made(room, supervisor, closing):
    supervisor.sockets = {"clients": wire.bound(room.socket, backlog=16)}
    group = Group(room.socket, supervisor)
    closing.append(group)
    first = group.client()
    for _ in range(3):
        group.restart()
    second = group.client()
    first.follow_until_knows([0, 1])
    expect_rings(first, second)
    group.stop()
    words = ["the socket for clients was one of the supervisor", "is one of", "now"]
    supervisor.sockets.pop("clients").close()
    expect_refusal(supervisor.start(group.argv()), words[0])
    assert first.drain()


def test_a_path_that_is_gone_is_told_of(group):
    group = group()
    client = group.client()
    group.stop()
    os.unlink(group.path)
    group.start()
    group.server.expect(rf"ivshmem-server: the path '{group.path}' does not lead to the socket any more, .*", "stderr")
    assert client.drain()


# ---- what goes wrong -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change, words",
    [
        (["-n", "2"], "the number of vectors (-n) was 1, and is 2 now"),
        (["-l", "8M"], "the memory was 4 MiB, and is 8 MiB now"),
        (["-M", "ivshmem-test-never"], "the memory was 4 MiB, and is 4 MiB with -M ivshmem-test-never now"),
        (["--no-observer-socket"], "observe, and is none now"),
        (["--observer-socket=/nonexistent/x"], "observe, and is /nonexistent/x now"),
        (["--member=5=/nonexistent/x"], "the number of --member was 1, and is 2 now"),
        (["-S", "/nonexistent/x"], "the socket for clients was "),
    ],
)
def test_options_that_do_not_fit_are_refused_and_nobody_is_lost(group, room, change, words):
    group = group(f"--member=4={room.file('four')}")
    first = group.client()
    group.stop()
    for _ in range(2):
        expect_refusal(group.supervisor.start([*group.argv(), *change]), words, "restore that", "still keeps the group")
        assert group.supervisor.names() == [GROUP]
    group.start()
    assert first.drain() and first.log == []
    second = group.client()
    first.follow_until_knows([0, 1])
    expect_rings(first, second)


def test_options_that_may_change(group, room):
    group = group()
    first = group.client()
    group.stop()
    group.arguments = ["--max-peers=1", "-v", "--stall-timeout=5", "--socket-mode=0600", "--preallocate"]
    group.start()
    with pytest.raises(wire.Refused):
        group.client()
    assert first.drain()


def test_without_a_supervisor(refused):
    refused("--keep-clients", words=["needs a supervisor", "FileDescriptorStoreMax=1"])


def test_sigint_lets_the_clients_go(group):
    group = group()
    client = group.client()
    group.supervisor.stop(signal.SIGINT)
    client.assert_cut()
    assert group.supervisor.names() == []


def test_without_the_option_clients_are_let_go(group):
    group = group()
    client = group.client()
    group.restart()
    group.stop()
    group.supervisor.messages.clear()
    argv = [argument for argument in group.argv() if argument != "--keep-clients"]
    group.supervisor.start(argv)
    group.supervisor.ready()
    assert client.drain(), "it goes on with what there is"
    group.supervisor.stop()
    client.assert_cut()


def test_a_supervisor_that_keeps_nothing(room, supervisor, closing):
    """As systemd does without FileDescriptorStoreMax: it does not say so."""
    supervisor.deaf = True
    group = Group(room.socket, supervisor)
    closing.append(group)
    client = group.client()
    supervisor.stop()
    client.assert_cut()
    group.start()
    assert group.client().id == 0


def test_a_supervisor_that_is_gone(group):
    group = group()
    client = group.client()
    os.rename(group.supervisor.path, group.supervisor.path + "-elsewhere")
    group.supervisor.process.finish(status=1)
    os.rename(group.supervisor.path + "-elsewhere", group.supervisor.path)
    assert "the supervisor does not take the group" in group.server.stderr
    client.assert_cut()


def test_one_that_is_killed_with_its_guardian_has_no_successor(group):
    group = group()
    client = group.client()
    group.server.kill()
    client.assert_cut()
    group.start()
    assert group.client().id == 0


class Killed:
    """What becomes of a group whose server is killed: all of it goes on, or all of it is new."""

    def __init__(self, group):
        self.group, self.went_on = group, []
        self.populate()

    def populate(self):
        self.group.close()
        self.group.clients.clear()
        self.clients = [self.group.client() for _ in range(2)]
        self.clients[0].follow_until_knows([client.id for client in self.clients])

    def check(self):
        supervisor = self.group.supervisor
        over = lambda: not self.group.server.running() or any("READY=1" in text for text in supervisor.messages)
        wire.wait_until(over, "it ended, or another worker serves")
        if not self.group.server.running():
            supervisor.messages.clear()
            supervisor.catch_up()
            self.group.start()
        first, second = self.clients
        newcomer = self.group.client()
        self.went_on.append(newcomer.id != 0)
        if not self.went_on[-1]:
            for client in self.clients:
                client.follow_to_end()
            self.populate()
            return
        for client in self.clients:
            client.follow_until_knows([first.id, second.id, newcomer.id])
            expect_rings(client, newcomer)
        expect_rings(first, second)
        newcomer.close()
        self.group.clients.remove(newcomer)
        for client in self.clients:
            client.follow_until_knows([first.id, second.id])


# More eventfds than one message takes, so that there is an instant when half of them are taken.
MANY_VECTORS = 100


@can_step
@pytest.mark.limit(300)
def test_one_that_is_killed_at_any_instant_of_its_end(group):
    """Before any system call. Another worker does it again, unless the group is on its way to the supervisor."""
    group = group(vectors=MANY_VECTORS, env=NO_LEAKS)
    killed = Killed(group)
    step = stepper.Stepper(group.worker(), foreign=True)
    group.server.signal(signal.SIGTERM)
    instants = first_system_calls(step, to_wait=False)
    group.server.process.wait()
    killed.check()
    assert killed.went_on.pop() and len(instants) > 20
    for instant in instants:
        step = stepper.Stepper(group.worker(), foreign=True)
        group.server.signal(signal.SIGTERM)
        if run_into(step, instant):
            group.supervisor.messages.clear()
            step.kill()
        group.server.process.wait()
        killed.check()
    assert all(killed.went_on), killed.went_on


@can_step
@pytest.mark.limit(300)
def test_one_that_is_killed_at_any_instant_of_its_start(group):
    """Before any system call from the first look at what was kept. It is never lost."""
    group = group(vectors=MANY_VECTORS)
    killed = Killed(group)

    def start_held():
        group.stop()
        group.server = group.supervisor.start(group.argv(), setup=stepper.trace_me)
        group.guardian = group.server.pid
        step = stepper.Stepper(group.server.pid).into_child()
        step.run_to("recvmsg")
        return step

    instants = first_system_calls(start_held(), to_wait=True)
    group.supervisor.ready()
    assert len(instants) > 20
    for instant in instants:
        step = start_held()
        if run_into(step, instant):
            group.supervisor.messages.clear()
            step.kill()
        killed.check()
    assert all(killed.went_on), killed.went_on


def test_a_group_that_had_its_server_is_not_taken_again(group, supervisor):
    """The supervisor was not told, or did not listen: it still has the empty bag."""
    group = group()
    client = group.client()
    group.stop()
    stale = os.dup(supervisor.store[0][1])
    group.start()
    supervisor.store.append((GROUP, stale))
    assert client.drain()
    group.server.kill()
    client.assert_cut()
    group.start()
    group.server.expect("ivshmem-server: the group that the supervisor keeps had its server, .*", "stderr")
    assert group.client().id == 0
    # And beside one that is full.
    client = group.client()
    group.stop()
    for place in (0, 1):
        empty, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        supervisor.store.insert(place, (GROUP, os.dup(empty.fileno())))
        group.start()
        assert client.drain()
        empty.close()
        other.close()
        if place == 0:
            group.stop()


@pytest.mark.parametrize("what", ["file", "eventfd", "pair", "bag"])
def test_nonsense_is_refused(group, supervisor, room, what):
    group = group()
    group.supervisor.stop(signal.SIGINT)
    if what == "file":
        fd = os.open(room.path, os.O_RDONLY)
    elif what == "eventfd":
        fd = wire.eventfd()
    else:
        ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        fd = os.dup(ends[1].fileno())
        memory = wire.memory_fd(4096)
        socket.send_fds(ends[0], [(1).to_bytes(16, "little") if what == "bag" else b"nonsense"], [memory])
        for end in ends:
            end.close()
        os.close(memory)
    supervisor.store.append((GROUP, fd))
    if what in ("pair", "bag"):
        expect_refusal(supervisor.start(group.argv()), "the record of the group" if what == "bag" else "no")
    else:
        group.start()


def test_a_supervisor_that_takes_its_time(group, supervisor):
    """It has the message in its queue when the server ends, and comes to it later."""
    group = group()
    client = group.client()
    with supervisor.changed:
        group.server.finish()
    assert "the supervisor has not answered yet" in group.server.stderr
    wire.wait_until(lambda: supervisor.names() == [GROUP], "it has read the message")
    group.start()
    assert client.drain()


def test_a_place_that_is_still_taken_is_freed_first(group, supervisor):
    group = group()
    client = group.client()
    stale, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    supervisor.store.append((GROUP, os.dup(stale.fileno())))
    group.stop()
    for sock in (stale, other):
        sock.close()
    group.start()
    assert client.drain()


@few_descriptors
def test_a_server_that_is_full_goes_on(group):
    group = group(vectors=3, limit_files=120)
    clients = []
    with pytest.raises(wire.Refused):
        while True:
            clients.append(group.client())
    assert len(clients) >= 7
    for _ in range(3):
        group.restart()
        with pytest.raises(wire.Refused):
            group.client()
    clients[0].close()
    clients[1].follow(lambda: 0 not in clients[1].peers, "hearing that it left")
    newcomer = group.client()
    there = [*(client.id for client in clients[1:]), newcomer.id]
    for client in clients[1:]:
        client.follow_until_knows(there)
        expect_rings(client, newcomer)


@root_only
def test_clients_that_read_nothing_are_in_nobodys_way(room, supervisor, closing):
    """
    Without privilege, descriptors in flight are limited: those that clients leave unread, and those that are handed
    over. So the server uses half of its limit, and has the other half for the restart.
    """
    os.chmod(supervisor.path, 0o666)
    os.chown(room.path, LONELY_UID, LONELY_UID)
    options = {"user": LONELY_UID, "limit_files": 400}
    binary = room.file("ivshmem-server")
    shutil.copy(wire.program("ivshmem-server"), binary)
    group = Group(room.socket, supervisor, vectors=1, binary=binary, **options)
    closing.append(group)
    good = []

    def all_know(peers):
        """All read in turn, so that nobody keeps the others from being sent to."""
        return all([client.drain() and client.knows(peers) for client in good])

    for number in range(60):
        good.append(group.client())
        wire.wait_until(lambda n=number: all_know(range(n + 1)), "all know all")
    hoarders = []
    for number in range(60, 63):
        hoarders.append(group.connect())
        wire.wait_until(lambda c=hoarders[-1]: c.queued() >= 300, "it has much to read")
        wire.wait_until(lambda n=number: all_know(range(n + 1)), "all know all")
    group.restart()
    group.server.expect("ivshmem-server: peers that stayed connected: 63")
    newcomer = group.connect()
    wire.wait_until(lambda: all_know(range(64)), "all know all")
    newcomer.greet()
    for client in good:
        expect_rings(client, newcomer)

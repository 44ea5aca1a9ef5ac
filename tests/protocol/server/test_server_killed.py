# SPDX-License-Identifier: BSD-2-Clause
"""A server whose processes are killed, and no client notices."""

import os
import random
import signal
import socket

import pytest

import ivshmem_wire as wire
import stepper
from fake_supervisor import FakeSupervisor
from ivshmem_wire import expect_rings
from kept_group import (  # noqa: F401
    NO_LEAKS,
    Group,
    Play,
    can_step,
    first_system_calls,
    group,
    run_into,
    settle,
    supervisor,
)
from observer import Observer


def kill_worker(group):
    """And wait for the next one."""
    before = group.worker()
    os.kill(before, signal.SIGKILL)
    wire.wait_until(lambda: group.workers() not in ([], [before]), "there is another worker")


def test_nobody_notices(group):
    group = group(vectors=3)
    first, second = group.client(), group.client()
    first.follow_until_knows([0, 1])
    os.pwrite(first.memory, b"before", 0)
    for client in (first, second):
        client.log.clear()
    for turn in range(10):
        kill_worker(group)
        expect_rings(first, second)
        third = group.client()
        assert third.id == 2 + turn
        for client in (first, second):
            client.follow_until_knows([0, 1, third.id])
            assert client.log == [third.id] * 3, "and nothing else"
            expect_rings(client, third)
        assert os.pread(third.memory, 6, 0) == b"before"
        third.close()
        for client in (first, second):
            client.follow_until_knows([0, 1])
            client.log.clear()


def test_whichever_process_is_killed_the_other_goes_on(group):
    """The guardian, and the worker, in turn: the one that is left becomes the guardian of a new worker."""
    group = group(vectors=2)
    first, second = group.client(), group.client()
    first.follow_until_knows([0, 1])
    for turn in range(20):
        if turn % 3 == 2:
            kill_worker(group)
        else:
            group.kill_guardian()
        expect_rings(first, second)
        newcomer = group.client()
        assert newcomer.id == 2 + turn
        first.follow_until_knows([0, 1, newcomer.id])
        newcomer.close()
        first.follow_until_knows([0, 1])
    os.kill(group.guardian, signal.SIGINT)
    first.follow_to_end()
    wire.wait_until(lambda: not os.path.lexists(group.path), "the last ones end in good order")


def test_a_guardian_passes_on_what_it_was_told(group):
    """A worker that is killed while it ends is followed by one that ends."""
    group = group()
    client = group.client()
    worker = group.worker()
    os.kill(worker, signal.SIGSTOP)
    group.supervisor.messages.clear()
    group.server.signal(signal.SIGTERM)
    os.kill(worker, signal.SIGKILL)
    assert group.server.wait() == 0
    group.start()
    assert client.drain() and group.client().id == 1


def seats(path):
    return [f"--member=3={path}-3", f"--member=60000={path}-60000"]


class KilledPlay(Play):
    """Its server is killed after each action, or all the time."""

    def __init__(self, group, seed, victims):
        super().__init__(group, seed, restarts=False)
        self.victims, self.chance = victims, random.Random(seed)

    def settle(self):
        if self.victims:
            victim = self.chance.choice(self.victims)
            if victim == "worker":
                kill_worker(self.group)
            elif victim == "guardian":
                self.group.kill_guardian()
        super().settle()


def play(room, processes, closing, seed, victims, kind=KilledPlay):
    supervisor = FakeSupervisor(room.file(f"notify-{len(victims)}"), processes)
    closing.append(supervisor)
    path = room.file(f"socket-{len(victims)}")
    group = Group(path, supervisor, *seats(path), vectors=2)
    closing.append(group)
    return kind(group, seed, victims).run(60)


@pytest.mark.limit(300)
@pytest.mark.parametrize("victims", [["worker"], ["guardian"], ["worker", "guardian"]], ids="-".join)
@pytest.mark.parametrize("seed", range(wire.sized(2, 20)))
def test_what_clients_see_is_what_they_would_have_seen(room, processes, closing, seed, victims):
    """Message for message."""
    with_kills = play(room, processes, closing, seed, victims * 2)
    without = play(room, processes, closing, seed, [])
    assert len(with_kills) == len(without)
    for number, (one, other) in enumerate(zip(with_kills, without)):
        assert one == other, f"client {number}"


# ---- at every instant ------------------------------------------------------------------------------


class Stage:
    """Clients of every kind, one that reads nothing, and what one of them, or a newcomer, does next."""

    MAX_PEERS = 7  # with the seats, which are taken from the start

    def __init__(self, room, supervisor, name):
        path = room.file(name)
        arguments = [*seats(path), f"--max-peers={self.MAX_PEERS}"]
        self.group = Group(path, supervisor, *arguments, vectors=2, env=NO_LEAKS)
        self.members = [self.group.client() for _ in range(3)]
        self.holder = self.group.connect(path + "-3").greet()
        self.observer = self.group.connect(kind=Observer).greet()
        self.silent = self.group.connect()
        for client in (*self.members, self.holder, self.observer):
            all_told = lambda c=client: all(len(c.peers.get(peer, [])) == 2 for peer in range(5))
            client.follow(all_told, "hearing of all")
        wire.wait_until(lambda: self.silent.queued() >= 8 * 13, "it is told of all")

    def join(self):
        self.group.connect()

    def leave(self):
        self.members.pop(1).sock.shutdown(socket.SHUT_RDWR)

    def silent_leaves(self):
        self.silent.sock.shutdown(socket.SHUT_RDWR)

    def offend(self):
        self.members[1].sock.send(b"?")

    def sit_down(self):
        self.group.connect(self.group.path + "-60000")

    def seat_is_taken(self):
        self.group.connect(self.group.path + "-3")

    def stand_up(self):
        self.holder.sock.shutdown(socket.SHUT_RDWR)

    def observe(self):
        self.group.connect(kind=Observer)

    def be_refused(self):
        """There is room for one."""
        for _ in range(2):
            self.group.connect()

    def come_and_go(self):
        self.group.connect().sock.shutdown(socket.SHUT_RDWR)

    def step(self):
        """Held by ptrace, before it does anything about what comes next."""
        return stepper.Stepper(self.group.worker(), foreign=True)

    def streams(self):
        """What each client was told, up to the join of a last one."""
        settle(self.group)
        self.members[0].sock.shutdown(socket.SHUT_RDWR)
        while True:
            try:
                last = self.group.client()
                break
            except wire.Refused:
                self.group.clients.pop().close()
        streams = []
        for client in self.group.clients:
            stream = []
            while client is not last and stream.count((last.id, True)) < 2:
                try:
                    message = client.receive()
                except ConnectionResetError:
                    message = None
                stream.append(message and (message.number, message.fd is not None))
                if message is None:
                    break
            streams.append(stream)
        return last.id, streams


def steps_of(step):
    """How many beginnings and ends of system calls there are until it has done all."""
    count = waits = 0
    while step.step():
        waits += step.at("wait")
        if waits == 2:
            break
        count += 1
    step.release()
    return count


ACTIONS = ["join", "leave", "silent_leaves", "offend", "sit_down", "seat_is_taken", "stand_up", "observe", "be_refused",
           "come_and_go"]


@can_step
@pytest.mark.limit(300)
@pytest.mark.parametrize("action", ACTIONS)
def test_one_that_is_killed_at_any_instant(room, supervisor, action):
    """Before and after each system call that the action leads to."""
    stage = Stage(room, supervisor, "whole")
    step = stage.step()
    getattr(stage, action)()
    steps_of(step)
    expected = stage.streams()
    stage.group.close()
    stage.group.server.kill()
    assert len({len(stream) for stream in expected[1]}) > 1
    instant, over = 0, False
    while not over:
        stage = Stage(room, supervisor, f"killed-{instant}")
        step = stage.step()
        getattr(stage, action)()
        waits = 0
        for _ in range(instant + 1):
            assert step.step()
            waits += step.at("wait")
            if waits == 2:
                over = True
        before = stage.group.worker()
        step.kill()
        wire.wait_until(lambda: stage.group.workers() not in ([], [before]), "there is another worker")
        assert stage.streams() == expected, f"killed at {instant}"
        stage.group.close()
        stage.group.server.kill()
        supervisor.catch_up()  # or a late READY=1 would count for the next one
        instant += 1
    assert instant > 10


@can_step
@pytest.mark.limit(300)
def test_the_next_one_is_killed_at_any_instant_of_its_start(room, supervisor):
    """The first one is killed when it has accepted a client, and nothing more."""
    stage = Stage(room, supervisor, "whole")
    stage.join()
    settle(stage.group)
    expected = stage.streams()
    stage.group.close()
    stage.group.server.kill()

    def start_held(name):
        stage = Stage(room, supervisor, name)
        step = stage.step()
        guardian_step = stepper.Stepper(stage.group.guardian, attach=True)
        stage.join()
        step.run_to("accept")
        step.step()
        step.kill()
        return stage, guardian_step.into_child()

    def end(stage):
        assert stage.streams() == expected
        stage.group.close()
        stage.group.server.kill()
        supervisor.catch_up()

    stage, step = start_held("counted")
    instants = first_system_calls(step, to_wait=True)
    end(stage)
    assert len(instants) > 30
    instants = instants[:: wire.sized(6, 1)]
    for instant in instants:
        stage, step = start_held(f"killed-{instant}")
        assert run_into(step, instant)
        step.kill()
        end(stage)

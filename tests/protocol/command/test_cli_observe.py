# SPDX-License-Identifier: BSD-2-Clause
"""The command line tool and its library where no id is needed: they observe, at real and at lying servers."""

import errno
import json
import os
import re
import time

import pytest

import ivshmem_wire as wire
from ivshmem_cli import FAILURE, OK, run, run_plain  # noqa: F401
from observer import COMPLETE, SUFFIX, VERSION, Observer


def test_those_that_need_no_id_take_none(server, run):
    srv = server("-l", "1M", vectors=2)
    stays = srv.client()
    run("info")
    run("peers")
    run("write", "16", "--nul", "hello")
    assert run("read", "16", "--text").stdout == "hello\n"
    run("ring", "0:1")
    run("ring", "all:1")
    wire.wait_rings(stays.peers[0][1], 2)
    assert srv.client().id == 1
    stays.follow_until_knows([0, 1])
    assert stays.log == [1, 1]


def test_info(server, run, room):
    server("-l", "2M", vectors=3)
    process = run("info")
    for pattern in (
        rf"target:\s+unix:{room.socket}",
        r"back end:\s+observe",
        r"own id:\s+none, looking without one",
        r"vectors:\s+3 for each peer",
        r"memory:\s+2 MiB \(2097152 bytes\)",
        r"mapping:\s+write-back",
    ):
        assert re.search(f"^{pattern}$", process.stdout, re.MULTILINE), process.stdout
    assert process.stderr == ""
    assert json.loads(run("info", "--json").stdout) == {
        "target": f"unix:{room.socket}",
        "backend": "observe",
        "id": None,
        "vectors": 3,
        "size": 2097152,
        "mapping": "write-back",
    }


def test_peers(server, run):
    group = server(vectors=2)
    assert run("peers").lines() == ["no peer is connected"]
    group.client()
    group.client()
    assert run("peers").lines() == ["peer 0: 2 vectors", "peer 1: 2 vectors"]
    assert json.loads(run("-j", "peers").stdout) == {
        "id": None,
        "vectors": 2,
        "peers": [{"id": 0, "vectors": 2}, {"id": 1, "vectors": 2}],
    }


def test_peer_0_is_not_ourselves(server, run):
    """Who has no id must not take itself for somebody."""
    srv = server(vectors=2)
    zero = srv.client()
    run("ring", "0:1")
    wire.wait_rings(zero.peers[0][1])
    assert "counted from 0" in run("ring", "0:2", status=FAILURE).stderr
    assert "not connected (0 is)" in run("ring", "7", status=FAILURE).stderr


def test_without_such_a_socket_it_joins_and_info_says_so(server, run):
    server("--no-observer-socket")
    process = run("info")
    assert re.search(r"^own id:\s+0$", process.stdout, re.MULTILINE)
    assert "took an id, 0" in process.stderr
    assert run("--quiet", "info").stderr == ""


def test_what_a_dead_server_left_is_no_obstacle(server, run, room):
    old = server()
    old.kill()
    old.process.wait()
    server("--no-observer-socket")
    assert os.path.exists(room.socket + SUFFIX)
    assert re.search(r"^own id:\s+0$", run("info").stdout, re.MULTILINE)


def test_nobody_there_names_the_servers_socket(run, room):
    assert f"'{room.socket}'" in run("info", status=FAILURE).stderr


def test_a_refusal_is_no_reason_to_join(server, run, closing):
    srv = server("--max-observers", "1")
    closing.append(Observer(srv.path))
    closing[-1].greet()
    assert "--max-observers" in run("info", status=FAILURE).stderr
    assert srv.client().id == 0


def test_the_target_itself(server, run_plain, room):
    path = room.file("elsewhere")
    srv = server("--observer-socket", path)
    srv.client()
    assert run_plain("-t", f"observe:{path}", "peers").lines() == ["peer 0: 1 vector"]
    for arguments in (["wait"], ["ping", "0"], ["echo", "0"]):
        assert "no id" in run_plain("-t", f"observe:{path}", *arguments, status=FAILURE).stderr
    assert "for peers" in run_plain("-t", f"observe:{srv.path}", "info", status=FAILURE).stderr
    assert "observe:PATH" in run_plain("-t", f"unix:{path}", "info", status=FAILURE).stderr


def test_monitor_tells_of_others_only(server, processes):
    srv = server()
    monitor = wire.Process([wire.program("ivshmem"), "-t", f"observe:{srv.path}{SUFFIX}", "monitor"])
    processes.append(monitor)
    monitor.expect(r"looking on without an id \(1 vector each, 4 MiB, observe:.*\)")
    client = srv.client()
    assert client.id == 0
    monitor.expect(r"peer 0 joined \(1 vector\)")
    client.close()
    monitor.expect("peer 0 left")


# ---- a server that lies ----------------------------------------------------------------------------------


@pytest.fixture
def lies(room, closing, cli):
    """Run a command at a server for observers that says what `say` sends."""

    def lies(say, *arguments):
        fake = wire.FakeServer(room.socket + SUFFIX)
        closing.append(fake)
        process = cli(*(arguments or ["peers", "--json"]))
        connection = fake.accept()
        say(connection)
        status = process.wait()
        assert connection.closed_by_client()
        return status, process

    return lies


@pytest.fixture
def fds(closing):
    """Descriptors that are closed at the end."""
    made = []

    def make(fd):
        made.append(fd)
        return fd

    yield make
    for fd in made:
        os.close(fd)


def test_it_ends_when_told_that_this_is_all(lies, fds):
    """Not when it has been quiet for longer than a client of the other socket would wait."""
    memory, one, two = fds(wire.memory_fd()), fds(wire.eventfd()), fds(wire.eventfd())

    def say(connection):
        connection.send(VERSION)
        connection.send(1)
        connection.send(wire.MEMORY, memory)
        connection.send(3, one)
        connection.wait_taken()
        time.sleep(0.6)
        connection.send(9, two)
        connection.send(COMPLETE)

    status, process = lies(say)
    assert status == OK, process.describe()
    assert json.loads(process.stdout)["peers"] == [{"id": 3, "vectors": 1}, {"id": 9, "vectors": 1}]


@pytest.mark.parametrize(
    "numbers, expected",
    [
        ([0], "for peers"),
        ([1], "version 1"),
        ([-errno.EUSERS], "--max-observers"),
        ([VERSION, -1], "number of vectors"),
        ([VERSION, 2049], "number of vectors"),
        ([VERSION, 1, wire.MEMORY], "without its descriptor"),
        ([VERSION, 1, 65536], "65536"),
        ([VERSION, 1, -3], "-3"),
    ],
)
def test_nonsense_ends_it(lies, numbers, expected):
    def say(connection):
        for number in numbers:
            connection.send(number)

    status, process = lies(say)
    assert status == FAILURE
    assert expected in process.stderr


def test_half_of_the_announcements_is_not_shown_as_all(lies, fds):
    memory, one = fds(wire.memory_fd()), fds(wire.eventfd())

    def say(connection):
        connection.send(VERSION)
        connection.send(1)
        connection.send(wire.MEMORY, memory)
        connection.send(3, one)

    status, process = lies(say, "peers", "--connect-timeout", "0.5")
    assert status == FAILURE
    assert "in time" in process.stderr and process.stdout == ""


def test_a_server_that_ends_in_between_is_not_taken_for_one_with_few_peers(lies, fds):
    memory, one = fds(wire.memory_fd()), fds(wire.eventfd())

    def say(connection):
        connection.send(VERSION)
        connection.send(1)
        connection.send(wire.MEMORY, memory)
        connection.send(3, one)
        connection.wait_taken()
        connection.sock.shutdown(1)

    status, process = lies(say, "peers")
    assert status == FAILURE
    assert "closed" in process.stderr and process.stdout == ""


def test_a_second_end_of_the_announcements_is_ignored(lies, fds):
    memory = fds(wire.memory_fd())

    def say(connection):
        connection.send(VERSION)
        connection.send(1)
        connection.send(COMPLETE)
        connection.send(COMPLETE)
        connection.send(wire.MEMORY, memory)

    status, process = lies(say)
    assert status == OK, process.describe()
    assert "a second time" in process.stderr

# SPDX-License-Identifier: BSD-2-Clause
"""The command line tool and its library where no id is needed: they observe, at real and at lying servers."""

import errno
import json
import os
import re
import socket
import time

import pytest

import ivshmem_wire as wire
from ivshmem_cli import FAILURE, OK
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


def test_monitor_tells_of_others_only(server, launch):
    srv = server()
    monitor = launch("ivshmem", "-t", f"observe:{srv.path}{SUFFIX}", "monitor")
    monitor.expect(r"looking on without an id \(1 vector each, 4 MiB, observe:.*\)")
    client = srv.client()
    assert client.id == 0
    monitor.expect(r"peer 0 joined \(1 vector\)")
    client.close()
    monitor.expect("peer 0 left")


# ---- a server that lies ----------------------------------------------------------------------------------


@pytest.fixture
def lies(room, closing, cli):
    """lies(say, *arguments): a command at a server for observers that says what `say` sends."""

    def lies(say, *arguments, status=FAILURE):
        fake = wire.FakeServer(room.socket + SUFFIX)
        closing.append(fake)
        process = cli("peers", "--json", *arguments)
        connection = fake.accept()
        say(connection)
        assert process.wait() == status, process.describe()
        assert connection.closed_by_client()
        return process

    return lies


@pytest.fixture
def greeting(eventfds):
    """Up to the first peer."""
    memory, [fd] = wire.memory_fd(), eventfds(1)
    yield [VERSION, 1, (wire.MEMORY, memory), (3, fd)]
    os.close(memory)


def test_it_ends_when_told_that_this_is_all(lies, greeting):
    """Not when it has been quiet for longer than a client of the other socket would wait."""

    def say(connection):
        connection.say(*greeting)
        connection.wait_taken()
        time.sleep(0.6)
        connection.say((9, greeting[-1][1]), COMPLETE)

    process = lies(say, status=OK)
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
    assert expected in lies(lambda connection: connection.say(*numbers)).stderr


@pytest.mark.parametrize("ends, expected", [(False, "in time"), (True, "closed")])
def test_half_of_the_announcements_is_not_shown_as_all(lies, greeting, ends, expected):
    """A server that is stuck or ends in between is not taken for one with few peers."""

    def say(connection):
        connection.say(*greeting)
        if ends:
            connection.wait_taken()
            connection.sock.shutdown(socket.SHUT_WR)

    process = lies(say, "--connect-timeout", "60" if ends else "0.5")
    assert expected in process.stderr and process.stdout == ""


def test_a_second_end_of_the_announcements_is_ignored(lies, greeting):
    process = lies(lambda connection: connection.say(VERSION, 1, COMPLETE, COMPLETE, greeting[2]), status=OK)
    assert "a second time" in process.stderr

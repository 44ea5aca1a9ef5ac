# SPDX-License-Identifier: BSD-2-Clause
"""The command line tool: ctl."""

import json
import os
import re
import socket

import pytest

import ivshmem_wire as wire
from ivshmem_cli import FAILURE, OK, USAGE
from ivshmem_fixtures import LONELY_UID, root_only
from openmetrics import parse as parse_metrics


@pytest.fixture
def ctl(run_plain, room):
    """ctl(*words, ...): with the room as the directory of sockets."""

    def ctl(*words, status=OK, **options):
        return run_plain("ctl", "--runtime-dir", room.path, *words, status=status, **options)

    return ctl


def fields(process):
    """The lines of a description: what is before and behind the colon."""
    return dict(re.fullmatch(r" *([^:]+): *(.*)", line).groups() for line in process.lines())


def rows(lines):
    """A table as dictionaries; cells are at least two blanks apart."""
    header, *rest = [re.split(r" {2,}", line.strip()) for line in lines]
    return [dict(zip(header, cells)) for cells in rest]


def refused(process, *words):
    assert process.stdout == "" and process.stderr.startswith("ivshmem: ") and process.stderr.count("\n") == 1
    for word in words:
        assert word in process.stderr, process.describe()


def test_status(server, room, ctl):
    process = server("-l", "1M", vectors=2)
    for words in (["socket"], ["socket", "status"], [room.socket], ["status"], [room.socket + ".control", "status"]):
        told = fields(ctl(*words))
        assert told["program"] == "ivshmem-server" and told["pid"] == str(process.pid)
        assert told["backing"] == "sealed memfd" and told["memory"] == "1 MiB" and told["stall timeout"] == "300 s"
        assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", told["since"]) and told["draining"] == "no"
    document = json.loads(ctl("--json", "socket").stdout)
    assert document["memory_bytes"] == 1 << 20 and document["vectors"] == 2


def test_by_target(server, cli, run_plain, room):
    server()
    process = cli("ctl", "status")
    assert process.wait() == OK and fields(process)["socket"] == room.socket
    told = run_plain("ctl", "status", env={"IVSHMEM_TARGET": "unix:" + room.socket})
    assert fields(told)["socket"] == room.socket


def test_peers(server, ctl, cli):
    process = server(vectors=2)
    process.client()
    monitor = cli("monitor")
    monitor.expect("attached as peer 1 .*")
    wire.wait_until(lambda: ctl("peers").stdout.count("up to date") == 2, "all know all")
    table = rows(ctl("peers").lines())
    assert [row["id"] for row in table] == ["0", "1"]
    assert table[1]["pid"] == str(monitor.pid) and table[1]["program"] == "ivshmem" and table[1]["vm"] == "-"
    assert table[1]["stalled"] == "0 s" and table[1]["unread"] == "0 bytes" and table[0]["kind"] == "member"
    peers = json.loads(ctl("peers", "--json").stdout)["peers"]
    assert [peer["id"] for peer in peers] == [0, 1] and all(peer["vm"] is None for peer in peers)


def test_nobody(server, ctl):
    server()
    assert ctl("peers").stdout == "none\n"
    assert json.loads(ctl("peers", "--json").stdout) == {"peers": []}


def test_counters_and_metrics(server, ctl):
    server().client()
    told = fields(ctl("counters"))
    assert told["joins"] == "1" and told["drained"] == "0" and int(told["wakeups"]) > 0
    assert json.loads(ctl("counters", "--json").stdout)["refusals"]["limit"] == 0
    parse_metrics(ctl("metrics").stdout)
    parse_metrics(ctl("metrics", "--json").stdout)


def test_acting(server, ctl):
    process = server()
    client = process.client()
    assert ctl("drain").lines()[0].split() == ["draining:", "yes"]
    with pytest.raises(wire.Refused):
        process.client()
    assert json.loads(ctl("drain", "off", "--json").stdout) == {"draining": False, "peers": 1}
    assert ctl("socket", "disconnect", "0").stdout.split() == ["disconnected:", "1"]
    client.assert_cut()
    refused(ctl("socket", "disconnect", "0", status=FAILURE), "no client is connected with id 0")
    refused(ctl("disconnect", status=FAILURE), "the request is: disconnect ID|pid:PID")
    refused(ctl("reload", status=FAILURE), "SIGHUP")
    refused(ctl("socket", "frobnicate", status=FAILURE), "there is no request 'frobnicate'; there are: status")
    refused(ctl("socket", "status\x1b[2J", status=FAILURE), "no printable character")
    refused(ctl("socket", "x" * 600, status=FAILURE), "too long")


def test_list(server, device, ctl, room):
    assert json.loads(ctl("--json").stdout) == {"services": []}
    process = server("-l", "2M")
    server(path=room.file("two.sock"))
    box = device("--server", room.socket, "--control-socket", room.file("box.control"))
    ctl("two", "drain")
    # Somebody who has ended, one who answers something else, and what is no socket.
    wire.bound(room.file("old.control")).close()
    with open(room.file("file.control"), "w", encoding="ascii"):
        listed = {row["name"]: row for row in rows(ctl("--quiet").lines())}
    assert {name: row["state"] for name, row in listed.items()} == {
        "box": "serving", "old": "ended", "socket": "serving", "two": "draining"
    }  # fmt: skip
    assert listed["box"]["program"] == "ivshmem-device" and listed["box"]["pid"] == str(box.pid)
    assert listed["socket"]["pid"] == str(process.pid) and listed["socket"]["peers"] == "1"
    services = json.loads(ctl("--json").stdout)["services"]
    assert [service["memory_bytes"] for service in services] == [2 << 20, None, 2 << 20, 4 << 20]
    refused(ctl("status", status=FAILURE), "there are 4 control sockets")
    refused(ctl("three", "status", status=FAILURE), "no control socket of 'three'")
    os.unlink(room.file("old.control"))


def test_a_device(server, device, ctl, room):
    server("-l", "64K")
    device("--server", room.socket, "--control-socket", room.file("box.control"))
    told = fields(ctl("box"))
    assert told["program"] == "ivshmem-device" and told["state"] == "joined" and told["vmm"] == "-"
    lines = ctl("box", "counters").lines()
    assert "registers:" in lines and "doorbells in:" in lines
    assert rows(ctl("box", "peers").lines()) == [{"id": "0", "vectors": "1", "self": "yes", "doorbells": "0"}]
    parse_metrics(ctl("box", "metrics").stdout)


def test_nothing_there(ctl, room, run_plain):
    assert ctl().stdout == "none\n"
    refused(ctl(room.socket, status=FAILURE), "there is no control socket")
    wire.bound(room.socket + ".control").close()
    refused(ctl(room.socket, status=FAILURE), "nobody listens")
    os.unlink(room.socket + ".control")
    assert run_plain("ctl", "--runtime-dir", room.file("no"), status=OK).stdout == "none\n"
    refused(ctl("./" + "x" * 200, status=FAILURE), "too long")


@root_only
def test_another_user_is_told_who_may(server, ctl, room):
    server()
    os.chmod(room.path, 0o755)
    binary = room.file("ivshmem")
    with open(wire.program("ivshmem"), "rb") as source, open(binary, "wb") as copy:
        copy.write(source.read())
    os.chmod(binary, 0o755)
    process = wire.Process([binary, "ctl", room.socket], user=LONELY_UID)
    assert process.wait() == FAILURE
    refused(process, "only the user of the server and root may")
    os.unlink(binary)


# ---- one who answers whatever he likes --------------------------------------------------------------------

ANSWERS = {
    "nothing": (b"", "no answer from"),
    "no JSON": (b"{garbage\n", "not one that this program understands"),
    "half of it": (b'{"program":"x","pid":', "not one that this program understands"),
    "too deep": (b'{"a":' * 200 + b"1" + b"}" * 200, "not one that this program understands"),
    "an odd table": (b'{"peers":[1,2]}\n', "not one that this program understands"),
    "an error": (b'{"error":"no \\u001b[2J way","code":"EPERM"}\n', "no ?[2J way"),
}


@pytest.fixture
def liar(room):
    """liar(answer): who listens on the control socket of a server that is not there, and gives this answer."""
    listener = wire.bound(room.socket + ".control", backlog=1)

    def start(answer):
        pid = os.fork()
        if pid == 0:
            connection, _ = listener.accept()
            connection.recv(1000)
            connection.sendall(answer)
            connection.shutdown(socket.SHUT_WR)
            connection.recv(1000)
            os._exit(0)
        return pid

    yield start
    listener.close()
    os.unlink(room.socket + ".control")


@pytest.mark.parametrize("name", ANSWERS)
def test_wrong_answers(ctl, liar, name):
    answer, words = ANSWERS[name]
    pid = liar(answer)
    process = ctl("socket", "peers", status=FAILURE)
    assert words in process.stderr and "\x1b" not in process.stdout + process.stderr
    os.waitpid(pid, 0)


def test_names_of_programs_do_nothing_to_a_terminal(ctl, liar):
    evil = '{"peers":[{"id":0,"pid":0,"uid":0,"program":"a\\u001b[2J\\u009b\\"b\\nc"},{"id":1,"other":"x"}]}\n'
    pid = liar(evil.encode())
    process = ctl("socket", "peers")
    assert process.lines()[1].split()[3] == 'a?[2J?"b' and process.lines()[2].split()[0] == "1"
    assert "\x1b" not in process.stdout
    os.waitpid(pid, 0)


def test_one_that_does_not_answer(ctl, room):
    listener = wire.bound(room.socket + ".control", backlog=1)
    process = ctl("socket", "status", "--connect-timeout", "0.2", status=FAILURE)
    refused(process, "did not answer in time")
    listener.close()
    os.unlink(room.socket + ".control")

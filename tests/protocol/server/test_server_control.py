# SPDX-License-Identifier: BSD-2-Clause
"""The control socket of ivshmem-server: what operators ask it for, and what it does with those who ask wrongly."""

import json
import os
import socket
import stat
import time

import pytest

import ivshmem_wire as wire
from control_client import ask, ask_bytes, connect, refusal
from ivshmem_fixtures import LONELY_UID, expect_refusal, root_only
from openmetrics import parse as parse_metrics
from supervised import supervising


@pytest.fixture
def control(room):
    return room.socket + ".control"


@pytest.fixture
def supervised(room, processes):
    yield from supervising(room, processes)


def peers(control):
    return ask(control, "peers")["peers"]


def peer(control, number):
    return next(peer for peer in peers(control) if peer["id"] == number)


# ---- what it tells ---------------------------------------------------------------------------------------


def test_status(server, room, control):
    before = time.time()
    process = server("-l", "1M", "--max-peers", "9", "--max-observers", "3", "--member", f"7={room.file('seven')}", vectors=2)
    process.client()
    status = ask(control, "status")
    assert before - 1 < status.pop("since") < time.time() + 1
    assert status.pop("version") and status.pop("ids_used_up") >= 2
    assert status == {
        "program": "ivshmem-server",
        "pid": process.pid,
        "continues_version": None,
        "region": "socket",
        "socket": room.socket,
        "memory_bytes": 1 << 20,
        "backing": "sealed memfd",
        "vectors": 2,
        "peers": 1,
        "max_peers": 9,
        "seats": 1,
        "observers": 0,
        "max_observers": 3,
        "ids_in_use": 2,
        "stall_timeout_seconds": 300,
        "draining": False,
    }


def test_peers_by_id_with_their_processes(server, room, control):
    process = server("--member", f"5={room.file('five')}", vectors=3)
    before = time.time()
    clients = [process.client(), wire.RawClient(room.file("five"), 3), process.client()]
    observer = wire.connect(room.socket + ".observe")
    wire.wait_until(lambda: [p["state"] for p in peers(control)] == ["up to date"] * 4, "all of them know all")
    listed = peers(control)
    assert [p["id"] for p in listed] == [0, 1, 5, None]
    assert [p["kind"] for p in listed] == ["member", "member", "seat", "observer"]
    assert [p["vectors"] for p in listed] == [3, 3, 3, 0]
    for one in listed:
        assert one["pid"] == os.getpid() and one["uid"] == os.geteuid() and one["program"]
        assert before - 1 < one["since"] < time.time() + 1
        assert one["untold"] == 0 and one["stalled_seconds"] == 0 and not one["continued"]
    observer.close()
    clients[1].close()


def test_how_far_behind_a_client_is(server, control):
    """One that reads nothing: its socket becomes full, and what it has yet to hear grows from then on."""
    process = server("--stall-timeout", "0", vectors=8)
    process.connect()
    for _ in range(12):
        process.client()
    wire.wait_until(lambda: peer(control, 0)["state"] == "full", "its socket is full")
    behind = peer(control, 0)
    assert behind["untold"] > 0 and behind["unread_bytes"] > 0
    wire.wait_until(lambda: peer(control, 0)["stalled_seconds"] > 0, "time passes")
    assert process.client().id == 13
    assert peer(control, 0)["untold"] == behind["untold"] + 8
    assert ask(control, "counters")["sockets_full"] >= 1


def test_counters(server, control):
    process = server("--max-peers", "2")
    one, two = process.client(), process.client()
    one.follow_until_knows([0, 1])
    with pytest.raises(wire.Refused):
        process.client()
    two.offend()
    one.follow_until_knows([0])
    counters = ask(control, "counters")
    assert counters["joins"] == 2 and counters["leaves"] == 1 and counters["wakeups"] > 0
    assert counters["refusals"] == dict.fromkeys(counters["refusals"], 0) | {"limit": 1}
    assert counters["disconnected"] == {"stalled": 0, "sent-something": 1, "operator": 0, "failed": 0}
    # Three messages of each greeting, each of the two about itself and the other one, and that the second left.
    assert counters["messages"] == 2 * 3 + 4 + 1 and counters["announcements"] == 5


def test_metrics(server, control):
    process = server("-l", "2M", vectors=2)
    process.client()
    text = ask_bytes(control, b"metrics\n").decode()
    families = parse_metrics(text)
    assert all(name.startswith("ivshmem_server_") for name in families)

    def value(name, **labels):
        family = name.removesuffix("_total")
        return families[family].samples[name, frozenset({"region": "socket", **labels}.items())]

    assert value("ivshmem_server_memory_bytes") == 2 << 20
    assert value("ivshmem_server_peers") == 1 and value("ivshmem_server_joins_total") == 1
    assert value("ivshmem_server_disconnects_total", reason="operator") == 0
    assert value("ivshmem_server_peers_limit") == 65536
    ask(control, "disconnect 0")
    families = parse_metrics(ask_bytes(control, b"metrics\n").decode())
    assert value("ivshmem_server_disconnects_total", reason="operator") == 1
    assert value("ivshmem_server_peers") == 0 and value("ivshmem_server_leaves_total") == 1


# ---- what it does ----------------------------------------------------------------------------------------


def test_disconnect_by_id(server, control):
    process = server()
    one, two = process.client(), process.client()
    one.follow_until_knows([0, 1])
    assert ask(control, "disconnect 1") == {"disconnected": 1}
    two.assert_cut()
    one.follow_until_knows([0])
    process.expect(r"ivshmem-server: peer 1 \(process \d+.*\) is disconnected: an operator disconnected it", "stderr")
    assert "with id 1" in refusal(control, "disconnect 1", "ENOENT")
    assert [p["id"] for p in peers(control)] == [0]
    assert process.client().id == 2


def test_disconnect_by_process(server, cli, control):
    process = server()
    client = process.client()
    monitor = cli("monitor")
    monitor.expect("attached as peer 1 .*")
    assert ask(control, f"disconnect pid:{monitor.pid}") == {"disconnected": 1}
    monitor.expect("server lost: .*")
    client.follow(lambda: 1 not in client.peers, "it left")
    assert "process" in refusal(control, "disconnect pid:1", "ENOENT")


def test_disconnect_while_it_is_stalled(server, control):
    process = server("--stall-timeout", "0", vectors=8)
    process.connect()
    others = [process.client() for _ in range(12)]
    wire.wait_until(lambda: peer(control, 0)["state"] == "full", "its socket is full")
    assert ask(control, "disconnect 0") == {"disconnected": 1}
    wire.wait_until(lambda: len(peers(control)) == 12, "it is gone")
    others[0].follow_until_knows(range(1, 13))
    assert ask(control, "counters")["disconnected"]["operator"] == 1


def test_disconnect_a_seat_and_its_next_holder_comes(server, room, control):
    process = server("--member", f"5={room.file('five')}")
    holder = wire.RawClient(room.file("five"), 1).greet()
    assert ask(control, "disconnect 5") == {"disconnected": 1}
    holder.assert_cut()
    again = wire.RawClient(room.file("five"), 1).greet()
    assert again.id == 5 and process.running()
    holder.close()
    again.close()


@pytest.mark.parametrize("whom", ["-1", "65536", "one", "pid:0", "pid:", "pid:x", "0x", "99999999999999999999"])
def test_disconnect_nobody(server, control, whom):
    server()
    assert "neither an id" in refusal(control, f"disconnect {whom}", "EINVAL")


def test_drain(server, run, room, control):
    process = server("--member", f"5={room.file('five')}")
    client = process.client()
    assert ask(control, "drain") == {"draining": True, "peers": 1}
    for path in (room.socket, room.file("five")):
        with pytest.raises(wire.Refused) as refused:
            wire.RawClient(path).greet()
        assert refused.value.number == -108  # ESHUTDOWN
    process.expect(r"ivshmem-server: new clients are refused: an operator drains the server .*", "stderr")
    assert "lets nobody join for now" in run("wait", "--timeout", "1", status=1).stderr
    # Who only looks takes no place.
    assert '"id":0' in run("peers", "--json").stdout
    assert ask(control, "status")["draining"] and ask(control, "counters")["refusals"]["drained"] >= 2
    assert ask(control, "drain off") == {"draining": False, "peers": 1}
    client.follow_until_knows([0])
    process.client()
    assert not ask(control, "status")["draining"]
    assert "neither on nor off" in refusal(control, "drain maybe", "EINVAL")


def test_reload_says_whose_it_is(server, control):
    server()
    assert "SIGHUP" in refusal(control, "reload", "EOPNOTSUPP")


# ---- who asks wrongly ------------------------------------------------------------------------------------

WRONG = {
    "unknown": (b"frobnicate\n", "there are: status, peers, counters", "EOPNOTSUPP"),
    "empty": (b"\n", "is empty", "EINVAL"),
    "blanks": (b"    \n", "is empty", "EINVAL"),
    "an operand too many": (b"status now\n", "the request is: status", "EINVAL"),
    "an operand too few": (b"disconnect\n", "the request is: disconnect ID|pid:PID", "EINVAL"),
    "too many words": (b"a b c d e\n", "more than 4 words", "EINVAL"),
    "too long": (b"x" * 5000, "too long", "EINVAL"),
    "too long with a newline": (b"x" * 256 + b"\n", "too long", "EINVAL"),
    "binary": (bytes(range(255, 10, -1)) + b"\n", "byte 1 ", "EINVAL"),
    "escape": (b"status\x1b[2J\n", "byte 7 ", "EINVAL"),
    "a NUL": (b"status\0\n", "byte 7 ", "EINVAL"),
    "half a line": (b"disconnect 1", "without a newline", "EINVAL"),
    "a name with quotes": (b'"\\"\n', '\'"\\"\'', "EOPNOTSUPP"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_requests(server, control, name):
    data, words, code = WRONG[name]
    process = server()
    answer = json.loads(ask_bytes(control, data))
    assert words in answer["error"] and answer["code"] == code
    process.assert_idle()


def test_a_request_in_pieces_and_more_behind_it(server, control):
    server()
    with connect(control) as sock:
        for byte in b"status\r\n":
            sock.send(bytes([byte]))
            time.sleep(0.01)
        with wire.until_gone:
            sock.send(b"peers\n")
        with sock.makefile("rb") as file:
            answer = file.read()
    assert json.loads(answer)["program"] == "ivshmem-server" and answer.count(b"\n") == 1


def test_nothing_is_asked(server, control):
    process = server()
    connect(control).close()
    with connect(control) as sock:
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(1) == b""
    process.assert_idle()


def test_a_hundred_at_once(server, control):
    process = server()
    client = process.client()
    socks = [connect(control) for _ in range(100)]
    for sock in reversed(socks):
        sock.sendall(b"peers\n")
    for sock in socks:
        with sock, sock.makefile("rb") as file:
            assert len(json.loads(file.read())["peers"]) == 1
    client.close()
    process.assert_idle()


def test_those_who_are_silent_are_dropped_and_others_then_served(server, control):
    """They hold all places that there are, and lose them after some seconds. Peers come and go meanwhile."""
    process = server()
    silent = [connect(control) for _ in range(40)]
    for sock in silent[::2]:
        sock.sendall(b"stat")
    with connect(control) as sock:
        sock.sendall(b"status\n")
        client = process.client()
        assert client.id == 0
        client.close()
        sock.settimeout(60 * wire.FACTOR)
        with sock.makefile("rb") as file:
            assert json.loads(file.read())["program"] == "ivshmem-server"
    for sock in silent[:30]:
        sock.settimeout(wire.TIMEOUT)
        assert sock.recv(1) == b""
    for sock in silent:
        sock.close()
    process.assert_idle()


def test_one_that_never_reads_its_answer(server, control):
    process = server(vectors=0)
    # So many that the answer does not fit into the socket.
    clients = [process.connect() for _ in range(1500)]
    wire.wait_until(lambda: len(peers(control)) == len(clients), "the server has accepted all")
    idle = len(process.fds())
    with connect(control) as sock:
        sock.sendall(b"peers\n")
        wire.wait_until(lambda: len(process.fds()) > idle, "it is being answered")
        wire.wait_until(lambda: len(process.fds()) == idle, "it is dropped", 60 * wire.FACTOR)
        with sock.makefile("rb") as file:
            assert not file.read().endswith(b"\n")
    assert process.client().id == len(clients)


def test_they_get_in_when_there_is_no_descriptor_left(start, room, control, processes):
    process = start(vectors=1, limit_files=60)
    assert process.started()
    clients = []
    while True:
        try:
            clients.append(wire.RawClient(room.socket, 1).greet())
        except wire.Refused as refused:
            assert refused.number == -24
            break
    for _ in range(3):
        assert ask(control, "status")["peers"] == len(clients)
    assert ask(control, "disconnect 0")["disconnected"] == 1
    for client in clients:
        client.close()


# ---- the socket ------------------------------------------------------------------------------------------


def test_it_is_for_the_owner_only(server, control):
    server("--socket-mode", "0666")
    info = os.stat(control)
    assert stat.S_IMODE(info.st_mode) == 0o600 and info.st_uid == os.geteuid()


@root_only
def test_another_user_may_not(server, room, control):
    server("--socket-mode", "0666")
    os.chmod(room.path, 0o755)
    pid = os.fork()
    if pid == 0:
        try:
            os.setresuid(LONELY_UID, LONELY_UID, LONELY_UID)
            wire.connect(room.socket).close()
            try:
                connect(control)
            except PermissionError:
                os._exit(0)
            os._exit(1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_its_path_and_its_end(server, room, control):
    path = room.file("operators")
    process = server("--control-socket", path)
    assert ask(path, "status")["pid"] == process.pid and not os.path.exists(control)
    assert f"operators connect to {path}" in process.stdout
    process.finish()
    assert not os.path.exists(path)


def test_none(server, control):
    server("--no-control-socket")
    assert not os.path.exists(control)


def test_a_path_that_cannot_be(start, room, control):
    expect_refusal(start("--control-socket", room.file("no/such")), "no/such")
    expect_refusal(start("--control-socket", ""), "--no-control-socket")
    # The default is given up, because clients do not need it.
    with open(control, "w", encoding="ascii"):
        process = start()
        process.expect(r"ivshmem-server: there is no control socket: .* 'ivshmem ctl' needs one .*", "stderr")
        assert process.started()


def test_a_restart(supervised):
    parent = supervised()
    client = parent.client()
    control = parent.path + ".control"
    before = ask(control, "status")
    ask(control, "drain")
    parent.restart()
    after = ask(control, "status")
    assert after["pid"] != before["pid"] and after["peers"] == 1 and not after["draining"]
    assert after["continues_version"] == before["version"] and before["continues_version"] is None
    assert peer(control, client.id)["continued"]
    assert ask(control, f"disconnect {client.id}") == {"disconnected": 1}
    client.assert_cut()

# SPDX-License-Identifier: BSD-2-Clause
"""The command line tool: the commands that wait for something. Checklist 115 and 118."""

import json
import os
import re
import resource
import signal
import time

import pytest

import ivshmem_wire as wire
from ivshmem_cli import FAILURE, OK, TIMEOUT, counts, told_id
from ivshmem_fixtures import root_only

SIGNALS = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])


def ring(fd, count):
    os.write(fd, count.to_bytes(8, "little"))


# ---- wait ----------------------------------------------------------------------------------------------


def test_wait(server, cli):
    group = server(vectors=2)
    first = group.client()
    process = cli("wait")
    peer = told_id(process)
    first.follow_until_knows([0, peer])
    wire.ring(first.peers[peer][1])
    assert process.wait() == OK
    assert process.stdout == "vector 1 count 1\n"


def test_wait_for_vector_and_count(attached):
    a = attached("wait", "--vector", "1", "--count", "4", "--timeout", "60", own=3)
    for vector, count in ((0, 5), (1, 3), (2, 1)):
        ring(a.own[vector], count)
    told_id(a.process)
    wire.ring(a.own[1])
    assert a.process.wait() == OK
    assert a.process.stdout == "vector 1 count 4\n"


def test_wait_takes_no_more_than_asked_for(attached):
    a = attached("wait", "--count", "3", "--json")
    ring(a.own[0], 2)
    ring(a.own[1], 5)
    assert a.process.wait() == OK
    output = json.loads(a.process.stdout)
    assert output["timed_out"] is False
    assert sum(entry["count"] for entry in output["vectors"]) == 3


def test_wait_times_out(attached):
    began = time.monotonic()
    a = attached("wait", "--count", "2", "--timeout", "0.5")
    wire.ring(a.own[1])
    assert a.process.wait() == TIMEOUT
    assert time.monotonic() - began >= 0.5
    assert a.process.stdout == "vector 1 count 1\n"
    assert "timed out" in a.process.stderr and "1 of 2" in a.process.stderr
    process = attached("wait", "--count", "2", "--timeout", "0", "--json").process
    assert process.wait() == TIMEOUT
    assert json.loads(process.stdout) == {"vectors": [], "timed_out": True}


@SIGNALS
def test_wait_interrupted(attached, number):
    a = attached("wait", "--count", "3")
    told_id(a.process)
    ring(a.own[0], 2)
    wire.wait_until(lambda: wire.rings(a.own[0]) == 0, "the rings are taken")
    a.process.finish(number, FAILURE)
    assert a.process.stdout in ("vector 0 count 2\n", "")
    assert "interrupted" in a.process.stderr
    assert a.connection.closed_by_client()


def test_wait_counts_a_huge_number(attached):
    """The number in an eventfd is up to its writer."""
    a = attached("wait", "--count", str(2**64 - 1))
    told_id(a.process)
    for _ in range(2):
        ring(a.own[0], 2**64 - 2)
        wire.wait_until(lambda: not wire.readable(a.own[0], 0), "the rings are taken")
    assert a.process.wait() == OK
    assert a.process.stdout == f"vector 0 count {2**64 - 1}\n"


# ---- monitor -------------------------------------------------------------------------------------------


def test_monitor(server, cli):
    group = server(vectors=2)
    first = group.client()
    process = cli("monitor")
    process.expect(r"attached as peer 1 \(2 vectors, 4 MiB, unix:.*\)")
    process.expect(r"peer 0 joined \(2 vectors\)")
    first.follow_until_knows([0, 1])
    wire.ring(first.peers[1][1])
    process.expect(r"interrupt vector 1 count 1")
    second = group.client()
    process.expect(r"peer 2 joined \(\d vectors?\)")
    second.sock.close()
    process.expect(r"peer 2 left")
    process.finish()
    assert process.stderr == ""
    first.follow_until_knows([0])


def test_monitor_json(attached, room):
    a = attached("--json", "monitor", "--no-reconnect", own_id=3, peers={1: 1})
    a.process.expect(r'.*"joined".*')
    a.join(1)
    a.process.expect(r'.*"vectors","peer".*')
    ring(a.own[1], 3)
    a.process.expect(r'.*"interrupt".*')
    a.send(1)
    a.process.expect(r'.*"left".*')
    a.connection.close()
    assert a.process.wait() == FAILURE
    events = [json.loads(line) for line in a.process.lines()]
    times = [event.pop("time") for event in events]
    assert times == sorted(times) and abs(times[0] - time.time()) < 600
    reason = events[-1].pop("reason")
    assert isinstance(reason, str) and reason
    assert events == [
        {"event": "attached", "target": f"unix:{room.socket}", "id": 3, "vectors": 2, "size": 1 << 20},
        {"event": "joined", "peer": 1, "vectors": 1},
        {"event": "vectors", "peer": 1, "vectors": 2},
        {"event": "interrupt", "vector": 1, "count": 3},
        {"event": "left", "peer": 1},
        {"event": "lost"},
    ]


def test_monitor_text_of_growing_peer(attached):
    a = attached("monitor", "--time", own_id=3, own=1)
    clock = r"\d\d:\d\d:\d\d\.\d{6} "
    assert re.search(f"^{clock}attached as peer 3 \\(1 vector, 1 MiB, unix:.*\\)$", a.process.stdout, re.M)
    a.join(4)
    a.process.expect(clock + r"peer 4 joined \(1 vector\)")
    a.join(4)
    a.process.expect(clock + r"peer 4 has 2 vectors")
    a.process.finish(signal.SIGINT)


def test_115_one_line_per_wake_up_and_vector(attached):
    a = attached("monitor")
    for count in range(1, 20):
        a.interrupt(0, count)
        a.interrupt(1)
    a.process.finish()
    assert len([line for line in a.process.lines() if line.startswith("interrupt")]) == 38


def test_monitor_no_reconnect(attached):
    a = attached("monitor", "--no-reconnect")
    a.lose()
    assert a.process.wait() == FAILURE


@SIGNALS
def test_signal_while_attaching(fake, cli, attached, number):
    """A server that accepts and says nothing must not keep us from ending."""
    process = cli("monitor", "--connect-timeout", "1h")
    fake.accept()
    process.finish(number)
    a = attached("monitor", "--connect-timeout", "1h")
    a.lose()
    fake.accept()
    a.process.finish(number)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_118_reconnect_to_restarted_server(server, cli, how):
    first = server(vectors=3)
    process = cli("monitor", "--reconnect-interval", "0.05")
    process.expect(r"attached as peer 0 \(3 vectors, .*")
    first.signal(how)
    first.wait()
    process.expect("server lost: .*")
    second = server(vectors=2)
    process.expect(r"attached as peer 0 \(2 vectors, .*")
    other = second.client()
    other.follow_until_knows([0, 1])
    wire.ring(other.peers[0][1])
    process.expect("interrupt vector 1 count 1")
    process.finish()


def test_reconnects_no_more_often_than_its_interval(group, fake, cli):
    """A server that takes it in and closes at once does not make it faster."""
    members = group(vectors=1)
    cli("monitor", "--reconnect-interval", "0.3")
    accepted = []
    for own_id in range(4):
        connection = fake.accept()
        accepted.append(time.monotonic())
        connection.greeting(own_id, members.memory, vectors=members.vectors)
        connection.close()
    assert all(later - earlier >= 0.3 for earlier, later in zip(accepted, accepted[1:])), accepted


def test_warnings_end_with_one_sentence(group, cli):
    """There are 20 of them in a while, and the last one says so once."""
    members = group(vectors=1)
    process = cli("monitor", "--no-reconnect")
    members.accept()
    for _ in range(100):
        members.connection.send(77)
    members.connection.wait_taken()
    members.connection.close()
    assert process.wait() == FAILURE, process.describe()
    warnings = [line for line in process.lines("stderr") if "unknown peer 77" in line]
    assert warnings[19].count("no more of this is told") == 1, process.describe()
    # A slow machine takes longer than the while, and begins to count again.
    assert all("told" not in line or index % 20 == 19 for index, line in enumerate(warnings)), process.describe()
    assert re.search(r"there were \d+ more warnings like the last ones", process.stderr), process.describe()


# ---- ping and echo -------------------------------------------------------------------------------------


def test_ping_and_echo(server, cli):
    server(vectors=2)
    echo = cli("echo", "1:1", "--count", "50", "--timeout", "60")
    assert told_id(echo) == 0
    ping = cli("ping", "0:1", "--count", "50", "--json")
    assert told_id(ping) == 1
    assert ping.wait() == OK, ping.describe()
    assert echo.wait() == OK, echo.describe()
    assert echo.stdout == "peer 1 vector 1: rang back 50 times\n"
    output = json.loads(ping.stdout)
    times = [output.pop(name) for name in ("min_us", "median_us", "p99_us", "max_us")]
    assert times == sorted(times) and times[0] > 0
    assert output == {"peer": 0, "vector": 1, "sent": 50, "received": 50}


def test_ping_text_and_default_count(server, run):
    """Pinging ourselves works, and counts what it should."""
    server()
    process = run("ping", "0")
    number = r"(\d+\.\d) us"
    match = re.fullmatch(
        rf"peer 0 vector 0: 100 round trips, min {number}, median {number}, p99 {number}, max {number}\n",
        process.stdout,
    )
    assert match and list(map(float, match.groups())) == sorted(map(float, match.groups()))


def test_ping_interval(server, run):
    server()
    began = time.monotonic()
    run("ping", "0", "--count", "4", "--interval", "0.1")
    assert time.monotonic() - began >= 0.3


def test_ping_ignores_what_came_before(attached):
    """Rings from before the ping are no answer to it."""
    own = [wire.eventfd(5)]
    a = attached("ping", "1", "--count", "2", "--timeout", "60", own=own, peers={1: 1})
    a.made += own
    for _ in range(2):
        wire.wait_rings(a.peers[1][0])
        # Something else that happens is no answer either.
        a.join(2)
        a.connection.wait_taken()
        assert a.process.running()
        wire.ring(own[0])
    assert a.process.wait() == OK
    assert wire.rings(a.peers[1][0]) == 0


def test_ping_times_out(attached):
    process = attached("ping", "1", "--timeout", "0.2", "--json", own_id=4, peers={1: 1}).process
    assert process.wait() == TIMEOUT
    assert json.loads(process.stdout) == {
        "peer": 1,
        "vector": 0,
        "sent": 1,
        "received": 0,
        **dict.fromkeys(("min_us", "median_us", "p99_us", "max_us")),
    }
    assert "ivshmem echo 4:0" in process.stderr


@pytest.mark.parametrize(
    "words, complaint",
    [("wait --vector 2", "no vector 2"), ("ping 9", "peer 9"), ("ping 0:2", "no vector 2"), ("echo 0:2", "no vector 2")],
)
def test_what_is_not_there(server, run, words, complaint):
    server(vectors=2).client()
    assert complaint in run(*words.split(), status=FAILURE).stderr


@SIGNALS
def test_ping_interrupted(attached, number):
    a = attached("ping", "1", "--timeout", "1h", peers={1: 1})
    wire.wait_rings(a.peers[1][0])
    wire.ring(a.own[0])
    wire.wait_rings(a.peers[1][0])
    a.process.finish(number, FAILURE)
    assert "1 round trips" in a.process.stdout and "1 of 100" in a.process.stderr


def test_echo_rings_once_for_each_ring(attached):
    a = attached("echo", "1:1", "--count", "5", "--json", peers={1: 2})
    ring(a.own[1], 3)
    wire.wait_rings(a.peers[1][1], 3)
    wire.ring(a.own[0])
    ring(a.own[1], 7)
    assert a.process.wait() == OK
    assert counts(*a.peers[1]) == [0, 2]
    assert json.loads(a.process.stdout) == {"peer": 1, "vector": 1, "echoed": 5}


def test_echo_before_the_peer_is_there(attached):
    a = attached("echo", "5", "--count", "2")
    ring(a.own[0], 2)
    a.process.expect("ivshmem: peer 5 .* yet.*", "stderr")
    (newcomer,) = a.join(5)
    wire.wait_rings(newcomer, 2)
    assert a.process.wait() == OK


@SIGNALS
def test_echo_ends(attached, number):
    for arguments, status in (([], OK), (["--count", "2"], FAILURE)):
        a = attached("echo", "1", *arguments, peers={1: 1})
        wire.ring(a.own[0])
        wire.wait_rings(a.peers[1][0])
        a.process.finish(number, status)
        assert a.process.stdout == "peer 1 vector 0: rang back 1 time\n"
    assert attached("echo", "1", "--timeout", "0.2", peers={1: 1}).process.wait() == TIMEOUT


def test_echo_of_a_huge_number_can_be_ended(attached):
    a = attached("echo", "1", peers={1: 1})
    ring(a.own[0], 2**64 - 2)
    wire.wait_until(lambda: wire.rings(a.peers[1][0]), "the first rings back")
    a.process.finish()


@root_only
def test_no_thread_to_attach_with(server, cli):
    """The sentence says what could not be had."""
    srv = server("--socket-mode", "0666")
    os.chmod(os.path.dirname(srv.path), 0o755)

    def alone():
        resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))

    # To look for leaks, the sanitizer needs a process of its own.
    options = os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"
    process = cli("monitor", user=12345, setup=alone, env={"ASAN_OPTIONS": options})
    assert process.wait() == FAILURE, process.describe()
    assert "cannot start a thread that attaches" in process.stderr

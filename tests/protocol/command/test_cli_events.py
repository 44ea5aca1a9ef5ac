# SPDX-License-Identifier: BSD-2-Clause
"""The command line tool: the commands that wait for something. Checklist 115 and 118."""

import json
import os
import re
import resource
import select
import signal
import subprocess
import time

import pytest

import ivshmem_wire as wire
from ivshmem_cli import (  # noqa: F401
    FAILURE,
    OK,
    TIMEOUT,
    counts,
    group,
    run,
    told_id,
)
from ivshmem_fixtures import root_only

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


def test_wait_for_vector_and_count(group, cli):
    members = group(vectors=3)
    process = cli("wait", "--vector", "1", "--count", "4", "--timeout", "60")
    members.accept()
    for vector, count in ((0, 5), (1, 3), (2, 1)):
        os.write(members.vectors[vector], count.to_bytes(8, "little"))
    told_id(process)
    wire.ring(members.vectors[1])
    assert process.wait() == OK
    assert process.stdout == "vector 1 count 4\n"


def test_wait_takes_no_more_than_asked_for(group, cli):
    members = group(vectors=2)
    os.write(members.vectors[0], (2).to_bytes(8, "little"))
    os.write(members.vectors[1], (5).to_bytes(8, "little"))
    process = cli("wait", "--count", "3", "--json")
    members.accept()
    assert process.wait() == OK
    output = json.loads(process.stdout)
    assert output["timed_out"] is False
    assert sum(entry["count"] for entry in output["vectors"]) == 3


def test_wait_times_out(group, cli):
    members = group(vectors=2)
    wire.ring(members.vectors[1])
    began = time.monotonic()
    process = cli("wait", "--count", "2", "--timeout", "0.5")
    members.accept()
    assert process.wait() == TIMEOUT
    assert time.monotonic() - began >= 0.5
    assert process.stdout == "vector 1 count 1\n"
    assert "timed out" in process.stderr and "1 of 2" in process.stderr
    process = cli("wait", "--count", "2", "--timeout", "0", "--json")
    members.accept()
    assert process.wait() == TIMEOUT
    assert json.loads(process.stdout) == {"vectors": [], "timed_out": True}


def test_wait_for_impossible_vector(server, run):
    server(vectors=2)
    assert "no vector 2" in run("wait", "--vector", "2", status=FAILURE).stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_wait_interrupted(group, cli, number):
    members = group()
    os.write(members.vectors[0], (2).to_bytes(8, "little"))
    process = cli("wait", "--count", "3")
    members.accept()
    told_id(process)
    wire.wait_until(lambda: wire.rings(members.vectors[0]) == 0, "the rings are taken")
    process.signal(number)
    assert process.wait() == FAILURE
    assert process.stdout in ("vector 0 count 2\n", "")
    assert "interrupted" in process.stderr
    assert members.connection.closed_by_client()


def test_wait_survives_the_server(group, cli):
    members = group()
    process = cli("wait")
    members.accept()
    told_id(process)
    members.connection.close()
    process.expect("ivshmem: server lost: .*", "stderr")
    wire.ring(members.vectors[0])
    assert process.wait() == OK
    assert process.stdout == "vector 0 count 1\n"


def test_wait_counts_a_huge_number(group, cli):
    """The number in an eventfd is up to its writer."""
    members = group()
    os.write(members.vectors[0], (2**64 - 2).to_bytes(8, "little"))
    process = cli("wait", "--count", str(2**64 - 1))
    members.accept()
    told_id(process)
    wire.wait_until(lambda: select.select([], [members.vectors[0]], [], 0)[1], "the rings are taken")
    os.write(members.vectors[0], (2**64 - 2).to_bytes(8, "little"))
    assert process.wait() == OK
    assert process.stdout == f"vector 0 count {2**64 - 1}\n"


# ---- monitor -------------------------------------------------------------------------------------------


def test_monitor(server, cli, closing):
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
    process.signal(signal.SIGTERM)
    assert process.wait() == OK
    assert process.stderr == ""
    first.follow_until_knows([0])


def test_monitor_json(group, cli, room):
    members = group(own_id=3, vectors=2, peers={1: 1})
    process = cli("--json", "monitor", "--no-reconnect")
    members.accept()
    process.expect(r'.*"joined".*')
    members.connection.send(1, members.vectors[0])
    process.expect(r'.*"vectors","peer".*')
    os.write(members.vectors[1], (3).to_bytes(8, "little"))
    process.expect(r'.*"interrupt".*')
    members.connection.send(1)
    process.expect(r'.*"left".*')
    members.connection.close()
    assert process.wait() == FAILURE
    events = [json.loads(line) for line in process.lines()]
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


def test_monitor_text_of_growing_peer(group, cli):
    members = group(own_id=3, vectors=1)
    process = cli("monitor", "--time")
    members.accept()
    clock = r"\d\d:\d\d:\d\d\.\d{6} "
    process.expect(clock + r"attached as peer 3 \(1 vector, 1 MiB, unix:.*\)")
    members.connection.send(4, members.vectors[0])
    process.expect(clock + r"peer 4 joined \(1 vector\)")
    members.connection.send(4, members.vectors[0])
    process.expect(clock + r"peer 4 has 2 vectors")
    process.signal(signal.SIGINT)
    assert process.wait() == OK


def test_115_one_line_per_wake_up_and_vector(group, cli):
    members = group(vectors=2)
    process = cli("monitor")
    members.accept()
    for round_number in range(1, 20):
        os.write(members.vectors[0], round_number.to_bytes(8, "little"))
        process.expect(f"interrupt vector 0 count {round_number}")
        wire.ring(members.vectors[1])
        process.expect("interrupt vector 1 count 1")
    process.signal(signal.SIGTERM)
    assert process.wait() == OK
    assert len([line for line in process.lines() if line.startswith("interrupt")]) == 38


def test_monitor_no_reconnect(group, cli):
    members = group()
    process = cli("monitor", "--no-reconnect")
    members.accept()
    process.expect("attached as .*")
    members.connection.close()
    process.expect("server lost: .+")
    assert process.wait() == FAILURE


def test_lost_names_the_breach_of_protocol(group, cli):
    members = group()
    process = cli("monitor", "--no-reconnect")
    members.accept()
    process.expect("attached as .*")
    members.connection.send(0, *[members.vectors[0]] * 8)
    assert re.search(b"descriptor|protocol", process.expect("server lost: .+").group(0))
    assert process.wait() == FAILURE


def test_interrupts_work_while_the_server_is_lost(group, cli):
    members = group()
    process = cli("monitor")
    members.accept()
    process.expect("attached as .*")
    members.fake.listener.close()
    members.connection.close()
    process.expect("server lost: .*")
    process.expect("ivshmem: cannot attach again yet: .*", "stderr")
    wire.ring(members.vectors[0])
    process.expect("interrupt vector 0 count 1")
    process.signal(signal.SIGTERM)
    assert process.wait() == OK


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_while_attaching(fake, group, cli, number):
    """A server that accepts and says nothing must not keep us from ending."""
    process = cli("monitor", "--connect-timeout", "1h")
    fake.accept()
    process.signal(number)
    assert process.wait() == OK
    members = group()
    process = cli("monitor", "--connect-timeout", "1h")
    members.accept()
    process.expect("attached as .*")
    members.connection.close()
    process.expect("server lost: .*")
    fake.accept()
    process.signal(number)
    assert process.wait() == OK


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_118_reconnect_to_restarted_server(server, cli, how):
    first = server(vectors=2)
    process = cli("monitor")
    process.expect("attached as peer 0 .*")
    first.signal(how)
    first.wait()
    process.expect("server lost: .*")
    second = server(vectors=2)
    other = second.client()
    process.expect(r"attached as peer \d .*")
    process.signal(signal.SIGTERM)
    assert process.wait() == OK
    assert other.id in (0, 1)


@pytest.mark.limit(600)
@pytest.mark.parametrize("command", ["monitor", "shell"])
def test_118_no_descriptor_leak_over_many_restarts(group, cli, command):
    cycles = wire.sized(1000, 1000) if command == "monitor" else wire.sized(100, 1000)
    members = group(vectors=2, peers={65535: 2})
    process = cli(command, "--reconnect-interval", "0.001", stdin=subprocess.PIPE)
    targets = None
    for cycle in range(cycles):
        members.accept(own_id=cycle)
        process.expect(rf"attached as peer {cycle} .*")
        process.expect(r"peer 65535 joined \(2 vectors\)")
        if cycle == 5:
            targets = sorted(process.fds().values(), key=str)
        members.connection.close()
        process.expect("server lost: .*")
    members.accept(own_id=cycles)
    process.expect(rf"attached as peer {cycles} .*")
    process.expect(r"peer 65535 joined .*")

    def without_numbers(names):
        return sorted(re.sub(r"\d+", "", name) for name in names)

    wire.wait_until(
        lambda: without_numbers(process.fds().values()) == without_numbers(targets),
        f"the descriptors {targets} as before, not {list(process.fds().values())}",
    )
    process.signal(signal.SIGTERM)
    assert process.wait() == OK


def test_118_reconnect_after_failed_greetings(group, fake, cli):
    """Half a greeting, nonsense, another version: tried again, and nothing is left open."""
    members = group(vectors=1)
    process = cli("monitor", "--reconnect-interval", "0.001")
    members.accept()
    process.expect("attached as peer 0 .*")
    before = len(process.fds())
    members.connection.close()
    canary = wire.Canary()
    for index in range(60):
        connection = fake.accept()
        if index % 3 == 0:
            connection.send(wire.VERSION)
        elif index % 3 == 1:
            connection.send(77, canary.fd)
        else:
            connection.send(wire.VERSION)
            connection.send(5, canary.fd)
        connection.close()
    canary.close_own()
    canary.assert_closed()
    members.accept(own_id=9)
    process.expect("attached as peer 9 .*")
    wire.wait_until(lambda: len(process.fds()) == before, f"{before} descriptors again")
    process.signal(signal.SIGTERM)
    assert process.wait() == OK


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


def test_ping_ignores_what_came_before(group, cli):
    """Rings from before the ping are no answer to it."""
    members = group(own_id=0, vectors=1, peers={1: 1})
    os.write(members.vectors[0], (5).to_bytes(8, "little"))
    process = cli("ping", "1", "--count", "2", "--timeout", "60")
    members.accept()
    for _ in range(2):
        wire.wait_rings(members.peers[1][0])
        # Something else that happens is no answer either.
        members.connection.send(2, members.vectors[0])
        members.connection.wait_taken()
        assert process.running()
        wire.ring(members.vectors[0])
    assert process.wait() == OK
    assert wire.rings(members.peers[1][0]) == 0


def test_ping_times_out(group, cli):
    members = group(own_id=4, vectors=1, peers={1: 1})
    process = cli("ping", "1", "--timeout", "0.2", "--json")
    members.accept()
    assert process.wait() == TIMEOUT
    assert json.loads(process.stdout) == {
        "peer": 1,
        "vector": 0,
        "sent": 1,
        "received": 0,
        **dict.fromkeys(("min_us", "median_us", "p99_us", "max_us")),
    }
    assert "ivshmem echo 4:0" in process.stderr


def test_ping_errors(server, run):
    server(vectors=2).client()
    assert "peer 9" in run("ping", "9", status=FAILURE).stderr
    assert "no vector 2" in run("ping", "0:2", status=FAILURE).stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ping_interrupted(group, cli, number):
    members = group(vectors=1, peers={1: 1})
    process = cli("ping", "1", "--timeout", "1h")
    members.accept()
    wire.wait_rings(members.peers[1][0])
    wire.ring(members.vectors[0])
    wire.wait_rings(members.peers[1][0])
    process.signal(number)
    assert process.wait() == FAILURE
    assert "1 round trips" in process.stdout and "1 of 100" in process.stderr


def test_echo_rings_once_for_each_ring(group, cli):
    members = group(vectors=2, peers={1: 2})
    os.write(members.vectors[1], (3).to_bytes(8, "little"))
    process = cli("echo", "1:1", "--count", "5", "--json")
    members.accept()
    wire.wait_rings(members.peers[1][1], 3)
    wire.ring(members.vectors[0])
    os.write(members.vectors[1], (7).to_bytes(8, "little"))
    assert process.wait() == OK
    assert counts(*members.peers[1]) == [0, 2]
    assert json.loads(process.stdout) == {"peer": 1, "vector": 1, "echoed": 5}


def test_echo_before_the_peer_is_there(group, cli):
    members = group(vectors=1)
    process = cli("echo", "5", "--count", "2")
    members.accept()
    os.write(members.vectors[0], (2).to_bytes(8, "little"))
    process.expect("ivshmem: peer 5 .* yet.*", "stderr")
    newcomer = wire.eventfd()
    members.connection.send(5, newcomer)
    wire.wait_rings(newcomer, 2)
    os.close(newcomer)
    assert process.wait() == OK


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_echo_ends(group, cli, number):
    members = group(vectors=1, peers={1: 1})
    for arguments, status in (([], OK), (["--count", "2"], FAILURE)):
        process = cli("echo", "1", *arguments)
        members.accept()
        wire.ring(members.vectors[0])
        wire.wait_rings(members.peers[1][0])
        process.signal(number)
        assert process.wait() == status
        assert process.stdout == "peer 1 vector 0: rang back 1 time\n"
    process = cli("echo", "1", "--timeout", "0.2")
    members.accept()
    assert process.wait() == TIMEOUT


def test_echo_of_a_huge_number_can_be_ended(group, cli):
    members = group(vectors=1, peers={1: 1})
    process = cli("echo", "1")
    members.accept()
    os.write(members.vectors[0], (2**64 - 2).to_bytes(8, "little"))
    wire.wait_until(lambda: wire.rings(members.peers[1][0]), "the first rings back")
    process.signal(signal.SIGTERM)
    assert process.wait() == OK


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

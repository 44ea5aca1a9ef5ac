# SPDX-License-Identifier: BSD-2-Clause
"""The command line tool: bench."""

import json
import os
import re
import signal
import subprocess

import pytest

import ivshmem_wire as wire
from ivshmem_channels import ends, listing, make_memory
from ivshmem_cli import FAILURE, OK, TIMEOUT, USAGE, feed

QUICK = ["--seconds", "0.05"]
ONE_WAY = [("queue", 64, "one way"), ("queue", 4096, "one way"), ("stream", 65536, "one way")]
ROUND_TRIPS = [
    ("queue", 8, "there and back"),
    ("call", 8, "there and back"),
    ("queue", 8, "there and back, asleep"),
]


@pytest.fixture
def serving(tool):
    """The other end, which listens."""

    def serving(target, name, *arguments, **options):
        process = tool(target, "bench", "--serve", name, *arguments, **options)
        process.expect(f"ivshmem: serving '{name}'", "stderr")
        return process

    return serving


def measure(tool, target, *arguments):
    process = tool(target, "bench", *QUICK, *arguments, "--quiet")
    assert process.wait() == OK and process.stderr == "", process.describe()
    return process


def check(process, seconds=0.05):
    """Everything was measured, and the numbers fit together."""
    results = [json.loads(line) for line in process.lines()]
    assert [(x["kind"], x["length"], x["what"]) for x in results] == ONE_WAY + ROUND_TRIPS
    for one_way in results[: len(ONE_WAY)]:
        assert one_way["seconds"] >= seconds
        assert one_way["bytes_per_second"] == pytest.approx(one_way["bytes"] / one_way["seconds"], rel=0.01)
        assert one_way["bytes"] > 0
        assert ("records" in one_way) == (one_way["kind"] == "queue")
    for queue in results[:2]:
        assert queue["bytes"] == queue["records"] * queue["length"]
        assert queue["records_per_second"] == pytest.approx(queue["records"] / queue["seconds"], rel=0.01)
    for times in results[len(ONE_WAY) :]:
        assert times["round_trips"] > 0
        assert 0 < times["min_us"] <= times["median_us"] <= times["p99_us"] <= times["max_us"]
        assert times["round_trips"] * times["min_us"] <= (seconds * 1e6 + times["max_us"])


def participants(tool, target, name="ivshmem bench"):
    return [x for x in listing(tool, target)["participants"] if x["name"] == name]


def connected(tool, target):
    """The processes that measure or are measured at this moment."""
    return [x for x in participants(tool, target) if any(c["phase"] == "connected" for c in x["channels"])]


# ---- what is measured ----------------------------------------------------------------------------------


def test_both_ends_here(tool, target):
    check(measure(tool, target, "--json"))
    assert listing(tool, target)["participants"] == []


def test_text(tool, file_target):
    lines = measure(tool, file_target).lines()
    rate = r"\d+(\.\d)? (bytes|KiB|MiB|GiB)/s"
    times = ", ".join(rf"{what} \d+\.\d\d us" for what in ("min", "median", "p99", "max"))
    for line, pattern in zip(
        lines,
        [
            rf"queue, 64 bytes, one way: \d+ records/s, {rate}",
            rf"queue, 4 KiB, one way: \d+ records/s, {rate}",
            rf"stream, 64 KiB, one way: {rate}",
            rf"queue, 8 bytes, there and back: \d+ round trips, {times}",
            rf"call, 8 bytes, there and back: \d+ round trips, {times}",
            rf"queue, 8 bytes, there and back, asleep: \d+ round trips, {times}",
        ],
        strict=True,
    ):
        assert re.fullmatch(pattern, line), line


def test_two_ends(tool, serving, target):
    """The one that serves goes on with the next one."""
    process = serving(target, "x")
    for _ in range(2):
        check(measure(tool, target, "x", "--json"))
    assert [x["pid"] for x in participants(tool, target)] == [process.pid]
    process.finish()
    assert listing(tool, target)["participants"] == []
    assert process.lines("stderr") == ["ivshmem: serving 'x'"]


def test_two_at_a_time(tool, serving, file_target):
    """Each measurement waits for its turn."""
    process = serving(file_target, "x")
    both = [tool(file_target, "bench", "x", *QUICK, "--json") for _ in range(2)]
    for one in both:
        assert one.wait() == OK, one.describe()
        assert len(one.lines()) == len(ONE_WAY + ROUND_TRIPS)
    process.finish(signal.SIGINT)


def test_whoever_comes_first(tool, file_target):
    process = tool(file_target, "bench", "x", *QUICK, "--json")
    process.expect("ivshmem: waiting: nobody listens under the name 'bench/x/queue'.*", "stderr")
    server = tool(file_target, "bench", "--serve", "x")
    assert process.wait() == OK, process.describe()
    check(process)
    server.finish()


def test_vectors(tool, server, room):
    server("-l", "4M", "-n", "3")
    target = "unix:" + room.socket
    process = tool(target, "bench", "--seconds", "30", "--vector", "2")
    wire.wait_until(lambda: [x["vector"] for x in connected(tool, target)] == [2, 2], "both take part")
    process.signal(signal.SIGKILL)
    process.wait()
    ends(tool(target, "bench", "--vector", "3"), FAILURE, "no vector 3")


def test_how_often_nobody_woke_us(tool, server, room):
    """That it is never is what the unit tests of channels say; here, whoever rings may wait for a processor."""
    server("-l", "4M", "-n", "1")
    process = tool("unix:" + room.socket, "bench", *QUICK, "--verbose")
    assert process.wait() == OK, process.describe()
    line = re.compile("ivshmem: debug: something was there, and nobody had woken us: [0-9]+ times")
    assert len([x for x in process.lines("stderr") if line.fullmatch(x)]) == 2


def test_progress_on_a_terminal(tool, file_target, terminal):
    process = tool(file_target, "bench", "--seconds", "1.5", stderr=terminal.process_end)
    terminal.expect(b"ivshmem: sent ")
    terminal.expect(b"\r\x1b[K")
    terminal.expect(b" round trips")
    process.signal(signal.SIGKILL)
    process.wait()


# ---- what goes wrong -----------------------------------------------------------------------------------


def test_nobody_serves(tool, target):
    process = tool(target, "bench", "x", "--timeout", "0.2", "--quiet")
    ends(process, TIMEOUT, "timed out: nobody listens under the name 'bench/x/queue'")
    assert process.stdout == "" and len(process.lines("stderr")) == 1


@pytest.fixture
def under_way(tool, serving):
    """Both ends, while they measure for long."""

    def under_way(target, *arguments):
        process = serving(target, "x")
        client = tool(target, "bench", "x", "--seconds", "60", *arguments)
        wire.wait_until(lambda: len(connected(tool, target)) == 2, "they have begun")
        return process, client

    return under_way


def test_other_end_does_nothing(under_way, target):
    process, client = under_way(target, "--timeout", "0.5")
    process.signal(signal.SIGSTOP)
    ends(client, TIMEOUT, "timed out: the other end of 'x' does nothing")
    process.signal(signal.SIGCONT)
    process.finish()


def test_other_end_dies(under_way, target):
    process, client = under_way(target)
    process.signal(signal.SIGKILL)
    process.wait()
    ends(client, FAILURE, "the other end of 'x' died or gave up: ivshmem bench")


def test_other_end_ends(under_way, file_target):
    process, client = under_way(file_target)
    process.finish(signal.SIGINT)
    ends(client, FAILURE, "'x' ended before it had received everything")


def test_one_who_measures_dies(tool, under_way, target):
    process, client = under_way(target)
    client.signal(signal.SIGTERM)
    client.wait()
    process.expect("ivshmem: the other end of 'x' died or gave up: ivshmem bench", "stderr")
    check(measure(tool, target, "x", "--json"))
    process.finish()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_no_process_stays_behind(tool, file_target, number):
    process = tool(file_target, "bench", "--seconds", "60")
    wire.wait_until(lambda: len(connected(tool, file_target)) == 2, "both have begun")
    (child,) = {x["pid"] for x in participants(tool, file_target)} - {process.pid}
    process.signal(number)
    process.wait()
    wire.wait_until(lambda: not os.path.exists(f"/proc/{child}"), "the other process ends")
    assert listing(tool, file_target)["participants"] == []


def test_the_other_process_dies(tool, file_target):
    process = tool(file_target, "bench", "--seconds", "60")
    wire.wait_until(lambda: len(connected(tool, file_target)) == 2, "both have begun")
    (child,) = {x["pid"] for x in participants(tool, file_target)} - {process.pid}
    os.kill(child, signal.SIGKILL)
    ends(process, FAILURE, f"the other end of 'process {process.pid}' died")


def test_areas_are_taken(tool, receiver, file_target):
    """One of the two processes says so."""
    ends(tool(file_target, "format", "--areas", "2"), OK)
    first = receiver(file_target, "1", "--keep")
    process = tool(file_target, "bench")
    ends(process, FAILURE, "all 2 areas")
    second = receiver(file_target, "2", "--keep")
    refused = tool(file_target, "bench")
    ends(refused, FAILURE, "all 2 areas")
    assert len(process.lines("stderr")) == len(refused.lines("stderr")) == 1
    first.finish()
    second.finish()


def test_no_memory_to_attach_to(tool, room):
    process = tool("file:" + room.file("nothing"), "bench")
    ends(process, FAILURE, "nothing")
    assert len(process.lines("stderr")) == 1


def test_areas_that_are_too_small(tool, room):
    path = room.file("small")
    make_memory(path, 65536)
    process = tool("file:" + path, "bench", *QUICK)
    ends(process, FAILURE, "too small for records of 4096 bytes", "--areas")
    assert len(process.lines()) == 1


def test_others_than_bench(tool, serving, file_target):
    """Who connects may want what makes no sense: the next one is served nevertheless."""
    process = serving(file_target, "x")
    for data, word in ((b"hello\n", "cannot use 'x'"), (b"?\n", "makes no sense"), (b"\n", "makes no sense")):
        fd = feed(data)
        tool(file_target, "send", "bench/x/queue", "--queue", stdin=fd).wait()
        os.close(fd)
        process.expect(f"ivshmem: .*{word}.*", "stderr")
    sender = tool(file_target, "send", "bench/x/queue", "--queue", stdin=subprocess.PIPE)
    sender.write("e\n")
    sender.write("too long to be sent back\n")
    process.expect("ivshmem: cannot use 'x'.*", "stderr")
    sender.process.stdin.close()
    sender.wait()
    check(measure(tool, file_target, "x", "--json"))
    process.finish()


def test_name_in_use(tool, serving, file_target):
    process = serving(file_target, "x")
    ends(tool(file_target, "bench", "--serve", "x"), FAILURE, "somebody listens under the name 'bench/x/queue' already")
    process.finish()


def test_arguments_that_make_no_sense(tool, file_target):
    for arguments, word in (
        (["--serve"], "NAME"),
        (["x", "y"], "y"),
        ([""], "NAME"),
        (["x" * 41], "NAME"),
        (["--seconds", "0"], "--seconds"),
        (["--timeout", "x"], "--timeout"),
        (["--vector", "9999"], "--vector"),
    ):
        ends(tool(file_target, "bench", *arguments), USAGE, word, "--help")
    ends(tool(file_target, "bench", "x" * 40, "--timeout", "0"), TIMEOUT, "x" * 40)
    ends(tool(file_target, "bench", "a\nb"), FAILURE, "cannot be the name of a channel")
    ends(tool(file_target + ",ro", "bench"), FAILURE, "for reading only")

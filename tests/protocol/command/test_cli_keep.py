# SPDX-License-Identifier: BSD-2-Clause
"""The command line tool: send --keep, whose receivers come and go."""

import json
import os
import random
import signal
import subprocess

import pytest

import ivshmem_wire as wire
from ivshmem_channels import ends
from ivshmem_cli import FAILURE, OK, TIMEOUT, USAGE, feed

NAME = "log"
BATCH = 4096  # so many bytes may come twice


@pytest.fixture
def keeping(tool, target):
    """A sender whose stdin we write to."""
    return lambda *arguments, **options: tool(
        target, "send", "--queue", "--keep", NAME, *arguments, **{"stdin": subprocess.PIPE, **options})


@pytest.fixture
def records(receiver, target):
    return lambda *arguments, **options: receiver(target, NAME, "--queue", *arguments, **options)


def end(process, number):
    process.signal(number)
    process.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_next_receiver_gets_what_comes_then(keeping, records, number):
    sender = keeping()
    for i in range(3):
        process = records()
        sender.write(f"line {i}\n")
        process.expect(f"line {i}")
        end(process, number)
        sender.expect("ivshmem: (the receiver of 'log' has ended; going on with the next one|the other end of 'log' died .*)", "stderr")
    process = records()
    sender.write("the last one")
    sender.process.stdin.close()
    ends(sender, OK)
    ends(process, OK)
    # What was received is not sent again, unless its receiver ended before it could say so.
    all_lines = ["line 0", "line 1", "line 2", "the last one"]
    assert process.lines() in [all_lines[i:] for i in range(4)]


def test_lines_that_come_while_there_is_no_receiver(keeping, records):
    first = records()
    sender = keeping("--json")
    sender.write("one\n")
    first.expect("one")
    end(first, signal.SIGTERM)
    sender.expect("ivshmem: waiting: nobody listens under the name 'log'", "stderr")
    sender.write("two\nthree\n")
    sender.process.stdin.close()
    second = records()
    ends(sender, OK)
    ends(second, OK)
    assert second.lines() == ["two", "three"]
    assert json.loads(sender.stdout) == {"name": NAME, "bytes": 11, "records": 3}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.limit(300)
def test_no_line_is_lost(keeping, records, number):
    """Receivers end at any moment of a busy log. Each line comes, in order, and few come twice."""
    n = wire.sized(100000, 1000000)
    lines = [f"line {i} {'x' * random.randrange(100)}" for i in range(n)]
    fd = feed("".join(line + "\n" for line in lines).encode())
    sender = keeping(stdin=fd)
    os.close(fd)
    done, changes = 0, 0
    while sender.running() and done < n:
        process = records()
        if changes < 20 and done < n - 3000:
            process.expect(f"line {done + random.randrange(2000)} .*")
            process.signal(number)
        process.wait()
        got = process.lines()
        if not got:
            continue
        start = int(got[0].split()[1])
        # The pipe was full. A part of a line was not received, and comes again as a whole.
        if got[-1] != lines[start + len(got) - 1]:
            got.pop()
        assert start <= done and sum(len(line) + 1 for line in lines[start:done]) <= BATCH + 200
        assert got == lines[start:start + len(got)]
        done = max(done, start + len(got))
        changes += 1
    ends(sender, OK)
    assert done == n and changes > 3


def test_what_could_not_be_written_was_not_received(tool, target, records):
    """The receiver's disk is full. Its sender must not believe that all is well."""
    with open("/dev/full", "w") as full:
        process = records(stdout=full)
    sender = tool(target, "send", "--queue", NAME, stdin=subprocess.PIPE)
    sender.write("lost\n")
    sender.process.stdin.close()
    ends(process, FAILURE, "cannot write to stdout: No space left on device")
    ends(sender, FAILURE, " of 'log' ")


def test_only_so_long(keeping, records):
    sender = keeping("--timeout", "0.2")
    ends(sender, TIMEOUT, "nobody listens under the name 'log'")
    process = records()
    sender = keeping("--timeout", "0.2")
    sender.write("one\n")
    process.expect("one")
    end(process, signal.SIGTERM)
    ends(sender, TIMEOUT, "nobody listens under the name 'log'")


def test_a_receiver_of_bytes_is_none(keeping, records, receiver, target):
    process = records()
    sender = keeping()
    sender.write("one\n")
    process.expect("one")
    end(process, signal.SIGTERM)
    receiver(target, NAME)
    ends(sender, FAILURE, "'log' is a stream, not a queue")


def test_a_line_that_is_too_long(keeping, records):
    records()
    sender = keeping("--size", "4K")
    sender.write("one\n" + "x" * 2033 + "\n")
    ends(sender, FAILURE, "record 2 is too long: it can have at most 2032 bytes")


def test_bytes_cannot_be_kept(tool, target):
    ends(tool(target, "send", "--keep", NAME), USAGE, "--keep is for --queue")

# SPDX-License-Identifier: BSD-2-Clause
"""The command line tool: keeper."""

import json
import os
import signal
import subprocess
import time

import pytest

import ivshmem_wire as wire
from ivshmem_channels import ends, listing
from ivshmem_cli import FAILURE, OK, USAGE


@pytest.fixture
def keeper(tool):
    """A keeper that takes part."""

    def keeper(target, *arguments, **options):
        process = tool(target, "keeper", *arguments, **options)
        process.expect(r"ivshmem: taking part in area \d+", "stderr")
        return process

    return keeper


def line(process, name, event):
    """What the keeper says of a process."""
    return rf'area \d+: "{name}", pid {process.pid}, (peer \d+ vector 0, )?{event}'


def test_who_comes_and_leaves(keeper, receiver, target):
    before = receiver(target, "before", "--keep")
    process = keeper(target)
    process.expect(line(before, "ivshmem recv", "came"))
    after = receiver(target, "after", "--keep")
    process.expect(line(after, "ivshmem recv", "came"))
    before.finish()
    process.expect(line(before, "ivshmem recv", "left"))
    after.signal(signal.SIGKILL)
    after.wait()
    process.expect(line(after, "ivshmem recv", "died"))
    process.finish()
    assert len(process.lines()) == 4 and len(process.lines("stderr")) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_leaves_in_order(tool, keeper, target, number):
    process = keeper(target)
    (participant,) = listing(tool, target)["participants"]
    assert participant["name"] == "ivshmem keeper" and participant["pid"] == process.pid
    assert participant["channels"] == []
    process.finish(number)
    assert listing(tool, target)["participants"] == []
    assert process.stdout == ""


def test_json(keeper, receiver, server, room, file_target):
    server("-l", "4M", "-n", "1")
    for target, peer in (("unix:" + room.socket, True), (file_target, False)):
        began = time.time()
        process = keeper(target, "--json")
        other = receiver(target, "x", "--keep")
        process.expect('.*"event":"came".*')
        other.finish()
        process.expect('.*"event":"left".*')
        process.finish()
        came, left = map(json.loads, process.lines())
        assert began <= came.pop("time") <= left.pop("time") <= time.time()
        assert (came.pop("event"), left.pop("event")) == ("came", "left") and came == left
        assert came["name"] == "ivshmem recv" and came["pid"] == other.pid and came["area"] == 1
        assert (came["peer"] is not None, came["vector"]) == (peer, 0 if peer else None)


def test_one_who_is_not_told_learns_it_from_the_keeper(tool, keeper, receiver, server, room):
    """
    The receiver uses the memory without the server, and takes the sender for a process of another machine, as a guest does
    that sees one of the host.
    """
    name = room.shm_name()
    server("-l", "4M", "-n", "1", "-M", name)
    target = "unix:" + room.socket
    process = receiver("shm:" + name, "x")
    sender = tool(target, "send", "x", stdin=subprocess.PIPE)
    sender.write("the last words\n")
    process.expect("the last words")
    (area,) = [x["area"] for x in listing(tool, target)["participants"] if x["pid"] == sender.pid]
    with open(f"/dev/shm/{name}", "r+b") as memory:
        memory.seek(8)
        area_size = (int.from_bytes(memory.read(8), "little") & (1 << 48) - 1) * 4096
        # docs/channels.md, "The identity": the kernel.
        memory.seek(4096 + area * area_size + 16)
        memory.write(b"another!")
    sender.signal(signal.SIGKILL)
    sender.wait()
    # It looks once a second.
    time.sleep(2.5)
    assert process.running()

    watching = keeper(target)
    watching.expect(line(sender, "ivshmem send", "came"))
    watching.expect(line(sender, "ivshmem send", "died"))
    ends(process, FAILURE, "the other end of 'x' died or gave up: ivshmem send")
    watching.expect(rf'area \d+: "ivshmem recv", pid {process.pid}, left')
    watching.finish()


def test_areas_of_the_dead_can_be_taken(tool, keeper, receiver, file_target):
    """Also by one who comes when all other areas are in use."""
    ends(tool(file_target, "format", "--areas", "2"), OK)
    process = keeper(file_target)
    for name in ("first", "second"):
        other = receiver(file_target, name, "--keep")
        process.expect(line(other, "ivshmem recv", "came"))
        other.signal(signal.SIGKILL)
        other.wait()
    process.expect(line(other, "ivshmem recv", "died"))
    process.finish()


def test_names_on_a_terminal(tool, keeper, room, file_target, terminal):
    """Anybody may have put them there."""
    ends(tool(file_target, "format", "--areas", "2"), OK)
    process = keeper(file_target, stdout=terminal.process_end)
    with open(file_target.removeprefix("file:"), "r+b") as memory:
        memory.seek(8)
        area_size = (int.from_bytes(memory.read(8), "little") & (1 << 48) - 1) * 4096
        for at, data in (
            (4096 + area_size, (1).to_bytes(8, "little")),
            (4096 + area_size + 48, b"a\x1b[31mb\0"),
            (128 + 8, (1 << 32 | 1).to_bytes(8, "little")),
        ):
            memory.seek(at)
            memory.write(data)
            memory.flush()
    terminal.expect(b'area 1: "a?[31mb", pid 0, came')
    process.finish()


def test_the_server_is_lost(keeper, server, room):
    group = server("-l", "4M", "-n", "1")
    process = keeper("unix:" + room.socket)
    group.finish()
    ends(process, FAILURE, "the server is lost, and nobody tells us any more which peers have left")


def test_the_memory_is_formatted(tool, keeper, target):
    process = keeper(target)
    ends(tool(target, "format", "--force"), OK)
    ends(process, FAILURE, "our part of the shared memory is lost", "start again")


def test_no_area_is_free(tool, receiver, file_target):
    ends(tool(file_target, "format", "--areas", "2"), OK)
    others = [receiver(file_target, name, "--keep") for name in "ab"]
    ends(tool(file_target, "keeper"), FAILURE, "all 2 areas")
    for other in others:
        other.finish()


def test_reader_of_the_output_ends(keeper, receiver, file_target):
    reader, writer = os.pipe()
    process = keeper(file_target, stdout=writer)
    os.close(writer)
    os.close(reader)
    other = receiver(file_target, "x", "--keep")
    ends(process, FAILURE)
    other.finish()


def test_arguments_and_targets_that_make_no_sense(tool, server, room, file_target):
    ends(tool(file_target, "keeper", "x"), USAGE, "x", "--help")
    ends(tool(file_target, "keeper", "--vector", "9999"), USAGE, "--vector")
    ends(tool(file_target + ",ro", "keeper"), FAILURE, "for reading only")
    server("-l", "4M", "-n", "2")
    ends(tool("unix:" + room.socket, "keeper", "--vector", "2"), FAILURE, "no vector 2")
    wire.wait_until(lambda: listing(tool, "unix:" + room.socket)["participants"] == [], "nobody takes part")

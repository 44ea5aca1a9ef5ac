# SPDX-License-Identifier: BSD-2-Clause
"""ivshmem-server --regions: a server for each file of a directory, and what a reload does to the others."""

import os
import re
import shutil
import signal
import subprocess

import pytest

import ivshmem_wire as wire
from fake_supervisor import FakeSupervisor
from ivshmem_wire import expect_rings
from regional import Manager


class Files(dict):
    """What the directory has: name to the lines of the section, None removes a file."""

    def __init__(self, room):
        super().__init__()
        self.folder = room.file("regions")
        os.makedirs(self.folder)

    def path(self, name):
        return os.path.join(self.folder, name + ".ini")

    def __setitem__(self, name, lines):
        if lines is None:
            os.unlink(self.path(name))
            return
        with open(self.path(name), "w") as file:
            file.write("\n".join(["[region]", *lines, ""]))


@pytest.fixture
def files(room):
    return Files(room)


@pytest.fixture
def manager(room, processes, files):
    """start(): the manager; at the end, nothing of it is left."""
    started = []

    def start(**options):
        started.append(Manager(room, **options))
        processes.append(started[-1])
        return started[-1]

    yield start
    for process in started:
        if process.process.returncode is None:
            servers = process.servers()
            process.finish()
            assert not any(os.path.exists(f"/proc/{pid}") for pid in servers.values())
            assert os.listdir(process.runtime) == []
    assert not any(name.startswith("ivshmem-server-") for name in os.listdir(room.path))


def watch(manager, name):
    """All that must stay as it is if a region is not touched."""
    pid = manager.servers()[name]
    # It has said that it serves, and may not have closed what it said that with.
    worker = wire.process_children(pid)[0]
    wire.wait_until(lambda: wire.process_state(worker) == "S", "the server sleeps")
    return pid, sorted(os.listdir(f"/proc/{pid}/fd"), key=int)


def test_each_file_is_a_region(manager, files):
    files["one"] = ["size = 1M", "vectors = 2"]
    files["two"] = ["size = 2M"]
    running = manager()
    assert running.settled() == (2, 2, 0)
    first, second = running.client("one", vectors=2), running.client("one", vectors=2)
    first.follow_until_knows([0, 1])
    expect_rings(first, second)
    other = running.client("two")
    assert (first.id, second.id, other.id) == (0, 1, 0)
    assert os.fstat(first.memory).st_size == 1 << 20 and os.fstat(other.memory).st_size == 2 << 20
    assert "ivshmem-server: one: listening on " in running.stdout


def test_a_reload_adds_and_removes_and_touches_nothing_else(manager, files):
    files["stays"] = []
    files["goes"] = []
    running = manager()
    assert running.settled() == (2, 2, 0)
    first, second, leaver = running.client("stays"), running.client("stays"), running.client("goes")
    first.follow_until_knows([0, 1])
    first.log.clear()
    before = watch(running, "stays")
    files["goes"] = None
    files["comes"] = ["vectors = 3"]
    assert running.reload() == (2, 2, 0)
    leaver.assert_cut()
    assert "goes: the file is gone: the region ends, and its clients go" in running.stdout
    assert not os.path.exists(running.socket("goes"))
    assert running.client("comes", vectors=3).id == 0
    assert watch(running, "stays") == before and first.drain() and first.log == []
    expect_rings(first, second)
    third = running.client("stays")
    assert third.id == 2


def test_a_removed_region_comes_back_anew(manager, files):
    files["a"] = ["size = 1M"]
    running = manager()
    running.settled()
    client = running.client("a")
    files["a"] = None
    assert running.reload() == (0, 0, 0)
    client.assert_cut()
    files["a"] = ["size = 2M"]
    assert running.reload() == (1, 1, 0)
    assert os.fstat(running.client("a").memory).st_size == 2 << 20


def test_a_file_that_comes_back_before_the_end_starts_after_it(manager, files):
    files["a"] = []
    running = manager()
    running.settled()
    client, server = running.client("a"), running.servers()["a"]
    os.kill(server, signal.SIGSTOP)
    files["a"] = None
    running.signal(signal.SIGHUP)
    running.expect(r"ivshmem-server: a: the file is gone.*")
    files["a"] = ["vectors = 2"]
    running.signal(signal.SIGHUP)
    running.expect(r"ivshmem-server: reading '.*' again")
    os.kill(server, signal.SIGCONT)
    assert running.settled() == (1, 1, 0)
    client.assert_cut()
    assert running.client("a", vectors=2).id == 0


def test_options_that_may_change_change_while_clients_stay(manager, files):
    files["a"] = ["max-peers = 3"]
    files["b"] = []
    running = manager()
    running.settled()
    first, second = running.client("a"), running.client("a")
    first.follow_until_knows([0, 1])
    first.log.clear()
    before, other = running.servers()["a"], watch(running, "b")
    files["a"] = ["; fewer", "max-peers = 2"]
    assert running.reload() == (2, 2, 0)
    assert running.servers()["a"] != before and watch(running, "b") == other
    expect_rings(first, second)
    wire.RawClient(running.socket("a")).assert_cut()
    files["a"] = ["max-peers = 3"]
    assert running.reload() == (2, 2, 0)
    assert running.client("a").id == 2
    first.follow_until_knows([0, 1, 2])
    assert first.log == [2]


def test_a_comment_is_no_change(manager, files):
    files["a"] = ["vectors = 2"]
    running = manager()
    running.settled()
    before = watch(running, "a")
    files["a"] = ["# two", "vectors: 2"]
    assert running.reload() == (1, 1, 0)
    assert watch(running, "a") == before


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["vectors = 3"], ":2: 'vectors' cannot change while clients keep the group"),
        (["vectors = 2", "size = 8M"], ":3: 'size' cannot change while clients keep the group"),
        (["vectors = 2", "socket = /nowhere/x"], ":3: 'socket' cannot change while clients keep the group"),
        (["vectors = 2", "member = 7=/nowhere/x"], ":3: 'member' cannot change while clients keep the group"),
        (["vectors = 2", "no-observer-socket = yes"], "'observer-socket' cannot change while clients keep the group"),
        (["vectors = two"], ":2: vectors: 'two' is not a number from 0 to 2048"),
        (["vectorz = 2"], ":2: unknown key 'vectorz': did you mean 'vectors'?"),
        (["vectors"], ":2: the line is neither KEY = VALUE nor [region] nor a comment"),
    ],
)
def test_a_wrong_file_changes_nothing(manager, files, lines, words):
    files["a"] = ["vectors = 2"]
    files["b"] = []
    running = manager()
    running.settled()
    client = running.client("a", vectors=2)
    before = watch(running, "a"), watch(running, "b")
    files["a"] = lines
    assert running.reload() == (2, 2, 1)
    running.expect("ivshmem-server: " + re.escape(files.path("a")) + r".*; the region goes on with its former options", "stderr")
    assert words in running.stderr
    assert (watch(running, "a"), watch(running, "b")) == before and client.drain()
    # And it is not for ever.
    files["a"] = ["vectors = 2"]
    assert running.reload() == (2, 2, 0)


def test_a_server_that_does_not_start_with_new_options_goes_on_with_the_former(manager, files, room):
    """An upgrade leaves a program there that ends when it gets one of the options."""
    binary = room.file("program")
    shutil.copy(wire.program("ivshmem-server"), binary)
    files["a"] = ["max-peers = 3"]
    running = manager(binary=binary)
    running.settled()
    first, second = running.client("a"), running.client("a")
    first.follow_until_knows([0, 1])
    first.log.clear()
    with open(binary + ".new", "w") as file:
        file.write(f'#!/bin/sh\ncase "$*" in *max-peers=4*) exit 1;; esac\nexec {wire.program("ivshmem-server")} "$@"\n')
    os.chmod(binary + ".new", 0o755)
    os.rename(binary + ".new", binary)
    files["a"] = ["max-peers = 4"]
    assert running.reload() == (1, 1, 0)
    running.expect(
        r"ivshmem-server: a: the server with the new options ended with status 1; going on with the former options", "stderr"
    )
    expect_rings(first, second)
    assert running.client("a").id == 2
    first.follow_until_knows([0, 1, 2])
    wire.RawClient(running.socket("a")).assert_cut()
    files["a"] = ["max-peers = 5"]
    assert running.reload() == (1, 1, 0)
    assert running.client("a").id == 3


def test_the_other_regions_run_beside_wrong_files(manager, files):
    files["good"] = []
    files["bad"] = ["size = 12Q"]
    files["worse"] = ["numa-node = 1000"]
    files["same"] = files["other"] = ["socket = /nowhere/s"]
    with open(os.path.join(files.folder, "notes.txt"), "w") as file:
        file.write("no region\n")
    running = manager()
    assert running.settled() == (1, 2, 3)
    running.expect(r".*bad\.ini:2: size: '12Q' is not a size.*", "stderr")
    running.expect(r".*other\.ini: the socket '/nowhere/s' is also that of .*/same\.ini: .*", "stderr")
    running.expect(r".*same\.ini: the socket '/nowhere/s' is also that of .*/other\.ini: .*", "stderr")
    assert re.search(r"worse: cannot use NUMA node 1000: ", running.stderr)
    assert running.client("good").id == 0
    files["worse"] = []
    files["bad"] = ["size = 1M"]
    files["same"] = ["size = 1M"]
    files["other"] = None
    assert running.reload() == (4, 4, 0)


def test_a_region_that_is_killed_harms_no_other(manager, files):
    files["a"] = []
    files["b"] = []
    running = manager()
    running.settled()
    victim, first, second = running.client("a"), running.client("b"), running.client("b")
    first.follow_until_knows([0, 1])
    before = watch(running, "b")
    # All of its processes: one alone would be replaced, and nobody would notice.
    os.killpg(running.servers()["a"], signal.SIGKILL)
    victim.assert_cut()
    running.expect(r"ivshmem-server: a: the server was killed by signal 9.*", "stderr")
    running.expect(r"ivshmem-server: a: listening on .*")
    assert running.client("a").id == 0
    assert watch(running, "b") == before
    expect_rings(first, second)


def test_sigterm_to_one_server_upgrades_it(manager, files):
    files["a"] = []
    running = manager()
    running.settled()
    client, server = running.client("a"), running.servers()["a"]
    os.kill(server, signal.SIGTERM)
    running.expect(r"ivshmem-server: a: peers that stayed connected: 1")
    assert running.servers()["a"] != server and client.drain()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_all(manager, files, number):
    files["a"] = []
    files["b"] = []
    running = manager()
    running.settled()
    clients = running.client("a"), running.client("b")
    running.finish(number)
    for client in clients:
        client.assert_cut()
    assert os.listdir(running.runtime) == []


def test_a_folder_that_is_gone_changes_nothing(manager, files):
    files["a"] = []
    running = manager()
    running.settled()
    before = watch(running, "a")
    os.rename(files.folder, files.folder + ".away")
    running.signal(signal.SIGHUP)
    running.expect(r"ivshmem-server: cannot read the directory '.*': No such file or directory", "stderr")
    assert running.settled()[:2] == (1, 1) and watch(running, "a") == before


def test_no_folder_is_a_refusal(room, processes):
    process = wire.Process([wire.program("ivshmem-server"), "-F", "--regions", room.file("none")])
    processes.append(process)
    assert process.wait() == 1 and "cannot read the directory" in process.stderr


def test_the_supervisor_hears_of_starts_and_reloads(room, processes, files, manager):
    supervisor = FakeSupervisor(room.file("notify"), processes)
    files["a"] = []
    files["bad"] = ["size = x"]
    running = manager(env={"NOTIFY_SOCKET": supervisor.path})
    running.settled()

    def heard(words):
        return any(words in message for message in supervisor.messages)

    ready = f"READY=1\nSTATUS=Regions that serve: 1 of 1; wrong files: 1\nMAINPID={running.pid}"
    wire.wait_until(lambda: heard(ready), "READY=1")
    assert len([message for message in supervisor.messages if "READY=1" in message]) == 1
    files["b"] = []
    running.reload()
    wire.wait_until(lambda: heard("STATUS=Regions that serve: 2 of 2"), "READY=1 after the reload")
    assert re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=\d+", supervisor.messages[1])
    before = len(supervisor.messages)
    os.kill(running.servers()["b"], signal.SIGINT)
    wire.wait_until(lambda: heard("Regions that serve: 1 of 2"), "the new numbers")
    assert not any("READY=1" in message for message in supervisor.messages[before:])
    running.finish()
    wire.wait_until(lambda: heard("STOPPING=1"), "STOPPING=1")


def test_a_region_without_a_group_takes_any_options(manager, files):
    files["a"] = ["size = 1M"]
    running = manager()
    running.settled()
    os.kill(running.servers()["a"], signal.SIGINT)
    running.expect("ivshmem-server: a: the region has no server any more; SIGHUP to the manager starts it again")
    files["a"] = ["size = 2M"]
    assert running.reload() == (1, 1, 0)
    assert os.fstat(running.client("a").memory).st_size == 2 << 20


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--check"], "--check needs --regions"),
        (["--regions", "/d"], "--regions needs -F"),
        (["-F", "--regions", "/d", "--size", "1M"], "unknown option '--size' beside --regions"),
        (["-F", "--regions", "/d", "-S", "/s"], "unknown option '-S' beside --regions"),
        (["--regions", "/d", "--check", "--supervise", "-F"], "unknown option '--supervise' beside --regions"),
    ],
)
def test_options_that_do_not_go_together(processes, arguments, words):
    process = wire.Process([wire.program("ivshmem-server"), *arguments])
    processes.append(process)
    assert process.wait() == 1 and words in process.stderr


def test_sockets_of_a_supervisor_are_refused(processes, files):
    environment = {"LISTEN_FDS": "1"}
    process = wire.Process([wire.program("ivshmem-server"), "-F", "--regions", files.folder], env=environment)
    processes.append(process)
    assert process.wait() == 1 and "--regions takes no sockets of a supervisor" in process.stderr


def check(files, *arguments):
    return subprocess.run(
        [wire.program("ivshmem-server"), "--regions", files.folder, "--check", *arguments],
        capture_output=True, text=True, timeout=wire.TIMEOUT, check=False,
    )


def test_check_only_looks(files):
    files["a"] = ["size = 1M"]
    result = check(files)
    assert result.returncode == 0 and result.stderr == ""
    assert result.stdout == "ivshmem-server: files: 1; wrong: 0\n"
    files["b"] = ["size = 1M", "", "numa = 1", "sizes = 3"]
    result = check(files)
    assert result.returncode == 1
    assert result.stderr.startswith(f"ivshmem-server: {files.path('b')}:4: unknown key 'numa'")


def test_the_example_of_the_document(files):
    """docs/regions.md shows a file that is right."""
    with open(os.path.join(wire.ROOT, "docs", "regions.md")) as file:
        examples = re.findall(r"```ini\n(.*?)```", file.read(), re.DOTALL)
    assert examples
    for number, example in enumerate(examples):
        with open(files.path(f"example-{number}"), "w") as file:
            file.write(example)
    result = check(files)
    assert result.returncode == 0, result.stderr

# SPDX-License-Identifier: BSD-2-Clause
"""The flight recorder: ivshmem trace, and what programs write when they crash."""

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys

import pytest

import ivshmem_wire as wire
import vfio_user as vu
from ivshmem_cli import FAILURE, OK, USAGE
from ivshmem_fixtures import LONELY_UID, root_only

LINE = re.compile(r"\d\d:\d\d:\d\d\.\d{6} (?P<program>\S+)\[(?P<pid>\d+)(?:/\d+)?\] (?P<event>\w+)(?: \w+=.+)?")
CRASHES = [signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE]


@pytest.fixture
def trace(run_plain):
    """trace(processes, ...): the events as documents."""

    def trace(*processes, options=()):
        words = [process.pid for process in processes]
        return [json.loads(line) for line in run_plain("trace", "--json", *options, *words).lines()]

    return trace


def names(events):
    return [event["event"] for event in events]


def find(events, name, **wanted):
    found = [
        event["args"]
        for event in events
        if event["event"] == name and all(event["args"][key] == value for key, value in wanted.items())
    ]
    assert found, f"no {name} {wanted} in {events}"
    return found[-1]


def in_order(events, *wanted):
    """These events are there, in this order, whatever is between them."""
    there = iter(names(events))
    assert all(name in there for name in wanted), f"{wanted} in {names(events)}"


def exchange(receiver, tool, target, trace):
    """A record from one process to another one, which slept before; both stay."""
    process = receiver(target, "log", "--queue", "--keep")
    wire.wait_until(lambda: names(trace(process))[-1:] == ["channel_sleep"], "the receiver does not sleep")
    sender = tool(target, "send", "log", "--queue", stdin=subprocess.PIPE)
    sender.write("a secret\n")
    process.expect("a secret")
    return process, sender


# ---- what happened ----------------------------------------------------------------------------------------


def test_a_server_and_its_clients(server, room, trace, receiver, tool):
    """Of a known course of events, each program has its part, and all of it has one order."""
    group = server("-l", "4M", "-n", "2")
    process, sender = exchange(receiver, tool, "unix:" + room.socket, trace)
    events = trace(group, process, sender)
    in_order(
        events,
        "server_started",
        "server_joined",
        "client_attached",
        "area_taken",
        "channel_listening",
        "server_joined",
        "channel_connecting",
        "channel_accepted",
    )
    assert {event["pid"] for event in events} == {group.pid, process.pid, sender.pid}
    assert {event["program"] for event in events} == {"ivshmem-server", "ivshmem"}
    assert find(events, "server_started")["vectors"] == 2
    assert find(events, "server_joined", pid=process.pid) == {"peer": 0, "pid": process.pid, "user": os.geteuid()}
    assert find(events, "client_attached", id=0) == {"id": 0, "vectors": 2, "size": 4 << 20}
    assert find(events, "channel_listening") == {"channel": 0, "kind": "queue", "name": "log"}
    assert find(events, "channel_connecting")["name"] == "log"
    # Who was rung sleeps before, and wakes up afterwards.
    in_order([event for event in events if event["pid"] == process.pid], "channel_sleep", "client_rung", "channel_wake")
    find(events, "client_ring", id=1, peer=0, error=0)
    times = [event["time"] for event in events]
    assert times == sorted(times) or max(a - b for a, b in zip(times, times[1:])) < 0.001
    sender.process.stdin.close()
    assert sender.wait() == OK
    wire.wait_until(lambda: "server_left" in names(trace(group)), "the server does not see that the sender left")
    assert find(trace(group), "server_left", pid=sender.pid)["peer"] == 1


def test_what_the_memory_holds_is_not_recorded(server, room, run_plain, receiver, tool, trace):
    group = server("-l", "4M")
    process, sender = exchange(receiver, tool, "unix:" + room.socket, trace)
    for json_too in ([], ["--json"]):
        text = run_plain("trace", *json_too, group.pid, process.pid, sender.pid).stdout
        assert "log" in text and "secret" not in text


def test_a_refused_client(server, room, trace, launch):
    group = server("--max-peers", "1")
    group.client()
    assert launch("ivshmem", "-t", room.socket, "wait", "--timeout", "5").wait() == FAILURE
    assert find(trace(group), "server_refused") == {"error": "EUSERS", "peers": 1}


def test_a_client_that_speaks(server, trace):
    group = server()
    client = group.client()
    client.sock.send(b"x")
    wire.wait_until(lambda: "server_cut" in names(trace(group)), "the server does not cut it off")
    assert find(trace(group), "server_cut")["error"] == "EPROTO"


def test_a_device(own_group, arm, trace):
    """The life of a device, its VMM, a ring in each direction, and a request that it refuses."""
    group = own_group()
    vmm = group.vmm()
    arm(vmm)
    before = len(trace(group.device))
    vmm.register(vu.IV_POSITION)
    assert len(trace(group.device)) == before, "accesses of the guest are not recorded"
    vmm.ring(group.peer_id, 2)
    group.ring_and_wait(1)
    vmm.refused(vu.GET_REGION_INFO, b"")
    vmm.reset()
    events = trace(group.device)
    in_order(
        events, "member_joined", "vmm_connected", "vmm_request", "member_ring", "member_rung", "vmm_refused", "device_reset"
    )
    assert find(events, "member_joined") == {"id": group.id, "vectors": group.vectors, "size": group.size}
    assert find(events, "member_ring") == {"id": group.id, "peer": group.peer_id, "vector": 2}
    assert find(events, "member_rung") == {"id": group.id, "vector": 1, "count": 1}
    assert find(events, "vmm_refused")["error"] == "EINVAL"
    assert find(events, "vmm_connected")["pid"] == os.getpid()


def test_text(server, run_plain, trace):
    group = server()
    client = group.client()
    client.close()
    wire.wait_until(lambda: "server_left" in names(trace(group)), "it did not leave")
    lines = run_plain("trace", group.pid).lines()
    assert [LINE.fullmatch(line)["event"] for line in lines] == ["server_started", "server_joined", "server_left"]
    assert all(LINE.fullmatch(line)["pid"] == str(group.pid) for line in lines)
    # The time is computed anew each time.
    (last,) = run_plain("trace", "--last", "1", group.pid).lines()
    assert last.split(" ", 1)[1] == lines[-1].split(" ", 1)[1]
    assert run_plain("trace", "--last", "0", group.pid).lines() == []


def test_the_list_has_all_events(run_plain):
    listed = [json.loads(line) for line in run_plain("trace", "--list", "--json").lines()]
    text = run_plain("trace", "--list").stdout
    assert len(listed) > 40 and all(event["event"] in text and event["meaning"] in text for event in listed)
    assert len({event["number"] for event in listed}) == len(listed)


# ---- looking into a process -----------------------------------------------------------------------------


def test_a_process_that_is_stopped(server, trace):
    group = server()
    group.client()
    group.signal(signal.SIGSTOP)
    try:
        in_order(trace(group), "server_started", "server_joined")
    finally:
        group.signal(signal.SIGCONT)


def test_follow(server, cli, launch):
    group = server()
    process = launch("ivshmem", "trace", "--follow", "--last", "0", group.pid)
    # It is there when it has seen one of these; each is seen once.
    clients = []

    def seen():
        clients.append(group.client())
        return "server_joined" in process.stdout

    wire.wait_until(seen, "nothing is followed")
    process.expect(rf".* server_joined peer={len(clients) - 1} .*")
    clients[0].close()
    process.expect(r".* server_left peer=0 .*")
    peers = re.findall(r"server_joined peer=(\d+)", process.stdout)
    assert peers == sorted(set(peers), key=int)
    process.signal(signal.SIGINT)
    assert process.wait() == OK, process.describe()


def test_follow_ends_with_the_process(server, launch):
    group = server()
    process = launch("ivshmem", "trace", "--follow", group.pid)
    process.expect(r".* server_started .*")
    group.finish()
    assert process.wait() == OK, process.describe()
    assert "server_ended" in process.stdout or "server_started" in process.stdout


def test_who_cannot_be_traced(run_plain, launch):
    assert "there is no process 2147483647" in run_plain("trace", 2147483647, status=FAILURE).stderr
    stranger = launch("ivshmem", "--version")
    stranger.wait()
    plain = subprocess.Popen(["sleep", "1000"])
    try:
        assert f"process {plain.pid} has no trace" in run_plain("trace", plain.pid, status=FAILURE).stderr
    finally:
        plain.kill()
        plain.wait()


@root_only
def test_another_user_is_refused(server, room, processes):
    group = server()
    binary = room.file("ivshmem")
    shutil.copy(wire.program("ivshmem"), binary)
    os.chmod(room.path, 0o755)
    process = wire.Process([binary, "trace", group.pid], user=LONELY_UID)
    processes.append(process)
    assert process.wait() == FAILURE
    assert f"process {group.pid} belongs to user 0: trace it as this user, or as root" in process.stderr


# A ring with one event, at a time that is as far away as can be: in a private mapping of a file, as data of a program is.
LIAR = """
import ctypes, mmap, os, struct, sys, time
entries = 4096
fd = os.memfd_create("liar")
os.truncate(fd, 64 * entries + 4096)
memory = mmap.mmap(fd, 0, flags=mmap.MAP_PRIVATE)
address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
words = [0, 5, 0x300, 1, 2, 0, 0]
check = 0x9e3779b97f4a7c15
for word in words:
    check = (((check << 9) % 2**64 | check >> 55) + word) % 2**64
memory[4096:4160] = struct.pack("=8Q", *words, check)
far = (2**64 - 1, int(sys.argv[1]))
magic = b"ivshmem trace 1"
memory[:128] = struct.pack("=16sIIQQQQQQ8xQ40x", magic, 64, entries, address + 4096, 1, *far, *far, 1)
print("ready", flush=True)
time.sleep(1000)
"""


@pytest.mark.parametrize("far", [0, 2**63 - 1, 2**64 - 1])
def test_a_process_that_lies_about_the_time(processes, run_plain, trace, far):
    process = wire.Process([sys.executable, "-c", LIAR, str(far)])
    processes.append(process)
    process.expect("ready")
    assert find(trace(process), "server_started") == {"vectors": 1, "max_peers": 2}
    (line,) = run_plain("trace", process.pid).lines()
    assert line.endswith(" server_started vectors=1 max_peers=2")


@pytest.mark.parametrize(
    "words", [[], ["x"], ["0"], ["-1"], ["--list", "1"], ["--core", "x", "1"], ["--core", "x", "--follow"], ["1"] * 33]
)
def test_wrong_usage(run_plain, words):
    run_plain("trace", *words, status=USAGE)


# ---- crashes ------------------------------------------------------------------------------------------------


def ends_by(process, number):
    assert process.wait() == -number, process.describe()


def can_be_sent(number, program):
    """A sanitizer takes the others for faults of the program, and reports them."""
    return number == signal.SIGABRT or not wire.sanitized(program)


@pytest.mark.parametrize("number", CRASHES)
def test_a_crash_of_a_server(start, number):
    if not can_be_sent(number, "ivshmem-server"):
        pytest.skip("a sanitizer reports this signal as a fault")
    process = start()
    process.expect(r".*listening on .*")
    process.signal(number)
    ends_by(process, number)
    assert f"ivshmem-server: crashed by {number.name}; what happened last" in process.stderr
    assert re.search(r"^\d+\.\d{6} \d+ server_started vectors=1 max_peers=0$", process.stderr, re.MULTILINE)


def test_a_crash_into_a_file(start, room):
    """The file is made at the crash, for its owner only, and has all events."""
    path = room.file("trace")
    process = start("--trace-file", path)
    process.expect(r".*listening on .*")
    assert not os.path.exists(path)
    for _ in range(60):
        process.client().close()
    wire.wait_until(lambda: process.stdout.count(" left ") > 0 or "60" in process.stdout, "nobody left")
    process.signal(signal.SIGABRT)
    ends_by(process, signal.SIGABRT)
    assert f"crashed by SIGABRT; what happened last is in {path}\n" in process.stderr
    assert "server_started" not in process.stderr
    with open(path, encoding="ascii") as file:
        assert "server_started" in file.readline()
    assert os.stat(path).st_mode & 0o777 == 0o600


def test_a_link_is_not_followed(start, room):
    victim, path = room.file("victim"), room.file("trace")
    with open(victim, "w", encoding="ascii") as file:
        file.write("kept")
    os.symlink(victim, path)
    process = start("--trace-file", path)
    process.expect(r".*listening on .*")
    process.signal(signal.SIGABRT)
    ends_by(process, signal.SIGABRT)
    with open(victim, encoding="ascii") as file:
        assert file.read() == "kept"
    assert "server_started" in process.stderr


def test_a_crash_of_the_tool_and_its_core(server, room, launch, run_plain):
    server("-l", "4M")
    process = launch(
        "ivshmem", "-t", room.socket, "recv", "--queue", "--keep", "log", cwd=room.path,
        env={"ASAN_OPTIONS": "disable_coredump=0"},
        setup=lambda: resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY,) * 2),
    )
    process.expect("ivshmem: listening under 'log'", "stderr")
    process.signal(signal.SIGABRT)
    ends_by(process, signal.SIGABRT)
    assert "ivshmem: crashed by SIGABRT" in process.stderr
    assert 'channel_listening channel=0 kind=queue name="log"' in process.stderr
    cores = [name for name in os.listdir(room.path) if name.startswith("core")]
    if not cores:
        pytest.skip("cores go elsewhere (/proc/sys/kernel/core_pattern)")
    events = [
        json.loads(line) for line in run_plain("trace", "--json", "--core", os.path.join(room.path, cores[0])).lines()
    ]
    in_order(events, "client_attached", "area_taken", "channel_listening")
    assert {event["thread"] for event in events} == {process.pid}
    assert all(event["time"] is None and event["pid"] is None for event in events)
    dumped = [float(line.split()[0]) for line in process.stderr.split("\n") if "channel_listening" in line]
    assert abs(dumped[0] - next(e["uptime"] for e in events if e["event"] == "channel_listening")) < 0.1


@pytest.mark.parametrize("content", [b"", b"\x7fELF", b"\x7fELF\x02\x01\x01" + b"\xff" * 100, os.urandom(4096)])
def test_a_core_that_is_none(run_plain, room, content):
    path = room.file("core")
    with open(path, "wb") as file:
        file.write(content)
    assert " is no core" in run_plain("trace", "--core", path, status=FAILURE).stderr
    assert "No such file" in run_plain("trace", "--core", room.file("none"), status=FAILURE).stderr


def test_a_crash_of_a_device(plain):
    """Also in the thread that serves the VMM, which is where a guest's accesses are."""
    device = plain()
    device.vmm()
    threads = [int(name) for name in os.listdir(f"/proc/{device.pid}/task")]
    other = [thread for thread in threads if thread != device.pid]
    assert len(other) == 1
    with open(f"/proc/{device.pid}/task/{other[0]}/status", encoding="ascii") as file:
        blocked = int(re.search(r"^SigBlk:\s*(\w+)", file.read(), re.MULTILINE)[1], 16)
    assert all(not blocked >> (number - 1) & 1 for number in CRASHES)
    device.signal(signal.SIGABRT)
    ends_by(device, signal.SIGABRT)
    in_order([{"event": word} for word in device.stderr.split()], "member_joined", "vmm_connected", "vmm_request")


# ---- probes -----------------------------------------------------------------------------------------------


def has_probes():
    with open(wire.program("ivshmem"), "rb") as file:
        return b"stapsdt\0" in file.read()


@pytest.mark.skipif(not has_probes(), reason="there was no sys/sdt.h when this was built")
def test_each_event_is_a_probe(run_plain):
    listed = {json.loads(line)["event"] for line in run_plain("trace", "--list", "--json").lines()}
    probes = set()
    for name in ("ivshmem", "ivshmem-server", "ivshmem-device", "lib/libivshmem.so", "lib/libivshmem-device.so"):
        notes = subprocess.run(
            ["readelf", "--notes", "--wide", wire.program(name)], check=True, capture_output=True, text=True
        ).stdout
        assert set(re.findall(r"Provider: (\S+)", notes)) == {"ivshmem"}
        probes |= set(re.findall(r"Name: (\S+)", notes))
    assert probes == listed

# SPDX-License-Identifier: BSD-2-Clause
"""The demo (make run) as it is, and that it notices when something is wrong."""

import argparse
import json
import os
import re
import select
import signal
import sys
import termios
import time

import pytest

import ivshmem_wire as wire

sys.path.insert(0, os.path.join(wire.ROOT, "demo"))

import stage  # noqa: E402
import transcript  # noqa: E402

pytestmark = pytest.mark.limit(400)

DEMO = os.path.join(wire.ROOT, "demo", "run.py")
LIMIT = 250


@pytest.fixture
def demo(room, image, accel, processes):
    """start(*arguments): runs the demo with its temporary files in the room's folder `tmp`."""
    os.mkdir(room.file("tmp"))

    def start(*arguments, **options):
        process = wire.Process(
            [sys.executable, DEMO, "--build", wire.BUILD, "--run-dir", room.file("run"),
             "--accel", accel.name, "--json", room.file("result.json"), *arguments],
            env={"TMPDIR": room.file("tmp")}, **options)
        processes.append(process)
        return process

    return start


def children(pid):
    """All processes below this one."""
    found = []
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        for child in file.read().split():
            found += [int(child), *children(int(child))]
    return found


def program_of(pid):
    with open(f"/proc/{pid}/comm", encoding="ascii") as file:
        return file.read().strip()


def assert_nothing_left(room, pids):
    def gone(pid):
        try:
            return wire.process_state(pid) == "Z"
        except (FileNotFoundError, ProcessLookupError):
            return True

    wire.wait_until(lambda: all(gone(pid) for pid in pids), "the demo's processes to end")
    wire.wait_until(lambda: not os.listdir(room.file("tmp")), "the demo's temporary files to go")


def test_demo(room, demo):
    """Every interrupt arrives on the right vector and every byte is right, by the demo's own books."""
    process = demo("--pings", "50")
    status = process.wait(LIMIT)
    assert status == 0, process.describe()
    with open(room.file("result.json"), encoding="utf-8") as file:
        result = json.load(file)
    assert result["ok"] and result["problems"] == []
    host, a, b, c = result["peers"]
    assert [peer["id"] for peer in (host, a, b, c)] == [0, 1, 2, 3]
    assert "ivshmem-doorbell" in a["device"] and "ivshmem-doorbell" in b["device"]
    assert "ivshmem-device, vfio-user-pci" in c["device"]
    assert [(peer["back_end"], peer["user"]) for peer in (a, b, c)] == [("kernel", 1000), ("vfio", 0), ("vfio", 0)]

    # What the issue of it all is, counted by hand: vector -> interrupts. Everybody has interrupted everybody.
    assert host["received"] == {"0": 0, "1": 2, "2": 3, "3": 2, "4": 150}
    assert a["received"] == {"0": 2, "1": 0, "2": 1, "3": 1, "4": 150}
    assert b["received"] == {"0": 2, "1": 2, "2": 0, "3": 1, "4": 150}
    assert c["received"] == {"0": 2, "1": 1, "2": 1, "3": 0, "4": 150}
    for guest in (a, b, c):
        assert guest["msix"] == guest["received"]
    assert sum(peer["sent"] for peer in result["peers"]) == 157 + 154 + 155 + 154

    for peer in result["peers"]:
        others = [other["block"] for other in result["peers"] if other is not peer]
        assert sorted(peer["blocks_read"].values()) == sorted(others)
    assert [trip["peer"] for trip in host["round_trips"]] == [1, 2, 3]
    assert [trip["peer"] for trip in a["round_trips"]] == [2, 3]
    assert [trip["peer"] for trip in b["round_trips"]] == [3]
    assert all(trip["count"] == 50 and trip["median_us"] > 0 for peer in (host, a, b)
               for trip in peer["round_trips"])

    # Who uses the device through what is said, and is in the table.
    assert re.search(r"^guest A \| back end: kernel, as uid=1000\(user\) .*\(ivshmem\)", process.stdout, re.MULTILINE), process.stdout
    for guest in "BC":
        assert re.search(rf"^guest {guest} \| back end: vfio, as uid=0 ", process.stdout, re.MULTILINE), process.stdout
    assert re.search(r"^ +guest A +1 +Linux .*, kernel, user 1000 +ivshmem-doorbell of QEMU", process.stdout, re.MULTILINE), process.stdout

    # The second act: pages and commands through the memory.
    second = result["second_act"]
    assert second["ok"] and second["problems"] == []
    assert all(way["request_us"] > 0 and way["rate"] > 0 for way in (second["numbers"]["shared memory"], second["numbers"]["virtio-net"]))
    greeting, = set(re.findall("<h1>Hello from guest A</h1> .*", process.stdout))
    for reader in ("   host", "guest B"):
        assert f"{reader} | {greeting}\n" in process.stdout

    # The transcript is plain text when it goes to a file, and has a line of each party.
    assert "\033" not in process.stdout and process.stderr == ""
    for party in (" server", " device", "   host", "guest A", "guest B", "guest C"):
        assert re.search(f"^{party} \\| ", process.stdout, re.MULTILINE), process.stdout
    for woken, by, vector in (("guest B", "guest A", 1), ("guest C", "guest A", 1), ("guest A", "guest C", 3)):
        lines = iter([line for line in process.stdout.splitlines() if line.startswith(woken)])
        assert any(f"woken by {by} (vector {vector})" in line for line in lines)
        assert f"this is {by} writing into your memory" in next(lines)
    with open(room.file("run/transcript"), encoding="utf-8") as file:
        assert file.read() == process.stdout
    assert_nothing_left(room, [])


def test_demo_notices_what_is_wrong(room, demo, cli):
    """An interrupt too many and a wrong byte, both from outside, make it fail and say what was wrong."""
    process = demo("--pings", "2000")
    path = process.expect(r" server \| listening on (.*)", timeout=LIMIT).group(1).decode()
    process.expect(r"guest A \| up, .*", timeout=LIMIT)
    assert cli("ring", "0:0", path=path).wait() == 0
    assert cli("write", "0x40000", "not what guest A wrote", path=path).wait() == 0
    assert process.wait(LIMIT) == 1
    assert re.search("^FAILED: host: .* 1 interrupts on vector 0 instead of 0$", process.stdout, re.MULTILINE)
    for reader in ("host", "guest B", "guest C"):
        assert f"FAILED: {reader} found other bytes in the memory than guest A wrote\n" in process.stdout
    with open(room.file("result.json"), encoding="utf-8") as file:
        assert not json.load(file)["ok"]


def test_demo_notices_a_dead_device(room, demo):
    """The device of guest C is killed; that is said, instead of waiting for what will not come."""
    process = demo()
    process.expect(r"guest C \| attached .*", timeout=LIMIT)
    device, = (pid for pid in children(process.pid) if program_of(pid) == "ivshmem-device")
    os.kill(device, signal.SIGKILL)
    assert process.wait(LIMIT) == 1
    assert re.search("^FAILED: the device ended while waiting for .*", process.stdout, re.MULTILINE)
    assert_nothing_left(room, [])


def test_demo_names_the_device_and_not_its_guest(room):
    """The end of a guest may be seen before that of the device, which was the reason."""

    class Act(stage.Stage):
        def hear_line(self, source, line):
            pass

        def ended_too_early(self):
            return guest.name if guest.ended else None

        def find_cause(self, what):
            device.type("end\n")
            super().find_cause(what)

    with open(room.file("log"), "w", encoding="utf-8") as log:
        act = Act(argparse.Namespace(timeout=LIMIT), transcript.Transcript(log))
        try:
            device = act.start_program("device", ["head", "-n1"])
            guest = act.start_program("guest C", ["true"])
            guest.may_end = True
            with pytest.raises(stage.DemoFailed, match="^the device ended while waiting for nothing$"):
                act.until(lambda: False, "nothing")
        finally:
            act.stop()


def test_demo_second_act_notices_a_dead_server(room, demo):
    process = demo("--pings", "5")
    process.expect(r"second act: .*", timeout=LIMIT)
    process.expect(r"guest A \| listening under 'agent'.*", timeout=LIMIT)
    server, = (pid for pid in children(process.pid) if program_of(pid) == "ivshmem-server")
    os.kill(server, signal.SIGKILL)
    assert process.wait(LIMIT) == 1
    assert re.search("^FAILED: the server ended while waiting for .*", process.stdout, re.MULTILINE)
    assert_nothing_left(room, [])


def test_demo_out_of_time(room, demo):
    """It says what it waited for, and shows the console of the guests."""
    process = demo("--timeout", "10", "--pings", "1000000")
    assert process.wait(LIMIT) == 1
    assert re.search("^FAILED: not done after 10 s, while waiting for .*", process.stdout, re.MULTILINE)
    assert "the last lines of the console of guest A:" in process.stdout
    assert_nothing_left(room, [])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL],
                         ids=["int", "term", "kill"])
def test_demo_ended(room, demo, number):
    """However it is ended, no process and no file stays behind."""
    process = demo()
    process.expect(r" *host \| peer 3 joined.*", timeout=LIMIT)
    pids = children(process.pid)
    assert len(pids) >= 6
    process.signal(number)
    process.process.wait(LIMIT)
    assert process.process.returncode == (-9 if number == signal.SIGKILL else 130)
    assert_nothing_left(room, pids)


def test_demo_console(room, demo):
    """With --console the guests stay, the terminal is the console of guest A, and ^] ends it all."""
    terminal, theirs = os.openpty()
    before = termios.tcgetattr(theirs)
    process = demo("--console", "--pings", "5", stdin=theirs, stdout=theirs, stderr=theirs)
    seen = bytearray()

    def expect(text):
        deadline = time.monotonic() + LIMIT
        while text.encode() not in seen:
            assert select.select([terminal], [], [], deadline - time.monotonic())[0], seen.decode()
            seen.extend(os.read(terminal, 65536))
        del seen[: seen.index(text.encode()) + len(text)]

    try:
        expect("Every interrupt arrived")
        expect("guest# ")
        os.write(terminal, b"ivshmem info\r")
        expect("back end: kernel")
        expect("guest# ")
        os.write(terminal, b"ivshmem ring 0:1\r")
        expect("interrupt vector 1 count 1")
        os.write(terminal, b"\x1d")
        expect("ending, 0 peers connected")
        assert process.wait(LIMIT) == 0
        assert termios.tcgetattr(theirs) == before
    finally:
        os.close(terminal)
        os.close(theirs)
    assert_nothing_left(room, [])


def test_demo_runs_once(room, demo):
    """Two in the same folder would overwrite each other's logs."""
    first = demo()
    first.expect(r" server \| listening on (.*)", timeout=LIMIT)
    second = demo()
    assert second.wait(LIMIT) == 1
    assert "running already" in second.stderr

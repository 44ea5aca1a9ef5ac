# SPDX-License-Identifier: BSD-2-Clause
"""The command line tool: top, record and plot."""

import fcntl
import json
import os
import re
import select
import signal
import struct
import subprocess
import termios
import time
import xml.etree.ElementTree

import pytest

import ivshmem_wire as wire
from ivshmem_channels import ends, listing
from ivshmem_cli import FAILURE, OK, USAGE, feed
from observer import SUFFIX

SVG = "{http://www.w3.org/2000/svg}"
HAS_CURSES = "no_screen" not in subprocess.run(
    ["nm", "-a", wire.program("ivshmem")], capture_output=True, text=True, check=False
).stdout
needs_curses = pytest.mark.skipif(not HAS_CURSES, reason="this build has no ncurses")


def once(tool, target, *arguments):
    process = tool(target, "top", "--once", "--json", *arguments)
    assert process.wait() == OK, process.describe()
    return json.loads(process.stdout)


@pytest.fixture
def talking(tool, receiver):
    """recv and send, connected, after the first bytes have arrived."""

    def talking(target, name="work", **options):
        process = receiver(target, name, **options)
        sender = tool(target, "send", name, stdin=subprocess.PIPE)
        sender.write("hello\n")
        wire.wait_until(
            lambda: any(c["phase"] == "connected" and c["name"] == name and c["received"] > 0 and c["unread"] == 0
                        for p in listing(tool, target)["participants"] for c in p["channels"]),
            "they talk",
        )
        return process, sender

    return talking


@pytest.fixture
def group(server, room):
    server("-l", "4M", "-n", "2")
    return "unix:" + room.socket


# ---- one sample ----------------------------------------------------------------------------------------


def test_once_tells_what_channels_tells(tool, talking, target):
    talking(target)
    shown, known = once(tool, target), listing(tool, target)
    assert shown["version"] == 1 and shown["target"] == target and abs(shown["time"] - time.time()) < 60
    assert shown["areas"] == known["areas"] == 8 and shown["size"] == 4 << 20
    assert shown["lost"] is None and shown["problem"] is None
    assert len(shown["participants"]) == 2
    for mine, other in zip(shown["participants"], known["participants"], strict=True):
        assert {key: mine[key] for key in other} == other


def test_once_knows_processes_and_peers(tool, talking, group):
    process, sender = talking(group)
    shown = once(tool, group)
    assert shown["backend"] == "observe" and shown["id"] is None and shown["vectors"] == 2
    rings = [peer.pop("rings") for peer in shown["peers"]]
    assert shown["peers"] == [{"id": 0, "vectors": 2}, {"id": 1, "vectors": 2}] and [len(each) for each in rings] == [2, 2]
    for participant, pid in zip(shown["participants"], (process.pid, sender.pid), strict=True):
        assert participant["pid"] == pid and participant["here"]
        assert participant["program"] == "ivshmem"
        assert abs(participant["started"] - time.time()) < 120 * wire.FACTOR
        assert participant["user"] in ("root", str(os.geteuid())) or os.geteuid() != 0


def test_rings_that_wait_are_seen_and_stay(tool, group):
    peer = tool(group, "monitor")
    wire.wait_until(lambda: "attached" in peer.stdout, "the peer is there")
    # One that does not take them.
    peer.signal(signal.SIGSTOP)
    ends(tool(group, "ring", "0:1", "--count", "11"), OK)
    for _ in range(2):
        shown = once(tool, group)
        assert shown["peers"] == [{"id": 0, "vectors": 2, "rings": [0, 11]}]
    text = tool(group, "top", "--once")
    assert text.wait() == OK and re.search(r"^ +0 +2 .* 1:11 ", text.stdout, re.MULTILINE), text.stdout
    peer.signal(signal.SIGCONT)
    wire.wait_until(lambda: once(tool, group)["peers"][0]["rings"] == [0, 0], "the peer takes them")


def test_those_elsewhere_are_told_apart(tool, receiver, file_target):
    process = receiver(file_target, "x", "--keep")
    # As if it were of another kernel.
    ends(tool(file_target, "write", str(4096 + 16), "another"), OK)
    (participant,) = once(tool, file_target)["participants"]
    assert participant["pid"] == process.pid and not participant["here"]
    assert participant["user"] is participant["program"] is participant["started"] is None


def test_once_takes_no_id_and_writes_nothing(tool, talking, group, run):
    talking(group)
    before = tool(group, "read", "0", "4M")
    assert before.wait() == OK
    once(tool, group, "--interval", "0.1")
    after = tool(group, "read", "0", "4M")
    assert after.wait() == OK
    # Only the two who talk write, and they have nothing to say; they look after their areas, though.
    header = 4096
    assert before.output["stdout"][:header] == after.output["stdout"][:header]
    assert json.loads(run("peers", "--json").stdout)["peers"] == [{"id": 0, "vectors": 2}, {"id": 1, "vectors": 2}]


def test_memory_that_nobody_has_formatted_stays_blank(tool, target):
    assert once(tool, target)["areas"] == 0
    process = tool(target, "read", "0", "4K")
    assert process.wait() == OK and bytes(process.output["stdout"]) == bytes(4096)


def test_reading_only_is_enough(tool, receiver, file_target):
    receiver(file_target, "x", "--keep")
    shown = once(tool, file_target + ",ro")
    assert shown["peers"] is None and shown["participants"][0]["channels"][0]["name"] == "x"


def test_rates_of_known_traffic(tool, talking, group):
    process, sender = talking(group)
    shown = tool(group, "top", "--once", "--json", "--interval", "2")
    wire.wait_until(lambda: maps_read_only(shown), "it has attached")
    time.sleep(0.2)
    sender.write("x" * 1_000_000)
    wire.wait_until(lambda: len(process.output["stdout"]) == 1_000_006, "all is received")
    assert shown.wait() == OK, shown.describe()
    receiving, sending = (p["channels"] for p in json.loads(shown.stdout)["participants"])
    (out,) = [c for c in sending if c["phase"] == "connected"]
    (back,) = [c for c in receiving if c["phase"] == "connected"]
    # Headers of records, and what is left out at the end of the ring, add something.
    assert 450_000 <= out["sent_per_second"] <= 600_000
    assert out["sent_per_second"] == back["received_per_second"]
    assert back["sent_per_second"] == out["received_per_second"] == 0
    assert out["waits"] == 0


def maps_read_only(process):
    """It has attached, and cannot write to the memory."""
    with open(f"/proc/{process.pid}/maps") as file:
        return re.search(r" r--s .*memfd:", file.read())


def test_what_waits_has_waited(tool, talking, group):
    process, sender = talking(group)
    process.signal(signal.SIGSTOP)
    sender.write("y" * 5000)
    wire.wait_until(lambda: max(c["unread"] for p in once(tool, group)["participants"] for c in p["channels"]) > 5000,
                    "it lies in the ring")
    (out,) = [c for p in once(tool, group, "-i", "0.5")["participants"] for c in p["channels"] if c["unread"] > 0]
    assert out["waits"] >= 0.5 and out["sent_per_second"] == 0
    process.signal(signal.SIGCONT)


def test_text(tool, talking, group):
    process, sender = talking(group)
    shown = tool(group, "top", "--once", "-i", "0.1")
    assert shown.wait() == OK and shown.stderr == ""
    lines = shown.lines()
    assert lines[0].startswith(f"ivshmem top  {group} ") and lines[0].endswith("every 0.1 s")
    assert "2 peers, 2 of 8 areas taken, 4 MiB, observing" in lines[1]
    assert re.search(rf"^ +0 +2 +0 ivshmem recv +{process.pid} ", shown.stdout, re.MULTILINE)
    assert re.search(rf"^ +1 +2 +1 ivshmem send +{sender.pid} ", shown.stdout, re.MULTILINE)
    assert re.search(r"^work +stream +1 ivshmem send +0 ivshmem recv +0 +0%", shown.stdout, re.MULTILINE)
    # The other direction has carried nothing.
    assert not re.search(r"0 ivshmem recv +1 ivshmem send", shown.stdout)


def test_something_else_in_the_memory(tool, file_target):
    ends(tool(file_target, "write", "0", "something else entirely"), OK)
    ends(tool(file_target, "top", "--once"), FAILURE, "there is something else in the shared memory")


def test_arguments_that_make_no_sense(tool, room, file_target):
    for arguments, word in (
        (["top", "x"], "x"),
        (["top", "--once", "--interval", "0.05"], "--interval"),
        (["top", "--interval", "0"], "--interval"),
        (["top", "--json"], "--once"),
        (["record"], "FILE"),
        (["record", "/dev/null", "--interval", "0.001"], "--interval"),
        (["record", "/dev/null", "--pings", "1001"], "--pings"),
        (["record", "/dev/null", "--ping", ""], "--ping"),
        (["record", "/dev/null", "--ping", "x" * 41], "bench --serve"),
        (["plot"], "FILE"),
        (["plot", "x", "--json"], "picture"),
    ):
        ends(tool(file_target, *arguments), USAGE, word, "--help")
    ends(tool(file_target, "top"), FAILURE, "--once")
    ends(tool("file:" + room.file("nothing"), "top", "--once"), FAILURE, "nothing")


# ---- the live view -------------------------------------------------------------------------------------


class Screen:
    """As much of a vt100 as programs with ncurses use: text, where it stands."""

    SEQUENCE = re.compile(rb"\x1b\[([?\d;]*)([A-Za-z])|\x1b([()][A-Z0-9]|[=>78MDHE])|([\x20-\x7e]+)|([\x00-\x1a\x1c-\x1f])")

    def __init__(self, rows, columns):
        self.size(rows, columns)
        self.pending = b""

    def size(self, rows, columns):
        self.rows, self.columns = rows, columns
        self.cells = [[" "] * columns for _ in range(rows)]
        self.row = self.column = 0
        self.top, self.bottom = 0, rows - 1

    def text(self):
        return "\n".join("".join(row).rstrip() for row in self.cells)

    def feed(self, data):
        self.pending += data
        while match := self.SEQUENCE.match(self.pending):
            self.pending = self.pending[match.end() :]
            numbers, command, escape, text, control = match.groups()
            if text:
                self.put(text.decode())
            elif control or escape == b"M":
                self.control(control or escape)
            elif command:
                self.command(command.decode(), [int(n or 0) for n in numbers.lstrip(b"?").split(b";")])

    def put(self, text):
        for c in text:
            if self.row < self.rows and self.column < self.columns:
                self.cells[self.row][self.column] = c
            self.column += 1

    def control(self, c):
        if c == b"\r":
            self.column = 0
        elif c == b"\n" and self.row == self.bottom:
            self.cells.insert(self.bottom + 1, [" "] * self.columns)
            del self.cells[self.top]
        elif c == b"M" and self.row == self.top:
            self.cells.insert(self.top, [" "] * self.columns)
            del self.cells[self.bottom + 1]
        elif c in (b"\n", b"M"):
            self.row += 1 if c == b"\n" else -1
        elif c == b"\b":
            self.column -= 1
        elif c == b"\t":
            self.column = self.column // 8 * 8 + 8

    def command(self, command, numbers):
        n = max(numbers[0], 1)
        if command == "H":
            self.row, self.column = n - 1, max((numbers + [1])[1], 1) - 1
        elif command == "r":
            self.top, self.bottom = n - 1, (numbers + [0])[1] - 1 if (numbers + [0])[1] else self.rows - 1
            self.row = self.column = 0
        elif command in "ABCD":
            self.row += {"A": -n, "B": n}.get(command, 0)
            self.column += {"C": n, "D": -n}.get(command, 0)
        elif command == "J":
            self.size(self.rows, self.columns) if numbers[0] == 2 else self.erase(self.row, self.column, self.rows)
        elif command == "K":
            columns = range(self.column + 1) if numbers[0] == 1 else range(self.column, self.columns)
            for column in columns:
                self.cells[self.row][column] = " "

    def erase(self, row, column, end):
        for y in range(row, end):
            self.cells[y][column if y == row else 0 :] = [" "] * (self.columns - (column if y == row else 0))


class Live:
    """top on a terminal of this size."""

    def __init__(self, terminal, tool, target, *arguments, rows=24, columns=100):
        self.terminal = terminal
        self.screen = Screen(rows, columns)
        self.set_size()
        self.before = termios.tcgetattr(terminal.process_end)
        self.process = tool(
            target, "top", "--interval", "0.2", *arguments, stdin=terminal.process_end, stdout=terminal.process_end,
            env={"TERM": "vt100", "LC_ALL": "C"},
        )

    def set_size(self):
        size = struct.pack("HHHH", self.screen.rows, self.screen.columns, 0, 0)
        fcntl.ioctl(self.terminal.process_end, termios.TIOCSWINSZ, size)

    def resize(self, rows, columns):
        """A terminal that is not the controlling one sends no signal."""
        self.screen.size(rows, columns)
        self.set_size()
        self.process.signal(signal.SIGWINCH)

    def expect(self, pattern, there=True):
        """Wait until this is on the screen, or is not."""
        end = time.monotonic() + wire.TIMEOUT
        while bool(re.search(pattern, self.screen.text(), re.MULTILINE)) != there:
            assert time.monotonic() < end, f"{pattern}\n{self.screen.text()}\n{self.process.describe()}"
            if select.select([self.terminal.master], [], [], 0.1)[0]:
                self.screen.feed(os.read(self.terminal.master, 65536))
        return self

    def type(self, keys):
        self.terminal.type(keys)
        return self

    def ends(self, status=OK):
        assert self.process.wait() == status, self.process.describe()
        assert termios.tcgetattr(self.terminal.process_end) == self.before, "the terminal is not as it was"


@pytest.fixture
def live(terminal, tool):
    return lambda *arguments, **options: Live(terminal, tool, *arguments, **options)


@needs_curses
def test_live_view(talking, group, live):
    process, _ = talking(group)
    view = live(group)
    view.expect(rf"^ivshmem top  {group} +.*every 0.2 s$")
    view.expect(rf"^ +0 +2 +0 ivshmem recv +{process.pid} ")
    view.expect(r"^work +stream 1 ivshmem send +0 ivshmem recv ").expect(r"^q quit")
    view.type("h").expect("WAITS +for how long").type("x").expect("^work")
    view.type("p").expect("PAUSED").type(" ").expect("every 0.2 s")
    view.type("+").expect("every 0.5 s").type("--").expect("every 0.1 s").type("-").expect("every 0.1 s")
    view.expect(r"^work +stream 0 ivshmem recv +1 ivshmem send", there=False)
    view.type("i").expect(r"^work +stream 0 ivshmem recv +1 ivshmem send")
    for key, title in (("n", r"CHANNEL\*"), ("u", r"UNREAD\*"), ("w", r"WAITS\*"), ("a", r"FROM\*"), ("r", r"BYTES/S\*")):
        view.type(key).expect(title)
    view.type("\x1b[B\x1b[A\x1bOB\x0c").expect("^work")
    view.type("q").ends()


@needs_curses
def test_sizes(talking, group, live):
    talking(group)
    view = live(group, rows=24, columns=80)
    view.expect("^q quit")
    for rows, columns in ((10, 40), (50, 200), (3, 20), (1, 1), (24, 80)):
        view.resize(rows, columns)
        if rows > 3:
            view.expect("^work").expect("^q quit")
    view.type("q").ends()


@needs_curses
def test_events(tool, receiver, talking, group, live):
    process, sender = talking(group)
    view = live(group, rows=40).expect("^work")
    another = receiver(group, "another", "--keep")
    view.expect(rf'"ivshmem recv" came \(area 2, pid {another.pid}\)').expect(r"peer 2 joined \(2 vectors\)")
    another.finish()
    view.expect(rf'"ivshmem recv" left \(area 2, pid {another.pid}\)').expect("peer 2 left")
    sender.signal(signal.SIGKILL)
    sender.wait()
    view.expect(rf'"ivshmem send" died \(area 1, pid {sender.pid}\)').expect("peer 1 left")
    process.wait()
    view.type("q").ends()


@needs_curses
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_give_the_terminal_back(group, live, number):
    view = live(group).expect("^q quit")
    view.process.signal(number)
    view.ends()


@needs_curses
def test_server_that_is_lost_and_comes_again(server, room, live):
    srv = server("-l", "4M")
    view = live("unix:" + room.socket).expect("^q quit")
    srv.finish()
    view.expect("the server is lost: ").expect("^[0-9:]+ +lost: ")
    server("-l", "4M")
    view.expect("the server is lost: ", there=False).expect("attached to unix:")
    view.type("q").ends()


@needs_curses
def test_memory_that_vanishes_and_comes_again(receiver, file_target, live):
    path = file_target.removeprefix("file:")
    process = receiver(file_target, "x", "--keep")
    view = live(file_target).expect("^x +stream")
    os.truncate(path, 0)
    process.wait()
    view.expect("was truncated while in use").expect("^x +stream", there=False)
    os.truncate(path, 4 << 20)
    view.expect("truncated", there=False).expect("no areas")
    view.type("q").ends()


@needs_curses
def test_names_cannot_command_the_terminal(tool, file_target, live):
    """A process may call itself what it likes."""
    link = file_target.removeprefix("file:") + "-program"
    os.symlink(wire.program("ivshmem"), link + "\x1b[7m")
    process = subprocess.Popen([link + "\x1b[7m", "--target", file_target, "recv", "x"], stderr=subprocess.DEVNULL)
    try:
        view = live(file_target).expect(r"-program\?\[7m|\?\[7m|^x +stream")
        assert "\x1b[7m" not in view.screen.text()
        view.type("q").ends()
    finally:
        process.kill()
        process.wait()


@needs_curses
def test_terminals_that_nobody_describes(tool, terminal, file_target):
    for name, word in (("", "TERM"), ("no-such-terminal", "no-such-terminal")):
        process = tool(file_target, "top", stdin=terminal.process_end, stdout=terminal.process_end, env={"TERM": name})
        ends(process, FAILURE, word, "--once")


def test_without_observers_it_is_a_peer(group, room, tool):
    os.unlink(room.socket + SUFFIX)
    process = tool(group, "top", "--once", "--json")
    assert process.wait() == OK, process.describe()
    assert json.loads(process.stdout)["id"] == 0 and "no socket for observers" in process.stderr


# ---- record --------------------------------------------------------------------------------------------


def lines_of(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


@pytest.fixture
def recording(room):
    return room.file("recording")


def check_recording(lines):
    """It is as the manual says; returns the samples."""
    assert lines[0]["ivshmem_recording"] == 1 and set(lines[0]) == {"ivshmem_recording", "date", "interval", "target", "size"}
    known = set()
    for line in lines[1:]:
        assert line["t"] >= 0
        if "channel" in line:
            assert line["channel"] not in known
            known.add(line["channel"])
        for row in line.get("sample", []):
            assert row[0] in known and len(row) == 6
    samples = [line for line in lines if "sample" in line]
    assert samples == sorted(samples, key=lambda line: line["t"])
    return samples


def test_record(tool, talking, group, recording):
    process, sender = talking(group)
    recorder = tool(group, "record", recording, "--interval", "0.05")
    wire.wait_until(lambda: os.path.exists(recording) and len(open(recording).readlines()) > 4, "a few samples")
    sender.write("z" * 500_000)
    wire.wait_until(lambda: len(process.output["stdout"]) == 500_006, "all is received")
    now = len(open(recording).readlines())
    wire.wait_until(lambda: len(open(recording).readlines()) > now + 2, "the samples after that")
    sender.signal(signal.SIGKILL)
    sender.wait()
    wire.wait_until(lambda: "died" in open(recording).read(), "the death")
    recorder.signal(signal.SIGINT)
    assert recorder.wait() == OK and f"samples in {recording}" in recorder.stderr, recorder.describe()
    lines = lines_of(recording)
    samples = check_recording(lines)
    # The other direction is described, too, if nothing had gone through any of them.
    channel = [line for line in lines if "channel" in line and line["from"] == "ivshmem send"][0]
    assert (channel["name"], channel["kind"], channel["from"], channel["to"]) == (
        "work", "stream", "ivshmem send", "ivshmem recv",
    )
    # What went through is what the rates say.
    total, before = 0, None
    for sample in samples:
        for row in sample["sample"]:
            if row[1] is not None:
                total += row[1] * (sample["t"] - before)
        before = sample["t"]
    assert 490_000 <= total <= 600_000
    (death,) = [line for line in lines if line.get("event") == "died"]
    assert death["text"] == f'"ivshmem send" died (area 1, pid {sender.pid})'


def test_a_recorder_that_is_killed_loses_a_line_at_most(tool, talking, group, recording):
    talking(group)
    recorder = tool(group, "record", recording, "--interval", "0.01")
    wire.wait_until(lambda: os.path.exists(recording) and len(open(recording).readlines()) > 20, "many samples")
    recorder.signal(signal.SIGKILL)
    recorder.wait()
    with open(recording, "rb") as file:
        data = file.read()
    whole = data[: data.rfind(b"\n") + 1]
    check_recording([json.loads(line) for line in whole.splitlines()])
    # As if it had been killed within a line.
    with open(recording, "wb") as file:
        file.write(whole[:-10])
    process = tool(group, "plot", recording, "-o", recording + ".svg")
    ends(process, OK, "the last line of", "left out")
    xml.etree.ElementTree.parse(recording + ".svg")


def test_record_for_a_time(tool, file_target):
    process = tool(file_target, "record", "-", "--duration", "0.5", "--interval", "0.1")
    assert process.wait() == OK and process.stderr == ""
    lines = [json.loads(line) for line in process.lines()]
    samples = check_recording(lines)
    assert 2 <= len(samples) <= 6 and samples[-1]["t"] >= 0.5
    assert lines[0]["interval"] == 0.1 and lines[0]["target"] == file_target


def test_record_round_trips(tool, group, recording):
    served = tool(group, "bench", "--serve", "speed")
    served.expect("ivshmem: serving 'speed'", "stderr")
    recorder = tool(group, "record", recording, "--interval", "0.1", "--ping", "speed", "--pings", "5")
    wire.wait_until(lambda: os.path.exists(recording) and open(recording).read().count('"ping"') > 2, "round trips")
    served.finish()
    wire.wait_until(lambda: "no more round trips" in open(recording).read(), "it says that they have ended")
    recorder.signal(signal.SIGTERM)
    assert recorder.wait() == OK, recorder.describe()
    lines = lines_of(recording)
    check_recording(lines)
    pings = [line for line in lines if "ping" in line]
    assert all(line["ping"] == "speed" and len(line["us"]) <= 5 and min(line["us"]) > 0 for line in pings)
    picture = plot(tool, recording)
    times = sorted(us for line in pings for us in line["us"])
    (title,) = [text for text in texts(picture) if "round trips to speed" in text]
    assert title.startswith(f"{len(times)} round trips to speed: p50 ")


def test_record_where_nothing_can_be_written(tool, file_target, room):
    ends(tool(file_target, "record", room.file("no/such/folder")), FAILURE, "cannot write to")
    ends(tool(file_target, "record", "/dev/full", "-i", "0.01"), FAILURE, "cannot write to '/dev/full': No space left")


def test_progress_on_a_terminal(tool, file_target, recording, terminal):
    process = tool(file_target, "record", recording, "--interval", "0.1", stderr=terminal.process_end)
    terminal.expect(b" samples")
    process.signal(signal.SIGINT)
    assert process.wait() == OK
    assert b"samples in" in terminal.rest()


# ---- plot ----------------------------------------------------------------------------------------------


def plot(tool, path, *arguments):
    process = tool("shm:none", "plot", path, *arguments)
    assert process.wait() == OK and process.stderr == "", process.describe()
    return xml.etree.ElementTree.fromstring(process.stdout)


def texts(picture):
    return ["".join(text.itertext()) for text in picture.iter(SVG + "text")]


def test_plot_has_the_series(tool, talking, group, recording):
    for name in ("first", "<second>"):
        _, sender = talking(group, name)
        sender.write("x" * 100_000)
    recorder = tool(group, "record", recording, "--interval", "0.02", "--duration", "0.5", "--quiet")
    ends(recorder, OK)
    picture = plot(tool, recording, "--title", 'a "title" & more')
    shown = texts(picture)
    for text in ('a "title" & more', "first (stream, ivshmem send \u2192 ivshmem recv)", "bytes received",
                 "<second> (stream, ivshmem send \u2192 ivshmem recv)", "fill of the rings"):
        assert text in shown
    # A line in the table, and one in each of two panels at least.
    for number in range(2):
        assert len([line for line in picture.iter() if f"line c{number}" == line.get("class")]) >= 3


def test_plot_of_nothing(tool, file_target, recording):
    ends(tool(file_target, "record", recording, "-d", "0.1", "--quiet"), OK)
    assert "nothing went through channels" in texts(plot(tool, recording))


def test_plot_through_pipes(tool, file_target):
    recorded = tool(file_target, "record", "-", "--duration", "0.1")
    assert recorded.wait() == OK
    fd = feed(bytes(recorded.output["stdout"]))
    process = tool(file_target, "plot", "-", stdin=fd)
    os.close(fd)
    assert process.wait() == OK
    xml.etree.ElementTree.fromstring(process.stdout)


@pytest.mark.parametrize(
    "data, words",
    [
        (b"", "it is empty"),
        (b"\x7fELF" + bytes(1000), "line 1: this is no recording"),
        (b"{}\n", "line 1: this is no recording"),
        (b'{"ivshmem_recording":9}\n', "version 9"),
        (b'{"ivshmem_recording":1}\ngarbage\n', "line 2: this is not a JSON object"),
        (b'{"ivshmem_recording":1}\n{"t":0,"sample":[[1,2,3,4,5,6]]}\n', "line 2: a channel in a sample was not described"),
        (b'{"ivshmem_recording":1}\n' + b" " * 2_000_000, "line 2: this line is longer"),
    ],
    ids=["empty", "binary", "object", "version", "garbage", "unknown channel", "long line"],
)
def test_garbage_is_refused(tool, recording, data, words):
    with open(recording, "wb") as file:
        file.write(data)
    ends(tool("shm:none", "plot", recording, "-o", recording + ".svg"), FAILURE, f"cannot plot '{recording}': ", words)
    assert not os.path.exists(recording + ".svg")


def test_plot_where_nothing_can_be_read_or_written(tool, room, recording, file_target):
    ends(tool("shm:none", "plot", recording), FAILURE, "cannot open")
    ends(tool("shm:none", "plot", room.file("")), FAILURE, "cannot plot")
    ends(tool(file_target, "record", recording, "-d", "0.1", "--quiet"), OK)
    ends(tool("shm:none", "plot", recording, "-o", room.file("no/folder")), FAILURE, "cannot write to")
    ends(tool("shm:none", "plot", recording, "-o", "/dev/full"), FAILURE, "cannot write to '/dev/full': No space left")

# SPDX-License-Identifier: BSD-2-Clause
"""The command line tool: channels, send, recv and format."""

import hashlib
import json
import mmap
import os
import select
import signal
import subprocess
import time

import pytest

import ivshmem_wire as wire
from ivshmem_channels import ends, listing, make_memory
from ivshmem_cli import FAILURE, OK, TIMEOUT, USAGE, feed

MANY = wire.sized(8 << 20, 256 << 20)
NOBODY = "nobody listens under the name"


@pytest.fixture
def under_way(tool, receiver):
    """recv that listens, and send, whose first line has arrived."""

    def under_way(target, name, line, *arguments):
        process = receiver(target, name, *arguments)
        sender = tool(target, "send", name, stdin=subprocess.PIPE)
        sender.write(line + "\n")
        process.expect(line)
        return process, sender

    return under_way


def send(tool, target, name, data, *arguments, status=OK):
    fd = feed(data)
    process = tool(target, "send", name, *arguments, stdin=fd)
    os.close(fd)
    assert process.wait() == status, process.describe()
    return process


def channels(tool, target):
    """All channels that there are, as (name of the participant, kind, name, phase)."""
    return sorted(
        (participant["name"], channel["kind"], channel["name"], channel["phase"])
        for participant in listing(tool, target)["participants"]
        for channel in participant["channels"]
    )


# ---- streams -------------------------------------------------------------------------------------------


def test_many_bytes(tool, receiver, target):
    data = os.urandom(MANY)
    process = receiver(target, "bytes")
    sender = send(tool, target, "bytes", data, "--json")
    assert json.loads(sender.stdout) == {"name": "bytes", "bytes": len(data)}
    assert process.wait() == OK, process.describe()
    assert hashlib.sha256(process.output["stdout"]).digest() == hashlib.sha256(data).digest()
    assert listing(tool, target)["participants"] == []


@pytest.mark.parametrize("size", ["256", "1000", "128K"])
def test_rings_of_all_sizes(tool, receiver, file_target, size):
    data = os.urandom(50000)
    process = receiver(file_target, "bytes")
    send(tool, file_target, "bytes", data, "--size", size)
    assert process.wait() == OK and bytes(process.output["stdout"]) == data


def test_nothing_at_all(tool, receiver, target):
    for more in ([], ["--queue"]):
        process = receiver(target, "nothing", *more)
        send(tool, target, "nothing", b"", *more)
        assert process.wait() == OK and process.stdout == ""


def test_sender_first(tool, target):
    sender = tool(target, "send", "late", stdin=subprocess.PIPE)
    sender.expect(f"ivshmem: waiting: {NOBODY} 'late'", "stderr")
    process = tool(target, "recv", "late", "--quiet")
    sender.write("hello")
    sender.process.stdin.close()
    ends(sender, OK)
    ends(process, OK)
    assert process.stdout == "hello" and process.stderr == ""


def test_what_was_sent_arrives_at_once(tool, receiver, target):
    process = receiver(target, "live")
    sender = tool(target, "send", "live", stdin=subprocess.PIPE)
    for line in ("one", "two"):
        sender.write(line + "\n")
        process.expect(line)
    (end,) = [x for x in listing(tool, target)["participants"] if x["name"] == "ivshmem recv"]
    (channel,) = end["channels"]
    assert channel["phase"] == "connected" and channel["kind"] == "stream" and channel["received"] > 0
    assert end["pid"] == process.pid and channel["peer_area"] != end["area"]
    sender.process.stdin.close()
    ends(sender, OK)
    ends(process, OK)


def test_two_senders(tool, under_way, target):
    """With --keep, the second one waits until the first one is done."""
    process, first = under_way(target, "both", "first", "--keep")
    fd = feed(b"second\n" * 100000)
    second = tool(target, "send", "both", stdin=fd)
    os.close(fd)
    wire.wait_until(
        lambda: ("ivshmem send", "stream", "both", "connecting") in channels(tool, target), "the second sender"
    )
    first.write("still first\n")
    process.expect("still first")
    assert second.running() and "second" not in process.stdout
    first.process.stdin.close()
    ends(first, OK)
    ends(second, OK)
    process.finish(signal.SIGINT)
    assert process.stdout == "first\nstill first\n" + "second\n" * 100000


def test_without_keep_there_is_one_sender(tool, under_way, target):
    process, first = under_way(target, "one", "first")
    ends(tool(target, "send", "one", "--timeout", "0.1"), TIMEOUT, NOBODY)
    first.process.stdin.close()
    ends(first, OK)
    ends(process, OK)


# ---- queues --------------------------------------------------------------------------------------------


def test_records(tool, receiver, target):
    lines = b"one\n\n" + bytes(range(1, 10)) + b"\xff\nlast without newline"
    process = receiver(target, "records", "--queue")
    sender = send(tool, target, "records", lines, "--queue", "--json")
    assert json.loads(sender.stdout) == {"name": "records", "bytes": len(lines) - 3, "records": 4}
    assert process.wait() == OK and bytes(process.output["stdout"]) == lines + b"\n"


def test_records_that_end_with_nul(tool, receiver, file_target):
    data = b"two\nlines\0\0x\0"
    process = receiver(file_target, "nul", "--queue", "-0")
    send(tool, file_target, "nul", data, "--queue", "--nul")
    assert process.wait() == OK and bytes(process.output["stdout"]) == data


def test_records_as_json(tool, receiver, file_target):
    records = [b"", b"plain", b"a\nb", b"\xff\xfe\"\\", bytes(range(1, 256)), os.urandom(5000).replace(b"\0", b"x")]
    process = receiver(file_target, "json", "--queue", "--json")
    send(tool, file_target, "json", b"".join(record + b"\0" for record in records), "--queue", "-0")
    assert process.wait() == OK
    # Not lines(): there are more characters that end a line than newline.
    got = [json.loads(line) for line in process.output["stdout"].splitlines()]
    assert [bytes.fromhex(record["hex"]) for record in got] == records
    assert [record["length"] for record in got] == [len(record) for record in records]
    assert got[1]["text"] == "plain" and got[3]["text"] == '\ufffd\ufffd"\\'


def test_many_records(tool, receiver, target):
    data = b"".join(b"%d %s\n" % (i, b"x" * (i * 7919 % 3000)) for i in range(wire.sized(3000, 100000)))
    process = receiver(target, "records", "--queue")
    send(tool, target, "records", data, "--queue")
    assert process.wait() == OK and bytes(process.output["stdout"]) == data


def test_record_that_is_too_long(tool, receiver, file_target):
    process = receiver(file_target, "long", "--queue")
    data = b"short\n" + b"x" * 2049
    sender = send(tool, file_target, "long", data, "--queue", "--size", "4K", status=FAILURE)
    assert "record 2 is too long" in sender.stderr and "2032 bytes" in sender.stderr and "--size" in sender.stderr
    assert process.wait() in (OK, FAILURE) and process.stdout == "short\n"
    process = receiver(file_target, "long", "--queue")
    send(tool, file_target, "long", b"y" * 2032 + b"\n", "--queue", "--size", "4K")
    assert process.wait() == OK and process.stdout == "y" * 2032 + "\n"


def test_records_on_a_terminal(tool, receiver, file_target, terminal):
    process = receiver(file_target, "log", "--queue", stdout=terminal.process_end)
    send(tool, file_target, "log", b"\x1b[31mred\n", "--queue")
    assert process.wait() == OK
    assert terminal.rest() == b"\\x1b[31mred\r\n"


def test_progress_on_a_terminal(tool, receiver, file_target, terminal):
    """stdin that is slow makes it take long."""
    process = receiver(file_target, "slow")
    sender = tool(file_target, "send", "slow", stdin=subprocess.PIPE, stderr=terminal.process_end)
    while not select.select([terminal.master], [], [], 0.1)[0]:
        sender.write("x" * 1000)
    terminal.expect(b"sent 0.0 MiB, ")
    sender.process.stdin.close()
    ends(sender, OK)
    ends(process, OK)
    assert terminal.rest().endswith(b"\r\x1b[K")


# ---- what goes wrong -----------------------------------------------------------------------------------


def test_sender_dies(tool, under_way, target):
    process, sender = under_way(target, "victim", "the last words")
    sender.signal(signal.SIGKILL)
    sender.wait()
    ends(process, FAILURE, "the other end of 'victim' died or gave up: ivshmem send")
    assert process.stdout == "the last words\n"
    assert listing(tool, target)["participants"] == []


def test_sender_that_dies_does_not_end_keep(tool, under_way, target):
    process, sender = under_way(target, "victim", "the last words", "--keep")
    sender.signal(signal.SIGTERM)
    sender.wait()
    process.expect("ivshmem: the other end of 'victim' died or gave up: ivshmem send", "stderr")
    send(tool, target, "victim", b"another\n")
    process.expect("another")
    process.finish()


def test_receiver_dies_while_we_wait_for_stdin(under_way, target):
    process, sender = under_way(target, "victim", "hello")
    process.signal(signal.SIGKILL)
    process.wait()
    ends(sender, FAILURE, "the other end of 'victim' died or gave up: ivshmem recv")


def test_receiver_dies_while_we_wait_for_room(tool, receiver, target):
    reader, writer = os.pipe()
    process = receiver(target, "victim", stdout=writer)
    fd = feed(bytes(3 << 20))
    sender = tool(target, "send", "victim", stdin=fd)
    for end in (fd, writer):
        os.close(end)
    wire.wait_until(lambda: len(os.read(reader, 1)) == 1, "the receiver receives")
    process.signal(signal.SIGKILL)
    process.wait()
    ends(sender, FAILURE, "the other end of 'victim' died or gave up: ivshmem recv")
    os.close(reader)


def test_receiver_dies_before_it_accepts(tool, receiver, target):
    process = receiver(target, "victim")
    process.signal(signal.SIGSTOP)
    sender = tool(target, "send", "victim", stdin=subprocess.PIPE)
    wire.wait_until(
        lambda: ("ivshmem send", "stream", "victim", "connecting") in channels(tool, target), "the sender"
    )
    process.signal(signal.SIGKILL)
    process.wait()
    ends(sender, FAILURE, "'victim' did not accept us")


def test_receiver_ends_early(under_way, target):
    process, sender = under_way(target, "early", "hello")
    process.signal(signal.SIGINT)
    ends(process, FAILURE, "interrupted: the sender of 'early' was not done")
    ends(sender, FAILURE, "the receiver of 'early' ended before it had received everything")


def test_sender_that_writes_nonsense(tool, under_way, file_target):
    process, sender = under_way(file_target, "nonsense", "hello")
    area = 127 * 4096  # of 8 in 4 MiB
    (entry,) = [x for x in listing(tool, file_target)["participants"] if x["pid"] == sender.pid]
    start = 4096 + entry["area"] * area
    heap = 384 + 127 * 512  # behind the identity, the notices and the entries; docs/channels.md
    with open(file_target.removeprefix("file:"), "r+b") as file:
        file.seek(start + heap)
        file.write(b"\x55" * (area - heap))
    ends(process, FAILURE, "what the other end of 'nonsense' wrote into the memory makes no sense: ivshmem send")
    assert process.stdout == "hello\n"
    ends(sender, FAILURE, "the other end of 'nonsense' died or gave up: ivshmem recv")


def test_interrupted_without_a_sender(receiver, file_target):
    process = receiver(file_target, "nothing")
    process.signal(signal.SIGTERM)
    ends(process, FAILURE, "interrupted: nobody sent to 'nothing'")
    receiver(file_target, "nothing", "--keep").finish()


def test_reader_of_the_output_ends(tool, receiver, file_target):
    reader, writer = os.pipe()
    process = receiver(file_target, "pipe", stdout=writer)
    os.close(writer)
    os.close(reader)
    sender = tool(file_target, "send", "pipe", stdin=subprocess.PIPE)
    sender.write("hello\n")
    ends(process, FAILURE)
    ends(sender, FAILURE, "the receiver of 'pipe' ended")


def test_nobody_listens(tool, target):
    process = tool(target, "send", "nobody", "--timeout", "0.2", "--quiet")
    ends(process, TIMEOUT, f"timed out: {NOBODY} 'nobody'")
    assert len(process.lines("stderr")) == 1
    ends(tool(target, "send", "nobody", "--timeout", "0"), TIMEOUT, NOBODY)
    ends(tool(target, "recv", "nobody", "--timeout", "0.2"), TIMEOUT, "timed out: nobody sent to 'nobody'")


def test_name_in_use(tool, receiver, target):
    process = receiver(target, "mine", "--keep")
    ends(tool(target, "recv", "mine"), FAILURE, "somebody listens under the name 'mine' already")
    ends(tool(target, "recv", "mine", "--queue"), FAILURE, "somebody listens under the name 'mine' already")
    process.finish()
    process = receiver(target, "mine", "--keep")
    process.signal(signal.SIGKILL)
    process.wait()
    receiver(target, "mine", "--keep").finish()


def test_another_kind(tool, receiver, target):
    process = receiver(target, "records", "--queue", "--keep")
    ends(tool(target, "send", "records"), FAILURE, "'records' is a queue, not a stream")
    process.finish()


def test_names_and_options_that_make_no_sense(tool, file_target):
    for name in ("", "x" * 56, "a\nb"):
        ends(tool(file_target, "recv", name), FAILURE, "cannot be the name of a channel")
        ends(tool(file_target, "send", name), FAILURE, "cannot be the name of a channel")
    for arguments, word in (
        (["send"], "NAME"),
        (["recv"], "NAME"),
        (["send", "x", "y"], "y"),
        (["send", "x", "-0"], "--queue"),
        (["recv", "x", "--nul"], "--queue"),
        (["recv", "x", "--json"], "--queue"),
        (["recv", "x", "--json", "--queue", "--nul"], "--nul"),
        (["send", "x", "--size", "255"], "--size"),
        (["send", "x", "--size", "3G"], "--size"),
        (["send", "x", "--vector", "9999"], "--vector"),
        (["format", "--areas", "1"], "--areas"),
        (["format", "--areas", "257"], "--areas"),
        (["channels", "x"], "x"),
        (["channels", "--interval", "0"], "--interval"),
    ):
        ends(tool(file_target, *arguments), USAGE, word, "--help")
    ends(tool(file_target, "recv", "x" * 55, "--timeout", "0"), TIMEOUT)


def test_vectors(tool, receiver, server, room):
    server("-l", "4M", "-n", "3")
    target = "unix:" + room.socket
    ends(tool(target, "recv", "x", "--vector", "3"), FAILURE, "no vector 3")
    process = receiver(target, "x", "--vector", "2")
    (participant,) = listing(tool, target)["participants"]
    assert participant["vector"] == 2 and isinstance(participant["peer"], int)
    send(tool, target, "x", b"hello", "-V", "1")
    assert process.wait() == OK and process.stdout == "hello"


def test_ring_larger_than_the_area(tool, receiver, file_target):
    process = receiver(file_target, "big")
    ends(tool(file_target, "send", "big", "--size", "1M"), FAILURE, "no room for another channel")
    assert process.running()


def test_all_areas_taken(tool, receiver, file_target):
    ends(tool(file_target, "format", "--areas", "2"), OK)
    first, second = receiver(file_target, "1", "--keep"), receiver(file_target, "2", "--keep")
    ends(tool(file_target, "recv", "3"), FAILURE, "all 2 areas")
    first.signal(signal.SIGKILL)
    first.wait()
    receiver(file_target, "3", "--keep").finish()
    second.finish()


# ---- memory that is not ready --------------------------------------------------------------------------


def test_looking_changes_nothing(tool, target):
    process = tool(target, "channels")
    assert process.wait() == OK and process.stdout == "no channels: nobody has formatted this memory yet\n"
    assert listing(tool, target) == {"areas": 0, "participants": []}
    process = tool(target, "read", "0", "4K")
    assert process.wait() == OK and bytes(process.output["stdout"]) == bytes(4096)


def test_reading_only(tool, receiver, file_target):
    only = file_target + ",ro"
    assert listing(tool, only) == {"areas": 0, "participants": []}
    process = receiver(file_target, "x", "--keep")
    assert channels(tool, only) == [("ivshmem recv", "stream", "x", "listening")]
    for command in (["send", "x"], ["recv", "y"], ["format"]):
        ends(tool(only, *command), FAILURE, "for reading only")
    process.finish()


def test_text_of_channels(tool, receiver, server, room):
    server("-l", "4M", "-n", "1")
    target = "unix:" + room.socket
    process = receiver(target, "x")
    sender = tool(target, "send", "x", "--size", "64K", stdin=subprocess.PIPE)
    sender.write("hello\n")
    process.expect("hello")
    shown = tool(target, "channels")
    assert shown.wait() == OK
    lines = shown.lines()
    assert lines[0] == "8 areas, 2 taken"
    assert lines[1] == f'area 0: "ivshmem recv", pid {process.pid}, peer 0 vector 0'
    assert lines[3] == f'area 1: "ivshmem send", pid {sender.pid}, peer 1 vector 0'
    assert '"x", connected with area 1 channel 0, ring 256 bytes, 0 bytes unread, received ' in lines[2]
    assert lines[4] == (
        '  channel 0: stream "x", connected with area 0 channel 1, ring 64 KiB, 0 bytes unread, received 0 bytes'
    )
    sender.process.stdin.close()
    ends(sender, OK)


# ---- how much waits, and how quickly it goes -----------------------------------------------------------


def find(tool, target, who, kind, *arguments):
    """The channels of this kind that a process has, or a participant of this name."""
    process = tool(target, "channels", "--json", *arguments)
    assert process.wait() == OK, process.describe()
    return [
        channel
        for participant in json.loads(process.stdout)["participants"]
        if who in (participant["pid"], participant["name"])
        for channel in participant["channels"]
        if channel["kind"] == kind
    ]


def test_what_waits_to_be_received(tool, under_way, target):
    process, sender = under_way(target, "x", "hello")
    wire.wait_until(lambda: find(tool, target, sender.pid, "stream")[0]["unread"] == 0, "the receiver says how far it is")
    process.signal(signal.SIGSTOP)
    before = find(tool, target, sender.pid, "stream")[0]["sent"]
    sender.write("x" * 10000)
    wire.wait_until(lambda: find(tool, target, sender.pid, "stream")[0]["unread"] >= 10000, "it lies in the ring")
    (channel,) = find(tool, target, sender.pid, "stream")
    assert channel["unread"] == channel["sent"] - before < 10100 and channel["published"] is None
    process.signal(signal.SIGCONT)
    wire.wait_until(lambda: find(tool, target, sender.pid, "stream")[0]["unread"] == 0, "all is received")
    assert max(end["received"] for end in find(tool, target, process.pid, "stream")) == channel["sent"]
    sender.process.stdin.close()
    ends(sender, OK)


def test_what_waits_to_be_accepted(tool, under_way, target):
    process, first = under_way(target, "x", "hello", "--keep")
    second = tool(target, "send", "x", stdin=subprocess.PIPE)
    second.write("y" * 10000)
    wire.wait_until(lambda: [x["unread"] >= 10000 for x in find(tool, target, second.pid, "stream")] == [True], "it waits")
    for sender in (first, second):
        sender.process.stdin.close()
        ends(sender, OK)
    process.finish()


def test_rates(tool, receiver, target):
    process = receiver(target, "x", "--keep", stdout=subprocess.DEVNULL)
    with open("/dev/zero", "rb") as zeros:
        sender = tool(target, "send", "x", stdin=zeros)
    wire.wait_until(lambda: ("ivshmem send", "stream", "x", "connected") in channels(tool, target), "they talk")

    def rates():
        return [end["received_per_second"] for end in find(tool, target, process.pid, "stream", "--interval", "0.2")]

    wire.wait_until(lambda: max(rates()[1:], default=0) > 1000, "many bytes in a second")
    assert rates()[0] is None, "who listens receives nothing"
    assert find(tool, target, sender.pid, "stream", "-i", "0.01")[0]["received_per_second"] == 0
    shown = tool(target, "channels", "--interval", "0.01")
    ends(shown, OK)
    assert shown.lines()[-1].endswith(", received 0 bytes, 0 bytes/s")
    assert "received_per_second" not in find(tool, target, sender.pid, "stream")[0]
    for end in (process, sender):
        end.signal(signal.SIGKILL)
        end.wait()


class Region:
    """The memory by hand: two participants that are not there, as docs/channels.md describes their areas."""

    PHASE = {"listening": 1, "connecting": 2, "connected": 3}
    KIND = {"stream": 1, "queue": 2, "call": 3, "state": 4, "topic": 5}

    def __init__(self, tool, target):
        ends(tool(target, "format", "--areas", "2"), OK)
        with open(target.removeprefix("file:"), "r+b") as file:
            self.memory = mmap.mmap(file.fileno(), 0)
        self.area_size = (self.word(8) & (1 << 48) - 1) * 4096
        for area in range(2):
            self.set(128 + 8 * area, 1 << 32 | 1)
            self.set(self.start(area), 1)
            self.text(self.start(area) + 48, f"area {area}")

    def start(self, area):
        return 4096 + area * self.area_size

    def word(self, at):
        return int.from_bytes(self.memory[at : at + 8], "little")

    def set(self, at, value):
        self.memory[at : at + 8] = value.to_bytes(8, "little")

    def text(self, at, text):
        self.memory[at : at + len(text) + 1] = text.encode() + b"\0"

    def entry(self, area, i):
        return self.start(area) + 384 + 512 * i

    def channel(self, area, i, kind, phase, *, use=1, size=0, peer=None):
        entry = self.entry(area, i)
        if peer:
            self.set(entry + 8, 1 << 32 | peer[0] << 16 | peer[1])
        self.set(entry + 16, size << 32 | 1)
        self.text(entry + 32, "x")
        self.set(entry, use << 32 | self.KIND[kind] << 8 | self.PHASE[phase])

    def publish(self, area, i, *, number, tail=None):
        """A state's number is its head."""
        for word, value in ((256, number),) if tail is None else ((264, tail), (280, number), (288, number)):
            self.set(self.entry(area, i) + word, value)

    def receive(self, area, i, head):
        self.set(self.entry(area, i) + 256, head)


@pytest.fixture
def region(tool, file_target):
    return Region(tool, file_target)


def test_what_is_published(tool, region, file_target):
    region.channel(0, 0, "topic", "listening", size=4096)
    region.channel(0, 1, "state", "listening", size=100)
    region.channel(1, 0, "topic", "connecting", peer=(0, 0))
    region.channel(1, 1, "state", "connecting", peer=(0, 1))
    region.publish(0, 0, number=5, tail=400)
    region.publish(0, 1, number=1)
    region.receive(1, 0, 160)
    shown = tool(file_target, "channels", "-i", "0.01")
    ends(shown, OK)
    assert shown.lines()[2:4] + shown.lines()[5:] == [
        '  channel 0: topic "x", listening, ring 4 KiB, published 5 records, 0.0 records/s',
        '  channel 1: state "x", listening, values up to 100 bytes, published 1 value, 0.0 values/s',
        '  channel 0: topic "x", connecting with area 0 channel 0, received 160 bytes, 240 bytes unread, 0 bytes/s',
        '  channel 1: state "x", connecting with area 0 channel 1',
    ]
    topic, state = (find(tool, file_target, "area 0", kind)[0] for kind in ("topic", "state"))
    assert (topic["sent"], topic["unread"], topic["published"]) == (400, 0, 5)
    assert (state["sent"], state["unread"], state["published"]) == (0, 0, 1)
    reader = find(tool, file_target, "area 1", "topic")[0]
    assert (reader["sent"], reader["unread"], reader["received"], reader["published"]) == (0, 240, 160, None)


def test_rates_between_two_looks(tool, region, file_target):
    region.channel(0, 0, "topic", "listening", size=4096)
    region.channel(0, 1, "state", "listening", size=100)
    region.channel(1, 0, "topic", "connecting", peer=(0, 0))
    region.channel(1, 1, "topic", "connecting", peer=(0, 0))
    began = time.monotonic()
    process = tool(file_target, "channels", "--json", "--interval", "2")

    def sleeps():
        with open(f"/proc/{process.pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] == "S"

    wire.wait_until(sleeps, "it waits between its looks")
    region.publish(0, 0, number=10000, tail=1000000)
    region.publish(0, 1, number=20000)
    region.receive(1, 0, 500000)
    # This one is another one now, and here is one that was not there.
    region.channel(1, 1, "topic", "connecting", use=2, peer=(0, 0))
    region.receive(1, 1, 500000)
    region.channel(1, 2, "topic", "connecting", peer=(0, 0))
    assert process.wait() == OK
    longest = time.monotonic() - began
    first, second = json.loads(process.stdout)["participants"]
    topic, state = first["channels"]
    assert 10000 / longest <= topic["published_per_second"] <= 5000 and topic["received_per_second"] is None
    assert 20000 / longest <= state["published_per_second"] <= 10000
    known, other, new = second["channels"]
    assert 500000 / longest <= known["received_per_second"] <= 250000 and known["published_per_second"] is None
    assert other["received_per_second"] is None and new["received_per_second"] is None


def test_observers_see_who_has_left(tool, receiver, server, room):
    """One who looks from another pid namespace knows of processes only what the server tells."""
    server("-l", "4M", "-n", "1")
    target = "unix:" + room.socket
    process = receiver(target, "x", "--keep")
    # As if it were on another machine.
    kernel = 4096 + 16
    ends(tool(target, "write", str(kernel), "another"), OK)
    assert len(listing(tool, target)["participants"]) == 1
    process.signal(signal.SIGKILL)
    process.wait()
    wire.wait_until(lambda: listing(tool, target)["participants"] == [], "it is known to be gone")


def test_something_else_in_the_memory(tool, receiver, target):
    ends(tool(target, "write", "0", "something else entirely"), OK)
    for command in (["channels"], ["channels", "--json"], ["send", "x"], ["recv", "x"]):
        process = tool(target, *command)
        ends(process, FAILURE, "there is something else in the shared memory", "ivshmem format")
        assert process.stdout == ""
    ends(tool(target, "format"), OK)
    assert listing(tool, target) == {"areas": 8, "participants": []}
    receiver(target, "x", "--keep").finish()


def test_memory_that_is_too_small(tool, room):
    path = room.file("small")
    make_memory(path, 8192)
    for command in (["channels"], ["send", "x"], ["recv", "x"], ["format"]):
        ends(tool("file:" + path, *command), FAILURE, "at least 12288 bytes, and this has 8192")
    make_memory(path, 65536)
    ends(tool("file:" + path, "format", "--areas", "200"), FAILURE, "too small for 200 areas")
    assert listing(tool, "file:" + path)["areas"] == 0


def test_memory_that_is_waited_for(tool, room):
    path = room.file("later")
    process = tool("file:" + path, "--wait", "60", "recv", "x")
    make_memory(path, 1 << 20)
    process.expect("ivshmem: listening under 'x'", "stderr")
    send(tool, "file:" + path, "x", b"hello")
    assert process.wait() == OK and process.stdout == "hello"
    ends(tool("file:" + room.file("never"), "--wait", "0.2", "send", "x"), FAILURE, "never")


def test_global_options_for_attaching(fake, run, attached):
    began = time.monotonic()
    process = run("recv", "x", "--connect-timeout", "0.3", status=FAILURE)
    assert time.monotonic() - began < 5, "that was the default, not what was asked for"
    assert len(process.stderr.splitlines()) == 1
    run("recv", "x", "--backend", "vfio", status=USAGE)
    fake.accept().close()
    # What the library says.
    reader, writer = os.pipe()
    process = attached("recv", "x", own=[reader]).process
    process.expect("ivshmem: warning: the server sent something else than an eventfd for peer 0", "stderr")
    process.expect("ivshmem: listening under 'x'", "stderr")
    for end in (reader, writer):
        os.close(end)


def test_format(tool, receiver, target):
    process = tool(target, "format", "--areas", "5", "--json")
    assert process.wait() == OK and json.loads(process.stdout) == {"areas": 5}
    process = receiver(target, "x", "--keep")
    refused = tool(target, "format")
    ends(refused, FAILURE, "1 process takes part", "'ivshmem recv'", f"pid {process.pid}", "--force")
    assert listing(tool, target)["areas"] == 5
    forced = tool(target, "format", "--force")
    assert forced.wait() == OK and forced.stdout == "8 areas\n"
    ends(process, FAILURE, "our part of the shared memory is lost", "formatted")


def test_format_after_one_that_died(tool, receiver, target):
    process = receiver(target, "x")
    process.signal(signal.SIGKILL)
    process.wait()
    if target.startswith("unix:"):
        wire.wait_until(lambda: listing(tool, target)["participants"] == [], "it is known to be gone")
    ends(tool(target, "format"), OK)


def test_truncated_memory_is_no_crash(receiver, file_target):
    process = receiver(file_target, "x")
    os.truncate(file_target.removeprefix("file:"), 0)
    ends(process, FAILURE, "was truncated while in use")

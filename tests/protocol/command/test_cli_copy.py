# SPDX-License-Identifier: BSD-2-Clause
"""The command line tool: copy, with an agent on this host."""

import contextlib
import filecmp
import json
import os
import random
import select
import signal
import stat
import struct
import subprocess
import threading

import pytest

import ivshmem_wire as wire
from ivshmem_channels import ends
from ivshmem_cli import FAILURE, OK, TIMEOUT, USAGE, feed
from ivshmem_fixtures import root_only
from trees import TIME_NS, check_same, make_tree, read, write

BIG = wire.sized(64 << 20, 1 << 30)
MANY = wire.sized(1500, 5000)


@pytest.fixture
def target(request, server, room):
    server("-l", "16M", "-n", "1")
    return "unix:" + room.socket


@pytest.fixture
def agent(tool, target):
    """agent(*arguments): one that listens and allows copying."""

    def agent(*arguments, **options):
        process = tool(target, "agent", "--allow", "copy-in,copy-out", *arguments, **options)
        process.expect("ivshmem: listening under .*", "stderr")
        return process

    return agent


@pytest.fixture
def copy(tool, target):
    """copy(*arguments): run the command to its end."""

    def copy(*arguments, status=OK, **options):
        process = tool(target, "copy", *arguments, **options)
        assert process.wait() == status, process.describe()
        if status == OK:
            assert process.stderr == "", process.describe()
        return process

    return copy


@pytest.fixture
def here(room):
    """A folder, with from/ and to/ in it."""
    path = room.file("trees")
    for name in ("", "from", "to"):
        os.mkdir(os.path.join(path, name))
    yield path
    subprocess.run(["chmod", "-R", "u+rwx", path], check=True)
    subprocess.run(["rm", "-r", path], check=True)


def no_parts(path):
    return not [name for _, _, files in os.walk(path) for name in files if name.endswith(".ivshmem-part")]


# ---- trees ---------------------------------------------------------------------------------------------


def test_a_tree_in_and_out(agent, copy, here):
    agent()
    make_tree(f"{here}/from/tree")
    result = json.loads(copy("--json", f"{here}/from/tree", f":{here}/to").stdout)
    check_same(f"{here}/from/tree", f"{here}/to/tree")
    assert os.stat(f"{here}/to/tree/holes").st_blocks < 1000
    files = sum(len([x for x in files if not os.path.islink(os.path.join(folder, x))])
                for folder, _, files in os.walk(f"{here}/from/tree"))
    assert result["files"] == files and result["problems"] == 0
    assert 3_000_000 < result["bytes"] < 4_000_000 and result["seconds"] > 0 and result["rate"] > 0
    copy(f"agent:{here}/to/tree", f"{here}/back")
    check_same(f"{here}/from/tree", f"{here}/back")
    # Over what is there.
    os.chmod(f"{here}/back/closed", 0o700)
    write(f"{here}/back/big", b"another one")
    copy(f"agent:{here}/to/tree/.", f"{here}/back")
    os.utime(f"{here}/back", ns=(0, TIME_NS))
    check_same(f"{here}/from/tree", f"{here}/back")


def test_several_operands(agent, copy, here):
    agent("other")
    for name in "abc":
        write(f"{here}/from/{name}", name.encode())
    copy(*[f"{here}/from/{name}" for name in "abc"], f"other:{here}/to/")
    copy(*[f"other:{here}/to/{name}" for name in "abc"], here)
    assert [read(f"{here}/{name}") for name in "abc"] == [b"a", b"b", b"c"]
    process = copy(f"{here}/a", f"{here}/b", f"other:{here}/nowhere", status=FAILURE)
    assert f"cannot copy to '{here}/nowhere': there is no such folder; several things need a folder" in process.stderr


def test_paths_with_colons_and_relative_paths(agent, copy, here):
    agent(cwd="/")
    write(f"{here}/a:b", b"colon")
    copy("./a:b", f":{here}/to", cwd=here)
    copy(f":{here}/to/a:b", ".", cwd=f"{here}/from")
    assert read(f"{here}/from/a:b") == b"colon"
    process = copy(":.this-is-not-there-and-has-no-slash", here, status=FAILURE)
    home = os.path.expanduser("~").rstrip("/")
    assert process.stderr == (
        f"ivshmem: cannot read '{home}/.this-is-not-there-and-has-no-slash': No such file or directory\n"
    )


def test_many_small_files(agent, copy, here):
    agent()
    for folder in range(10):
        os.mkdir(f"{here}/from/{folder}")
        for i in range(MANY // 10):
            write(f"{here}/from/{folder}/{i}", b"%d" % i * (i % 500))
    for arguments in (("in", f"{here}/from", f":{here}/in"), ("out", f":{here}/from", f"{here}/out")):
        result = json.loads(copy("--json", *arguments[1:]).stdout)
        assert result["files"] == MANY // 10 * 10
        check_same(f"{here}/from", f"{here}/{arguments[0]}")


@pytest.mark.limit(300)
def test_a_big_file(agent, copy, here):
    agent()
    with open(f"{here}/from/big", "wb") as file:
        for _ in range(BIG >> 20):
            file.write(os.urandom(1 << 20))
    copy(f"{here}/from/big", f":{here}/to")
    assert filecmp.cmp(f"{here}/from/big", f"{here}/to/big", shallow=False)
    os.unlink(f"{here}/from/big")
    copy(f":{here}/to/big", f"{here}/from")
    assert filecmp.cmp(f"{here}/from/big", f"{here}/to/big", shallow=False)


def test_two_at_once(agent, tool, target, here):
    agent()
    data = [os.urandom(20_000_000) for _ in range(2)]
    for i in range(2):
        write(f"{here}/from/{i}", data[i])
    processes = [tool(target, "copy", f"{here}/from/{i}", f":{here}/to") for i in range(2)]
    processes += [tool(target, "copy", f":{here}/from/{i}", f"{here}/back{i}") for i in range(2)]
    for process in processes:
        ends(process, OK)
    assert [read(f"{here}/to/{i}") for i in range(2)] == data
    assert [read(f"{here}/back{i}") for i in range(2)] == data


@pytest.mark.parametrize("size", [1 << 18, 1 << 20, 1 << 22])
def test_small_memory(tool, room, here, size):
    """Without a server, and where there is no room for loans."""
    path = room.file("memory")
    with open(path, "wb") as file:
        file.truncate(size)
    agent = tool("file:" + path, "agent", "--allow", "copy-in,copy-out")
    agent.expect("ivshmem: listening under .*", "stderr")
    write(f"{here}/from/x", os.urandom(2_000_000))
    ends(tool("file:" + path, "copy", f"{here}/from/x", f":{here}/to"), OK)
    ends(tool("file:" + path, "copy", f":{here}/to/x", f"{here}/x"), OK)
    assert read(f"{here}/from/x") == read(f"{here}/x")


@root_only
def test_owners(agent, copy, here):
    agent()
    write(f"{here}/from/x", b"x")
    os.symlink("x", f"{here}/from/link")
    os.chown(f"{here}/from/x", 1234, 5678)
    os.chown(f"{here}/from/link", 4321, 8765, follow_symlinks=False)
    os.chmod(f"{here}/from/x", 0o4755)
    copy("--owner", f"{here}/from/.", f":{here}/to")
    copy(f":{here}/from", f"{here}/without")
    state, link = os.stat(f"{here}/to/x"), os.lstat(f"{here}/to/link")
    assert (state.st_uid, state.st_gid, stat.S_IMODE(state.st_mode)) == (1234, 5678, 0o4755)
    assert (link.st_uid, link.st_gid) == (4321, 8765)
    state = os.stat(f"{here}/without/x")
    assert (state.st_uid, stat.S_IMODE(state.st_mode)) == (0, 0o755)


@root_only
def test_the_agents_user(agent, copy, here):
    """With --user, files are read and written with the rights of that user."""
    agent("--user", "nobody")
    write(f"{here}/from/secret", b"secret")
    os.chmod(f"{here}/from/secret", 0o600)
    write(f"{here}/from/open", b"open")
    os.chmod(here, 0o755)
    os.chmod(os.path.dirname(here), 0o755)
    process = copy(f":{here}/from/secret", f":{here}/from/open", f"{here}/to", status=FAILURE)
    assert process.stderr == f"ivshmem: cannot read '{here}/from/secret': Permission denied\n"
    assert read(f"{here}/to/open") == b"open"
    process = copy(f"{here}/from/open", f":{here}/to/new", status=FAILURE)
    assert process.stderr == f"ivshmem: cannot write '{here}/to/new': Permission denied\n"
    os.chmod(f"{here}/to", 0o777)
    copy(f"{here}/from/open", f":{here}/to/new")
    assert os.stat(f"{here}/to/new").st_uid == os.stat("/proc/self").st_uid + 65534
    process = copy("--owner", f"{here}/from/open", f":{here}/to/new", status=FAILURE)
    assert "cannot keep owners: the receiver is not root; leave out --owner" in process.stderr


# ---- what goes wrong -----------------------------------------------------------------------------------


def test_usage(tool, target, here):
    for arguments, words in [
        (["x"], "copy needs FROM... TO"),
        (["x", "y"], "neither 'x' nor 'y' is at an agent: write NAME:PATH"),
        ([":x", ":y"], "both ':x' and ':y' are at an agent"),
        (["a:x", "b:y", "z"], "'b:y' and what is before it are at different agents"),
        (["x" * 70 + ":y", "z"], "the name before ':' is too long"),
    ]:
        ends(tool(target, "copy", *arguments), USAGE, words, "ivshmem copy --help")


def test_no_agent(tool, target, here):
    words = "no agent listens under 'agent': start one there with 'ivshmem agent --allow copy-in,copy-out'"
    ends(tool(target, "copy", ":x", here), FAILURE, words)
    ends(tool(target, "copy", "--timeout", "0.1", "other:x", here), TIMEOUT, "copy-in,copy-out other'")


def test_what_is_not_allowed(tool, target, copy, here):
    tool(target, "agent", "--allow", "copy-in").expect(".*listening under.*", "stderr")
    write(f"{here}/from/x", b"x")
    copy(f"{here}/from/x", f":{here}/to")
    process = copy(f":{here}/from/x", f"{here}/y", status=FAILURE)
    assert "copy-out" in process.stderr and not os.path.exists(f"{here}/y")


def test_what_cannot_be_read(agent, copy, here):
    listener = agent()
    os.mkdir(f"{here}/from/tree")
    os.mkfifo(f"{here}/from/tree/pipe")
    write(f"{here}/from/tree/file", b"file")
    for index, prefix in enumerate(["", ":"]):
        other = "" if prefix else ":"
        process = copy(f"{prefix}{here}/from/missing", f"{prefix}{here}/from/tree", f"{other}{here}/to", "--json", status=FAILURE)
        assert process.stderr == (
            f"ivshmem: cannot read '{here}/from/missing': No such file or directory\n"
            f"ivshmem: '{here}/from/tree/pipe' was left out: it is neither a file, a folder nor a symbolic link\n"
        )
        assert json.loads(process.stdout)["problems"] == 2
        assert read(f"{here}/to/tree/file") == b"file"
    # The agent knows of its own problems only.
    listener.expect("ivshmem: job 1 ended: exit status 0", "stderr")
    listener.expect("ivshmem: job 2 ended: exit status 1", "stderr")


def test_a_file_that_changes(agent, copy, here):
    """Somebody writes to it all the time; the rest goes on."""
    agent()
    write(f"{here}/from/log", os.urandom(30_000_000))
    write(f"{here}/from/rest", b"rest")
    quit_now = threading.Event()

    def change():
        with open(f"{here}/from/log", "r+b", buffering=0) as file:
            while not quit_now.is_set():
                os.pwrite(file.fileno(), os.urandom(8), 100)

    for prefix, other in (("", ":"), (":", "")):
        quit_now.clear()
        thread = threading.Thread(target=change)
        thread.start()
        try:
            process = copy(f"{prefix}{here}/from/log", f"{prefix}{here}/from/rest", f"{other}{here}/to", status=FAILURE)
        finally:
            quit_now.set()
            thread.join()
        assert f"'{here}/from/log' changed while it was read, and was left out" in process.stderr
        assert os.listdir(f"{here}/to") == ["rest"]


@contextlib.contextmanager
def small_disk(path, size):
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", path], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", path], check=True)


@root_only
@pytest.mark.parametrize("way", ["in", "out"])
def test_full_disk(agent, copy, here, way):
    process = agent()
    write(f"{here}/from/big", os.urandom(5_000_000))
    write(f"{here}/from/small", b"small")
    prefix, other = ("", ":") if way == "in" else (":", "")
    with small_disk(f"{here}/to", "1m"):
        copying = copy(f"{prefix}{here}/from/big", f"{prefix}{here}/from/small", f"{other}{here}/to", status=FAILURE)
        assert copying.stderr == f"ivshmem: cannot write '{here}/to/big': No space left on device\n"
        assert os.listdir(f"{here}/to") == ["small"] and read(f"{here}/to/small") == b"small"
        if way == "in":
            process.finish(signal.SIGTERM)


def tree_record(kind, name=b"", file=0, value=0, rest=b"", mode=0o640):
    head = struct.pack("<BBHIQ", ord(kind), 0, len(name), file, value)
    if kind in "FfL":
        head += struct.pack("<4IqQ", mode, 0, 0, 0, 99, 0) + name
    return head + rest


def send_records(tool, target, *records):
    """A sender that says anything: lines become records, so none may have a newline."""
    assert all(b"\n" not in record for record in records)
    process = tool(target, "send", "--queue", "agent", stdin=subprocess.PIPE)
    process.process.stdin.write(b"".join(record + b"\n" for record in records))
    process.process.stdin.flush()
    return process


def request(to):
    return b"\x01\x01copy-in\0to=" + os.fsencode(to) + b"\0"


def test_a_wrong_checksum(agent, tool, target, here):
    process = agent()
    write(f"{here}/to/x", b"old")
    sender = send_records(
        tool, target, request(f"{here}/to"),
        tree_record("f", b"x", file=1), tree_record("d", file=1, rest=b"damaged"),
        tree_record("e", file=1, value=7, rest=bytes([1, 2, 3, 4, 5, 6, 7, 8])), tree_record("f", b"y", file=2),
    )
    wire.wait_until(lambda: ".y.ivshmem-part" in os.listdir(f"{here}/to"), "the next file")
    assert read(f"{here}/to/x") == b"old" and sorted(os.listdir(f"{here}/to")) == [".y.ivshmem-part", "x"]
    sender.kill()
    process.expect(".* ended: .*", "stderr")


@pytest.mark.parametrize(
    "records",
    [
        [tree_record("f", b"../outside1", file=1)],
        [tree_record("F", b"..")],
        [tree_record("L", b"a/b", rest=b"x")],
        [tree_record("f", b"/tmp/outside", file=1)],
        [tree_record("U")],
        [tree_record("d", rest=b"x")],
        [b"garbage of some length"],
        [tree_record("f", b"x", file=1), tree_record("d", file=1, value=1 << 40, rest=b"x")],
    ],
)
def test_a_hostile_sender(agent, tool, target, here, records):
    """It ends its own job, and nothing is written elsewhere."""
    process = agent()
    sender = send_records(tool, target, request(f"{here}/to"), *records)
    process.expect(".*what the caller sent makes no sense.*", "stderr")
    sender.kill()
    assert sorted(os.listdir(here)) == ["from", "to"]
    assert [x for x in os.listdir(f"{here}/to") if not x.endswith("-part")] == []
    write(f"{here}/from/x", b"x")
    ends(tool(target, "copy", f"{here}/from/x", f":{here}/to"), OK)


def test_an_agent_that_ends_too_early(processes, tool, target, here):
    """It says that it is done, and has not had everything."""
    records = [b"\2", tree_record("D", rest=bytes(8))]
    fd = feed(b"".join(record.hex().encode() + b"\n" for record in records))
    speaker = wire.Process([os.path.join(wire.BUILD, "tests", "support", "queue_speaker"), target, "agent"], stdin=fd)
    os.close(fd)
    processes.append(speaker)
    speaker.expect("listening")
    write(f"{here}/from/x", bytes(1_000_000))
    words = "the agent 'agent' ended before everything was copied; the same command with --resume goes on"
    ends(tool(target, "copy", f"{here}/from/x", f":{here}/to"), FAILURE, words)


def test_a_link_that_is_not_followed(agent, tool, target, here):
    process = agent()
    os.mkdir(f"{here}/outside")
    sender = send_records(
        tool, target, request(f"{here}/to"),
        tree_record("L", b"way", rest=os.fsencode(f"{here}/outside")), tree_record("F", b"way"),
        tree_record("f", b"x", file=1), tree_record("U"), tree_record("f", b"last", file=2),
    )
    wire.wait_until(lambda: ".last.ivshmem-part" in os.listdir(f"{here}/to"), "the last file")
    assert os.listdir(f"{here}/outside") == [] and os.path.islink(f"{here}/to/way")
    sender.kill()
    process.expect(".* ended: .*", "stderr")


# ---- interruptions -------------------------------------------------------------------------------------


def size_of(path):
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0


@pytest.mark.limit(300)
@pytest.mark.parametrize("way", ["in", "out"])
@pytest.mark.parametrize("victim", ["command", "agent"])
def test_resume_after_kill(agent, tool, target, copy, here, way, victim):
    """Killed again and again at any point, and resumed until it gets through."""
    make_tree(f"{here}/from/tree")
    write(f"{here}/from/tree/large", os.urandom(40_000_000))
    os.utime(f"{here}/from/tree", ns=(0, TIME_NS))
    prefix, other = ("", ":") if way == "in" else (":", "")
    operands = [f"{prefix}{here}/from/tree", f"{other}{here}/to"]
    part = f"{here}/to/tree/.large.ivshmem-part"
    listener = agent()
    process = tool(target, "copy", *operands)
    for _ in range(6):
        wanted = size_of(part) + random.randrange(1, 8 << 20)
        wire.wait_until(lambda: size_of(part) >= wanted or not process.running(), "more of it")
        if not process.running():
            break
        if victim == "agent":
            listener.process.kill()
            listener.wait()
            ends(process, FAILURE, "with --resume goes on")
            listener = agent()
        else:
            process.process.kill()
            process.wait()
        assert not os.path.exists(f"{here}/to/tree/large") or no_parts(f"{here}/to")
        process = tool(target, "copy", "--resume", *operands)
    process.wait()
    copy("--resume", *operands)
    check_same(f"{here}/from/tree", f"{here}/to/tree")


def test_resume_takes_what_is_there(agent, copy, here):
    agent()
    data = os.urandom(10 << 20)
    write(f"{here}/from/x", data)
    write(f"{here}/to/.x.ivshmem-part", data[: 6 << 20] + b"something else" * 10)
    result = json.loads(copy("--resume", "--json", f"{here}/from/x", f":{here}/to").stdout)
    assert result["bytes"] == 4 << 20 and read(f"{here}/to/x") == data
    result = json.loads(copy("--resume", "--json", f":{here}/from/x", f"{here}/to").stdout)
    assert result["bytes"] == 0 and result["files"] == 1
    # Without it, all is copied.
    write(f"{here}/to/.x.ivshmem-part", data[: 6 << 20])
    result = json.loads(copy("--json", f"{here}/from/x", f":{here}/to").stdout)
    assert result["bytes"] == 10 << 20 and os.listdir(f"{here}/to") == ["x"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal(agent, tool, target, here, number):
    """It ends in good order, also while the other side does nothing."""
    listener = agent()
    os.mkdir(f"{here}/from/tree")
    for i in range(2000):
        write(f"{here}/from/tree/{i}", os.urandom(30000))
    process = tool(target, "copy", f":{here}/from/tree", f"{here}/to")
    wire.wait_until(lambda: os.path.exists(f"{here}/to/tree"), "the beginning")
    listener.process.send_signal(signal.SIGSTOP)
    try:
        process.process.send_signal(number)
        ends(process, FAILURE, "interrupted; the same command with --resume goes on")
    finally:
        listener.process.send_signal(signal.SIGCONT)
    listener.expect(".* ended: .*", "stderr")


# ---- progress ------------------------------------------------------------------------------------------


def slow(tool, target, here, terminal, *arguments):
    """A copy that stands still, because the agent does."""
    return tool(target, "copy", *arguments, f"{here}/from/x", f":{here}/to", stderr=terminal.process_end)


def test_progress_on_a_terminal(agent, tool, target, here, terminal):
    listener = agent()
    write(f"{here}/from/x", os.urandom(30_000_000))
    process = slow(tool, target, here, terminal)
    wire.wait_until(lambda: size_of(f"{here}/to/.x.ivshmem-part") > 0, "the beginning")
    listener.process.send_signal(signal.SIGSTOP)
    try:
        terminal.expect(b"\r\x1b[Kivshmem: copied ")
        text = terminal.expect(b" left")
        assert b" MiB, " in text and b" MiB/s, " in text and b" %, " in text, text
    finally:
        listener.process.send_signal(signal.SIGCONT)
    ends(process, OK)
    assert b"\r\x1b[Kivshmem: 1 file, 28.6 MiB, " in terminal.rest()


@pytest.mark.parametrize("option", ["--no-progress", "--quiet"])
def test_no_progress(agent, tool, target, here, terminal, option):
    agent()
    write(f"{here}/from/x", os.urandom(1_000_000))
    ends(slow(tool, target, here, terminal, option), OK)
    assert not select.select([terminal.master], [], [], 0)[0]

# SPDX-License-Identifier: BSD-2-Clause
"""The command line tool: exec, and the agent that runs the commands."""

import contextlib
import fcntl
import hashlib
import json
import os
import pwd
import re
import signal
import struct
import subprocess
import sys
import termios
import time

import pytest

import ivshmem_wire as wire
from ivshmem_cli import FAILURE, OK, USAGE, feed

NAME = "agent"
FAILED, CANNOT_RUN, NOT_FOUND = 125, 126, 127
PATIENCE = 60 * wire.FACTOR
BIG = wire.sized(4 << 20, 512 << 20)
LIMIT = 120 * wire.FACTOR


@pytest.fixture
def target(server):
    return "unix:" + server("-l", "16M", "-n", "1").path


@pytest.fixture
def tool(launch, target):
    """tool(*arguments, ...)"""
    return lambda *arguments, **options: launch("ivshmem", "--target", target, *arguments, **options)


@pytest.fixture
def agent(tool):
    """agent(*arguments, allow=...): it listens."""

    def agent(*arguments, allow="exec", name=NAME, **options):
        process = tool("agent", *(["--allow", allow] if allow else []), *arguments, name, **options)
        process.expect(f"ivshmem: listening under '{name}'; allowed: .*", "stderr")
        return process

    return agent


@pytest.fixture
def execute(tool):
    """execute(*command, options=...): start it."""
    return lambda *command, options=(), name=NAME, **more: tool("exec", *options, name, "--", *command, **more)


@pytest.fixture
def run(execute):
    """run(*command, status=0, data=bytes): to its end. Returns stdout and stderr."""

    def run(*command, status=OK, data=None, **options):
        fd = None if data is None else feed(data)
        process = execute(*command, stdin=fd, **options)
        if fd is not None:
            os.close(fd)
        assert process.wait(LIMIT) == status, process.describe()
        return bytes(process.output["stdout"]), bytes(process.output["stderr"])

    return run


def ends(process, status, *words):
    assert process.wait() == status, process.describe()
    for word in words:
        assert word in process.stderr, process.describe()


def python(text):
    return sys.executable, "-c", text


def pid_of(process):
    """A command says its process id first."""
    return int(process.expect(r"(\d+)").group(1))


def lives(pid):
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return wire.process_state(pid) != "Z"
    return False


def wait_until_gone(*pids):
    wire.wait_until(lambda: not any(map(lives, pids)), f"the processes {pids} have ended")


# ---- bytes ---------------------------------------------------------------------------------------------


def test_stdin_stdout_stderr_and_status(agent, run):
    agent()
    out, err = run("sh", "-c", "cat; echo error >&2; exit 7", data=b"input\0\xff", status=7)
    assert (out, err) == (b"input\0\xff", b"error\n")


def test_without_input_and_output(agent, run):
    agent()
    assert run("true") == (b"", b"")
    run("false", status=1)


@pytest.mark.limit(LIMIT)
def test_much_in_both_directions(agent, run):
    agent()
    data = os.urandom(BIG)
    assert run("sha256sum", data=data)[0].split()[0].decode() == hashlib.sha256(data).hexdigest()
    assert run("cat", data=data)[0] == data


@pytest.mark.limit(LIMIT)
def test_much_from_stdout_and_stderr_at_once(agent, run):
    agent()
    text = """
import os, threading
def write(fd):
    for i in range(%d):
        os.write(fd, b"%%08d" %% i * 512)
threads = [threading.Thread(target=write, args=(fd,)) for fd in (1, 2)]
[t.start() for t in threads]
[t.join() for t in threads]
"""
    n = BIG // 4096
    out, err = run(*python(text % n))
    assert out == err == b"".join(b"%08d" % i * 512 for i in range(n))


@pytest.mark.parametrize("size", [256, 4096, "256K"])
def test_rings_of_any_size(agent, run, size):
    agent("--size", size)
    data = os.urandom(300_000)
    assert run("cat", data=data)[0] == data


def test_the_end_of_the_input_is_passed_on(agent, execute):
    """The command hears it while it still speaks."""
    agent()
    process = execute("sh", "-c", "echo ready; cat; echo that was all", stdin=subprocess.PIPE)
    process.expect("ready")
    process.write("some\n")
    process.expect("some")
    process.process.stdin.close()
    process.expect("that was all")
    ends(process, OK)


def test_the_end_of_the_output_is_passed_on(agent, execute):
    agent()
    process = execute("sh", "-c", "echo last; exec >&-; cat >/dev/null", stdin=subprocess.PIPE)
    wire.wait_until(lambda: process.output.get("stdout ended"), "stdout has ended")
    assert process.running() and process.stdout == "last\n"
    process.process.stdin.close()
    ends(process, OK)


def test_who_does_not_read_holds_the_command_up_and_nobody_else(agent, run, execute, room):
    """And so only as long as it does not read: nothing is lost."""
    agent()
    counter = room.file("counter")
    text = f"""
import os
fd = os.open({counter!r}, os.O_RDWR | os.O_CREAT)
for i in range(4096):
    os.write(1, b"%07d\\n" % i * 512)
    os.pwrite(fd, b"%d" % i, 0)
"""
    reading, writing = os.pipe()
    process = execute(*python(text), stdout=writing)
    os.close(writing)

    def count():
        with contextlib.suppress(FileNotFoundError, ValueError), open(counter) as file:
            return int(file.read())
        return 0

    seen = []
    wire.wait_until(lambda: (seen.append(count()), time.sleep(0.2), seen[-1] > 10 and seen[-1] == count())[-1], "it waits")
    assert count() < 1000, "4 MiB would be in flight"
    assert run("echo", "others go on")[0] == b"others go on\n"
    with os.fdopen(reading, "rb") as file:
        assert file.read() == b"".join(b"%07d\n" % i * 512 for i in range(4096))
    ends(process, OK)


def test_a_signal_gets_through_while_nothing_is_read(agent, execute):
    """Neither does the command read its input, nor anybody its output."""
    agent()
    reading, writing = os.pipe()
    zero = os.open("/dev/zero", os.O_RDONLY)
    process = execute("sh", "-c", "echo $$ >&2; exec yes", stdin=zero, stdout=writing)
    os.close(zero)
    os.close(writing)
    pid = int(process.expect(r"(\d+)", "stderr").group(1))
    os.read(reading, 1)
    process.signal(signal.SIGTERM)
    wait_until_gone(pid)
    with os.fdopen(reading, "rb") as file:
        while file.read(1 << 20):
            pass
    ends(process, 128 + signal.SIGTERM)


def test_who_reads_no_more_ends_the_command(agent, execute):
    agent()
    reading, writing = os.pipe()
    process = execute("yes", stdout=writing)
    os.close(writing)
    assert os.read(reading, 2) == b"y\n"
    os.close(reading)
    ends(process, 128 + signal.SIGPIPE)
    assert process.stderr == ""


def test_a_command_that_reads_no_more(agent, execute):
    """Whoever writes to our stdin learns of it."""
    agent()
    process = execute("sh", "-c", "exec <&-; echo closed; sleep 1000", stdin=subprocess.PIPE)
    process.expect("closed")
    with pytest.raises(BrokenPipeError):
        for _ in range(1000):
            process.process.stdin.write(bytes(65536))
            process.process.stdin.flush()
    with contextlib.suppress(BrokenPipeError):
        process.process.stdin.close()
    process.process.stdin = None
    process.signal(signal.SIGTERM)
    ends(process, 128 + signal.SIGTERM)


def test_a_command_that_ends_without_reading(agent, run):
    agent()
    run("true", data=bytes(10 << 20))


def test_a_process_that_is_left_behind(agent, execute):
    """It has our stdout, but the command has ended, and what the command said has come."""
    agent()
    process = execute("sh", "-c", "echo before; sleep 1000 & echo $!")
    process.expect("before")
    pid = pid_of(process)
    ends(process, OK)
    assert lives(pid), "it is not ours to end"
    os.kill(pid, signal.SIGKILL)


def test_a_process_that_is_left_behind_and_writes(agent, execute):
    agent()
    process = execute("sh", "-c", "echo $$; yes & sleep 0.2", stdout=subprocess.PIPE)
    assert process.wait(LIMIT) == OK, process.describe()


def test_our_stdout_is_full(agent, execute):
    agent()
    fd = os.open("/dev/full", os.O_WRONLY)
    process = execute("yes", stdout=fd)
    os.close(fd)
    ends(process, FAILED, "ivshmem: cannot write what the command printed: No space left on device")


def test_our_stdin_cannot_be_read(agent, execute, room):
    """The command does not take it for the end."""
    agent()
    done = room.file("done")
    fd = os.open("/", os.O_RDONLY)
    process = execute("sh", "-c", f"echo $$ >&2; cat && echo > {done}", stdin=fd)
    os.close(fd)
    ends(process, FAILED, "ivshmem: cannot read stdin: Is a directory")
    assert not os.path.exists(done)


# ---- how it ends ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [0, 1, 2, 3, 42, 124, 125, 126, 255])
def test_exit_statuses(agent, run, status):
    agent()
    run("sh", "-c", f"exit {status}", status=status)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_a_command_that_a_signal_kills(agent, run, number):
    agent()
    run("sh", "-c", f"ulimit -c 0; kill -{number} $$", status=128 + number)


@pytest.mark.parametrize("command, status, words", [
    (["no-such-program"], NOT_FOUND, "there is no program 'no-such-program' here"),
    (["/no/such/program"], NOT_FOUND, "there is no program '/no/such/program' here"),
    (["/etc/passwd"], CANNOT_RUN, "cannot run '/etc/passwd': Permission denied"),
])
def test_what_cannot_be_run(agent, run, command, status, words):
    agent()
    out, err = run(*command, status=status)
    assert (out, err) == (b"", f"ivshmem: {words}\n".encode())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_signals_are_passed_on(agent, execute, number):
    """To the process group."""
    agent()
    process = execute("sh", "-c", f"trap 'echo caught; exit 9' {number}; sh -c 'echo $$; exec sleep 1000' & wait; wait")
    child = pid_of(process)
    process.signal(number)
    process.expect("caught")
    ends(process, 9)
    if number not in (signal.SIGINT, signal.SIGQUIT):  # which a shell lets its background ignore
        wait_until_gone(child)
    elif lives(child):
        os.kill(child, signal.SIGKILL)


def test_signals_that_the_command_ignores_end_the_caller(agent, execute):
    """The third one."""
    agent()
    process = execute("sh", "-c", "trap '' TERM; echo $$; sleep 1000 & wait")
    pid = pid_of(process)
    for _ in range(3):
        assert process.running()
        process.signal(signal.SIGTERM)
        wire.wait_until(lambda: not process.running() or signal.SIGTERM not in pending(process.pid), "it has read the signal")
    ends(process, 128 + signal.SIGTERM)
    wait_until_gone(pid)


def pending(pid):
    with open(f"/proc/{pid}/status") as file:
        found = re.findall(r"^(?:SigPnd|ShdPnd):\s+(\w+)$", file.read(), re.MULTILINE)
    return {number for mask in found for number in range(1, 65) if int(mask, 16) >> (number - 1) & 1}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_caller_that_is_killed_takes_its_command_along(agent, execute, number):
    """With its children; one that is only stopped keeps it."""
    process = agent()
    caller = execute("sh", "-c", "echo $$; sleep 1000 & echo $!; wait")
    pids = pid_of(caller), pid_of(caller)
    if number == signal.SIGSTOP:
        caller.signal(number)
        time.sleep(0.5)
        assert all(map(lives, pids))
    caller.kill()
    wait_until_gone(*pids)
    process.expect("ivshmem: job 1 ended: the caller died or gave up", "stderr")


def test_a_command_that_ignores_sighup_is_killed(agent, execute):
    agent()
    caller = execute("sh", "-c", "trap '' HUP; echo $$; sleep 1000 & echo $!; while :; do wait; done")
    pids = pid_of(caller), pid_of(caller)
    caller.kill()
    wait_until_gone(*pids)


@pytest.mark.parametrize("number, status", [(signal.SIGTERM, OK), (signal.SIGHUP, OK), (signal.SIGINT, OK), (signal.SIGKILL, -9)])
def test_the_agent_ends(agent, execute, number, status):
    """Its callers learn of it, and its commands, too."""
    process = agent()
    caller = execute("sh", "-c", "echo $$; exec sleep 1000")
    pid = pid_of(caller)
    process.signal(number)
    assert process.wait() == status
    ends(caller, FAILED, "ivshmem: the agent 'agent' ended, or died, before the command did")
    wait_until_gone(pid)


def test_no_zombies_and_no_descriptors(agent, run):
    process = agent()
    run("true")
    before = len(process.fds())
    for _ in range(5):
        run("true")
        run("nothing", status=NOT_FOUND)
    wire.wait_until(lambda: len(process.fds()) == before, "no descriptor is left")
    children = f"/proc/{process.pid}/task/{process.pid}/children"
    wire.wait_until(lambda: open(children).read() == "", "no process is left")


def test_who_waits_takes_no_time(agent, execute):
    process = agent()
    caller = execute("sh", "-c", "echo $$; exec sleep 1000")
    pid_of(caller)
    before = process.cpu_seconds() + caller.cpu_seconds()
    time.sleep(2)
    assert process.cpu_seconds() + caller.cpu_seconds() - before < 0.2


# ---- what a command has --------------------------------------------------------------------------------


def test_environment_and_directory(agent, run, room):
    agent()
    out, _ = run("sh", "-c", 'pwd; echo "$A-$B"', options=["--env", "A=x=y", "-e", "B=", "-C", room.path])
    assert out.decode() == f"{room.path}\nx=y-\n"
    assert run("pwd")[0].decode().strip() == pwd.getpwuid(os.getuid()).pw_dir
    _, err = run("pwd", options=["--directory", "/nowhere"], status=CANNOT_RUN)
    assert err == b"ivshmem: cannot change to the directory '/nowhere': No such file or directory\n"


def test_a_path_from_the_environment_counts(agent, run, room):
    agent()
    path = room.file("program-of-the-test")
    with open(path, "w") as file:
        file.write("#!/bin/sh\necho found $1\n")
    os.chmod(path, 0o755)
    run("program-of-the-test", "x", status=NOT_FOUND)
    assert run("program-of-the-test", "x", options=["--env", f"PATH={room.path}:/bin"])[0] == b"found x\n"


def test_a_command_is_as_in_a_new_session(agent, run):
    """No descriptors, signals or limits of the agent's."""
    agent()
    text = """
import os, resource, signal
print(sorted(os.listdir("/proc/self/fd"), key=int)[:-1], os.getsid(0) == os.getpid() == os.getpgrp())
print(signal.pthread_sigmask(signal.SIG_BLOCK, []), resource.getrlimit(resource.RLIMIT_NOFILE)[0] <= 1024)
print([n for n in range(1, 32) if signal.getsignal(n) == signal.SIG_IGN])
"""
    out, _ = run(*python(text))
    # Python itself ignores SIGPIPE and SIGXFSZ.
    assert out.decode().splitlines() == ["['0', '1', '2'] True", "set() True", "[13, 25]"]


def test_a_shell_without_a_command(agent, run, tool):
    agent()
    fd = feed(b"echo $0; exit 3\n")
    process = tool("exec", NAME, stdin=fd)
    os.close(fd)
    assert process.wait() == 3
    assert process.stdout == "-" + os.path.basename(pwd.getpwuid(os.getuid()).pw_shell or "/bin/sh") + "\n"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_another_user(agent, run):
    agent("--user", "nobody")
    out, _ = run("sh", "-c", "id -un; id -Gn; echo $HOME $USER; pwd; env | grep -c IVSHMEM", status=1)
    nobody = pwd.getpwnam("nobody")
    assert out.decode().splitlines() == ["nobody", "nogroup", f"{nobody.pw_dir} nobody", "/", "0"]


def test_a_user_who_is_not_there(tool):
    ends(tool("agent", "--user", "nobody-of-this-name"), FAILURE, "--user: there is no user 'nobody-of-this-name'")


# ---- terminals -----------------------------------------------------------------------------------------


def resize(terminal, rows, columns):
    fcntl.ioctl(terminal.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


@pytest.fixture
def at_terminal(tool, terminal):
    """at_terminal(*words): exec, with the terminal as its own."""

    def at_terminal(*words, env=None):
        def take():
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        resize(terminal, 33, 101)
        end = terminal.process_end
        return tool("exec", *words, stdin=end, stdout=end, stderr=end, setup=take, env=dict(env or {}, TERM="vt220"))

    return at_terminal


def settings(terminal):
    return termios.tcgetattr(terminal.process_end)


def test_a_terminal(agent, at_terminal, terminal):
    """With its size, its kind, and its keys; ours becomes as it was."""
    agent()
    before = settings(terminal)
    process = at_terminal(NAME, "sh", "-c", "stty size; echo $TERM; tty; trap 'echo interrupted' INT; sh -c 'echo ready; exec sleep 1000'; read line; echo $line")
    terminal.expect(b"33 101\r\nvt220\r\n/dev/pts/")
    terminal.expect(b"ready")
    assert settings(terminal) != before, "it is raw"
    terminal.type("\x03")
    terminal.expect(b"interrupted")
    terminal.type("typed\r")
    terminal.expect(b"typed\r\ntyped\r\n")
    ends(process, OK)
    assert settings(terminal) == before


def test_the_size_changes(agent, at_terminal, terminal):
    agent()
    process = at_terminal(NAME, "sh", "-c", "trap 'stty size; exit 4' WINCH; echo ready; while :; do sleep 0.1; done")
    terminal.expect(b"ready")
    resize(terminal, 50, 132)
    terminal.expect(b"50 132")
    ends(process, 4)


@pytest.mark.parametrize("victim", ["command", "agent", "caller"])
def test_the_terminal_is_restored(agent, at_terminal, terminal, victim):
    server = agent()
    before = settings(terminal)
    process = at_terminal(NAME, "sh", "-c", "trap '' TERM; echo pid $$; while :; do sleep 1; done")
    terminal.expect(b"pid ")
    pid = int(terminal.expect(b"\r\n"))
    assert settings(terminal) != before
    if victim == "command":
        os.kill(pid, signal.SIGKILL)
    elif victim == "agent":
        server.kill()
    else:
        for _ in range(3):
            process.signal(signal.SIGTERM)
            wire.wait_until(lambda: not process.running() or signal.SIGTERM not in pending(process.pid), "it has read it")
    assert process.wait() == {"command": 137, "agent": FAILED, "caller": 128 + signal.SIGTERM}[victim]
    assert settings(terminal) == before
    if victim == "agent":
        terminal.expect(b"ivshmem: the agent 'agent' ended, or died")
    wait_until_gone(pid)


def test_the_terminal_is_restored_after_a_command_that_reads_no_more(speaker, at_terminal, terminal):
    """Our stdin is not needed any more, but it is the terminal."""
    before = settings(terminal)
    speaker(b"\2", b"\6\0", b"\22\5")
    ends(at_terminal(NAME, "true"), 5)
    assert settings(terminal) == before


def test_no_terminal_if_not_wanted(agent, at_terminal, terminal):
    agent()
    process = at_terminal("--no-tty", NAME, "sh", "-c", "tty; exit 5")
    terminal.expect(b"not a tty")
    ends(process, 5)


def test_a_terminal_although_we_have_none(agent, run):
    """stdout and stderr are one; the end of our stdin is the end of its."""
    agent()
    out, err = run("sh", "-c", "tty >/dev/null && echo yes; echo error >&2; cat", data=b"line\nrest", options=["--tty"])
    assert b"yes\r\nerror\r\n" in out and out.count(b"line\r\n") == 2 and b"rest" in out and err == b""


@pytest.mark.limit(LIMIT)
def test_much_through_a_terminal(agent, run):
    agent()
    out, _ = run("seq", "100000", options=["-p"])
    assert out == b"".join(b"%d\r\n" % i for i in range(1, 100001))


def test_a_caller_with_a_terminal_is_killed(agent, execute):
    agent()
    caller = execute("sh", "-c", "echo $$; sleep 1000", options=["--tty"])
    pid = int(caller.expect(r"(\d+)\r").group(1))
    caller.kill()
    wait_until_gone(pid)


# ---- many ----------------------------------------------------------------------------------------------


@pytest.mark.limit(LIMIT)
def test_many_at_a_time(launch, server, closing):
    """More than the agent has room for: the others wait."""
    target = "unix:" + server("-l", "64M", "-n", "1").path
    agent = launch("ivshmem", "--target", target, "agent", "--allow", "exec")
    agent.expect("ivshmem: listening .*", "stderr")
    data = os.urandom(1 << 20)
    callers = []
    for _ in range(40):
        fd = feed(data)
        callers.append(launch("ivshmem", "--target", target, "exec", NAME, "cat", stdin=fd))
        os.close(fd)
    for caller in callers:
        assert caller.wait(LIMIT) == OK, caller.describe()
        assert bytes(caller.output["stdout"]) == data


def test_commands_do_not_hold_each_other_up(agent, execute, run):
    agent()
    zero = os.open("/dev/zero", os.O_RDONLY)
    busy = [execute("sh", "-c", "cat > /dev/null", stdin=zero), execute("sh", "-c", "cat /dev/zero")]
    os.close(zero)
    for i in range(10):
        assert run("echo", i)[0] == b"%d\n" % i
    for process in busy:
        assert process.running()
        process.kill()


# ---- hostile callers -----------------------------------------------------------------------------------

REQUEST = b"\1\1exec\0argument=sh\0argument=-c\0argument=%s\0"


@pytest.fixture
def say(tool):
    """say(*records): a caller that says this, none with a newline, and then nothing more, but stays."""

    def say(*records):
        process = tool("send", "--queue", NAME, stdin=subprocess.PIPE)
        with contextlib.suppress(BrokenPipeError):  # it may be sent away before it has said all
            for record in records:
                os.write(process.process.stdin.fileno(), record + b"\n")
        return process

    return say


@pytest.mark.parametrize("record, sentence", [
    (b"", "the first record is no request"),
    (b"hello, agent", "the first record is no request"),
    (b"\2", "the first record is no request"),
    (b"\1\1", "the request makes no sense"),
    (b"\1\1exec", "the request makes no sense"),
    (b"\1\1exec\0argument\0", "the request makes no sense"),
    (b"\1\1" + b"x" * 33 + b"\0", "the request makes no sense"),
    (b"\1\7exec\0", "this agent has version 1 of the protocol, and the caller has 7: .*"),
    (b"\1\1something\0", "this agent has no service 'something'"),
    (b"\1\1exec\0future=1\0", "the agent does not know 'future' of a request: .*"),
    (b"\1\1exec\0environment=x\0", "'x' is not NAME=VALUE"),
    (b"\1\1exec\0terminal=80\0", "'80' is not the size of a terminal"),
    (b"\1\1exec\0terminal=1x99999\0", "'1x99999' is not the size of a terminal"),
    (b"\1\1exec\0terminal=-1x-1\0", "'-1x-1' is not the size of a terminal"),
])
def test_wrong_requests(agent, say, run, record, sentence):
    process = agent()
    caller = say(record)
    process.expect(f"ivshmem: job 1 of 'ivshmem send' refused: .*: {sentence}", "stderr")
    caller.wait()
    assert run("echo", "fine")[0] == b"fine\n"


@pytest.mark.parametrize("records", [
    [b"\0"],
    [b""],
    [b"\1\1exec\0"],  # a second request
    [b"\2"],
    [b"\4\0" + bytes(30000)] * 20,  # more than there is credit for
    [b"\4\1output"],
    [b"\5\0", b"\5\0"],
    [b"\5\0", b"\4\0more"],
    [b"\5\1"],
    [b"\6\0"],
    [b"\7\0\1\0\0\0"],
    [b"\7\3\1\0\0\0"],
    [b"\7\1\0\0\0\x40", b"\7\1\1\0\0\0"],
    [b"\7\1\0"],
    [b"\20\0"],
    [b"\20\377"],
    [b"\21\1\0\1\0"],  # there is no terminal
    [b"\22\0"],
    [b"\40\1"],
])
def test_wrong_records(agent, say, run, room, records):
    """The job ends, with its command, and that is all."""
    process = agent()
    path = room.file("pid")
    caller = say(REQUEST % f"echo $$ > {path}; exec sleep 1000".encode(), *records)
    process.expect("ivshmem: job 1 ended: what the caller sent makes no sense", "stderr")
    caller.wait()
    assert run("echo", "fine")[0] == b"fine\n"
    with contextlib.suppress(FileNotFoundError, ValueError), open(path) as file:
        wait_until_gone(int(file.read()))


def test_a_caller_that_takes_nothing(agent, say, run, room):
    """It has given credit, and does not receive: its command waits, and nobody else."""
    agent()
    path = room.file("count")
    say(REQUEST % f"while :; do echo {'x' * 1000}; echo $((n += 1)) > {path}; done".encode(), b"\7\1\0\0\0\x40")
    wire.wait_until(lambda: os.path.exists(path), "it has begun")
    for i in range(5):
        assert run("echo", i)[0] == b"%d\n" % i


def test_a_caller_that_says_nothing(agent, say, run):
    process = agent()
    caller = say()
    process.expect("ivshmem: job 1 ended: the caller did not say what it wants", "stderr")
    caller.wait()
    assert run("echo", "fine")[0] == b"fine\n"


# ---- hostile agents ------------------------------------------------------------------------------------


@pytest.fixture
def speaker(processes, target):
    """speaker(*records): an agent that says this to its caller, and nothing else."""

    def speaker(*records):
        program = os.path.join(wire.BUILD, "tests", "support", "queue_speaker")
        fd = feed(b"".join(record.hex().encode() + b"\n" for record in records))
        process = wire.Process([program, target, NAME], stdin=fd)
        os.close(fd)
        processes.append(process)
        process.expect("listening")
        return process

    return speaker


@pytest.mark.parametrize("records", [
    [b""],
    [b"\0"],
    [b"\1\1exec\0"],
    [b"\2", b"\2"],
    [b"\2extra"],
    [b"\2", b"\4\0input"],
    [b"\2", b"\4\3other"],
    [b"\2", b"\5\1", b"\4\1more"],
    [b"\2", b"\5\2", b"\5\2"],
    [b"\2", b"\6\1"],
    [b"\2", b"\7\0\0\0\0\x40", b"\7\0\1\0\0\0"],
    [b"\2", b"\7\1\1\0\0\0"],
    [b"\2", b"\20\17"],
    [b"\2", b"\21\1\0\1\0"],
    [b"\2", b"\22"],
    [b"\2", b"\22\1\1"],
    [b"\2", b"\40\1"],
])
def test_an_agent_that_makes_no_sense(speaker, execute, records):
    """It is told, and the caller ends, whatever was right before."""
    agent = speaker(*records)
    reading, writing = os.pipe()  # a stdin that does not end
    caller = execute("true", stdin=reading)
    os.close(reading)
    ends(caller, FAILED, "ivshmem: what the other end of 'agent' wrote into the memory makes no sense")
    os.close(writing)
    assert agent.wait() == 0, agent.describe()


def test_an_agent_that_sends_more_than_there_is_credit_for(speaker, execute):
    speaker(b"\2", *[b"\4\1" + bytes(60000)] * 20)
    reading, writing = os.pipe()  # which nobody reads
    caller = execute("true", stdout=writing)
    os.close(writing)
    caller.expect("ivshmem: what the other end of 'agent' wrote into the memory makes no sense: .*", "stderr")
    os.close(reading)
    ends(caller, FAILED)


def test_what_an_agent_says_does_nothing_to_a_terminal(speaker, execute):
    speaker(b"\3\1no \x1b[31m\nsecond line" + b"x" * 50000)
    process = execute("true")
    assert process.wait() == 1
    assert process.stderr.startswith("ivshmem: no \\x1b[31m\\x0asecond linexx") and len(process.stderr) < 3000


@pytest.mark.parametrize("records, status", [([b"\3\0nothing"], FAILED), ([b"\22\11"], 9), ([b"\2", b"\23\11"], 137)])
def test_short_answers(speaker, run, records, status):
    speaker(*records)
    run("true", status=status)


# ---- who may -------------------------------------------------------------------------------------------


def test_nothing_is_allowed_by_itself(tool, run):
    agent = tool("agent")
    agent.expect("ivshmem: warning: nothing is allowed, .*", "stderr")
    agent.expect("ivshmem: listening under 'agent'; allowed: nothing", "stderr")
    _, err = run("true", status=FAILED)
    assert err.startswith(b"ivshmem: the agent does not allow exec: start it with --allow exec, or the VM with -fw_cfg name=opt/")
    agent.expect("ivshmem: job 1 of 'ivshmem exec' refused: exec: the agent does not allow exec: .*", "stderr")


def test_what_cannot_be_allowed(tool):
    ends(tool("agent", "--allow", "exec,anything"), USAGE, "--allow: there is no service 'anything'")


def test_nobody_listens(run):
    _, err = run("true", status=FAILED)
    assert err == b"ivshmem: no agent listens under 'agent': start one there with 'ivshmem agent --allow exec agent'\n"


def test_waiting_for_the_agent(agent, execute):
    process = execute("echo", "there", options=["--timeout", "1000"])
    process.expect("ivshmem: waiting for an agent under 'agent'", "stderr")
    agent()
    ends(process, OK)
    assert process.stdout == "there\n"


def test_waiting_in_vain(execute):
    ends(execute("true", options=["--timeout", "0.2"]), FAILED, "no agent listens under 'agent'")


def test_something_else_listens(tool, run):
    process = tool("recv", "--keep", NAME)
    process.expect("ivshmem: listening .*", "stderr")
    _, err = run("true", status=FAILED)
    assert b"ivshmem: " in err


def test_there_is_no_server(launch, room):
    process = launch("ivshmem", "--target", "unix:" + room.file("nothing"), "exec", NAME, "true")
    ends(process, FAILED, "ivshmem: ")


# ---- words ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words, sentence", [
    ([], "exec needs NAME"),
    (["--wrong", NAME], "unknown option '--wrong'"),
    ([NAME, "--env", "x", "true"], "--env: 'x' is not NAME=VALUE"),
    (["--tty", "--no-tty", NAME], "--tty and --no-tty exclude each other"),
    (["--json", NAME, "true"], "--json"),
])
def test_wrong_words(tool, words, sentence):
    ends(tool("exec", *words), FAILED, sentence)


@pytest.mark.parametrize("words", [
    [NAME, "echo", "-n", "--tty", "x"],
    [NAME, "--", "echo", "-n", "--tty", "x"],
    ["--no-tty", NAME, "echo", "-n", "--tty", "x"],
    [NAME, "--no-tty", "--", "echo", "-n", "--tty", "x"],
    ["--", NAME, "echo", "-n", "--tty", "x"],
])
def test_where_options_may_be(agent, tool, words):
    """Those behind the command are the command's."""
    agent()
    process = tool("exec", *words)
    ends(process, OK)
    assert process.stdout == "--tty x"


def test_a_long_command_line(agent, run):
    agent()
    argument = "x" * 50_000
    assert run("echo", argument)[0].decode() == argument + "\n"
    _, err = run("echo", argument, argument, status=FAILED)
    assert b"the command line and its environment are too long" in err


def test_odd_arguments(agent, run):
    agent()
    odd = b"\x01\xff ' \" $x \n\\", b"", b"="
    out, _ = run(*python("import os, sys; [print(os.fsencode(a)) for a in sys.argv[1:]]"), *(os.fsdecode(a) for a in odd))
    assert out.decode().splitlines() == [repr(a) for a in odd]


def test_what_is_reported(tool, run):
    agent = tool("agent", "--allow", "exec", "--json")
    agent.expect("ivshmem: listening .*", "stderr")
    run("sh", "-c", "exit 3", status=3)
    run("nothing", status=NOT_FOUND)
    lines = [json.loads(agent.expect(r"\{.*\}").group()) for _ in range(3)]
    common = {"who": "ivshmem exec", "service": "exec"}
    assert lines == [
        {"event": "begun", "job": 1, **common, "what": "sh -c exit 3"},
        {"event": "ended", "job": 1, **common, "what": "sh -c exit 3", "status": 3},
        {"event": "refused", "job": 2, **common, "what": "nothing", "error": "there is no program 'nothing' here", "status": NOT_FOUND},
    ]


def test_what_a_caller_says_does_nothing_to_a_terminal(agent, run):
    process = agent()
    run("echo", "\x1b[31m\n")
    process.expect(r"ivshmem: job 1 of 'ivshmem exec': echo \\x1b\[31m\\x0a", "stderr")


def test_an_agent_by_its_name(launch, target, run, room):
    """The program does what it is called."""
    path = room.file("ivshmem-agent")
    os.symlink(wire.program("ivshmem"), path)
    process = wire.Process([path, "--target", target, "--allow", "exec", "other"])
    try:
        process.expect("ivshmem: listening under 'other'; allowed: exec .*", "stderr")
        assert run("echo", "hello", name="other")[0] == b"hello\n"
    finally:
        process.kill()

# SPDX-License-Identifier: BSD-2-Clause
"""The command line tool: the shell, from a script and on a terminal. Checklist 114 to 118."""

import fcntl
import json
import os
import signal
import subprocess
import termios
import time

import pytest

import ivshmem_wire as wire
from ivshmem_cli import FAILURE, OK, TIMEOUT, counts, end, results, script

# ---- the shell -----------------------------------------------------------------------------------------


def test_114_dump_and_int(server, shell):
    group = server(vectors=2)
    first, second = group.client(), group.client()
    process = shell()
    process.write("dump\n")
    for line in ("own id 2: 2 vectors", "peer 0: 2 vectors", "peer 1: 2 vectors"):
        process.expect(line)
    for command, rung in (("int 0 1", [0, 1, 0, 0]), ("int 1 all", [0, 0, 1, 1]), ("int all", [1, 1, 1, 1])):
        process.do(command)
        assert counts(*first.peers[0], *second.peers[1]) == rung
    # Not our own for "int all", but if we ask for it.
    process.write("counts\n")
    process.expect("vector 0 received 0")
    process.expect("vector 1 received 0")
    process.write("int 2 1\n")
    process.expect("interrupt vector 1 count 1")
    end(process)


def test_115_shell_prints_events(server, shell):
    group = server(vectors=2)
    process = shell()
    first = group.client()
    process.expect(rf"peer 1 joined \(\d vectors?\)")
    wire.ring(first.peers[0][1])
    process.expect("interrupt vector 1 count 1")
    wire.ring(first.peers[0][0])
    process.expect("interrupt vector 0 count 1")
    first.sock.close()
    process.expect("peer 1 left")
    end(process)
    assert process.stderr == ""
    assert len([line for line in process.lines() if line.startswith("interrupt")]) == 2


@pytest.mark.parametrize(
    "command, words",
    [
        ("frobnicate", ["unknown command", "frobnicate"]),
        ("int 9 0", ["peer 9", "not connected"]),
        ("int 9 all", ["peer 9", "not connected"]),
        ("int 0 2", ["vector 2", "2 vectors"]),
        ("int 0 0 junk", ["usage: int"]),
        ("int 0", ["usage: int"]),
        ("int", ["usage: int"]),
        ("int all 1", ["usage: int"]),
        ("int 0 0x", ["vector", "0x"]),
        ("int 0junk 0", ["peer", "0junk"]),
        ("int -1 0", ["peer", "-1"]),
        ("int 65536 0", ["peer", "65536"]),
        ("int 0 4294967296", ["vector"]),
        ("dump all", ["usage: dump"]),
        ("quit now", ["usage: quit"]),
        ("help me", ["usage: help"]),
        ("ring", ["usage: ring"]),
        ("ring 0 1 2", ["usage: ring"]),
        ("ring 9", ["peer 9"]),
        ("ring 0:7", ["vector 7"]),
        ("wait 2", ["no vector 2"]),
        ("wait x", ["vector", "'x'"]),
        ("wait 0 0", ["COUNT"]),
        ("wait 0 1 soon", ["SECONDS", "soon"]),
        ("wait 0 1 0 junk", ["usage: wait"]),
        ("wait 0 1 0", ["timed out"]),
        ("read", ["usage: read"]),
        ("read 0", ["usage: read"]),
        ("read 0 x", ["LENGTH", "'x'"]),
        ("read 8M 1", ["4 MiB"]),
        ("text", ["usage: text"]),
        ("text 8M", ["4 MiB"]),
        ("write", ["usage: write"]),
        ("write x y", ["OFFSET", "'x'"]),
        ("write 4194303 ab", ["4 MiB"]),
        ("ping", ["usage: ping"]),
        ("ping all", ["'all'"]),
        ("ping 9", ["peer 9"]),
        ("ping 0:2", ["no vector 2"]),
        ("echo 0:2", ["no vector 2"]),
        ("echo 0 x", ["COUNT"]),
        ("sleep", ["usage: sleep"]),
        ("sleep long", ["SECONDS", "long"]),
        ("counts 1", ["usage: counts"]),
    ],
)
def test_116_messages(server, run, command, words):
    """Each mistake gets one message, and the shell goes on."""
    server(vectors=2).client()
    process = script(run, f"{command}\nsay still here\n")
    # What it waits for before it gives up is a note.
    complaints = [line for line in process.lines("stderr") if "waiting for vector" not in line]
    assert len(complaints) == 1, process.describe()
    for word in words:
        assert word in complaints[0], process.describe()
    assert results(process) == ["still here"]


@pytest.mark.parametrize("command", ["help", "?"])
def test_116_help_prints_help_only(server, run, command):
    server()
    process = script(run, command)
    assert process.stderr == ""
    lines = results(process)
    for word in ("help", "?", "dump", "int P V", "peers", "wait", "say", "quit"):
        assert any(line.startswith(f"  {word}") for line in lines), word


def test_117_end_of_input_ends(server, run, shell):
    server()
    began = os.times()
    process = run("shell", stdin=subprocess.DEVNULL)
    assert len(process.lines()) == 1 and process.stderr == ""
    used = os.times()
    spent = used.children_user + used.children_system - began.children_user - began.children_system
    assert spent < 1, f"{spent} s of CPU time"
    end(shell())


def idle(process):
    """The processor time that it takes in a second."""
    before = process.cpu_seconds()
    time.sleep(1)  # what is measured, nothing waits for it
    return process.cpu_seconds() - before


def test_117_idle_without_cpu_use(server, shell):
    """With an open but silent input, with the server lost, and with events: asleep all the time."""
    group = server()
    process = shell("--quiet")
    process.do("")
    assert idle(process) <= 0.1
    group.finish()
    process.expect("server lost: .*")
    assert idle(process) <= 0.2
    end(process)


def test_117_idle_monitor_without_cpu_use(attached):
    a = attached("monitor", "--quiet")
    a.alone()
    assert idle(a.process) <= 0.2


def test_separators_and_blanks(server, run):
    server()
    process = script(run, b"say a;say b\rsay c\r\n ;;\t say   d  e ;\n\n# say no; say no\n  # no\nsay f#g\0say h\nsay end")
    assert results(process) == ["a", "b", "c", "d  e ", "f#g", "h", "end"]
    assert process.stderr == ""
    process = script(run, "quit;say no\n")
    assert results(process) == []
    process = script(run, "exit")
    assert results(process) == []


def test_long_lines(memory_of, shell):
    memory = memory_of("4M")
    text = "x" * (1 << 20)
    longest = text[: (1 << 20) - len("write 0 ")]
    process = shell()
    process.do(f"write 0 {longest}")
    assert os.pread(memory, len(longest) + 1, 0) == longest.encode() + b"\0"
    process.write(f"write 0 {text}\nsay two\n# {text};say no{text}\nsay three\nsay {2 * text};say four\n")
    for word in ("two", "three", "four"):
        process.expect(word)
    # Cut anywhere by the reads.
    for byte in "say piecewise\nsay two\n":
        process.write(byte)
    process.expect("piecewise")
    process.expect("two")
    end(process)
    assert process.stderr.count("left out") == 2


def test_exit_on_error(server, run):
    server()
    for option in ("-e", "--exit-on-error"):
        process = script(run, "say a\nint 9 9\nsay b\n", option, status=FAILURE)
        assert results(process) == ["a"]
        process = script(run, "say a\nwait 0 1 0\nsay b\n", option, status=TIMEOUT)
        assert results(process) == ["a"]
        assert script(run, "say a\nquit\nint 9 9\n", option).lines()[-1] == "a"
    assert results(script(run, "int 9 9\nwait 0 1 0\nsay b\n")) == ["b"]


def test_write_text_and_read_in_shell(memory_of, run):
    memory = memory_of("64K")
    os.pwrite(memory, b"y" * 64, 0)
    process = script(run, "write 8   some  text here \ntext 8\nread 6 10\nwrite 0x20\ntext 0\n")
    assert process.stderr == ""
    assert os.pread(memory, 33, 0) == b"yyyyyyyysome  text here \0yyyyyyy\0"
    assert results(process) == [
        "some  text here ",
        "00000006  79 79 73 6f 6d 65 20 20  74 65                    |yysome  te|",
        "00000010",
        "yyyyyyyysome  text here ",
    ]


def test_wait_in_shell_uses_what_came_before(attached):
    a = attached("shell", own=3)

    def say(commands, *answers):
        a.process.write(commands + "\n")
        for answer in answers:
            a.process.expect(answer)

    a.interrupt(1, 3)
    say("wait 1", "vector 1 count 1")
    say("wait", "vector 1 count 1")
    say("wait any 2")
    wire.ring(a.own[2])
    a.process.expect("vector 1 count 1")
    a.process.expect("vector 2 count 1")
    say("wait 1 1 0")
    a.process.expect("ivshmem: timed out: 0 of 1 .*", "stderr")
    # What a wait for one vector leaves alone is reported.
    say("say now\nwait 0 1", "now")
    a.interrupt(1)
    os.write(a.own[0], (4).to_bytes(8, "little"))
    a.process.expect("vector 0 count 1")
    a.process.expect("interrupt vector 0 count 3")
    say("wait 0 3; counts", "vector 0 count 3", "vector 0 received 4", "vector 1 received 4", "vector 2 received 1")
    end(a.process)


def test_ping_and_echo_in_shells(server, shell):
    server(vectors=2)
    left, right = shell(), shell()
    left.expect("peer 1 joined .*")
    left.write("echo 1:1 30\nsay done\n")
    right.write("ping 0:1 30\n")
    right.expect(r"peer 0 vector 1: 30 round trips, .*")
    left.expect("peer 1 vector 1: rang back 30 times")
    left.expect("done")
    # They were answers, not events; only the first ring may have come before the echo began.
    for process, at_most in ((left, 1), (right, 0)):
        end(process)
        assert len([line for line in process.lines() if line.startswith("interrupt")]) <= at_most


def test_shell_sleep_prints_events(attached):
    a = attached("shell")
    a.process.write("say asleep\nsleep 1\nsay awake\n")
    a.process.expect("asleep")
    a.interrupt(0)
    a.process.expect("awake")
    end(a.process)


def test_shell_script_between_two(server, shell):
    """The use it was made for: one writes and rings, the other waits, reads and answers."""
    server(vectors=2)
    left, right = shell("-e"), shell("-e")
    left.write(f"wait 1 1 60; text 0; write 1K to you, too; ring {right.id}:1; say left is done\n")
    right.expect(rf"peer {left.id} joined .*")
    right.write(f"write 0 hello, neighbour\nring {left.id}:1\nwait 1 1 60\ntext 1K\n")
    left.expect("vector 1 count 1")
    left.expect("hello, neighbour")
    left.expect("left is done")
    right.expect("to you, too")
    end(left)
    end(right)


@pytest.mark.parametrize("command", ["wait", "echo 1", "ping 1", "sleep 1h", "ring 0 1000000000000", None])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_the_shell(attached, command, number):
    """At the prompt and in the middle of everything that lasts."""
    a = attached("shell", own=1, peers={1: 1})
    a.process.write("say before\n" + (f"{command}\nsay never\n" if command else ""))
    a.process.expect("before")
    if command and command.startswith("ping"):
        wire.wait_rings(a.peers[1][0])
    a.process.finish(number)
    assert "never" not in a.process.stdout
    assert a.connection.closed_by_client()


def test_signal_ends_an_endless_script(server, cli):
    server()
    process = cli("shell", stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    writer = subprocess.Popen(["yes", "dump"], stdout=process.process.stdin, preexec_fn=wire.die_with_parent)
    try:
        process.process.stdin.close()
        wire.wait_until(lambda: process.cpu_seconds() > 0.05, "the script runs")
        process.finish()
    finally:
        writer.kill()
        writer.wait()


def test_shell_json(attached):
    a = attached("shell", "--json", own_id=3, peers={1: 1})
    a.process.expect(r'.*"joined".*')
    a.process.write('say a "quoted" word\ninfo\npeers\ncounts\nint all\nwrite 0 text\ntext 0\nread 0 2\nhelp\n')
    a.process.write("wait 0 1 0\nping 3 1\n")
    a.process.expect(r'.*"received".*"min_us".*')
    end(a.process)
    documents = [json.loads(line) for line in a.process.lines()]
    say, info, peers, received, rung, written, text, dump, words, waited, ping = documents[2:]
    assert say == {"say": 'a "quoted" word'}
    assert info["id"] == 3 and info["vectors"] == 2
    assert peers["peers"] == [{"id": 1, "vectors": 1}]
    assert received == {"received": [0, 0]}
    assert rung == {"rung": [{"peer": 1, "vector": 0, "count": 1}]}
    assert written == {"offset": 0, "length": 5}
    assert text == {"offset": 0, "length": 4, "text": "text"}
    assert dump == {"offset": 0, "length": 2, "hex": "7465"}
    assert {"help", "int", "wait"} <= {entry["command"] for entry in words["help"]}
    assert waited == {"vectors": [], "timed_out": True}
    assert ping["received"] == 1
    assert len(a.process.stderr.splitlines()) == 1


def test_shell_attaches_again(server, shell):
    first = server(vectors=1)
    process = shell("--reconnect-interval", "0.05")
    process.do("write 0 old")
    first.finish()
    process.expect("server lost: .*")
    # The old group goes on working until there is a new one.
    process.write("text 0\n")
    process.expect("old")
    second = server(vectors=2)
    process.expect(r"attached as peer 0 \(2 vectors, .*\)")
    client = second.client()
    process.expect(r"peer 1 joined .*")
    wire.ring(client.peers[0][1])
    process.expect("interrupt vector 1 count 1")
    process.write("text 0\nsay done\n")
    process.expect("")  # the new memory is empty
    process.expect("done")
    end(process)


# ---- the shell on a terminal ---------------------------------------------------------------------------


@pytest.fixture
def on_terminal(terminal):
    """Options for a process whose controlling terminal is ours."""

    def setup():
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    return {"stdin": terminal.process_end, "stdout": terminal.process_end, "setup": setup}


PROMPT = b"ivshmem> "


def test_prompt(server, cli, terminal, on_terminal):
    group = server()
    process = cli("shell", **on_terminal)
    terminal.expect(b"attached as peer 0")
    terminal.expect(PROMPT)
    terminal.type("say hello\n")
    terminal.expect(b"\nhello\r\n" + PROMPT)
    client = group.client()
    wire.ring(client.peers[0][0])
    # An event takes the prompt's line, and a new prompt follows.
    terminal.expect(b"interrupt vector 0 count 1\r\n" + PROMPT)
    terminal.type("\x04")
    assert process.wait() == OK


def test_no_prompt_without_terminal(server, run):
    server()
    assert "ivshmem>" not in script(run, "say a\nsay b\n").stdout


def test_interrupt_key(attached, terminal, on_terminal):
    """It ends the command that runs, and at the prompt the shell."""
    a = attached("shell", own=1, peers={1: 1}, **on_terminal)
    terminal.expect(b"peer 1 joined (1 vector)\r\n" + PROMPT)
    for command in ("ping 1", "echo 1"):
        terminal.type(f"{command}\n")
        if command == "echo 1":
            wire.ring(a.own[0])
        wire.wait_rings(a.peers[1][0])  # so it runs
        terminal.type("\x03")
        terminal.expect(PROMPT)
        assert a.process.running()
    terminal.type("say alive\n")
    terminal.expect(b"\nalive\r\n" + PROMPT)
    terminal.type("\x03")
    assert a.process.wait() == OK


def test_terminate_in_a_command_on_a_terminal(attached, terminal, on_terminal):
    a = attached("shell", own=1, peers={1: 1}, **on_terminal)
    terminal.expect(b"peer 1 joined (1 vector)\r\n" + PROMPT)
    terminal.type("ping 1\n")
    wire.wait_rings(a.peers[1][0])
    a.process.finish()


def test_hang_up(server, cli, terminal, on_terminal):
    """The terminal goes away."""
    server()
    process = cli("shell", **on_terminal)
    terminal.expect(PROMPT)
    os.close(terminal.master)
    terminal.master = os.open("/dev/null", os.O_RDWR)
    assert process.wait() in (OK, -signal.SIGHUP)

# SPDX-License-Identifier: BSD-2-Clause
"""
For the tests of the command line tool: running it, its shell, a fake group to attach it to, a terminal.

The client-tool rows of the checklist are 114 to 118.
"""

import os
import pty
import re
import select
import subprocess
import time

import pytest

import ivshmem_wire as wire

OK, FAILURE, USAGE, TIMEOUT = 0, 1, 2, 3


def run_to_end(start, arguments, status, stdin, options):
    fd = feed(stdin) if isinstance(stdin, bytes) else None
    process = start(*arguments, stdin=stdin if fd is None else fd, **options)
    if fd is not None:
        os.close(fd)
    assert process.wait() == status, process.describe()
    return process


@pytest.fixture
def run(cli):
    """Run the tool to its end, with these bytes to read; returns the process, whose status must be the one expected."""

    def run(*arguments, status=OK, stdin=None, **options):
        process = run_to_end(cli, arguments, status, stdin, options)
        if status not in (OK, TIMEOUT):
            assert process.stderr.startswith("ivshmem: "), process.describe()
        return process

    return run


@pytest.fixture
def run_plain(launch):
    """The same without --target."""

    def run_plain(*arguments, status=OK, stdin=None, **options):
        return run_to_end(launch, ("ivshmem", *arguments), status, stdin, options)

    return run_plain


@pytest.fixture
def shell(cli):
    """An attached shell that takes commands through a pipe; process.id is its id."""

    def shell(*arguments):
        process = cli("shell", *arguments, stdin=subprocess.PIPE)
        process.id = int(process.expect(r"attached as peer (\d+) \(.*\)").group(1))
        return process

    return shell


def end(process, status=OK):
    """Close a shell's input: it must end, and in this way."""
    process.process.stdin.close()
    assert process.wait() == status, process.describe()


def script(run, text, *arguments, status=OK, **options):
    """Run a whole script through the shell."""
    return run("shell", *arguments, stdin=text if isinstance(text, bytes) else text.encode(), status=status, **options)


def results(process):
    """The output lines of a script without the events."""
    events = r"attached as |peer \d+ (joined|left|has \d+ vectors?$)|interrupt vector |server lost: "
    return [line for line in process.lines() if not re.match(events, line)]


def told_id(process):
    """The id that wait, ping and echo tell on stderr."""
    return int(process.expect(r"ivshmem: (?:waiting|ringing|echoing) as peer (\d+)", "stderr").group(1))


class Attached:
    """The tool at a fake server, with two vectors of its own or as many as `own`; the test holds eventfds and memory."""

    def __init__(self, fake, process, own_id=0, own=2, peers=None, size=1 << 20, seals=True):
        self.fake = fake
        self.process = process
        self.made = []
        self.memory = wire.memory_fd(size, seals)
        self.own = self.eventfds(own) if isinstance(own, int) else own
        self.peers = {peer: self.eventfds(count) for peer, count in (peers or {}).items()}
        self.connection = fake.accept()
        self.connection.greeting(own_id, self.memory, self.own, self.peers.items())
        self.send = self.connection.send

    def eventfds(self, count=1, flags=os.EFD_NONBLOCK | os.EFD_CLOEXEC):
        new = [wire.eventfd(flags=flags) for _ in range(count)]
        self.made += new
        return new

    def join(self, peer, count=1):
        """Announce this peer; returns its eventfds."""
        new = self.eventfds(count)
        for fd in new:
            self.send(peer, fd)
        return new

    def introduce(self, peer, count=1):
        """Announce this peer, and wait until it is reported with all its vectors."""
        new = self.join(peer, count)
        self.process.expect(rf"peer {peer} (?:joined|has) \(?{count} vectors?\)?")
        return new

    def leave(self, peer):
        self.send(peer)
        self.process.expect(f"peer {peer} left")

    def barrier(self, peer=60000):
        """All that was sent before has been handled when this peer is reported."""
        self.introduce(peer)
        self.leave(peer)

    def interrupt(self, vector, count=1):
        """Ring a vector of the tool, which tells of it."""
        os.write(self.own[vector], count.to_bytes(8, "little"))
        self.process.expect(f"interrupt vector {vector} count {count}")

    def lose(self):
        """End the connection, and see that it is noticed."""
        self.connection.close()
        self.process.expect("server lost: .+")

    def attach_again(self, own_id=0):
        """The server goes, and another one greets the tool."""
        self.lose()
        self.connection = self.fake.accept()
        self.connection.greeting(own_id, self.memory, self.own)
        self.send = self.connection.send
        self.process.expect(rf"attached as peer {own_id} \(.*\)")

    def alone(self):
        """The server is gone, and none takes its place."""
        self.fake.close_listener()
        self.lose()

    def close(self):
        for fd in [self.memory, *self.made]:
            os.close(fd)


@pytest.fixture
def attached(fake, cli, closing):
    """
    attached(*words, ...): what these words start, greeted by a fake server. If it reports to us that it is attached, that
    has come.
    """

    def attached(*words, own_id=0, own=2, peers=None, size=1 << 20, seals=True, **options):
        if "shell" in words:
            options.setdefault("stdin", subprocess.PIPE)
        process = cli("--connect-timeout", "20", *words, **options)
        stage = Attached(fake, process, own_id, own, peers, size, seals)
        closing.append(stage)
        if {"monitor", "shell"} & set(words) and "--json" not in words and "stdout" not in options:
            process.expect(rf"(?:[\d:.]+ )?attached as peer {own_id} \(.*\)")
        return stage

    return attached


class Terminal:
    """A pseudo terminal: give process_end to the program, read and write here."""

    def __init__(self):
        self.master, self.process_end = pty.openpty()
        self.output = b""

    def expect(self, data):
        """Wait until `data` came, and forget everything up to it."""
        deadline = time.monotonic() + wire.TIMEOUT
        while data not in self.output:
            left = deadline - time.monotonic()
            assert left > 0, f"no {data!r} in {self.output!r}"
            if select.select([self.master], [], [], left)[0]:
                try:
                    self.output += os.read(self.master, 65536)
                except OSError:
                    raise AssertionError(f"closed without {data!r}: {self.output!r}") from None
        before, _, self.output = self.output.partition(data)
        return before

    def rest(self):
        """Everything up to the end; no process holds the terminal any more."""
        self.close_process_end()
        while True:
            try:
                data = os.read(self.master, 65536)
            except OSError:
                return self.output
            if not data:
                return self.output
            self.output += data

    def close_process_end(self):
        if self.process_end >= 0:
            os.close(self.process_end)
        self.process_end = -1

    def type(self, text):
        os.write(self.master, text.encode())

    def close(self):
        self.close_process_end()
        os.close(self.master)


@pytest.fixture
def terminal(closing):
    terminal = Terminal()
    closing.append(terminal)
    return terminal


def counts(*fds):
    return [wire.rings(fd) for fd in fds]


# Control characters, quotes, good and bad UTF-8: what a text may hold that JSON may not.
ODD = b'od"d\\ \x01\x1f\n\t\x7f \xc3\xa4 \xff\xc3(\xed\xa0\x80'


@pytest.fixture
def memory_of(server, closing):
    """Start a server with memory of this size; returns a descriptor of the memory."""

    def memory_of(size):
        return server("-l", size).client().memory

    return memory_of


def feed(data):
    """A descriptor to read `data` from."""
    fd = os.memfd_create("input")
    os.write(fd, data)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd

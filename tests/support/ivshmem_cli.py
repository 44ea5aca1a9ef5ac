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


@pytest.fixture
def run(cli):
    """Run the tool to its end; returns the process, whose status must be the one expected."""

    def run(*arguments, status=OK, **options):
        process = cli(*arguments, **options)
        assert process.wait() == status, process.describe()
        if status not in (OK, TIMEOUT):
            assert process.stderr.startswith("ivshmem: "), process.describe()
        return process

    return run


@pytest.fixture
def run_plain(processes):
    """The same without --target."""

    def run_plain(*arguments, status=OK, **options):
        process = wire.Process([wire.program("ivshmem"), *arguments], **options)
        processes.append(process)
        assert process.wait() == status, process.describe()
        return process

    return run_plain


@pytest.fixture
def shell(cli):
    """An attached shell that takes commands through a pipe; process.id is its id."""

    def shell(*arguments, **options):
        process = cli("shell", *arguments, stdin=subprocess.PIPE, **options)
        process.id = int(process.expect(r"attached as peer (\d+) \(.*\)").group(1))
        return process

    return shell


def end(process, status=OK):
    """Close a shell's input: it must end, and in this way."""
    process.process.stdin.close()
    assert process.wait() == status, process.describe()


def script(run, text, *arguments, status=OK, **options):
    """Run a whole script through the shell."""
    reader, writer = os.pipe()
    try:
        os.write(writer, text if isinstance(text, bytes) else text.encode())
    finally:
        os.close(writer)
    try:
        return run("shell", *arguments, stdin=reader, status=status, **options)
    finally:
        os.close(reader)


def results(process):
    """The output lines of a script without the events."""
    events = r"attached as |peer \d+ (joined|left|has \d+ vectors?$)|interrupt vector |server lost: "
    return [line for line in process.lines() if not re.match(events, line)]


def told_id(process):
    """The id that wait, ping and echo tell on stderr."""
    return int(process.expect(r"ivshmem: (?:waiting|ringing|echoing) as peer (\d+)", "stderr").group(1))


class Group:
    """A fake server with one attached process: the test holds its eventfds and the memory."""

    def __init__(self, fake, vectors=1, own_id=0, peers=None, size=1 << 20, seals=True):
        self.fake = fake
        self.own_id = own_id
        self.memory = wire.memory_fd(size, seals)
        self.vectors = [wire.eventfd() for _ in range(vectors)]
        self.peers = {peer: [wire.eventfd() for _ in range(n)] for peer, n in (peers or {}).items()}

    def accept(self, own_id=None, **options):
        self.connection = self.fake.accept()
        self.connection.greeting(
            self.own_id if own_id is None else own_id,
            self.memory,
            vectors=self.vectors,
            peers=self.peers.items(),
        )
        return self

    def close(self):
        for fd in [self.memory, *self.vectors, *(fd for fds in self.peers.values() for fd in fds)]:
            os.close(fd)


@pytest.fixture
def group(fake, closing):
    def group(**options):
        group = Group(fake, **options)
        closing.append(group)
        return group

    return group


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
ODD = b'od"d\\ \x01\n\t\x7f \xc3\xa4 \xff\xc3(\xed\xa0\x80'


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

# SPDX-License-Identifier: BSD-2-Clause
"""Those who carry out the blocks of a page: the host and guests, each with a shell that lasts from block to block."""

import os
import pathlib
import re
import select
import signal
import subprocess
import time

import vm

FACTOR = int(os.environ.get('TEST_TIMEOUT_FACTOR', '1'))
LIMIT = 180 * FACTOR  # seconds for a block, or until a line comes

# Reads the number of a block and runs it, in this shell; the first command that fails ends it.
HOST_LOOP = """
trap 'trap - TERM; kill 0' EXIT
trap 'exit 1' TERM
set -e
while read -r block; do
    . "{blocks}/$block" </dev/null
    echo "@done $block"
done
"""

# The same in a guest. It is not the shell that reads: a child that ends meanwhile interrupts that, and a part of the line is lost.
GUEST_LOOP = """
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
mkdir -p /root /var
[ -e /var/run ] || ln -s /run /var/run
cd /root
insmod /modules/ivshmem.ko || exit
{prepare}
set -e
echo @ready
while block=$(head -n 1) && [ -n "$block" ]; do
    . "/guest/blocks/$block" </dev/null
    echo "@done $block"
done
"""


class PartyError(Exception):
    pass


class Party:
    """Somebody with a shell. The lines that come from it are kept, for who looks for them."""

    def __init__(self, name, everybody, say):
        self.name, self.everybody, self.say = name, everybody, say
        self.lines = []
        self.at = 0  # what lies before this line was looked at
        everybody.append(self)

    def source(self):
        """What is readable when something comes; None while nothing can come."""
        raise NotImplementedError

    def receive(self):
        """The lines that have come. None: nothing more comes."""
        raise NotImplementedError

    def take(self, timeout):
        """Wait until somebody has printed something, for at most so long. False: we print nothing more."""
        sources = {party.source(): party for party in self.everybody if party.source()}
        if self.source() not in sources:
            return False
        for source in select.select(list(sources), [], [], timeout)[0]:
            lines = sources[source].receive()
            if lines is None and sources[source] is self:
                return False
            for line in lines or ():
                sources[source].keep(line)
        return True

    def keep(self, line):
        self.lines.append(line)
        if not line.startswith('@'):
            self.say(f'    {self.name:8} | {line}')

    def expect(self, pattern):
        """Wait for a line that matches, behind the last one that did."""
        deadline = time.monotonic() + LIMIT
        alive = True
        while True:
            while self.at < len(self.lines):
                self.at += 1
                if re.match(pattern, self.lines[self.at - 1]):
                    return
            if not alive:
                raise PartyError(f'{self.name} ended')
            rest = deadline - time.monotonic()
            if rest <= 0:
                raise PartyError(f'{self.name} did not print {pattern.pattern!r} within {LIMIT} s')
            alive = self.take(rest)

    def run(self, number):
        """Run a block, up to its end. Then the lines since its start are there to be looked at."""
        start = self.at = len(self.lines)
        self.type(f'{number}\n')
        self.expect(re.compile(f'@done {number}$'))
        self.at = start


class Host(Party):
    def __init__(self, folder, blocks, own, others, everybody, say):
        super().__init__('host', everybody, say)
        scripts = pathlib.Path(folder) / '.blocks'
        scripts.mkdir()
        for number, text in blocks.items():
            (scripts / str(number)).write_text(text)
        environment = {**os.environ, 'PATH': ':'.join([*own, os.environ['PATH'], *others])}
        environment.pop('IVSHMEM_TARGET', None)
        self.process = vm.start_child(['bash', '-c', HOST_LOOP.format(blocks=scripts)], signal.SIGTERM, cwd=folder,
                                      env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        os.set_blocking(self.process.stdout.fileno(), False)
        self._partial = b''
        self.ended = False

    def type(self, text):
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()

    def source(self):
        return None if self.ended else self.process.stdout

    def receive(self):
        data = self.process.stdout.read()
        if data == b'':
            self.ended = True
            return None
        *lines, self._partial = (self._partial + (data or b'')).split(b'\n')
        return [line.decode(errors='replace').rstrip('\r') for line in lines]

    def stop(self):
        """End everything that its blocks have left running."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.process.pid, number)
                self.process.wait(5)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                pass
        self.process.stdin.close()
        self.process.stdout.close()


class Guest(Party):
    """`start` boots one, with the script and the files that it is given."""

    def __init__(self, name, blocks, prepare, start, everybody, say):
        super().__init__(name, everybody, say)
        files = {f'guest/blocks/{number}': text for number, text in blocks.items()}
        self._start = lambda: start(name, GUEST_LOOP.format(prepare=prepare), files)
        self.machine = None
        self.ended = False

    def boot(self):
        if self.machine is None:
            self.machine = self._start()
            self.ended = False
            self.expect(re.compile('@ready$'))

    def type(self, text):
        self.machine.send(text)

    def source(self):
        return self.machine if self.machine and not self.ended else None

    def receive(self):
        lines = self.machine.lines()
        self.ended = lines is None
        return lines

    def crash(self, number):
        """Run a block by which the machine ends."""
        self.at = len(self.lines)
        self.type(f'{number}\n')
        self.machine.wait_end()
        self.stop()

    def stop(self):
        if self.machine:
            self.machine.stop()
        self.machine = None

    def report(self):
        return self.machine.report() if self.machine else ''

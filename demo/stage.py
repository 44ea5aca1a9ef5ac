# SPDX-License-Identifier: BSD-2-Clause
"""What both acts of the demo are played on: the programs and guests of one group, and listening to them all."""

import os
import pathlib
import selectors
import signal
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / 'scripts'))

import vm  # noqa: E402


class DemoFailed(Exception):
    pass


class Program:
    """A child on this machine whose output is taken line by line."""

    def __init__(self, name, command, death_signal=signal.SIGKILL):
        self.name = name
        self.process = vm.start_child(command, death_signal, stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        os.set_blocking(self.process.stdout.fileno(), False)
        self.may_end = False
        self.ended = False
        self._partial = b''

    def fileno(self):
        return self.process.stdout.fileno()

    def lines(self):
        """The new lines, without waiting; None at the end."""
        data = self.process.stdout.read()
        if data == b'':
            return None
        *lines, self._partial = (self._partial + (data or b'')).split(b'\n')
        return [line.decode(errors='replace') for line in lines]

    def type(self, text):
        try:
            self.process.stdin.write(text.encode())
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # its end is noticed where its output ends


class Stage:
    """Programs and guests. An act says what becomes of their lines: hear_line(source, line)."""

    def __init__(self, options, transcript):
        self.options = options
        self.out = transcript
        self.started = time.monotonic()
        self.deadline = self.started + options.timeout
        self.seconds = None
        self.selector = selectors.DefaultSelector()
        self.programs = []  # whose end ends the act
        self.guests = {}
        self.scratch = None
        self.problems = []

    def watch(self, source):
        self.selector.register(source, selectors.EVENT_READ)

    def start_program(self, name, command, death_signal=signal.SIGTERM):
        """Asked to end, our programs remove their sockets, also when we were killed."""
        program = Program(name, command, death_signal)
        self.programs.append(program)
        self.watch(program)
        return program

    def hear_line(self, source, line):
        raise NotImplementedError

    def hear_end(self, source):
        source.ended = True

    def hear(self, source):
        """Takes what a source has to say. Returns False when that was the end of it."""
        lines = source.lines()
        if lines is None:
            self.selector.unregister(source)
            self.hear_end(source)
            return False
        for line in lines:
            self.hear_line(source, line)
        return True

    def listen(self, seconds):
        for key, _ in self.selector.select(min(seconds, 3600)):
            self.hear(key.fileobj)

    def until(self, condition, what):
        """Listens until condition() holds. Nothing in the demo waits in any other way."""
        while not condition():
            rest = self.deadline - time.monotonic()
            if rest <= 0:
                raise DemoFailed(f'not done after {self.options.timeout} s, while waiting for {what}')
            self.listen(rest)
            self.check_programs(what)
            if ended := self.ended_too_early():
                self.find_cause(what)
                raise DemoFailed(f'{ended} ended while waiting for {what}')

    def ended_too_early(self):
        """The name of a party that ended before it was done, or None."""
        raise NotImplementedError

    def check_programs(self, what):
        """By their output: that ends before their sockets do, which may end a guest."""
        for program in self.programs:
            if program.ended and not program.may_end:
                raise DemoFailed(f'the {program.name} ended while waiting for {what}')

    def find_cause(self, what):
        """The end of a guest may be seen before that of a program, which was the reason."""
        limit = time.monotonic() + 2
        while (rest := limit - time.monotonic()) > 0:
            self.listen(rest)
            self.check_programs(what)

    def report(self):
        """What helps to understand a failure."""
        for guest in self.guests.values():
            self.out.say(guest.report())
        self.out.say(f'all of it is in {self.options.run_dir}')

    def stop(self):
        for guest in self.guests.values():
            guest.stop()
        for program in reversed(self.programs):
            vm.stop_child(program.process)
            for line in program.lines() or ():
                self.hear_line(program, line)
        self.selector.close()

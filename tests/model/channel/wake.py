#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""
Nobody sleeps for ever: every order of the steps of a sender and a receiver, on a processor whose stores become visible late
and in any order. Speaks TAP.

The two are src/channel: channel_flush(), tell_position() and participant_tell() on one side, wait_for(), channel_arm() and
take_notice() on the other. The ring has room for one record, so that each waits for the other all the time. A state in
which nobody can go on before both have ended is a lost wake-up. Leaving out any of the fences, or a look, must give one.

A thread's stores wait in its buffer. Any of them may become visible next, unless an older one is to the same word, or it
is a release store and there is an older one. A fence waits until the buffer is empty; so does a ring, before which libivshmem
has a fence. Loads happen in order.
"""

import sys

RECORDS = 3

# The words of the memory. Each is written by one of the two.
WORDS = ('sent', 'received', 'wake_at', 'space_at', 'bits_s', 'bits_r', 'seen_s', 'seen_r')
NEVER = -1

# How many records it has sent or received, and past which count of the other it wants to be woken.
COUNT = {'s': 'sent', 'r': 'received'}
WAKE_ME_AT = {'s': 'space_at', 'r': 'wake_at'}


class Program:
    """Steps with labels. Registers are a dict; expressions are functions of it."""

    def __init__(self, registers):
        self.registers = registers
        self.steps = []
        self.labels = {}

    def label(self, name):
        self.labels[name] = len(self.steps)

    def __getattr__(self, operation):
        return lambda *arguments: self.steps.append((operation, arguments))


def tell(p, me, other):
    """participant_tell(): make our bit differ from the other's copy, and ring, unless it differs already."""
    p.load('copy', f'seen_{other}')
    p.jump_if(lambda r: r['told'] != r['copy'], f'told_{len(p.steps)}')
    end = f'told_{len(p.steps) - 1}'
    p.set('told', lambda r: 1 - r['copy'])
    p.release(f'bits_{me}', lambda r: r['told'])
    p.ring(other)
    p.label(end)


def look(p, me, other):
    """take_notice(): copy the other's bit first, and look then."""
    p.load('bits', f'bits_{other}')
    start = len(p.steps)
    p.jump_if(lambda r: r['bits'] == r['seen'], f'looked_{start}')
    p.set('seen', lambda r: r['bits'])
    p.store(f'seen_{me}', lambda r: r['seen'])
    p.fence()
    p.label(f'looked_{start}')


def end(me, other, without):
    """The sender ('s') or the receiver ('r'). The sender may be ahead by the one record that the ring has room for."""
    ahead, does, wants = (1, 'sends', 'room') if me == 's' else (0, 'receives', 'records')

    def may_go_on(r):
        return r['theirs'] > r['n'] - ahead

    p = Program({'n': 0, 'theirs': 0, 'at': 0, 'told': 0, 'seen': 0, 'bits': 0, 'copy': 0})
    p.label('next')
    p.jump_if(lambda r: r['n'] == RECORDS, 'end')
    p.label('try')
    p.load('theirs', COUNT[other])
    p.jump_if(may_go_on, 'go on')
    look(p, me, other)
    p.store(WAKE_ME_AT[me], lambda r: r['n'] - ahead)
    if f'fence of who asks for {wants}' not in without:
        p.fence()
    if f'last look of who asks for {wants}' not in without:
        look(p, me, other)
        p.load('theirs', COUNT[other])
        p.jump_if(may_go_on, 'go on')
    if 'interrupts taken before the last look' in without:
        p.clear(me)
    p.sleep(me)
    p.jump_if(lambda r: True, 'try')
    p.label('go on')
    p.set('n', lambda r: r['n'] + 1)
    p.release(COUNT[me], lambda r: r['n'])
    if f'fence of who {does}' not in without:
        p.fence()
    p.load('at', WAKE_ME_AT[other])
    p.jump_if(lambda r: not r['n'] - 1 <= r['at'] < r['n'], 'next')
    tell(p, me, other)
    p.jump_if(lambda r: True, 'next')
    p.label('end')
    p.stop()
    return p


class Machine:
    """All states that two programs can reach. A state: for each thread (step, registers, buffer); memory; rings."""

    def __init__(self, programs):
        self.programs = programs
        self.names = [sorted(program.registers) for program in programs]

    def start(self):
        threads = tuple((0, tuple(program.registers[name] for name in names), ())
                        for program, names in zip(self.programs, self.names))
        memory = tuple(NEVER if word in ('wake_at', 'space_at') else 0 for word in WORDS)
        return threads, memory, (0, 0)

    def has_ended(self, thread, i):
        return self.programs[i].steps[thread[0]][0] == 'stop' and not thread[2]

    def commits(self, state, i):
        """A store of the buffer becomes visible."""
        threads, memory, rings = state
        step, registers, buffer = threads[i]
        for k, (word, value, release) in enumerate(buffer):
            older = buffer[:k]
            if (release and older) or any(other[0] == word for other in older):
                continue
            new = list(memory)
            new[WORDS.index(word)] = value
            yield self.replace(threads, i, (step, registers, older + buffer[k + 1:])), tuple(new), rings

    @staticmethod
    def replace(threads, i, thread):
        return threads[:i] + (thread,) + threads[i + 1:]

    def step(self, state, i):
        """The thread's next step, if it can be made."""
        threads, memory, rings = state
        step, registers, buffer = threads[i]
        operation, arguments = self.programs[i].steps[step]
        values = dict(zip(self.names[i], registers))
        after = step + 1
        if operation == 'stop' or (operation in ('fence', 'ring') and buffer):
            return
        if operation in ('store', 'release'):
            buffer += ((arguments[0], arguments[1](values), operation == 'release'),)
        elif operation == 'load':
            own = [value for word, value, _ in buffer if word == arguments[1]]
            values[arguments[0]] = own[-1] if own else memory[WORDS.index(arguments[1])]
        elif operation == 'set':
            values[arguments[0]] = arguments[1](values)
        elif operation == 'jump_if':
            if arguments[0](values):
                after = self.programs[i].labels[arguments[1]]
        elif operation == 'ring':
            rings = tuple(1 if 'sr'[k] == arguments[0] else ring for k, ring in enumerate(rings))
        elif operation == 'clear':
            rings = tuple(0 if k == i else ring for k, ring in enumerate(rings))
        elif operation == 'sleep':
            # Who sleeps has made a system call, and all its stores are visible.
            if buffer or not rings[i]:
                return
            rings = tuple(0 if k == i else ring for k, ring in enumerate(rings))
        thread = (after, tuple(values[name] for name in self.names[i]), buffer)
        yield self.replace(threads, i, thread), memory, rings

    def explore(self):
        """How many states there are, and one in which somebody sleeps for ever, or None."""
        start = self.start()
        known, todo = {start}, [start]
        while todo:
            state = todo.pop()
            following = [new for i in range(2) for moves in (self.commits, self.step) for new in moves(state, i)]
            if not following and not all(self.has_ended(thread, i) for i, thread in enumerate(state[0])):
                return len(known), state
            for new in following:
                if new not in known:
                    known.add(new)
                    todo.append(new)
        return len(known), None


MISTAKES = ('fence of who sends', 'fence of who receives', 'fence of who asks for records', 'fence of who asks for room',
            'last look of who asks for records', 'last look of who asks for room', 'interrupts taken before the last look')


def main():
    failed = 0
    print(f'1..{1 + len(MISTAKES)}')
    for number, mistake in enumerate((None, *MISTAKES), 1):
        without = (mistake,) if mistake else ()
        n, stuck = Machine((end('s', 'r', without), end('r', 's', without))).explore()
        right = (stuck is not None) if mistake else (stuck is None)
        failed += not right
        what = f'a model without "{mistake}" loses a wake-up' if mistake else 'no wake-up is lost'
        print(f'{"ok" if right else "not ok"} {number} - {what}')
        print(f'# {n} states')
        if not right and stuck:
            print(f'# {stuck}')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())

# SPDX-License-Identifier: BSD-2-Clause
"""The commands of one party, which interrupts they cause, and what must have been said before what."""

import collections
import string


class Script:
    def __init__(self, path, names, first_lines=()):
        text = string.Template(path.read_text(encoding='utf-8')).substitute(names)
        self.lines = list(first_lines)
        self.lines += [line for line in text.splitlines() if line and not line.startswith('#')]

    def text(self):
        return ''.join(f'{line}\n' for line in self.lines)

    def rings(self):
        """(peer, vector) -> how often it is rung when all commands were carried out.

        That holds for an `echo` because it goes on until it has rung back as often as told.
        """
        rings = collections.Counter()
        for line in self.lines:
            command, *words = line.split()
            if command in ('ring', 'ping', 'echo'):
                peer, vector = words[0].split(':')
                rings[int(peer), int(vector)] += int(words[1]) if len(words) > 1 else 1
        return rings


def find_causes(scripts):
    """(party, what it says after it was woken) -> [(other party, what that one said before it rang)].

    `scripts` is id -> (party, script). An interrupt is there long before the words that go with it: those of
    a guest take the way through its serial port. To be told in an order that makes sense, they are
    sorted by this. It holds where one party alone rings a vector: its first ring ends the first wait.
    """
    rung = collections.defaultdict(list)  # (id, vector) -> [(party, said before)]
    for party, script in scripts.values():
        said = None
        for line in script.lines:
            command, _, rest = line.partition(' ')
            if command == 'say':
                said = (party, rest)
            elif command == 'ring':
                peer, vector = rest.split(':')
                rung[int(peer), int(vector)].append(said)

    causes = {}
    for number, (party, script) in scripts.items():
        waited = []
        for line in script.lines:
            command, _, rest = line.partition(' ')
            if command == 'wait':
                waited.append(rung[number, int(rest.split()[0])].pop(0))
            elif command == 'say':
                causes[party, rest] = [said for said in waited if said]
                waited = []
    return causes

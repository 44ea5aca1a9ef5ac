# SPDX-License-Identifier: BSD-2-Clause
"""
A page of docs/recipes, as a list of steps. The word behind the language of a block says what becomes of it:

    ```sh host              the commands are run on the host
    ```sh guest             in the guest of that name, which boots when its first block comes
    ```sh guest crashes     the same, and QEMU ends by it; the guest's next block starts it anew
    ```text                 whoever ran the last commands prints these lines, in this order, now or later, with others
                            between them; "..." stands for anything
    ```text NAME            the same of somebody else
    ```c FILE               these lines stand in this file, one after the other

Blocks of another kind are for people only.
"""

import dataclasses
import re

FENCE = '```'


class PageError(Exception):
    pass


@dataclasses.dataclass
class Step:
    kind: str  # 'run', 'text', 'file' or 'heading'
    who: str  # the party, or the path of the file
    lines: list
    line: int  # of the page
    crashes: bool = False


def _block(words, lines, line, last):
    """The step of a block, or None."""
    language, *words = words or ['']
    if language == 'sh' and words:
        return Step('run', words[0], lines, line, crashes=words[1:] == ['crashes'])
    if language == 'text':
        return Step('text', words[0] if words else last, lines, line)
    if language == 'c' and words:
        return Step('file', words[0], lines, line)
    return None


class Page:
    def __init__(self, path):
        self.path = path
        self.steps = []
        block, last = None, 'host'
        for number, line in enumerate(path.read_text(encoding='utf-8').splitlines(), 1):
            if line.startswith(FENCE) and block is None:
                block = (line.removeprefix(FENCE).split(), [], number)
            elif line == FENCE:
                step = _block(*block, last)
                block = None
                if step:
                    self.steps.append(step)
                    last = step.who if step.kind == 'run' else last
            elif line.startswith(FENCE):
                raise PageError(f'{path.name}:{block[2]}: this block has no end')
            elif block is not None:
                block[1].append(line)
            elif re.match('##? ', line):
                self.steps.append(Step('heading', '', [line.lstrip('# ')], number))
        if block:
            raise PageError(f'{path.name}:{block[2]}: this block has no end')

    def numbered(self):
        """The steps, up to the last one that does something."""
        end = max((number for number, step in enumerate(self.steps, 1) if step.kind != 'heading'), default=0)
        return list(enumerate(self.steps[:end]))

    def parties(self):
        """Who runs commands, in the order in which they begin."""
        return list(dict.fromkeys(step.who for step in self.steps if step.kind == 'run'))


def pattern_of(line):
    """What a line of a text block matches."""
    return re.compile('.*'.join(re.escape(part) for part in line.split('...')) + r'\s*$')

# SPDX-License-Identifier: BSD-2-Clause
"""What the demo prints: a live line per event, each with its party in front, and a table."""

import os
import sys

_COLOURS = {'server': '35', 'host': '32', 'guest A': '36', 'guest B': '33', 'device': '35', 'guest C': '34'}


class Transcript:
    def __init__(self, log):
        self.colours = sys.stdout.isatty() and 'NO_COLOR' not in os.environ and \
            os.environ.get('TERM') != 'dumb'
        self.log = log

    def _print(self, plain, coloured):
        print(coloured if self.colours else plain, flush=True)
        print(plain, file=self.log, flush=True)

    def line(self, party, text):
        name = f'{party:>7} | '
        # What a guest prints may hold anything; it is not to move the cursor.
        text = ''.join(c if c.isprintable() else f'\\x{ord(c):02x}' for c in text.replace('\t', ' '))
        self._print(name + text, f'\033[{_COLOURS[party]}m{name}\033[0m{text}')

    def say(self, text=''):
        self._print(text, text)

    def good(self, text):
        self._print(text, f'\033[1;32m{text}\033[0m')

    def bad(self, text):
        self._print(text, f'\033[1;31m{text}\033[0m')

    def table(self, rows):
        """The first row is the heading; columns of numbers are aligned on the right."""
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        right = [all(row[column].isdigit() or not row[column] for row in rows[1:]) for column in range(len(rows[0]))]
        for number, row in enumerate(rows):
            cells = [cell.rjust(width) if is_right else cell.ljust(width)
                     for cell, width, is_right in zip(row, widths, right)]
            text = '  ' + '  '.join(cells).rstrip()
            self._print(text, f'\033[1m{text}\033[0m' if number == 0 else text)

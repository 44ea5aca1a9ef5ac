# SPDX-License-Identifier: BSD-2-Clause
"""Connects the terminal to a guest's console."""

import contextlib
import os
import select
import socket
import sys
import termios
import tty

LEAVE = b'\x1d'  # ^], as with telnet


@contextlib.contextmanager
def _raw_terminal():
    saved = termios.tcgetattr(0)
    try:
        tty.setraw(0)
        # Lines that others print meanwhile shall still begin on the left.
        mode = termios.tcgetattr(0)
        mode[1] |= termios.OPOST
        termios.tcsetattr(0, termios.TCSANOW, mode)
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, saved)


def connect_console(path):
    console = socket.socket(socket.AF_UNIX)
    console.connect(str(path))
    return console


def attach_console(console, others=None):
    """Until ^] is typed (returns True) or the console ends (returns False).

    `others` (fd -> function) are served meanwhile; one whose function returns False is not watched any more.
    """
    others = dict(others or {})
    console.sendall(b'\r')  # makes the shell show its prompt again
    with _raw_terminal():
        while True:
            for ready in select.select([0, console, *others], [], [])[0]:
                if ready in others:
                    if others[ready]() is False:
                        del others[ready]
                elif ready == 0:
                    typed = os.read(0, 4096)
                    if not typed or LEAVE in typed:
                        return True
                    console.sendall(typed)
                else:
                    try:
                        shown = console.recv(65536)
                    except ConnectionError:
                        shown = b''
                    if not shown:
                        return False
                    sys.stdout.buffer.write(shown)
                    sys.stdout.flush()

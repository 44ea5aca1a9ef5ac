# SPDX-License-Identifier: BSD-2-Clause
"""Children and scratch folders that do not outlive us, however we end."""

import ctypes
import os
import shutil
import signal
import subprocess
import tempfile

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def start_child(command, death_signal=signal.SIGKILL, **options):
    """subprocess.Popen() of a child that the kernel ends with death_signal when this process ends.

    The child gets a session of its own, so that a ^C in the terminal reaches only us, and it is we who
    end the children in an order that leaves nothing behind. Call from the main thread: the kernel
    watches the thread that starts the child.
    """
    parent = os.getpid()

    def prepare():
        _libc.prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return subprocess.Popen(command, preexec_fn=prepare, start_new_session=True, **options)


def stop_child(child, limit=10):
    """Ends a child started by us: asks, then insists. Returns its status."""
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(limit)
        except subprocess.TimeoutExpired:
            child.kill()
    return child.wait()


class ScratchDir:
    """A short-named temporary folder, fit for UNIX sockets, that is removed even after a kill -9.

    A shell holds the reading end of a pipe whose only writer is this process: when the pipe ends, for
    whatever reason, the shell removes the folder.
    """

    def __init__(self, prefix='ivshmem-'):
        self.path = tempfile.mkdtemp(prefix=prefix)
        self._remover = subprocess.Popen(
            ['/bin/sh', '-c', 'read -r _; rm -rf -- "$1"', 'sh', self.path],
            stdin=subprocess.PIPE, start_new_session=True)

    def remove(self):
        shutil.rmtree(self.path, ignore_errors=True)
        self._remover.stdin.close()
        self._remover.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.remove()

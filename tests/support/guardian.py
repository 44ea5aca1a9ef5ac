# SPDX-License-Identifier: BSD-2-Clause
"""
Clears up after a test session that could not do it itself.

A child that we start dies with us (PR_SET_PDEATHSIG), but a daemon does not, and a directory, a shared
memory object or a kernel setting never does. So a small process of its own session holds the other end
of a pipe: whatever was announced to it and not withdrawn when the pipe closes is killed, removed
or restored, also when the session was ended by SIGKILL.
"""

import atexit
import os
import shutil
import signal
import subprocess
import sys

_pipe = None


def _send(*words):
    global _pipe
    if _pipe is None:
        process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
            text=True,
        )
        _pipe = process.stdin
        atexit.register(_pipe.close)
    _pipe.write("\t".join(words) + "\n")
    _pipe.flush()


def guard_process(pid):
    _send("process", str(pid))


def guard_session(pid):
    """All processes of a session, whichever of them are there at the end."""
    _send("session", str(pid))


def _members(session):
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", encoding="ascii", errors="replace") as file:
                fields = file.read().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[3]) == session:
            yield int(name)


def _signal(pid, number):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def kill_session(session):
    """Whatever process groups they are in. They are stopped first, so that none makes another one when one is killed."""
    stopped = set()
    while found := set(_members(session)) - stopped:
        for pid in found:
            _signal(pid, signal.SIGSTOP)
        stopped |= found
    for pid in stopped:
        _signal(pid, signal.SIGKILL)


def guard_tree(path):
    """A directory made by us, or a file in /dev/shm."""
    _send("tree", path)


def guard_setting(path, value):
    """Write `value` to the file `path` at the end."""
    _send("setting", path, value)


def release(*words):
    _send("release", *words)


def _main():
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    processes = {}  # a pidfd cannot come to mean another process
    trees = []
    settings = {}
    sessions = set()
    for line in sys.stdin:
        words = line.rstrip("\n").split("\t")
        if words[0] == "process":
            try:
                processes[words[1]] = os.pidfd_open(int(words[1]))
            except ProcessLookupError:
                pass
        elif words[0] == "session":
            sessions.add(int(words[1]))
        elif words[0] == "tree":
            trees.append(words[1])
        elif words[0] == "setting":
            settings[words[1]] = words[2]
        elif words[1] == "process":
            pidfd = processes.pop(words[2], -1)
            if pidfd >= 0:
                os.close(pidfd)
        elif words[1] == "session":
            sessions.discard(int(words[2]))
        elif words[1] == "tree" and words[2] in trees:
            trees.remove(words[2])
        elif words[1] == "setting":
            settings.pop(words[2], None)
    for pidfd in processes.values():
        try:
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        except ProcessLookupError:
            pass
    for session in sessions:
        kill_session(session)
    for tree in trees:
        if os.path.isdir(tree) and not os.path.islink(tree):
            shutil.rmtree(tree, ignore_errors=True)
        elif os.path.lexists(tree):
            os.unlink(tree)
    for path, value in settings.items():
        with open(path, "w") as setting:
            setting.write(value)


if __name__ == "__main__":
    _main()

# SPDX-License-Identifier: BSD-2-Clause
"""Running programs: with a time limit, in a session of their own, and dead when we are."""

import ctypes
import os
import signal
import subprocess
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor

PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)
_running = set()
_lock = threading.Lock()


def _die_with_parent():
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def run(command, *, timeout, cwd=None, env=None):
    """
    Runs a command; returns (exit status, output with errors in between). A status of None means that it
    took longer than `timeout` seconds and was killed with all that it started in its session.
    """
    environment = dict(os.environ, **(env or {}))
    with tempfile.TemporaryFile() as output:
        # A file, not a pipe: a forgotten grandchild that holds a pipe open must not hold us up.
        process = subprocess.Popen(
            [os.fspath(word) for word in command],
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_die_with_parent,
        )
        with _lock:
            _running.add(process)
        try:
            status = process.wait(timeout)
        except subprocess.TimeoutExpired:
            stop(process)
            status = None
        finally:
            if process.poll() is None:
                stop(process)
            with _lock:
                _running.discard(process)
        output.seek(0)
        return status, output.read().decode(errors="replace")


def stop(process, patience=10):
    """First politely, so that tests clean up behind themselves."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            pass
        try:
            process.wait(patience)
            return
        except subprocess.TimeoutExpired:
            continue


def stop_all():
    with _lock:
        processes = list(_running)
    for process in processes:
        stop(process)


def in_parallel(jobs, function, items):
    """Calls the function with each item, `jobs` at a time; when interrupted, stops what runs."""
    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(function, item) for item in items]
        try:
            return [future.result() for future in futures]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            stop_all()
            raise

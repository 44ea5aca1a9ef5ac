# SPDX-License-Identifier: BSD-2-Clause
"""The server as a daemon."""

import contextlib
import errno
import os
import random
import re
import signal
import socket
import stat
import subprocess
import time

import pytest

import guardian
import ivshmem_wire as wire
import stepper
from ivshmem_fixtures import can_step, root_only


def connect(path, closing):
    client = wire.RawClient(path)
    closing.append(client)
    return client.greet()


def test_110_parent_returns_when_all_is_ready(daemon, closing):
    """Socket and pid file are there at that moment, and the daemon is detached."""
    started = daemon()
    assert connect(started.path, closing).id == 0
    with open(f"/proc/{started.daemon}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    parent, _group, session, terminal = (int(field) for field in fields[1:5])
    assert parent != os.getpid()
    assert session != os.getsid(0)
    assert terminal == 0, "it must not get a terminal's signals"
    assert os.readlink(f"/proc/{started.daemon}/exe") == os.path.realpath(wire.program("ivshmem-server"))
    with open(started.pid_file) as file:
        assert file.read() == f"{started.daemon}\n"
    assert stat.S_IMODE(os.stat(started.pid_file).st_mode) & 0o022 == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_107_daemon_removes_all_it_made(daemon, room, number):
    name = room.shm_name()
    started = daemon("-M", name)
    assert os.path.exists(f"/dev/shm/{name}")
    started.finish(number)
    assert os.listdir(room.path) == []
    assert not os.path.exists(f"/dev/shm/{name}")


def test_110_second_instance_on_a_pid_file_is_refused(daemon, room, closing):
    first = daemon()
    second = daemon(path=room.file("another"), status=1)
    assert first.pid_file in second.stderr
    assert not os.path.exists(room.file("another"))
    with open(first.pid_file) as file:
        assert int(file.read()) == first.daemon
    assert connect(first.path, closing).id == 0


def test_110_second_instance_on_a_socket_is_refused(daemon, room, closing):
    first = daemon()
    assert first.path in daemon(pid_file=room.file("another"), status=1).stderr
    assert not os.path.exists(room.file("another"))
    assert os.path.exists(first.pid_file)
    connect(first.path, closing)


def test_110_stale_pid_file_is_replaced(daemon, room):
    """A file that nobody holds is no obstacle, also when its number is some process of today."""
    with open(room.file("pid"), "w") as file:
        file.write(f"{os.getpid()}\n")
    assert daemon().daemon != os.getpid()


@pytest.mark.parametrize("pid_file", ["no/such/place", "directory"])
def test_110_pid_file_that_cannot_be_written(room, daemon, pid_file):
    """The caller hears of it, and nothing is left running or lying about."""
    os.mkdir(room.file("directory"))
    assert pid_file in daemon(pid_file=room.file(pid_file), status=1).stderr
    assert os.listdir(room.path) == ["directory"]


def test_110_pid_file_that_is_not_ours_to_empty(room, daemon):
    """Another name of something, something that is no file, or a stranger's file."""

    def refused(name, words):
        started = daemon(pid_file=room.file(name), status=1)
        assert room.file(name) in started.stderr and words in started.stderr, started.describe()
        assert not os.path.lexists(room.socket)
        assert os.path.lexists(room.file(name))

    os.mkfifo(room.file("fifo"))
    refused("fifo", "not a regular file")
    with open(room.file("precious"), "w") as file:
        file.write("precious")
    os.link(room.file("precious"), room.file("hard"))
    refused("hard", "hard link")
    os.symlink(room.file("precious"), room.file("soft"))
    refused("soft", os.strerror(errno.ELOOP))
    if os.geteuid() == 0:
        os.unlink(room.file("hard"))
        os.chown(room.file("precious"), 64079, 64079)
        refused("precious", "64079")
    with open(room.file("precious")) as file:
        assert file.read() == "precious"


FLOCK = {"x86_64": 73, "aarch64": 32}.get(os.uname().machine)


@pytest.fixture
def held(launch, room, closing):
    """A daemon that is held at its first instant, and the process that waits for it."""
    process = launch("ivshmem-server", "-S", room.socket, "-p", room.file("pid"), setup=stepper.trace_me)
    daemon = stepper.Stepper(process.pid).into_child()
    closing.append(daemon)
    return process, daemon


def end_daemon(room, pid):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    wire.wait_until(lambda: os.listdir(room.path) == [], "everything is removed")


@can_step
def test_110_pid_file_removed_by_a_predecessor_that_is_just_ending(held, room, closing):
    """
    It is removed between our opening and our locking it: the lock on a file without a name would keep nobody
    out, and nobody would find the daemon.
    """
    process, daemon = held
    while daemon.system_call() != FLOCK:
        assert daemon.step(), process.describe()
    os.unlink(room.file("pid"))
    guardian.guard_process(daemon.pid)
    daemon.release()
    assert process.wait() == 0, process.describe()
    with open(room.file("pid")) as file:
        assert int(file.read()) == daemon.pid
    connect(room.socket, closing)
    end_daemon(room, daemon.pid)
    guardian.release("process", str(daemon.pid))


@can_step
def test_110_caller_can_end_the_wait_for_a_daemon(held, room):
    """While the daemon starts, however long that takes, SIGTERM ends the process that waits for it."""
    process, daemon = held
    process.signal(signal.SIGTERM)
    # Not process.wait(): the daemon has its output, and is still there.
    assert process.process.wait(wire.TIMEOUT) == -signal.SIGTERM
    daemon.close()
    assert os.listdir(room.path) == []


def test_110_failed_start_is_reported_by_the_parent(room, daemon):
    with open(room.socket, "w"):
        pass
    started = daemon(status=1)
    assert room.socket in started.stderr
    assert not os.path.exists(started.pid_file)


def test_110_pid_file_is_not_used_in_the_foreground(server, room):
    pid_file = room.file("pid")
    server("-p", pid_file)
    assert not os.path.exists(pid_file)


def test_110_relative_paths(launch, room, closing):
    """The daemon finds its files again at the end, wherever it was started."""
    process = launch("ivshmem-server", "-S", "socket", "-p", "pid", cwd=room.path)
    assert process.wait() == 0, process.describe()
    connect(room.socket, closing)
    with open(room.file("pid")) as file:
        end_daemon(room, int(file.read()))


def test_110_signal_during_the_start_of_a_daemon(room, closing):
    """
    SIGTERM to the caller's process group at any instant: afterwards there is a whole daemon, or nothing at
    all.
    """
    choice = random.Random(110)
    argv = [wire.program("ivshmem-server"), "-S", room.socket, "-p", room.file("pid")]
    began = time.monotonic()
    subprocess.run(argv, timeout=wire.TIMEOUT, check=True)
    duration = time.monotonic() - began

    def settled():
        """A daemon that answers, or nothing; in between it may still be ending."""
        if os.listdir(room.path) == []:
            return "nothing"
        try:
            connect(room.socket, closing).close()
            with open(room.file("pid")) as file:
                return int(file.read())
        except (OSError, AssertionError, ValueError):
            return None

    end_daemon(room, settled())
    ended = 0
    for _ in range(wire.sized(20, 300)):
        process = subprocess.Popen(
            argv, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        time.sleep(choice.random() * duration)  # the instant is the subject
        try:
            os.killpg(process.pid, signal.SIGTERM)
        except ProcessLookupError:
            pass
        # The end of the output: neither the parent nor a daemon that is starting holds it any more.
        output = process.communicate(timeout=wire.TIMEOUT)[0]
        state = wire.wait_until(settled, f"a whole daemon, or nothing\n{output}", timeout=10)
        if state == "nothing":
            ended += 1
        else:
            end_daemon(room, state)
    assert ended, "the signal always came too late"


SANDBOX = r"""
set -e
mount --make-rprivate /
exec 9<"$1"
shift
for place in $PLACES
do
    mount -t tmpfs none "$place"
done
if [ -n "$LOG" ]
then
    mount -t tmpfs none /dev
    mknod -m 666 /dev/null c 1 3
    mknod -m 666 /dev/zero c 1 5
    mknod -m 666 /dev/urandom c 1 9
    mkdir /dev/shm
    ln -s "$LOG" /dev/log
fi
"/proc/self/fd/9" "$@"
echo started
read line
"""


class Sandbox(wire.Process):
    """
    The server as a daemon with mounts and process ids of its own; when the shell ends, or we do, the kernel kills
    everything in there.
    """

    def __init__(self, *arguments, places="", log=""):
        super().__init__(
            ["/usr/bin/unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
            + ["/bin/sh", "-c", SANDBOX, "sh", wire.program("ivshmem-server"), *arguments],
            stdin=subprocess.PIPE,
            env={"PLACES": places, "LOG": log},
        )
        self.expect("started")

    def inside(self, path):
        (child,) = wire.wait_until(self.children, "the shell is there")
        return f"/proc/{child}/root{path}"

    def children(self):
        with open(f"/proc/{self.pid}/task/{self.pid}/children") as file:
            return [int(word) for word in file.read().split()]


@pytest.fixture
def sandbox(processes):
    try_it = ["/usr/bin/unshare", "--mount", "--pid", "--fork", "--mount-proc", "/bin/true"]
    if subprocess.run(try_it, capture_output=True).returncode != 0:
        pytest.skip("no namespaces here")

    def sandbox(*arguments, **options):
        process = Sandbox(*arguments, **options)
        processes.append(process)
        return process

    return sandbox


@root_only
def test_108_default_paths(sandbox, closing):
    """Without options: QEMU's socket and pid file, the daemon, one vector, 4 MiB."""
    sandbox = sandbox(places="/tmp /run")
    client = connect(sandbox.inside("/tmp/ivshmem_socket"), closing)
    assert len(client.peers[0]) == 1
    assert os.fstat(client.memory).st_size == 4 << 20
    with open(sandbox.inside("/run/ivshmem-server.pid")) as file:
        assert int(file.read()) > 1


@root_only
def test_110_daemon_reports_to_syslog(sandbox, room, closing):
    """What went to stderr in the foreground goes to the system's log."""
    log = wire.bound(room.file("log"), socket.SOCK_DGRAM)
    closing.append(log)
    sandbox("-S", room.socket, "-p", room.file("pid"), log=room.file("log"))
    connect(room.socket, closing).offend()
    text = ""
    for words in (r"peer 0 joined \(process unknown, user 0\)", r"peer 0 .*is disconnected: "):
        while not re.search(rf"ivshmem-server\[\d+\]: {words}", text):
            text += log.recv(4096).decode() + "\n"

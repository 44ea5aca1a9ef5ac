# SPDX-License-Identifier: BSD-2-Clause
"""Start, end and everything that can be in the way of them."""

import ctypes
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
from ivshmem_fixtures import root_only



@pytest.fixture
def start(processes, room):
    """A server that may fail to start."""

    def start(*arguments, path=None, **options):
        process = wire.Server(path or room.socket, *arguments, ready=False, **options)
        processes.append(process)
        return process

    return start


def expect_refusal(process, *words):
    assert process.wait() == 1, process.describe()
    assert process.stderr, "no word about it"
    for word in words:
        assert word in process.stderr, process.describe()


# ---- 106: the place of the socket is taken ------------------------------------------------------------


def test_106_stale_socket_is_replaced(server, room):
    stale = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    stale.bind(room.socket)
    stale.close()
    assert os.path.exists(room.socket)
    server().client()


def test_106_socket_of_a_killed_server_is_replaced(server, start, room):
    first = start()
    first.expect("ivshmem-server: listening on .*")
    client = first.client()
    first.process.kill()
    first.process.wait()
    assert os.path.exists(room.socket)
    assert client.follow_to_end() == []
    assert server().client().id == 0


def test_106_live_socket_is_an_error(server, start):
    srv = server()
    client = srv.client()
    expect_refusal(start(), srv.path)
    another = srv.client()
    client.follow_until_knows([client.id, another.id])


def test_106_second_start_does_not_use_up_an_id(server, start):
    """
    Only peer 0 can be QEMU's migration master, and 0 comes once: looking whether a server lives must
    not cost it its first id.
    """
    srv = server()
    expect_refusal(start())
    assert srv.client().id == 0


def test_106_live_socket_of_somebody_who_is_too_busy(start, room, closing):
    """A listener whose queue is full does not answer, but lives."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    closing.append(listener)
    listener.bind(room.socket)
    listener.listen(0)
    for _ in range(3):
        waiting = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        waiting.setblocking(False)
        closing.append(waiting)
        try:
            waiting.connect(room.socket)
        except BlockingIOError:
            break
    inode = os.stat(room.socket).st_ino
    expect_refusal(start())
    assert os.stat(room.socket).st_ino == inode


def test_106_socket_of_another_kind_is_in_use(start, room, closing):
    """A datagram socket cannot be connected to with a stream, but it is alive."""
    datagram = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    closing.append(datagram)
    datagram.bind(room.socket)
    expect_refusal(start())
    assert stat.S_ISSOCK(os.stat(room.socket).st_mode)


def test_106_file_in_the_way(start, room):
    with open(room.socket, "w") as file:
        file.write("precious")
    expect_refusal(start(), room.socket)
    with open(room.socket) as file:
        assert file.read() == "precious"


def test_106_directory_in_the_way(start, room):
    os.mkdir(room.socket)
    expect_refusal(start(), room.socket)
    assert os.path.isdir(room.socket)


def test_106_dangling_link_in_the_way(start, room):
    os.symlink(room.file("elsewhere"), room.socket)
    expect_refusal(start(), room.socket)
    assert os.path.islink(room.socket)
    assert not os.path.lexists(room.file("elsewhere"))


def test_106_longest_path(server, room):
    """107 bytes are possible."""
    path = room.file("x" * (107 - len(room.path) - 1))
    assert len(path) == 107
    server(path=path).client()


@pytest.mark.parametrize("length", [108, 109, 200, 5000])
def test_106_path_too_long(start, room, length):
    path = room.file("x" * (length - len(room.path) - 1))
    process = start(path=path)
    expect_refusal(process, "long")
    assert os.listdir(room.path) == []


def test_106_empty_path(start, processes, room):
    process = wire.Process([wire.program("ivshmem-server"), "-F", "-S", ""])
    processes.append(process)
    expect_refusal(process)


@pytest.mark.parametrize("stale", [False, True])
def test_106_two_servers_start_at_once(processes, room, stale):
    """Exactly one of them gets the place, and it is the one that answers there."""
    for turn in range(wire.sized(12, 200)):
        path = room.file(f"socket-{turn}")
        if stale:
            left = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            left.bind(path)
            left.close()
        pair = [wire.Server(path, ready=False) for _ in range(3)]
        processes.extend(pair)
        wire.wait_until(
            lambda: sum(not server.running() for server in pair) >= 2, "two of three give up", timeout=20
        )
        (winner,) = [server for server in pair if server.running()]
        for server in pair:
            if server is not winner:
                assert server.wait() == 1, server.describe()
        winner.expect("ivshmem-server: listening on .*")
        winner.client()
        winner.finish()
        assert os.listdir(room.path) == [], "something was left"


can_step = pytest.mark.skipif(not stepper.KNOWN, reason="the numbers of system calls are not known here")


@can_step
@pytest.mark.parametrize("instant", ["listen", "unlink"])
def test_106_second_start_in_the_wrong_instant(processes, start, room, instant):
    """
    A server is held just before it listens on what it has bound, or just before it removes the stale
    socket that it has found. The one that starts meanwhile must not remove the first one's socket, nor
    lose its own to it.
    """
    left = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    left.bind(room.socket)
    left.close()
    first = start(setup=stepper.trace_me)
    step = stepper.Stepper(first.pid)
    step.run_to(instant)
    second = start()
    time.sleep(0.5)  # the instant of the first is stretched, for the second to do wrong
    step.release()
    wire.wait_until(lambda: not first.running() or not second.running(), "one of them gives up")
    winner, loser = (first, second) if first.running() else (second, first)
    expect_refusal(loser)
    winner.expect("ivshmem-server: listening on .*")
    winner.client()
    winner.finish()


@can_step
def test_108_socket_is_at_no_instant_more_open_than_asked(start, room):
    """
    Also under a careless umask: nobody slips in between the making of the socket and the setting of its
    mode.
    """
    srv = start("--socket-mode", "0600", setup=lambda: (os.umask(0), stepper.trace_me()))
    step = stepper.Stepper(srv.pid)
    modes = []
    while not (modes and step.at("wait")):
        assert step.step(), srv.describe()
        if os.path.lexists(room.socket):
            modes.append(stat.S_IMODE(os.lstat(room.socket).st_mode))
    step.release()
    assert modes[-1] == 0o600
    assert not any(mode & 0o177 for mode in modes), [oct(mode) for mode in modes]
    srv.finish()


@can_step
def test_106_listens_only_when_the_memory_is_there(start, room):
    """Who connects early is refused; nobody gets in to wait for what may never come."""
    name = room.shm_name()
    srv = start("-M", name, "-l", "1M", setup=stepper.trace_me)
    step = stepper.Stepper(srv.pid)
    step.run_to("listen")
    with pytest.raises(ConnectionRefusedError):
        wire.RawClient(room.socket)
    assert os.path.getsize(f"/dev/shm/{name}") == 1 << 20
    step.release()
    srv.expect("ivshmem-server: listening on .*")
    srv.client()
    srv.finish()


@can_step
def test_108_link_put_in_the_place_of_the_socket_is_not_followed(start, room):
    """Who owns the directory does not get at the mode of other files through us."""
    victim = room.file("victim")
    with open(victim, "w"):
        pass
    os.chmod(victim, 0o600)
    srv = start("--socket-mode", "0666", setup=stepper.trace_me)
    step = stepper.Stepper(srv.pid)
    while not os.path.lexists(room.socket):
        assert step.step(), srv.describe()
    os.unlink(room.socket)
    os.symlink(victim, room.socket)
    step.release()
    expect_refusal(srv, room.socket)
    assert stat.S_IMODE(os.stat(victim).st_mode) == 0o600
    assert os.path.islink(room.socket)


def test_106_start_right_after_the_end_of_another(processes, room):
    """A predecessor that is just ending does not remove its successor's socket."""
    previous = None
    for _ in range(wire.sized(10, 100)):
        server = wire.Server(room.socket, ready=False)
        processes.append(server)
        if previous is not None:
            previous.signal(signal.SIGTERM)
        wire.wait_until(lambda: not server.running() or "listening" in server.stdout, "start or refusal")
        if previous is not None:
            assert previous.wait() == 0
        if not server.running():
            assert server.wait() == 1
            previous = None
            continue
        server.client()
        previous = server
    if previous is not None:
        previous.finish()


# ---- 107: the end ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_107_signals_end_it_cleanly(server, room, number):
    name = room.shm_name()
    srv = server("-M", name)
    clients = [srv.client() for _ in range(5)]
    srv.finish(number)
    assert not os.path.exists(f"/dev/shm/{name}")
    assert os.listdir(room.path) == []
    # Either all hear that all others left, or nobody hears anything.
    stories = []
    for client in clients:
        client.drain()
        stories.append(client.peers.keys() == {client.id})
    assert all(stories) or not any(stories)


def test_107_signal_while_clients_are_stalled(server):
    srv = server(vectors=8)
    for _ in range(50):
        srv.connect()
    srv.finish()


def test_107_signals_blocked_by_the_parent(processes, room):
    """A mask inherited from a careless parent does not make it immortal."""
    srv = wire.Server(
        room.socket,
        setup=lambda: signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGINT]),
    )
    processes.append(srv)
    srv.client()
    srv.finish()


def test_107_signal_at_any_instant_of_the_start(processes, room):
    """
    SIGTERM after a random part of the time that a start takes: exit status 0 and nothing is left.
    Before the program has told the kernel that it handles the signal, the kernel's own way is the only
    one possible.
    """
    name = room.shm_name()

    def start():
        srv = wire.Server(room.socket, "-M", name, ready=False)
        processes.append(srv)
        return srv

    began = time.monotonic()
    srv = start()
    srv.expect("ivshmem-server: listening on .*")
    duration = time.monotonic() - began
    srv.finish()
    choice = random.Random(107)
    handled = 0
    for _ in range(wire.sized(60, 1000)):
        srv = start()
        time.sleep(choice.random() * duration * 1.3)  # the instant is the subject
        srv.signal(signal.SIGTERM)
        status = srv.wait()
        handled += status == 0
        assert status in (0, -signal.SIGTERM), srv.describe()
        assert not os.path.lexists(room.socket), f"the socket is left, status {status}\n{srv.describe()}"
        assert not os.path.exists(f"/dev/shm/{name}"), f"the memory is left, status {status}"
    assert handled, "the signal never came after the program's first steps"


@can_step
def test_107_signal_at_every_system_call_of_the_start(processes, room):
    """
    SIGTERM before and after each single system call, from the first to the one that waits for clients:
    exit status 0, or the kernel's own way before the signal is handled, and in any case nothing is
    left.
    """
    name = room.shm_name()

    def start():
        srv = wire.Server(room.socket, "-M", name, ready=False, setup=stepper.trace_me)
        processes.append(srv)
        return srv, stepper.Stepper(srv.pid)

    srv, step = start()
    total = step.run_to("wait")
    step.release(signal.SIGTERM)
    assert srv.wait() == 0, srv.describe()
    # Loading the program takes many calls, a sanitizer even more, and not always the same number; the program's own
    # are the last ones.
    handled = 0
    for count in range(max(0, total - 150), total + 1):
        srv, step = start()
        for _ in range(count):
            assert step.step(), srv.describe()
        # Once the program has blocked the signal, it must handle it.
        blocked = signal.SIGTERM in wire.blocked_signals(srv.pid)
        step.release(signal.SIGTERM)
        status = srv.wait()
        handled += blocked
        assert status == 0 or (status == -signal.SIGTERM and not blocked), (
            f"status {status} at stop {count} of {total}\n{srv.describe()}"
        )
        assert os.listdir(room.path) == [], f"the socket is left, stop {count} of {total}\n{srv.describe()}"
        assert not os.path.exists(f"/dev/shm/{name}"), f"the memory is left, stop {count} of {total}"
    assert handled > 30, "hardly any stop was after the program's first steps"


def test_107_signal_pending_from_the_first_instant(processes, room):
    """With the signal blocked when the program begins it cannot be killed, so it must end with 0."""
    for _ in range(10):
        srv = wire.Server(
            room.socket,
            ready=False,
            setup=lambda: (
                signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM]),
                os.kill(os.getpid(), signal.SIGTERM),
            ),
        )
        processes.append(srv)
        assert srv.wait() == 0, srv.describe()
        assert os.listdir(room.path) == []


@root_only
def test_107_signal_while_names_are_looked_up(start, room, closing):
    """A service of names that does not answer must not make the program immune to signals."""
    service = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    closing.append(service)
    service.bind(room.file("nscd"))
    service.listen()
    service.settimeout(wire.TIMEOUT)
    libc = ctypes.CDLL(None, use_errno=True)

    def slow_names():
        CLONE_NEWNS, MS_REC, MS_PRIVATE = 0x20000, 0x4000, 0x40000
        assert libc.unshare(CLONE_NEWNS) == 0
        assert libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None) == 0
        assert libc.mount(b"none", b"/run", b"tmpfs", 0, None) == 0
        os.mkdir("/run/nscd")
        os.symlink(room.file("nscd"), "/run/nscd/socket")

    srv = start("--socket-owner", "nobody", setup=slow_names)
    asked = service.accept()[0]
    closing.append(asked)
    srv.signal(signal.SIGTERM)
    assert srv.wait() == -signal.SIGTERM, srv.describe()
    assert not os.path.lexists(room.socket)


def test_107_second_signal(server, room):
    srv = server()
    for _ in range(5):
        try:
            srv.signal(signal.SIGTERM)
            srv.signal(signal.SIGINT)
        except ProcessLookupError:
            break
    assert srv.wait() == 0, srv.describe()
    assert os.listdir(room.path) == []


def test_107_socket_replaced_meanwhile_is_not_removed(server, room):
    """Somebody removed our socket and put his own there: it stays."""
    srv = server()
    os.unlink(room.socket)
    other = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    other.bind(room.socket)
    srv.signal(signal.SIGTERM)
    assert srv.wait() == 0
    assert os.path.exists(room.socket)
    other.close()


def test_107_clients_keep_their_memory_and_vectors(server):
    """The end of the server ends nothing between the peers."""
    srv = server()
    first, second = srv.client(), srv.client()
    first.follow_until_knows([0, 1])
    srv.finish()
    wire.ring(second.peers[0][0])
    wire.wait_rings(first.peers[0][0])
    os.pwrite(first.memory, b"still there", 0)
    assert os.pread(second.memory, 11, 0) == b"still there"


# ---- standard streams -----------------------------------------------------------------------------------


def test_server_without_standard_streams(processes, room):
    """
    Started with descriptors 0 to 2 closed, nothing that is printed may end up in a client's socket or
    in the memory.
    """
    process = wire.Process(
        ["/bin/sh", "-c", 'exec "$0" "$@" <&- >&- 2>&-', wire.program("ivshmem-server")]
        + ["-F", "-v", "-S", room.socket],
    )
    processes.append(process)
    wire.wait_until(lambda: os.path.exists(room.socket), "the socket is there")

    def connect():
        try:
            return wire.RawClient(room.socket)
        except ConnectionRefusedError:
            return None

    clients = [wire.wait_until(connect, "it listens")]
    clients[0].greet()
    for _ in range(5):
        clients.append(wire.RawClient(room.socket).greet())
    assert [client.id for client in clients] == list(range(6))
    for client in clients:
        client.follow_until_knows(range(6))
    assert os.pread(clients[0].memory, 4096, 0) == bytes(4096)
    for client in clients:
        client.close()
    process.signal(signal.SIGTERM)
    assert process.wait() == 0
    assert os.listdir(room.path) == []


def test_server_survives_a_closed_log(processes, room):
    """Whoever read its output goes away; it goes on."""
    reader, writer = os.pipe()
    srv = wire.Server(room.socket, "-v", ready=False, stdout=writer, stderr=writer)
    processes.append(srv)
    os.close(writer)
    text = b""
    while b"listening" not in text:
        text += os.read(reader, 1000)
    os.close(reader)
    for expected in range(20):
        client = srv.client()
        assert client.id == expected
        client.close()
    srv.finish()


@pytest.mark.parametrize("arguments", [(), ("-v",)], ids=["quiet", "verbose"])
def test_server_does_not_wait_for_whoever_reads_its_log(processes, room, arguments):
    """
    Its output is a pipe that is open and full. Clients cause messages, so a server that waited for room
    there could be stopped by a client.
    """
    reader, writer = os.pipe()
    srv = wire.Server(room.socket, *arguments, ready=False, stdout=writer, stderr=writer)
    processes.append(srv)
    text = b""
    while b"listening" not in text:
        text += os.read(reader, 1000)
    os.set_blocking(writer, False)
    try:
        while True:
            os.write(writer, bytes(4096))
    except BlockingIOError:
        pass
    os.set_blocking(writer, True)
    os.close(writer)
    for _ in range(20):
        offender = srv.client(timeout=10)
        offender.sock.send(b"!")
        offender.assert_cut()
    srv.client(timeout=10)
    srv.finish()
    os.close(reader)


def test_server_counts_the_messages_that_nobody_read(processes, room):
    """Messages that found no room are lost, and the next one that finds some says how many."""
    reader, writer = os.pipe()
    srv = wire.Server(room.socket, ready=False, stdout=writer, stderr=writer)
    processes.append(srv)
    text = b""
    while b"listening" not in text:
        text += os.read(reader, 1000)
    os.set_blocking(writer, False)
    try:
        while True:
            os.write(writer, bytes(4096))
    except BlockingIOError:
        pass

    def offend():
        offender = srv.client(timeout=10)
        offender.sock.send(b"!")
        offender.assert_cut()

    for _ in range(3):
        offend()
    os.set_blocking(reader, False)
    try:
        while True:
            os.read(reader, 65536)
    except BlockingIOError:
        pass
    os.set_blocking(reader, True)
    offend()
    srv.finish()
    os.close(writer)
    text = b""
    while piece := os.read(reader, 65536):
        text += piece
    os.close(reader)
    assert re.match(rb"ivshmem-server: [1-9]\d* messages? (was|were) lost\nivshmem-server: ", text), text
    assert text.count(b"lost") == 2, f"once for stdout, which has who joins, and once for stderr: {text}"


# ---- 110: the daemon ------------------------------------------------------------------------------------


class Daemon:
    """The server as a daemon, known by its pid file."""

    def __init__(self, room, *arguments, path=None, pid_file=None, vectors=1):
        self.path = path or room.socket
        self.pid_file = pid_file or room.file("pid")
        self.result = subprocess.run(
            [wire.program("ivshmem-server"), "-S", self.path, "-p", self.pid_file, "-n", str(vectors)]
            + list(arguments),
            capture_output=True,
            text=True,
            timeout=wire.TIMEOUT,
            stdin=subprocess.DEVNULL,
        )
        self.vectors = vectors
        self.pid = None
        if self.result.returncode == 0:
            # No waiting here: this is what the parent's exit status promises.
            with open(self.pid_file) as file:
                self.pid = int(file.read())
            guardian.guard_process(self.pid)

    def alive(self):
        try:
            return wire.process_state(self.pid) != "Z"
        except (FileNotFoundError, ProcessLookupError):
            return False

    def end(self, number=signal.SIGTERM):
        os.kill(self.pid, number)
        wire.wait_until(lambda: not self.alive(), "the daemon ends")

    def close(self):
        if self.pid is not None:
            if self.alive():
                os.kill(self.pid, signal.SIGKILL)
            guardian.release("process", str(self.pid))


@pytest.fixture
def daemon(room, closing):
    def start(*arguments, **options):
        daemon = Daemon(room, *arguments, **options)
        closing.append(daemon)
        return daemon

    return start


def connect(path, closing, vectors=1):
    client = wire.RawClient(path, vectors)
    closing.append(client)
    return client.greet()


def test_110_parent_returns_when_all_is_ready(daemon, room, closing):
    """Socket and pid file are there at that moment, and the daemon is detached."""
    started = daemon()
    assert started.result.returncode == 0, started.result
    assert os.path.exists(started.pid_file)
    client = connect(started.path, closing)
    assert client.id == 0
    with open(f"/proc/{started.pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    parent, _group, session, terminal = (int(field) for field in fields[1:5])
    assert parent != os.getpid()
    assert session != os.getsid(0)
    assert terminal == 0, "it must not get a terminal's signals"
    assert os.readlink(f"/proc/{started.pid}/exe") == os.path.realpath(wire.program("ivshmem-server"))
    # subprocess.run() has read the output to its end, so the daemon does not hold it open.
    with open(started.pid_file) as file:
        assert file.read() == f"{started.pid}\n"
    assert stat.S_IMODE(os.stat(started.pid_file).st_mode) & 0o022 == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_107_daemon_removes_all_it_made(daemon, room, number):
    name = room.shm_name()
    started = daemon("-M", name)
    assert started.result.returncode == 0, started.result
    assert os.path.exists(f"/dev/shm/{name}")
    started.end(number)
    assert os.listdir(room.path) == []
    assert not os.path.exists(f"/dev/shm/{name}")


def test_110_second_instance_on_a_pid_file_is_refused(daemon, room, closing):
    first = daemon()
    second = daemon(path=room.file("another"))
    assert second.result.returncode == 1
    assert first.pid_file in second.result.stderr
    assert not os.path.exists(room.file("another"))
    with open(first.pid_file) as file:
        assert int(file.read()) == first.pid
    assert connect(first.path, closing).id == 0


def test_110_second_instance_on_a_socket_is_refused(daemon, room, closing):
    first = daemon()
    second = daemon(pid_file=room.file("another"))
    assert second.result.returncode == 1
    assert second.result.stderr
    assert not os.path.exists(room.file("another"))
    assert os.path.exists(first.pid_file)
    connect(first.path, closing)


def test_110_stale_pid_file_is_replaced(daemon, room):
    """A file that nobody holds is no obstacle, also when its number is some process of today."""
    with open(room.file("pid"), "w") as file:
        file.write(f"{os.getpid()}\n")
    started = daemon()
    assert started.result.returncode == 0, started.result
    assert started.pid != os.getpid()


@pytest.mark.parametrize("pid_file", ["no/such/place", "directory"])
def test_110_pid_file_that_cannot_be_written(room, daemon, pid_file):
    """The caller hears of it, and nothing is left running or lying about."""
    os.mkdir(room.file("directory"))
    started = daemon(pid_file=room.file(pid_file))
    assert started.result.returncode == 1
    assert pid_file in started.result.stderr
    assert os.listdir(room.path) == ["directory"]


def test_110_pid_file_that_is_not_ours_to_empty(room, daemon):
    """Another name of something, something that is no file, or a stranger's file."""

    def refused(pid_file, words):
        started = daemon(pid_file=pid_file)
        assert started.result.returncode == 1, started.result
        assert pid_file in started.result.stderr and words in started.result.stderr, started.result
        assert not os.path.lexists(room.socket)
        assert os.path.lexists(pid_file)

    os.mkfifo(room.file("fifo"))
    refused(room.file("fifo"), "not a regular file")
    with open(room.file("precious"), "w") as file:
        file.write("precious")
    os.link(room.file("precious"), room.file("hard"))
    refused(room.file("hard"), "hard link")
    os.symlink(room.file("precious"), room.file("soft"))
    refused(room.file("soft"), os.strerror(errno.ELOOP))
    if os.geteuid() == 0:
        os.unlink(room.file("hard"))
        os.chown(room.file("precious"), 64079, 64079)
        refused(room.file("precious"), "64079")
    with open(room.file("precious")) as file:
        assert file.read() == "precious"


FLOCK = {"x86_64": 73, "aarch64": 32}.get(os.uname().machine)


@can_step
def test_110_pid_file_removed_by_a_predecessor_that_is_just_ending(processes, room, closing):
    """
    It is removed between our opening and our locking it: the lock on a file without a name would keep nobody
    out, and nobody would find the daemon.
    """
    pid_file = room.file("pid")
    with open(pid_file, "w") as file:
        file.write("1\n")
    process = wire.Process(
        [wire.program("ivshmem-server"), "-S", room.socket, "-p", pid_file], setup=stepper.trace_me
    )
    processes.append(process)
    daemon = stepper.Stepper(process.pid).into_child()
    closing.append(daemon)
    while daemon.system_call() != FLOCK:
        assert daemon.step(), process.describe()
    os.unlink(pid_file)
    guardian.guard_process(daemon.pid)
    daemon.release()
    assert process.wait() == 0, process.describe()
    with open(pid_file) as file:
        assert int(file.read()) == daemon.pid
    connect(room.socket, closing)
    os.kill(daemon.pid, signal.SIGTERM)
    wire.wait_until(lambda: os.listdir(room.path) == [], "everything is removed")
    guardian.release("process", str(daemon.pid))


@can_step
def test_110_caller_can_end_the_wait_for_a_daemon(processes, room, closing):
    """While the daemon starts, however long that takes, SIGTERM ends the process that waits for it."""
    process = wire.Process(
        [wire.program("ivshmem-server"), "-S", room.socket, "-p", room.file("pid")],
        setup=stepper.trace_me,
    )
    processes.append(process)
    daemon = stepper.Stepper(process.pid).into_child()  # and there it is held
    closing.append(daemon)
    process.signal(signal.SIGTERM)
    # Not process.wait(): the daemon has its output, and is still there.
    assert process.process.wait(wire.TIMEOUT) == -signal.SIGTERM
    daemon.close()
    assert os.listdir(room.path) == []


def test_110_failed_start_is_reported_by_the_parent(room, daemon):
    with open(room.socket, "w"):
        pass
    started = daemon()
    assert started.result.returncode == 1
    assert room.socket in started.result.stderr
    assert not os.path.exists(started.pid_file)


def test_110_pid_file_is_not_used_in_the_foreground(server, room):
    pid_file = room.file("pid")
    server("-p", pid_file)
    assert not os.path.exists(pid_file)


def test_110_relative_paths(room, closing):
    """The daemon finds its files again at the end, wherever it was started."""
    result = subprocess.run(
        [wire.program("ivshmem-server"), "-S", "socket", "-p", "pid"],
        cwd=room.path,
        capture_output=True,
        text=True,
        timeout=wire.TIMEOUT,
    )
    assert result.returncode == 0, result
    with open(room.file("pid")) as file:
        pid = int(file.read())
    guardian.guard_process(pid)
    connect(room.socket, closing)
    os.kill(pid, signal.SIGTERM)
    wire.wait_until(lambda: os.listdir(room.path) == [], "everything is removed")
    guardian.release("process", str(pid))


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

    def end_daemon(pid):
        guardian.guard_process(pid)
        try:
            os.kill(pid, signal.SIGTERM)
        except ProcessLookupError:
            pass
        wire.wait_until(lambda: os.listdir(room.path) == [], "the daemon removes its files")
        guardian.release("process", str(pid))

    end_daemon(settled())
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
            end_daemon(state)
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


def can_sandbox():
    return os.geteuid() == 0 and subprocess.run(
        ["/usr/bin/unshare", "--mount", "--pid", "--fork", "--mount-proc", "/bin/true"],
        capture_output=True,
    ).returncode == 0


@root_only
def test_108_default_paths(processes, closing):
    """Without options: QEMU's socket and pid file, the daemon, one vector, 4 MiB."""
    if not can_sandbox():
        pytest.skip("no namespaces here")
    sandbox = Sandbox(places="/tmp /run")
    processes.append(sandbox)
    client = connect(sandbox.inside("/tmp/ivshmem_socket"), closing)
    assert len(client.peers[0]) == 1
    assert os.fstat(client.memory).st_size == 4 << 20
    with open(sandbox.inside("/run/ivshmem-server.pid")) as file:
        assert int(file.read()) > 1


@root_only
def test_110_daemon_reports_to_syslog(processes, room, closing):
    """What went to stderr in the foreground goes to the system's log."""
    if not can_sandbox():
        pytest.skip("no namespaces here")
    log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    closing.append(log)
    log.bind(room.file("log"))
    log.settimeout(wire.TIMEOUT)
    sandbox = Sandbox("-S", room.socket, "-p", room.file("pid"), log=room.file("log"))
    processes.append(sandbox)
    offender = connect(room.socket, closing)
    offender.sock.send(b"?")
    offender.assert_cut()
    text = ""
    while not re.search(r"ivshmem-server\[?\d*\]?: .*\b0\b", text):
        text += log.recv(4096).decode() + "\n"

# SPDX-License-Identifier: BSD-2-Clause
"""
The ivshmem server protocol in raw bytes, from both ends, and the programs under test as processes.

Nothing here uses the code under test. A message is eight bytes, a signed little-endian number, and at most
one descriptor; it is read as QEMU reads it: never more than the rest of the current message, so that a
descriptor sent with the wrong bytes shows up at the wrong number.
"""

import array
import contextlib
import ctypes
import errno
import fcntl
import os
import re
import resource
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from typing import NamedTuple, Optional

import guardian

# How long to wait for something that must happen. Only a failing test ever waits that long.
FACTOR = int(os.environ.get("TEST_TIMEOUT_FACTOR", "1"))
TIMEOUT = float(os.environ.get("IVSHMEM_TEST_TIMEOUT", "30")) * FACTOR
LONG = os.environ.get("IVSHMEM_TEST_LONG", "") not in ("", "0")

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.abspath(os.environ.get("IVSHMEM_BUILD", os.path.join(ROOT, "build")))

VERSION = 0
MEMORY = -1

_libc = ctypes.CDLL(None, use_errno=True)

# `with until_gone:` ends quietly where the other side has closed.
until_gone = contextlib.suppress(BrokenPipeError, ConnectionResetError)


def sized(default, full):
    """The size of a loop: `default`, or `full` when IVSHMEM_TEST_LONG=1."""
    return full if LONG else default


def program(name):
    path = os.path.join(BUILD, name)
    if not os.access(path, os.X_OK):
        raise FileNotFoundError(f"{path} is not there: build first, or set IVSHMEM_BUILD")
    return path


_sanitized = {}


def sanitized(name="ivshmem-server"):
    """Whether a program was built with AddressSanitizer: its memory use says nothing then."""
    if name not in _sanitized:
        with open(program(name), "rb") as file:
            _sanitized[name] = b"__asan_init" in file.read()
    return _sanitized[name]


def raise_descriptor_limit():
    """As far as we may; root may also raise the hard limit, unless somebody took that away."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with open("/proc/sys/fs/nr_open") as file:
        wanted = max(hard, min(300000, int(file.read())))
    for limit in (wanted, hard):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
            break
        except (ValueError, PermissionError):
            pass


def wait_until(condition, what, timeout=None):
    """Poll for a state that nobody announces, such as a number of open descriptors."""
    deadline = time.monotonic() + (timeout or TIMEOUT)
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout or TIMEOUT} s: {what}")
        time.sleep(0.005)


# ---- descriptors -------------------------------------------------------------------------------------


def eventfd(initial=0, flags=os.EFD_NONBLOCK | os.EFD_CLOEXEC):
    return os.eventfd(initial, flags)


def memory_fd(size=1 << 20, seals=True, name="test-memory"):
    fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, size)
    if seals:
        fcntl.fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW)
    return fd


F_ADD_SEALS = 1033
F_GET_SEALS = 1034
F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_WRITE = 1, 2, 4, 8


def is_eventfd(fd):
    return os.readlink(f"/proc/self/fd/{fd}") == "anon_inode:[eventfd]"


def ring(fd):
    os.write(fd, (1).to_bytes(8, sys.byteorder))


def readable(fd, timeout):
    """select() for one descriptor of any number."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(timeout * 1000))


def rings(fd):
    """How often an eventfd was rung since the last call, and nobody else took it; does not depend on O_NONBLOCK."""
    if not readable(fd, 0):
        return 0
    try:
        return int.from_bytes(os.read(fd, 8), sys.byteorder)
    except BlockingIOError:
        return 0


def wait_rings(fd, count=1, timeout=None):
    """Wait until an eventfd was rung `count` times altogether; more is an error."""
    deadline = time.monotonic() + (timeout or TIMEOUT)
    got = 0
    while got < count:
        left = deadline - time.monotonic()
        assert left > 0, f"{got} of {count} rings came"
        if readable(fd, left):
            got += rings(fd)
    assert got == count, f"{got} rings came instead of {count}"


def fill(pipe):
    """Write until there is no more room."""
    os.set_blocking(pipe, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(pipe, bytes(4096))
    os.set_blocking(pipe, True)


class Canary:
    """A descriptor to give away that tells when the last copy held by others was closed."""

    def __init__(self):
        self.reader, self.fd = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self.reader, False)

    def close_own(self):
        os.close(self.fd)
        self.fd = -1

    def assert_closed(self, timeout=None):
        """Call after close_own()."""
        assert readable(self.reader, timeout or TIMEOUT), "the descriptor is still open in the other process"
        os.close(self.reader)


# ---- sockets ------------------------------------------------------------------------------------------


def connect(path):
    """A client that says nothing and reads nothing."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # With a limit, it would be an error at once if others wait to be accepted, too many for one more.
    sock.connect(path)
    sock.settimeout(TIMEOUT)
    return sock


def bound(path, kind=socket.SOCK_STREAM, backlog=None):
    """A socket at this path, which listens if it is to have a backlog. Closed, it is stale."""
    sock = socket.socket(socket.AF_UNIX, kind)
    sock.settimeout(TIMEOUT)
    sock.bind(path)
    if backlog is not None:
        sock.listen(backlog)
    return sock


# ---- the client end -----------------------------------------------------------------------------------


class Message(NamedTuple):
    number: int
    fd: Optional[int]


class Refused(Exception):
    """The server's first message was not the version."""

    def __init__(self, number):
        super().__init__(f"refused with {number} ({errno.errorcode.get(-number, '?')})")
        self.number = number


class RawClient:
    """
    A client of the protocol. receive() gives single messages; greet() and update() follow the protocol,
    check it on the way, and keep `peers`: id to list of eventfds. When all of them would be too many,
    keep_fds=False makes that lists of None, and keep_fds="own" keeps our own.
    """

    def __init__(self, path, vectors=1, keep_fds=True, timeout=None):
        self.vectors = vectors
        self.keep_fds = keep_fds
        self.timeout = timeout or TIMEOUT
        self.id = None
        self.memory = None
        self.peers = {}
        self.order = []  # ids in the order in which they were announced
        self.log = []  # numbers, as they came after the greeting
        self.owned = set()
        self._partial = b""
        self._partial_fd = None
        self.sock = connect(path)

    def fileno(self):
        return self.sock.fileno()

    def queued(self):
        """Bytes that wait in the socket."""
        buffer = array.array("i", [0])
        fcntl.ioctl(self.sock, termios.FIONREAD, buffer)
        return buffer[0]

    def receive(self, timeout=None, step=8):
        """
        The next message, or None at the end of the stream. TimeoutError when nothing comes; what was read
        of a message is kept then. ConnectionResetError when the server threw away what we sent.
        """
        self.sock.settimeout(self.timeout if timeout is None else timeout)
        while True:
            wanted = min(step, 8 - len(self._partial))
            try:
                data, control, flags, _ = self.sock.recvmsg(wanted, 256, socket.MSG_CMSG_CLOEXEC)
            except BlockingIOError:
                raise TimeoutError("nothing to receive") from None
            fds = []
            for level, kind, body in control:
                assert (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
                fds.extend(array.array("i", body[: len(body) // 4 * 4]))
            self.owned.update(fds)
            assert not flags & socket.MSG_CTRUNC, "descriptors were lost: more than fit, or out of descriptors"
            if fds:
                assert len(fds) == 1, f"{len(fds)} descriptors with one message: QEMU would close all but one"
                assert not self._partial, "a descriptor came in the middle of a message"
                self._partial_fd = fds[0]
            if not data:
                assert not self._partial, "the stream ended in the middle of a message"
                return None
            self._partial += data
            if len(self._partial) == 8:
                message = Message(struct.unpack("<q", self._partial)[0], self._partial_fd)
                self._partial, self._partial_fd = b"", None
                return message

    def close_fd(self, fd):
        os.close(fd)
        self.owned.discard(fd)

    def expect(self, number, with_fd, timeout=None):
        message = self.receive(timeout)
        assert message is not None, f"end of stream instead of {number}"
        assert message.number == number, f"{message.number} came instead of {number}"
        assert (message.fd is not None) == with_fd, f"{number} with{'out' if with_fd else ''} descriptor"
        return message.fd

    def expect_greeting(self, own, *others):
        """The messages of a greeting and no others: it is `own`, and these were there before it."""
        self.expect(VERSION, False)
        self.expect(own, False)
        self.memory = self.expect(MEMORY, True)
        self.expect_vectors(*others, own)

    def expect_vectors(self, *peers):
        for peer in peers:
            for _ in range(self.vectors):
                assert is_eventfd(self.expect(peer, True))

    def greet(self):
        """Read the greeting up to our own last vector."""
        message = self.receive()
        assert message is not None, "closed without a word"
        assert message.fd is None, "a descriptor with the version"
        if message.number != VERSION:
            raise Refused(message.number)
        message = self.receive()
        assert message is not None, "closed after the version"
        assert message.fd is None, "a descriptor with the id"
        assert 0 <= message.number <= 65535, f"id {message.number}"
        self.id = message.number
        self.memory = self.expect(MEMORY, True)
        while self.vectors and len(self.peers.get(self.id, [])) < self.vectors:
            assert self.update(), "the stream ended within the greeting"
        self.log.clear()
        return self

    def update(self, timeout=None):
        """Read one message and follow it. False at the end of the stream."""
        message = self.receive(timeout)
        return message is not None and self.take(message)

    def take(self, message):
        """Follow one message after the greeting."""
        number, fd = message
        self.log.append(number)
        assert 0 <= number <= 65535, f"{number} after the greeting"
        if fd is None:
            assert number != self.id, "we were told that we left"
            assert number in self.peers, f"peer {number} left, but we never heard that it joined"
            for peer_fd in self.peers.pop(number):
                if peer_fd is not None:
                    self.close_fd(peer_fd)
            self.order.remove(number)
        else:
            if number not in self.peers:
                self.peers[number] = []
                self.order.append(number)
            assert len(self.peers[number]) < self.vectors, f"peer {number} has too many vectors"
            if not self.keep_fds or (self.keep_fds == "own" and number != self.id):
                self.close_fd(fd)
                fd = None
            self.peers[number].append(fd)
        return True

    def drain(self):
        """Follow what is there without waiting. False at the end of the stream."""
        try:
            while self.update(timeout=0):
                pass
            return False
        except TimeoutError:
            return True

    def follow(self, condition, what):
        """Follow messages until condition() holds."""
        deadline = time.monotonic() + self.timeout
        while not condition():
            left = deadline - time.monotonic()
            assert left > 0, f"not within {self.timeout} s: {what}"
            try:
                assert self.update(timeout=left), f"the stream ended before: {what}"
            except TimeoutError:
                pass

    def knows(self, ids):
        """Whether exactly these peers are known (ourselves included), with all their vectors."""
        return self.peers.keys() == set(ids) and all(
            len(fds) == self.vectors for fds in self.peers.values()
        )

    def follow_until_knows(self, ids):
        ids = set(ids)
        self.follow(lambda: self.knows(ids), f"knowing {len(ids)} peers, knows {len(self.peers)}")
        return self

    def follow_to_end(self):
        """Follow until the server closes the connection; returns the numbers that came."""
        before = len(self.log)
        with until_gone:
            while self.update():
                pass
        return self.log[before:]

    def assert_cut(self):
        """The server has closed the connection, or does so now; what it sent before does not matter."""
        with until_gone:
            while message := self.receive():
                if message.fd is not None:
                    self.close_fd(message.fd)

    def offend(self, data=b"?", flags=0):
        """Send what no client may send. It ends the connection."""
        with until_gone:
            self.sock.send(data, flags | socket.MSG_DONTWAIT)
        self.assert_cut()

    def numbers_without_fds(self, count):
        """
        The next `count` numbers, fast: without room for descriptors the kernel drops them, and several
        messages without one come at once.
        """
        self.sock.settimeout(self.timeout)
        data = bytearray()
        while len(data) < count * 8:
            part = self.sock.recv(count * 8 - len(data))
            assert part, f"the stream ended after {len(data) // 8} of {count} messages"
            data += part
        return list(struct.unpack(f"<{count}q", data))

    def close(self):
        self.sock.close()
        for fd in self.owned:
            os.close(fd)
        self.owned.clear()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


# ---- the server end -----------------------------------------------------------------------------------


def expect_rings(one, other):
    """In both directions, on every vector."""
    for a, b in ((one, other), (other, one)):
        for vector in range(a.vectors):
            ring(a.peers[b.id][vector])
            wait_rings(b.peers[b.id][vector])


def let_all_know(clients, ids):
    """Until each of them knows these peers; what it was told before counts no more."""
    for client in clients:
        client.follow_until_knows(ids)
        client.log.clear()


class FakeConnection:
    def __init__(self, sock):
        self.sock = sock
        self.sock.settimeout(TIMEOUT)

    def send(self, number, *fds):
        """One message in one sendmsg, with any number of descriptors."""
        self.send_bytes(struct.pack("<q", number), *fds)

    def send_bytes(self, data, *fds):
        control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        sent = self.sock.sendmsg([data], control)
        assert sent == len(data)

    def say(self, *messages):
        """Each a number or bytes, or one of these and its descriptors. Nobody minds if the client closes meanwhile."""
        with until_gone:
            for message in messages:
                what, *fds = message if isinstance(message, tuple) else (message,)
                self.send_bytes(what if isinstance(what, bytes) else struct.pack("<q", what), *fds)

    def send_bytewise(self, number, *fds):
        data = struct.pack("<q", number)
        self.send_bytes(data[:1], *fds)
        for index in range(1, 8):
            self.wait_taken()
            self.send_bytes(data[index : index + 1])
        self.wait_taken()

    def wait_taken(self):
        """Until the client has read all that was sent, so that the next bytes are a read of their own."""
        buffer = array.array("i", [0])

        def empty():
            fcntl.ioctl(self.sock, termios.TIOCOUTQ, buffer)
            return buffer[0] == 0

        wait_until(empty, "the client reads what was sent")

    def greeting(self, own_id=0, memory=None, vectors=(), peers=()):
        """The usual sequence. `vectors` are our eventfds, `peers` pairs of an id and eventfds."""
        for message in (VERSION,), (own_id,), (MEMORY, memory):
            self.send(*message)
        for peer, fds in *peers, (own_id, vectors):
            for fd in fds:
                self.send(peer, fd)

    def closed_by_client(self, timeout=None):
        """Wait for the client to close."""
        self.sock.settimeout(timeout or TIMEOUT)
        try:
            return self.sock.recv(1) == b""
        except ConnectionResetError:
            return True
        except TimeoutError:
            return False

    def close(self):
        """The protocol goes one way: the client may never have sent a byte."""
        if self.sock.fileno() >= 0:
            self.sock.setblocking(False)
            with contextlib.suppress(BlockingIOError, ConnectionResetError):
                assert self.sock.recv(1) == b"", "the client sent something"
        self.sock.close()


class FakeServer:
    """Listens like a server and says whatever the test wants it to say."""

    def __init__(self, path, backlog=64):
        self.path = path
        self.listener = bound(path, backlog=backlog)
        self.connections = []

    def accept(self, timeout=None):
        self.listener.settimeout(timeout or TIMEOUT)
        connection = FakeConnection(self.listener.accept()[0])
        self.connections.append(connection)
        return connection

    def close_listener(self):
        """Nobody can attach any more; those who are connected stay so."""
        self.listener.close()
        if os.path.exists(self.path):
            os.unlink(self.path)

    def close(self):
        for connection in self.connections:
            connection.close()
        self.close_listener()


# ---- processes ----------------------------------------------------------------------------------------

PR_SET_PDEATHSIG = 1


def die_with_parent():
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def private_mounts(*mounts):
    """
    setup(): for a child, mounts that nobody else sees, each (place, type of file system, options), or
    (place, folder) to see that folder there. The caller's business is that it may: root.
    """
    CLONE_NEWNS, MS_BIND, MS_REC, MS_PRIVATE = 0x20000, 0x1000, 0x4000, 0x40000

    def check(result):
        if result != 0:
            raise OSError(ctypes.get_errno(), "cannot make a private mount")

    def setup():
        check(_libc.unshare(CLONE_NEWNS))
        check(_libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None))
        for place, what, *options in mounts:
            if options:
                check(_libc.mount(b"none", place.encode(), what.encode(), 0, options[0].encode()))
            else:
                check(_libc.mount(what.encode(), place.encode(), None, MS_BIND, None))

    return setup


SANITIZER_REPORT = re.compile(rb"Sanitizer|runtime error:")


class Process:
    """A program under test: its output is collected all the time, so that it never waits for us."""

    def __init__(self, argv, limit_files=None, user=None, env=None, setup=None, stdin=None, **options):
        """
        limit_files	RLIMIT_NOFILE, soft and hard
        user		run as this uid and gid, without any privilege
        setup		called in the child last of all
        start_new_session	kill() kills all processes that it has made, even if it is gone itself
        """

        def prepare():
            die_with_parent()
            # Whoever starts the tests in the background of a script has these ignored.
            for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
                signal.signal(number, signal.SIG_DFL)
            if limit_files is not None:
                resource.setrlimit(resource.RLIMIT_NOFILE, (limit_files, limit_files))
            if user is not None:
                os.setgroups([])
                os.setresgid(user, user, user)
                os.setresuid(user, user, user)
                die_with_parent()  # a change of user cancels it
            if setup is not None:
                setup()

        self.argv = [str(argument) for argument in argv]
        self.environment = dict(os.environ, **(env or {}))
        self.sanitizer_reported = False
        self.changed = threading.Condition()
        self.output = {"stdout": bytearray(), "stderr": bytearray()}
        self.cursor = {"stdout": 0, "stderr": 0}
        self.process = subprocess.Popen(
            self.argv,
            stdin=stdin if stdin is not None else subprocess.DEVNULL,
            stdout=options.pop("stdout", subprocess.PIPE),
            stderr=options.pop("stderr", subprocess.PIPE),
            preexec_fn=prepare,
            env=self.environment,
            **options,
        )
        self.pid = self.process.pid
        self.has_session = bool(options.get("start_new_session"))
        if self.has_session:
            guardian.guard_session(self.pid)
        self.readers = []
        for name, pipe in (("stdout", self.process.stdout), ("stderr", self.process.stderr)):
            if pipe is not None:
                reader = threading.Thread(target=self._read, args=(name, pipe), daemon=True)
                reader.start()
                self.readers.append(reader)

    def _read(self, name, pipe):
        while True:
            data = os.read(pipe.fileno(), 65536)
            with self.changed:
                if not data:
                    self.output[name + " ended"] = True
                    self.changed.notify_all()
                    break
                self.output[name] += data
                self.changed.notify_all()
        pipe.close()

    @property
    def stdout(self):
        return self.output["stdout"].decode(errors="replace")

    @property
    def stderr(self):
        return self.output["stderr"].decode(errors="replace")

    def describe(self):
        return f"{' '.join(self.argv)}\nstdout:\n{self.stdout[-4000:]}\nstderr:\n{self.stderr[-4000:]}"

    def expect(self, pattern, stream="stdout", timeout=None):
        """
        Wait for a line that matches, after the last one expected from this stream. Returns the match.
        """
        regex = re.compile(rb"^(?:" + pattern.encode() + rb")$", re.MULTILINE)
        deadline = time.monotonic() + (timeout or TIMEOUT)
        with self.changed:
            while True:
                output = self.output[stream]
                # Only whole lines: the end of a half-written one could match a shorter pattern.
                end = output.rfind(b"\n") + 1
                match = regex.search(bytes(output[self.cursor[stream] : end]))
                if match:
                    self.cursor[stream] += match.end()
                    return match
                if self.output.get(stream + " ended"):
                    raise AssertionError(f"output ended without a line '{pattern}'\n{self.describe()}")
                left = deadline - time.monotonic()
                if left <= 0:
                    raise AssertionError(f"no line '{pattern}' came\n{self.describe()}")
                self.changed.wait(left)

    def lines(self, stream="stdout"):
        return self.output[stream].decode(errors="replace").splitlines()

    def write(self, text):
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()

    def running(self):
        return self.process.poll() is None

    def finish(self, number=signal.SIGTERM, status=0):
        """End it as an administrator would."""
        assert self.running(), f"it is gone, status {self.process.returncode}\n{self.describe()}"
        self.signal(number)
        got = self.wait()
        assert got == status, f"exit status {got}\n{self.describe()}"

    def signal(self, number):
        os.kill(self.pid, number)

    def wait(self, timeout=None):
        """The exit status; all output is there afterwards."""
        try:
            status = self.process.wait(timeout or TIMEOUT)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {timeout or TIMEOUT} s\n{self.describe()}") from None
        for reader in self.readers:
            reader.join(TIMEOUT)
        if self.process.stdin is not None:
            self.process.stdin.close()
        self.check_sanitizer()
        return status

    def check_sanitizer(self):
        """Fails at a report of a sanitizer, once."""
        if not self.sanitizer_reported and SANITIZER_REPORT.search(self.output["stderr"]):
            self.sanitizer_reported = True
            raise AssertionError(self.describe())

    def kill_all(self):
        """All processes of its session at once: none of them can do anything about the end of another one."""
        guardian.kill_session(self.pid)
        guardian.release("session", str(self.pid))

    def kill(self):
        if self.has_session:
            self.kill_all()
        elif self.running():
            self.process.kill()
        if self.running():
            try:
                self.signal(signal.SIGCONT)
            except ProcessLookupError:
                pass
        self.process.wait()
        for reader in self.readers:
            reader.join(TIMEOUT)
        if self.process.stdin is not None:
            self.process.stdin.close()

    def fds(self):
        """What every open descriptor points to."""
        return process_fds(self.pid)

    def eventfds(self):
        return sum(target == "anon_inode:[eventfd]" for target in self.fds().values())

    def resident(self):
        """Resident memory in KiB."""
        with open(f"/proc/{self.pid}/status") as file:
            return int(re.search(r"^VmRSS:\s+(\d+) kB", file.read(), re.MULTILINE).group(1))

    def cpu_seconds(self):
        return process_cpu_seconds(self.pid)


def process_fds(pid):
    targets = {}
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            targets[int(name)] = os.readlink(f"/proc/{pid}/fd/{name}")
        except FileNotFoundError:
            pass
    return targets


def process_cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def process_children(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [int(word) for word in file.read().split()]


def blocked_signals(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        mask = next(int(line.split()[1], 16) for line in status if line.startswith("SigBlk:"))
    return {number for number in range(1, 65) if mask >> (number - 1) & 1}


def process_state(pid):
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0]


def _free_in_flight():
    CAP_SYS_ADMIN, CAP_SYS_RESOURCE = 21, 24
    with open("/proc/self/status", encoding="ascii") as file:
        effective = int(re.search(r"^CapEff:\s*(\w+)", file.read(), re.MULTILINE).group(1), 16)
    return ["--sandbox", "off"] if effective >> CAP_SYS_ADMIN & 1 and not effective >> CAP_SYS_RESOURCE & 1 else []


# For a server of which all descriptors in flight of this user would be more than it may have. Root is free of that
# limit by CAP_SYS_RESOURCE, which the server keeps. Where root has only CAP_SYS_ADMIN, it must keep that one.
FREE_IN_FLIGHT = _free_in_flight()


class Server(Process):
    """ivshmem-server in the foreground, ready."""

    def __init__(self, path, *arguments, vectors=1, ready=True, binary=None, **options):
        self.path = path
        self.vectors = vectors
        self.clients = []  # closed with kill()
        argv = [binary or program("ivshmem-server"), "-F", "-S", path]
        if vectors is not None:
            argv += ["-n", str(vectors)]
        if options.get("limit_files") and options.get("user") is None:
            argv += FREE_IN_FLIGHT
        super().__init__(argv + list(arguments), **options)
        if ready:
            self.expect(r"ivshmem-server: listening on " + re.escape(path))
            self.idle_fds = len(self.fds())
            self.idle_eventfds = self.eventfds()

    def connect(self, **options):
        """A client that has read nothing yet."""
        client = RawClient(self.path, self.vectors, **options)
        self.clients.append(client)
        return client

    def client(self, **options):
        """A client that has read its greeting."""
        return self.connect(**options).greet()

    def kill(self):
        super().kill()
        for client in self.clients:
            client.close()

    def finish(self, number=signal.SIGTERM, status=0):
        super().finish(number, status)
        assert not os.path.lexists(self.path), "the socket is still there"

    def started(self):
        """Whether it came to serve. If not, it has ended, and said why."""
        wait_until(lambda: not self.running() or "listening" in self.stdout, "start or refusal")
        if self.running():
            return True
        assert self.wait() == 1 and self.stderr, self.describe()
        return False

    def assert_idle(self):
        """Nothing of any client is left in the server."""
        wait_until(
            lambda: len(self.fds()) <= self.idle_fds,
            f"descriptors back to {self.idle_fds}",
        )


class Daemon(Process):
    """ivshmem-server in the background, and `daemon` its process id, once it serves."""

    def __init__(self, path, pid_file, *arguments, **options):
        self.path, self.pid_file = path, pid_file
        self.daemon = None
        super().__init__([program("ivshmem-server"), "-S", path, "-p", pid_file, *arguments], **options)
        # No more waiting than this: it is what the exit status promises.
        if self.wait() == 0:
            with open(pid_file, encoding="ascii") as file:
                self.daemon = int(file.read())
            guardian.guard_process(self.daemon)
            assert not any(reader.is_alive() for reader in self.readers), "the daemon holds our output"

    def alive(self):
        try:
            return process_state(self.daemon) != "Z"
        except (FileNotFoundError, ProcessLookupError):
            return False

    def finish(self, number=signal.SIGTERM, status=0):
        os.kill(self.daemon, number)
        wait_until(lambda: not self.alive(), "the daemon ends")

    def kill(self):
        super().kill()
        if self.daemon is not None:
            if self.alive():
                os.kill(self.daemon, signal.SIGKILL)
            guardian.release("process", str(self.daemon))


class Cli(Process):
    """The command line tool, attached through a UNIX socket."""

    def __init__(self, path, *arguments, binary=None, **options):
        super().__init__([binary or program("ivshmem"), "--target", f"unix:{path}", *arguments], **options)
        self.n_done = 0

    def do(self, commands):
        """Have the shell execute this, and wait until it has."""
        self.n_done += 1
        self.write(f"{commands}\nsay done {self.n_done}\n")
        self.expect(f"done {self.n_done}")


class Room:
    """A directory for the sockets and files of one test: short enough for a socket, open to any user."""

    def __init__(self):
        self.path = tempfile.mkdtemp(prefix="ivshmem-test-")
        os.chmod(self.path, 0o755)
        guardian.guard_tree(self.path)
        self.shm_names = []

    def file(self, name):
        return os.path.join(self.path, name)

    @property
    def socket(self):
        return self.file("socket")

    def shm_name(self, label="memory"):
        """A name for a POSIX shared memory object; the object is removed at the end, if there is one."""
        name = f"{os.path.basename(self.path)}-{label}"
        self.shm_names.append(name)
        guardian.guard_tree(f"/dev/shm/{name}")
        return name

    def close(self):
        shutil.rmtree(self.path, ignore_errors=True)
        guardian.release("tree", self.path)
        for name in self.shm_names:
            if os.path.lexists(f"/dev/shm/{name}"):
                os.unlink(f"/dev/shm/{name}")
            guardian.release("tree", f"/dev/shm/{name}")

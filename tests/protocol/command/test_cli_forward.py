# SPDX-License-Identifier: BSD-2-Clause
"""The command line tool: forward and listen."""

import contextlib
import json
import os
import random
import re
import select
import signal
import socket
import struct
import subprocess
import threading
import time

import pytest

import ivshmem_wire as wire
from ivshmem_cli import FAILURE, OK, USAGE

NAME = "service"
PATIENCE = 60 * wire.FACTOR
BIG = wire.sized(4 << 20, 512 << 20)


# ---- what is at the two ends ---------------------------------------------------------------------------


class Service:
    """A socket that listens, and a thread for each connection, which runs serve(connection)."""

    def __init__(self, family, address, serve):
        self.socket = socket.socket(family)
        self.socket.bind(address)
        self.socket.listen(1000)
        self.address = self.socket.getsockname()
        self.serve = serve
        self.failures = []
        self.threads = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            connection.settimeout(PATIENCE)
            thread = threading.Thread(target=self.run, args=(connection,), daemon=True)
            self.threads.append(thread)
            thread.start()

    def run(self, connection):
        with connection:
            try:
                self.serve(connection)
            except (BrokenPipeError, ConnectionResetError):
                pass
            except Exception as error:
                self.failures.append(error)

    def close(self):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


def read_all(connection):
    data = bytearray()
    while part := connection.recv(1 << 18):
        data += part
    return bytes(data)


def echo(connection):
    while part := connection.recv(1 << 16):
        connection.sendall(part)


def answer_at_the_end(connection):
    """Nothing before everything was heard."""
    data = read_all(connection)
    connection.sendall(b"%d " % len(data) + data[::-1])


def talk(connection):
    """Until nobody listens."""
    with contextlib.suppress(OSError):
        while True:
            connection.sendall(bytes(65536))


def count(connection):
    """How many bytes come, up to the end of the connection, of whatever kind."""
    n = 0
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(1 << 18):
            n += len(part)
    return n


def exchange(connection, data):
    """Send this, then say that it was all; what comes back, up to its end."""
    sender = threading.Thread(target=lambda: (connection.sendall(data), connection.shutdown(socket.SHUT_WR)), daemon=True)
    sender.start()
    result = read_all(connection)
    sender.join(PATIENCE)
    return result


@pytest.fixture
def target(server):
    return "unix:" + server("-l", "16M", "-n", "1").path


@pytest.fixture
def tool(launch, target):
    """tool(*arguments, ...)"""
    return lambda *arguments, **options: launch("ivshmem", "--target", target, *arguments, **options)


@pytest.fixture
def listen(tool):
    """listen(*arguments): connect who comes to NAME with them."""

    def listen(*arguments, options=(), name=NAME):
        process = tool("listen", *options, name, *arguments)
        process.expect(f"ivshmem: listening under '{name}'", "stderr")
        return process

    return listen


@pytest.fixture
def forward(tool):
    """forward(address): to NAME. With the process, which knows the address."""

    def forward(address, options=(), name=NAME):
        process = tool("forward", *options, address, name)
        process.expect(f"ivshmem: forwarding .* to '{name}'", "stderr")
        return process

    return forward


@pytest.fixture
def path(room):
    return room.file("forwarded")


@pytest.fixture
def service(room, closing):
    """service(serve): at a UNIX socket of this test. With its address in the words of the tool."""

    def service(serve):
        result = Service(socket.AF_UNIX, room.file("service"), serve)
        closing.append(result)
        result.word = "unix:" + result.address
        return result

    return service


def connect(path):
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(path)  # waits while the queue of the socket is full
    connection.settimeout(PATIENCE)
    return connection


def ends(process, status, *words):
    assert process.wait() == status, process.describe()
    for word in words:
        assert word in process.stderr, process.describe()


def stop(process, status=OK):
    process.process.send_signal(signal.SIGTERM)
    ends(process, status)


def cpu_time(process):
    """Seconds. A process has a clock of its own."""
    return time.clock_gettime(~process.pid << 3 | 2)


def count_fds(process):
    return len(os.listdir(f"/proc/{process.pid}/fd"))


# ---- bytes ---------------------------------------------------------------------------------------------


def test_bytes_go_both_ways(listen, forward, service, path):
    service = service(echo)
    listener, forwarder = listen(service.word), forward("unix:" + path)
    data = os.urandom(BIG)
    with connect(path) as connection:
        assert exchange(connection, data) == data
    stop(forwarder)
    assert not os.path.lexists(path)
    stop(listener)
    assert not service.failures


def free_port(family, host):
    with socket.socket(family) as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]


@pytest.mark.parametrize("family, host, word", [
    (socket.AF_INET, "127.0.0.1", "127.0.0.1"), (socket.AF_INET6, "::1", "[::1]"), (socket.AF_INET, "127.0.0.1", "localhost"),
])
def test_tcp(listen, forward, closing, family, host, word):
    try:
        service = Service(family, (host, 0), echo)
    except OSError as error:
        pytest.skip(f"no addresses like {host} here: {error}")
    closing.append(service)
    listen(f"tcp:{word}:{service.address[1]}")
    port = free_port(family, host)
    forward(f"tcp:{word}:{port}")
    data = os.urandom(BIG)
    with socket.socket(family) as connection:
        connection.settimeout(PATIENCE)
        connection.connect((host, port))
        assert exchange(connection, data) == data


def test_who_has_said_everything_hears_the_answer(listen, forward, service, path):
    """The end of one direction is passed on, and only that."""
    listen(service(answer_at_the_end).word)
    forward("unix:" + path)
    data = os.urandom(300_000)
    with connect(path) as connection:
        assert exchange(connection, data) == b"300000 " + data[::-1]


def test_who_speaks_first_is_the_service(listen, forward, service, path):
    def greet(connection):
        connection.sendall(b"220 hello\r\n")
        connection.sendall(b"you said " + connection.recv(100))

    listen(service(greet).word)
    forward("unix:" + path)
    with connect(path) as connection:
        assert connection.recv(100) == b"220 hello\r\n"
        connection.sendall(b"EHLO")
        # The service has closed its socket, and so is ours.
        assert read_all(connection) == b"you said EHLO"


def test_who_does_not_read_holds_the_other_up(listen, forward, service, path):
    """What fits into the ring and the sockets is sent, and no more, so that nobody's memory grows."""
    go_on = threading.Event()

    def wait_and_read(connection):
        go_on.wait(PATIENCE)
        connection.sendall(b"%d" % len(read_all(connection)))

    listen(service(wait_and_read).word)
    forward("unix:" + path)
    with connect(path) as connection:
        connection.setblocking(False)
        sent = 0
        while select.select([], [connection], [], 0.5)[1]:
            sent += connection.send(bytes(65536))
            assert sent < 8 << 20
        go_on.set()
        connection.settimeout(PATIENCE)
        connection.shutdown(socket.SHUT_WR)
        assert read_all(connection) == b"%d" % sent


# ---- programs ------------------------------------------------------------------------------------------


def test_a_program_for_each_connection(listen, forward, path):
    listen("exec", "--", "sh", "-c", "echo $$; cat")
    forward("unix:" + path)
    with connect(path) as one, connect(path) as other:
        first = exchange(one, b"one").split()
        second = exchange(other, b"other").split()
    assert first[1] == b"one" and second[1] == b"other"
    assert first[0] != second[0]


def test_a_program_has_what_it_would_have_in_a_shell(listen, forward, path):
    """Nothing of ours: no ignored signals, no descriptors."""
    listen("exec", "--", "sh", "-c", "grep -E 'Sig(Ign|Blk)' /proc/self/status; ls /proc/self/fd")
    forward("unix:" + path)
    with connect(path) as connection:
        words = exchange(connection, b"").split()
    assert int(words[1], 16) & ~(1 << 32 | 1 << 33) == 0  # blocked
    assert int(words[3], 16) & (1 << (signal.SIGPIPE - 1) | 1 << (signal.SIGCHLD - 1)) == 0  # ignored
    assert sorted(int(word) for word in words[4:]) == [0, 1, 2, 3]  # and that of ls itself


def test_a_program_that_does_not_listen_is_heard(listen, forward, path):
    """To its end, although it leaves while somebody speaks to it."""
    size = 3_000_000
    listen("exec", "--", "head", "-c", str(size), "/dev/zero")
    forward("unix:" + path)
    for _ in range(wire.sized(5, 50)):
        with connect(path) as connection:
            threading.Thread(target=talk, args=(connection,), daemon=True).start()
            assert count(connection) == size


def test_a_program_that_cannot_be_started(listen, forward, path):
    listener = listen("exec", "--", "/no/such/program")
    forward("unix:" + path)
    with connect(path) as connection:
        assert exchange(connection, b"x") == b""
    listener.expect("ivshmem: cannot start '/no/such/program': No such file or directory", "stderr")


def test_programs_leave_no_zombies(listen, forward, path):
    listener = listen("exec", "--", "true")
    forward("unix:" + path)
    for _ in range(20):
        with connect(path) as connection:
            assert read_all(connection) == b""
    with open(f"/proc/{listener.pid}/task/{listener.pid}/children") as file:
        wire.wait_until(lambda: file.seek(0) == 0 and file.read() == "", "its programs are gone")


# ---- stdin and stdout ----------------------------------------------------------------------------------


def test_stdin_and_stdout_at_one_end(listen, tool, service):
    listen(service(answer_at_the_end).word)
    process = tool("forward", "stdio", NAME, stdin=subprocess.PIPE)
    process.write("hello")
    process.process.stdin.close()
    ends(process, OK)
    assert process.stdout == "5 olleh"


def test_stdin_and_stdout_at_both_ends(listen, tool):
    listener = tool("listen", NAME, "stdio", stdin=subprocess.PIPE)
    process = tool("forward", "stdio", NAME, stdin=subprocess.PIPE)
    process.write("question\n")
    listener.expect("question")
    listener.write("answer\n")
    process.expect("answer")
    process.process.stdin.close()
    listener.process.stdin.close()
    ends(process, OK)
    ends(listener, OK)


def test_a_file_is_stdin(listen, tool, service, room):
    """It is no descriptor that can be waited for."""
    data = os.urandom(3_000_000)
    with open(room.file("data"), "wb") as file:
        file.write(data)
    heard = []
    listen(service(lambda connection: heard.append(read_all(connection))).word)
    with open(room.file("data"), "rb") as file, open(room.file("out"), "wb") as out:
        ends(tool("forward", "stdio", NAME, stdin=file, stdout=out), OK)
    wire.wait_until(lambda: heard == [data], "the service has heard it all")


@pytest.mark.parametrize("command", ["forward", "listen"])
def test_a_file_is_stdin_and_a_slow_pipe_is_stdout(tool, listen, forward, service, path, command):
    """What finds no room in the pipe comes when it has some."""
    data = os.urandom(1 << 20)
    reader, writer = os.pipe()
    if command == "forward":
        listen(service(lambda connection: connection.sendall(data)).word)
        process = tool("forward", "stdio", NAME, stdout=writer)
    else:
        process = tool("listen", NAME, "stdio", stdout=writer)
        forward("unix:" + path)
        threading.Thread(target=exchange, args=(connect(path), data), daemon=True).start()
    wire.wait_until(lambda: not select.select([], [writer], [], 0)[1], "the pipe is full")
    os.close(writer)
    with open(reader, "rb") as out:
        assert out.read() == data
    ends(process, OK)


def test_stdio_ends_with_the_other_side(listen, tool, service):
    """Although nobody has closed our stdin."""
    listen(service(lambda connection: connection.sendall(b"bye\n")).word)
    process = tool("forward", "stdio", NAME, stdin=subprocess.PIPE)
    ends(process, OK)
    assert process.stdout == "bye\n"


def test_who_waits_takes_no_time(listen, tool, forward, service, path):
    """Of the processor: it sleeps."""
    service = service(echo)
    waiting = [listen(service.word), forward("unix:" + path), tool("listen", "other", "stdio", stdin=subprocess.PIPE)]
    waiting[2].expect("ivshmem: listening .*", "stderr")
    waiting.append(tool("forward", "stdio", "other", stdin=subprocess.PIPE))
    waiting[3].write("x\n")
    waiting[2].expect("x")
    with connect(path) as connection:
        connection.sendall(b"x")
        assert connection.recv(1) == b"x"
        before = [cpu_time(process) for process in waiting]
        time.sleep(1)
        # Each looks at everything once a second.
        used = [cpu_time(process) - start for process, start in zip(waiting, before)]
        assert max(used) < 0.2, used


def test_stdio_has_no_room(listen, tool):
    listener = tool("listen", "--size", "1G", NAME, "stdio")
    listener.expect("ivshmem: listening under 'service'", "stderr")
    tool("forward", "stdio", NAME, stdin=subprocess.PIPE)
    listener.expect("ivshmem: no room for connection 1 of 'service', which waits: our area of the memory is full .*", "stderr")


@pytest.mark.parametrize("killed", [False, True])
def test_stdio_ends_after_the_other_side_has_said_everything(listen, tool, service, killed):
    """Nobody has closed our stdin; first the other side says no more, and then it is gone."""
    gone = threading.Event()

    def leave_in_steps(connection):
        connection.sendall(b"bye\n")
        connection.shutdown(socket.SHUT_WR)
        gone.wait(PATIENCE)

    listener = listen(service(leave_in_steps).word)
    process = tool("forward", "stdio", NAME, stdin=subprocess.PIPE)
    process.expect("bye")
    wire.wait_until(lambda: process.output.get("stdout ended"), "stdout is closed")
    if killed:
        listener.process.kill()
        ends(process, FAILURE, "the other side died or gave up")
    gone.set()
    if not killed:
        ends(process, OK)


def test_stdio_waits_until_somebody_listens(listen, tool, service):
    process = tool("forward", "stdio", NAME)
    process.expect("ivshmem: waiting: nobody listens under the name 'service'", "stderr")
    listen(service(lambda connection: connection.sendall(b"at last")).word)
    ends(process, OK)
    assert process.stdout == "at last"


# ---- the socket of Firecracker's vsock -----------------------------------------------------------------


@pytest.fixture
def ask(path):
    """ask(greeting): the connection, and its first line."""

    def ask(greeting):
        connection = connect(path)
        connection.sendall(greeting)
        line = b""
        while not line.endswith(b"\n") and (byte := connection.recv(1)):
            line += byte
        return connection, line

    return ask


def test_ports(listen, forward, service, path, ask):
    listen(service(echo).word, name="vm1:52")
    listen("exec", "--", "echo", "other", name="vm1:4294967295")
    forward("vsock:" + path, name="vm1:")
    connection, line = ask(b"CONNECT 52\n")
    with connection:
        assert re.fullmatch(rb"OK \d+\n", line)
        assert exchange(connection, b"hello") == b"hello"
    connection, line = ask(b"CONNECT 4294967295\n")
    with connection:
        assert re.fullmatch(rb"OK \d+\n", line)
        assert read_all(connection) == b"other\n"
    connection, line = ask(b"CONNECT 52\nit speaks at once")
    with connection:
        assert exchange(connection, b"") == b"it speaks at once"


def test_a_greeting_in_pieces(listen, forward, service, path):
    listen(service(echo).word, name="vm1:52")
    forwarder = forward("vsock:" + path, name="vm1:")
    with connect(path) as connection, connect(path) as silent:
        for byte in b"CONNECT 52\n":
            # Others come meanwhile.
            with connect(path) as other:
                other.sendall(b"CONNECT 52\n")
                assert other.recv(3) == b"OK "
            connection.sendall(bytes([byte]))
        assert connection.recv(3) == b"OK "
        silent.close()
        forwarder.expect("ivshmem: connection .* of 'vm1:': it does not begin with CONNECT and a port", "stderr")
    stop(forwarder)


@pytest.mark.parametrize("greeting, words", [
    (b"CONNECT 53\n", "nobody listens under the name 'vm1:53'"),
    (b"CONNECT\n", "does not begin with CONNECT"),
    (b"CONNECT \n", "does not begin with CONNECT"),
    (b"CONNECT -1\n", "does not begin with CONNECT"),
    (b"CONNECT 4294967296\n", "does not begin with CONNECT"),
    (b"connect 52\n", "does not begin with CONNECT"),
    (b"CONNECT 52 \n", "does not begin with CONNECT"),
    (b"CONNECT 52\r\n", "does not begin with CONNECT"),
    (b"\n", "does not begin with CONNECT"),
    (b"CONNECT 000000000000000000000052\n", "does not begin with CONNECT"),
    (bytes(100), "does not begin with CONNECT"),
])
def test_wrong_greetings(listen, forward, service, path, ask, greeting, words):
    listen(service(echo).word, name="vm1:52")
    forwarder = forward("vsock:" + path, name="vm1:")
    try:
        connection, line = ask(greeting)
        connection.close()
        assert line == b""
    except ConnectionResetError:  # not all was read
        pass
    forwarder.expect(f"ivshmem: connection 1 of .*{words}.*", "stderr")
    connection, line = ask(b"CONNECT 52\n")
    connection.close()
    assert line.startswith(b"OK ")


# ---- many ----------------------------------------------------------------------------------------------


@pytest.mark.limit(300)
@pytest.mark.long
@pytest.mark.parametrize("all_have_room", [False, True], ids=["most wait", "all have room"])
def test_many_connections_at_a_time(tool, listen, forward, service, path, all_have_room):
    """No byte is lost or doubled, no descriptor is left."""
    at_once = wire.sized(100, 1000)
    rounds = wire.sized(2, 10)
    options = ["--size", "4K"] if all_have_room else []
    if all_have_room:
        ends(tool("format", "--areas", "2"), OK)
    service = service(answer_at_the_end)
    listener, forwarder = listen(service.word, options=options), forward("unix:" + path, options=options)
    before = count_fds(listener), count_fds(forwarder)
    for _ in range(rounds):
        connections = [connect(path) for _ in range(at_once)]
        texts = [os.urandom(random.randrange(3000)) for _ in connections]
        for connection, text in zip(connections, texts):
            connection.sendall(text)
            connection.shutdown(socket.SHUT_WR)
        for connection, text in zip(connections, texts):
            with connection:
                assert read_all(connection) == b"%d " % len(text) + text[::-1]
    wire.wait_until(lambda: (count_fds(listener), count_fds(forwarder)) == before, "no descriptor is left")
    assert forwarder.stderr.count("no room for connection") == (0 if all_have_room else 1)
    stop(forwarder)
    stop(listener)
    assert not service.failures


def test_who_talks_all_the_time_does_not_hold_others_up(listen, forward, service, path):
    service = service(echo)
    listen(service.word)
    forward("unix:" + path)
    stopped = threading.Event()

    def talk(connection):
        while not stopped.is_set():
            connection.sendall(bytes(65536))

    def hear(connection):
        while connection.recv(65536):
            pass

    with connect(path) as busy:
        threads = [threading.Thread(target=function, args=(busy,), daemon=True) for function in (talk, hear)]
        for thread in threads:
            thread.start()
        for i in range(20):
            with connect(path) as connection:
                assert exchange(connection, b"%d" % i) == b"%d" % i
        stopped.set()
        threads[0].join(PATIENCE)
        busy.shutdown(socket.SHUT_WR)
        threads[1].join(PATIENCE)
        assert not threads[1].is_alive()


def test_who_leaves_at_any_time(listen, forward, service, path):
    """Others do not notice, and nothing is left of it."""
    service = service(echo)
    listener, forwarder = listen(service.word), forward("unix:" + path)
    before = count_fds(listener), count_fds(forwarder)
    with connect(path) as connection:
        for i in range(wire.sized(100, 5000)):
            with connect(path) as leaver:
                leaver.setblocking(False)
                if i % 3:
                    leaver.send(bytes(random.randrange(1, 100_000)))
                if i % 5 == 0:
                    leaver.shutdown(socket.SHUT_WR)
            connection.sendall(b"%5d" % i)
            assert connection.recv(100) == b"%5d" % i
    wire.wait_until(lambda: (count_fds(listener), count_fds(forwarder)) == before, "no descriptor is left")
    stop(forwarder)
    stop(listener)
    assert not service.failures


# ---- ends ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("victim", ["forward", "listen"])
def test_a_side_that_is_killed(listen, forward, closing, victim):
    """Its connections end; by TCP, with an error. The other side goes on, with the next one."""
    held = []

    def hold(connection):
        held.append(connection)
        while connection.recv(100):
            pass

    service = Service(socket.AF_INET, ("127.0.0.1", 0), hold)
    closing.append(service)
    word = f"tcp:127.0.0.1:{service.address[1]}"
    port = free_port(socket.AF_INET, "127.0.0.1")
    listener, forwarder = listen(word), forward(f"tcp:127.0.0.1:{port}")
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        connection.sendall(b"x")
        wire.wait_until(lambda: held, "the service is connected")
        if victim == "listen":
            listener.process.kill()
            with pytest.raises(ConnectionResetError):
                connection.recv(100)
            forwarder.expect("ivshmem: connection 1 of 'service': the other side died or gave up", "stderr")
            listen(word)
        else:
            forwarder.process.kill()
            wire.wait_until(lambda: not service.threads[0].is_alive(), "the service has heard of it")
            listener.expect("ivshmem: connection 1 of 'service': the other side died or gave up", "stderr")
            forward(f"tcp:127.0.0.1:{port}")
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        connection.sendall(b"x")
        wire.wait_until(lambda: len(held) == 2, "the service is connected again")
    assert not service.failures


class Ends:
    """How connections ended, in TCP: "end" or "reset"."""

    def __init__(self, closing):
        self.ends = []
        self.service = Service(socket.AF_INET, ("127.0.0.1", 0), self.hear)
        closing.append(self.service)
        self.heard = threading.Event()

    def hear(self, connection):
        self.connection = connection
        self.ends.append(how_it_ends(connection, self.heard))


def how_it_ends(connection, heard=None):
    try:
        while connection.recv(100):
            if heard:
                heard.set()
    except ConnectionResetError:
        return "reset"
    return "end"


@pytest.fixture
def through(listen, forward, closing):
    """A connection by TCP, with the process that listens, the one that forwards, and what the service has heard."""
    ends = Ends(closing)
    port = free_port(socket.AF_INET, "127.0.0.1")
    listener, forwarder = listen(f"tcp:127.0.0.1:{ends.service.address[1]}"), forward(f"tcp:127.0.0.1:{port}")
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        connection.sendall(b"a part of something")
        assert ends.heard.wait(PATIENCE)
        yield connection, listener, forwarder, ends


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("victim", ["forward", "listen"])
def test_what_a_signal_ends_does_not_look_complete(through, victim, number):
    connection, listener, forwarder, ends = through
    process = listener if victim == "listen" else forwarder
    process.process.send_signal(number)
    process.wait()
    assert how_it_ends(connection) == "reset"
    wire.wait_until(lambda: ends.ends == ["reset"], "the service has heard of it")


@pytest.mark.parametrize("who", ["client", "service"])
def test_a_connection_that_is_reset_is_reset_at_the_other_side(through, who):
    connection, listener, forwarder, ends = through
    reset(connection if who == "client" else ends.connection)
    if who == "client":
        wire.wait_until(lambda: ends.ends == ["reset"], "the service has heard of it")
        listener.expect("ivshmem: connection 1 of 'service': the other side died or gave up", "stderr")
        forwarder.expect("ivshmem: connection 1 of 'service': Connection reset by peer", "stderr")
    else:
        assert how_it_ends(connection) == "reset"


def reset(connection):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.shutdown(socket.SHUT_RD)
    connection.close()


def test_nobody_listens(forward, path):
    """The connection is closed. Once somebody listens, it works."""
    forwarder = forward("unix:" + path)
    with connect(path) as connection:
        assert read_all(connection) == b""
    forwarder.expect("ivshmem: nobody listens under the name 'service'", "stderr")


def test_the_service_is_not_there(listen, forward, path, room):
    listener = listen("unix:" + room.file("nothing"))
    forward("unix:" + path)
    with connect(path) as connection:
        assert read_all(connection) == b""
    listener.expect("ivshmem: cannot connect to unix:.*/nothing: No such file or directory", "stderr")


def test_a_tcp_service_is_not_there(listen, forward, path):
    port = free_port(socket.AF_INET, "127.0.0.1")
    listener = listen(f"tcp:127.0.0.1:{port}")
    forward("unix:" + path)
    with connect(path) as connection:
        assert read_all(connection) == b""
    listener.expect("ivshmem: .*Connection refused", "stderr")


def tcp_end(port, send=b"x"):
    """How a connection to this port of 127.0.0.1 ends, which nobody answers."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
            connection.sendall(send)
            return how_it_ends(connection)
    except ConnectionResetError:  # so soon
        return "reset"


@pytest.mark.parametrize("send", [b"", b"x"], ids=["silent", "talks"])
@pytest.mark.parametrize("why", ["nobody listens", "no service", "no socket", "no channels"])
def test_a_tcp_connection_that_nobody_takes_is_reset(launch, target, listen, forward, room, why, send):
    """It does not look like an empty answer."""
    port = free_port(socket.AF_INET, "127.0.0.1")
    listener = None
    if why == "no service":
        listener = listen(f"tcp:127.0.0.1:{free_port(socket.AF_INET, '127.0.0.1')}")
    elif why == "no socket":
        listener = listen("unix:" + room.file("nothing"))
    elif why == "no channels":
        listener = launch("ivshmem", "--target", target, "recv", "--queue", "--keep", NAME)
        listener.expect("ivshmem: listening under 'service'", "stderr")
    forwarder = forward(f"tcp:127.0.0.1:{port}")
    for _ in range(3):
        assert tcp_end(port, send) == "reset"
    stop(forwarder)


def test_connections_that_wait_for_room_are_reset_at_the_end(listen, forward, service):
    port = free_port(socket.AF_INET, "127.0.0.1")
    listen(service(count).word)
    forwarder = forward(f"tcp:127.0.0.1:{port}")
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)) for _ in range(40)]
        forwarder.expect("ivshmem: no room for connection .*", "stderr")
        stop(forwarder)
        assert {how_it_ends(connection) for connection in connections} == {"reset"}


def test_channels_that_wait_for_a_socket_are_reset_at_the_end(listen, forward, closing, room):
    """The queue of the service's socket is full."""
    path = room.file("full")
    server = socket.socket(socket.AF_UNIX)
    closing.append(server)
    server.bind(path)
    server.listen(0)
    port = free_port(socket.AF_INET, "127.0.0.1")
    listener = listen("unix:" + path, options=["--json"])
    forward(f"tcp:127.0.0.1:{port}")
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)) for _ in range(4)]
        listener.expect(".*connected.*")
        stop(listener)
        assert {how_it_ends(connection) for connection in connections} == {"reset"}


def test_the_server_is_lost(launch, server, service, path):
    """Connections go on, and somebody should know."""
    first = server("-l", "16M", "-n", "1")
    listener = launch("ivshmem", "--target", "unix:" + first.path, "listen", NAME, service(echo).word)
    listener.expect("ivshmem: listening under 'service'", "stderr")
    forwarder = launch("ivshmem", "--target", "unix:" + first.path, "forward", "unix:" + path, NAME)
    forwarder.expect("ivshmem: forwarding .*", "stderr")
    with connect(path) as connection:
        connection.sendall(b"one")
        assert connection.recv(100) == b"one"
        stop(first)
        for process in (listener, forwarder):
            process.expect("ivshmem: warning: the server is lost, .*; start again: .*", "stderr")
        assert exchange(connection, b"two") == b"two"
    stop(forwarder)
    stop(listener)
    assert forwarder.stderr.count("the server is lost") == 1


# ---- sockets -------------------------------------------------------------------------------------------


def test_the_socket_of_one_that_was_killed_is_replaced(listen, forward, service, path):
    listen(service(echo).word)
    forwarder = forward("unix:" + path)
    forwarder.process.kill()
    forwarder.wait()
    assert os.path.lexists(path)
    forward("unix:" + path)
    with connect(path) as connection:
        assert exchange(connection, b"x") == b"x"


def test_a_socket_in_use_is_not_replaced(tool, forward, path):
    forward("unix:" + path)
    ends(tool("forward", "unix:" + path, NAME), FAILURE, f"cannot listen on unix:{path}: something else has this address")
    assert os.path.lexists(path)


def test_a_file_is_not_replaced(tool, path):
    with open(path, "w") as file:
        file.write("precious")
    ends(tool("forward", "unix:" + path, NAME), FAILURE, "something else has this address")
    with open(path) as file:
        assert file.read() == "precious"


# ---- words ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments, words", [
    (["forward", "unix:/x"], "NAME"),
    (["listen", "x"], "TO"),
    (["forward", "/x", "x"], "neither unix:PATH"),
    (["forward", "unix:", "x"], "1 to 107 bytes"),
    (["forward", "unix:" + "x" * 108, "x"], "1 to 107 bytes"),
    (["forward", "tcp:8080", "x"], "an address and a port"),
    (["forward", "tcp:example.org:80", "x"], "names are not looked up"),
    (["forward", "tcp:127.0.0.1:0", "x"], "an address and a port"),
    (["forward", "tcp:127.0.0.1:65536", "x"], "an address and a port"),
    (["forward", "tcp:[::1:80", "x"], "an address and a port"),
    (["forward", "tcp:[]:80", "x"], "an address and a port"),
    (["forward", "tcp::80", "x"], "an address and a port"),
    (["forward", "exec", "x"], "exec needs a program"),
    (["listen", "x", "exec"], "exec needs a program"),
    (["listen", "x", "unix:/y", "z"], "one operand too many"),
    (["listen", "x", "stdio", "--json"], "both use stdout"),
    (["listen", "x", "vsock:/y"], "vsock:PATH is for 'ivshmem forward'"),
])
def test_wrong_words(tool, arguments, words):
    process = tool(*arguments)
    ends(process, USAGE, words)
    assert process.stderr.startswith("ivshmem: ")


def test_what_is_reported(listen, forward, service, path):
    listener, forwarder = listen(service(answer_at_the_end).word, options=["--json"]), forward("unix:" + path, options=["--json"])
    with connect(path) as connection:
        assert exchange(connection, b"abc") == b"3 cba"
    for process, sent, received in ((forwarder, 3, 5), (listener, 5, 3)):
        assert json.loads(process.expect(".*connected.*").group()) == {"event": "connected", "connection": 1, "name": NAME}
        assert json.loads(process.expect(".*closed.*").group()) == {
            "event": "closed", "connection": 1, "name": NAME, "sent": sent, "received": received}
    with connect(path) as connection:
        connection.sendall(b"x")
        listener.expect(".*connected.*")
        listener.process.kill()
        failed = json.loads(forwarder.expect(".*failed.*").group())
        assert failed["connection"] == 2 and failed["error"] == "the other side died or gave up"


def test_the_name_is_in_use(tool, listen, service):
    service = service(echo)
    listen(service.word)
    ends(tool("listen", NAME, service.word), FAILURE, "somebody listens under the name 'service' already")

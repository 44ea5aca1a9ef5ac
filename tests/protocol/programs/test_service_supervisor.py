# SPDX-License-Identifier: BSD-2-Clause
"""Server and device under a supervisor: sockets that it passes, and what it is told."""

import os
import socket

import pytest

import ivshmem_wire as wire
from vfio_user import Client
from vfio_user_fixtures import Device


@pytest.fixture
def notify(room, closing):
    """What a supervisor listens to."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    closing.append(sock)
    sock.bind(room.file("notify"))
    sock.settimeout(wire.TIMEOUT)
    return sock


@pytest.fixture
def listener(room, closing):
    """listener(name): a socket that a supervisor has made."""

    def make(name, kind=socket.SOCK_STREAM, listening=True):
        sock = socket.socket(socket.AF_UNIX, kind)
        closing.append(sock)
        sock.bind(room.file(name))
        if listening:
            sock.listen()
        return sock

    return make


def activation(*sockets, names=None):
    """For Process: the sockets become descriptors 3 and following, and the environment says so."""
    copies = [os.dup(sock.fileno()) for sock in sockets]
    high = [os.dup2(copy, 700 + number) for number, copy in enumerate(copies)]
    for copy in copies:
        os.close(copy)

    def setup():
        for number, fd in enumerate(high):
            os.dup2(fd, 3 + number, inheritable=True)

    environment = {"LISTEN_FDS": str(len(sockets))}
    if names:
        environment["LISTEN_FDNAMES"] = names
    return {"env": environment, "setup": setup, "pass_fds": [*range(3, 3 + len(sockets)), *high]}, high


class Activated:
    """Runs a program by a shell that knows its own process id, as LISTEN_PID must be."""

    def __init__(self, processes):
        self.processes = processes

    def __call__(self, argv, *sockets, names=None, env=None):
        options, high = activation(*sockets, names=names)
        options["env"].update(env or {})
        process = wire.Process(["/bin/sh", "-c", 'LISTEN_PID=$$ exec "$@"', "sh", *argv], **options)
        for fd in high:
            os.close(fd)
        self.processes.append(process)
        return process


@pytest.fixture
def activated(processes):
    return Activated(processes)


def server_argv(*arguments):
    return [wire.program("ivshmem-server"), "-F", *arguments]


def device_argv(room, *arguments):
    name = room.shm_name()
    return [wire.program("ivshmem-device"), "--shm", name, "--size", "1M", *arguments]


def ends_with(process, status, *words):
    assert process.wait() == status, process.describe()
    for word in words:
        assert word in process.stderr, process.describe()


# ---- NOTIFY_SOCKET -------------------------------------------------------------------------------------


def test_server_tells_when_it_is_ready_and_when_it_ends(server, room, notify):
    srv = server(ready=False, env={"NOTIFY_SOCKET": notify.getsockname()})
    lines = notify.recv(4096).decode().split("\n")
    # Whoever is told may connect at once.
    srv.client().close()
    assert lines[0] == "READY=1"
    assert f"MAINPID={srv.pid}" in lines
    assert f"STATUS=Listening on {room.socket}" in lines
    srv.finish()
    assert notify.recv(4096) == b"STOPPING=1"


def test_daemon_tells_its_own_pid(processes, room, notify):
    process = wire.Process(
        [wire.program("ivshmem-server"), "-S", room.socket, "-p", room.file("pid")],
        env={"NOTIFY_SOCKET": notify.getsockname()},
    )
    processes.append(process)
    assert process.wait() == 0, process.describe()
    with open(room.file("pid"), encoding="ascii") as file:
        pid = int(file.read())
    assert f"MAINPID={pid}" in notify.recv(4096).decode().split("\n")
    os.kill(pid, 15)
    assert notify.recv(4096) == b"STOPPING=1"
    wire.wait_until(lambda: not os.path.exists(room.file("pid")), "it ends")


def test_device_tells_when_it_is_ready_and_when_it_ends(plain, notify):
    device = plain(ready=False, env={"NOTIFY_SOCKET": notify.getsockname()})
    lines = notify.recv(4096).decode().split("\n")
    device.vmm().close()
    assert lines[0] == "READY=1"
    assert lines[1].startswith(f"STATUS=Device on {device.path}, revision 1")
    device.finish()
    assert notify.recv(4096) == b"STOPPING=1"


def test_a_supervisor_that_is_gone_is_told_of(server):
    srv = server(env={"NOTIFY_SOCKET": "/nonexistent/notify"})
    srv.expect(r".*cannot tell the supervisor that we are ready: No such file or directory", stream="stderr")


# ---- LISTEN_FDS ----------------------------------------------------------------------------------------


def test_server_takes_the_sockets_that_are_passed(activated, room, listener):
    clients, observers = listener("clients"), listener("watch")
    process = activated(server_argv(), observers, clients, names="observers:anything")
    # Who connects before the program is there only waits.
    client = wire.RawClient(room.file("clients")).greet()
    process.expect(rf"ivshmem-server: observers look in on {room.file('watch')}")
    process.expect(rf"ivshmem-server: listening on {room.file('clients')}")
    client.close()
    process.signal(15)
    assert process.wait() == 0
    assert os.path.exists(room.file("clients")) and os.path.exists(room.file("watch")), "they are not its own"


def test_server_and_the_same_path(activated, room, listener):
    process = activated(server_argv("-S", room.socket), listener("socket"))
    wire.RawClient(room.socket).greet().close()
    process.signal(15)
    assert process.wait() == 0
    assert sorted(os.listdir(room.path)) == ["socket"]


def test_server_and_sockets_of_members(activated, room, listener):
    """One that --member names besides, one that only its own name tells of, and one that is not passed."""
    sockets = [listener("clients"), listener("nine"), listener("zero")]
    options = [f"--member=9={room.file('nine')}", f"--member=4={room.file('four')}"]
    process = activated(server_argv(*options), *sockets, names="clients:member-9:member-0")
    for name, peer in (("nine", 9), ("four", 4), ("zero", 0)):
        process.expect(rf"ivshmem-server: peer {peer} has a place of its own on {room.file(name)}")
    process.expect(r"ivshmem-server: listening on .*")
    for name, peer in (("zero", 0), ("nine", 9), ("four", 4)):
        client = wire.RawClient(room.file(name)).greet()
        assert client.id == peer
        client.close()
    client = wire.RawClient(room.file("clients")).greet()
    assert client.id not in (0, 4, 9)
    client.close()
    process.signal(15)
    assert process.wait() == 0
    assert sorted(os.listdir(room.path)) == ["clients", "nine", "zero"], "what it made itself is gone"


def test_server_and_sockets_of_members_that_do_not_fit(activated, room, listener):
    first, second, third = listener("first"), listener("second"), listener("third")
    for name in ("member-", "member-x", "member-65536", "member-1.socket"):
        ends_with(activated(server_argv(), first, second, names=f"clients:{name}"), 1, f"'{name}' is the name of no")
    twice = activated(server_argv(), first, second, third, names="clients:member-1:member-1")
    ends_with(twice, 1, "more than one socket for member 1")
    elsewhere = activated(server_argv(f"--member=1={room.file('x')}"), first, second, names="clients:member-1")
    ends_with(elsewhere, 1, "for member 1, but --member says", "leave --member out")
    few = activated(server_argv("--max-peers=1"), first, second, third, names="clients:member-1:member-2")
    ends_with(few, 1, "--max-peers 1 is less than there are members with a fixed id, 2")
    elsewhere = activated(server_argv(f"--observer-socket={room.file('x')}"), first, second, names="clients:observers")
    ends_with(elsewhere, 1, "leave --observer-socket out")


def test_server_and_sockets_that_do_not_fit(activated, room, listener):
    first, second = listener("first"), listener("second")
    ends_with(activated(server_argv("-S", room.socket), first), 1, "leave -S out")
    ends_with(activated(server_argv(), first, second), 1, "more than one socket for clients")
    ends_with(activated(server_argv(), first, names="observers"), 1, "no socket for clients")
    ends_with(activated(server_argv(), listener("datagram", socket.SOCK_DGRAM, False)), 1, "not a UNIX stream")
    ends_with(activated(server_argv(), listener("deaf", listening=False)), 1, "that listens")
    assert not os.path.exists(room.socket)


def test_device_takes_the_socket_that_is_passed(activated, room, listener):
    process = activated(device_argv(room), listener("vmm"))
    for _ in range(2):
        vmm = Client(room.file("vmm"))
        vmm.attach()
        vmm.close()
    process.expect(rf"ready: {room.file('vmm')}, .*")
    process.signal(15)
    assert process.wait() == 0
    assert os.path.exists(room.file("vmm"))


def test_device_and_sockets_that_do_not_fit(activated, room, listener):
    first, second = listener("first"), listener("second")
    ends_with(activated(device_argv(room, "--socket", room.socket), first), 1, "leave --socket out")
    ends_with(activated(device_argv(room), first, second), 1, "one is needed")
    ends_with(activated(device_argv(room)), 1, "give --socket")


@pytest.mark.parametrize("argv", [server_argv, device_argv], ids=["server", "device"])
def test_the_next_one_gets_the_same_socket(activated, room, listener, argv):
    """A supervisor keeps its socket when the program ends; who connects in between waits."""
    sock = listener("kept")
    name = room.shm_name()
    words = argv() if argv is server_argv else [wire.program("ivshmem-device"), "--shm", name, "--size", "1M"]
    for _ in range(2):
        process = activated(words, sock)
        process.expect(r"(ready: .*|ivshmem-server: listening on .*)")
        process.signal(15)
        assert process.wait() == 0, process.describe()
    waiting = socket.socket(socket.AF_UNIX)
    waiting.connect(room.file("kept"))
    process = activated(words, sock)
    process.expect(r"(ready: .*|ivshmem-server: listening on .*)")
    if argv is server_argv:
        assert waiting.recv(8) == bytes(8), "the version"
    else:
        Client(room.file("kept")).attach()
    waiting.close()
    process.signal(15)
    assert process.wait() == 0, process.describe()


# ---- --socket-path and --fd ----------------------------------------------------------------------------


def test_device_with_the_options_of_the_convention(processes, room):
    process = wire.Process(device_argv(room, f"--socket-path={room.socket}"))
    processes.append(process)
    process.expect(rf"ready: {room.socket}, .*")
    Client(room.socket).close()
    process.signal(15)
    assert process.wait() == 0
    assert not os.path.exists(room.socket)


def test_device_with_a_descriptor_that_listens(processes, room, listener):
    sock = listener("vmm")
    process = wire.Process(device_argv(room, f"--fd={sock.fileno()}"), pass_fds=[sock.fileno()])
    processes.append(process)
    for _ in range(2):
        vmm = Client(room.file("vmm"))
        vmm.attach()
        vmm.close()
    process.signal(15)
    assert process.wait() == 0
    assert os.path.exists(room.file("vmm"))


def test_device_with_a_descriptor_that_is_connected(processes, room, listener):
    """It serves this VMM, which may take its time, and ends with it."""
    meeting = listener("meeting")
    vmm = Client(room.file("meeting"))
    theirs = meeting.accept()[0]
    process = wire.Process(device_argv(room, f"--fd={theirs.fileno()}"), pass_fds=[theirs.fileno()])
    processes.append(process)
    theirs.close()
    process.expect(r"ready: descriptor \d+, .*")
    vmm.attach()
    assert vmm.info()[0] == 16
    vmm.close()
    assert process.wait() == 0, process.describe()


def test_device_with_a_descriptor_that_is_no_socket(processes, room):
    with open(room.file("file"), "wb") as file:
        process = wire.Process(device_argv(room, f"--fd={file.fileno()}"), pass_fds=[file.fileno()])
        processes.append(process)
        ends_with(process, 1, "--fd: ", "Socket operation on non-socket")
    process = Device(room.socket, "--fd", "99", "--shm", room.shm_name(), ready=False)
    processes.append(process)
    ends_with(process, 2, "give --socket or --fd")

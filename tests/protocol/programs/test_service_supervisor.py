# SPDX-License-Identifier: BSD-2-Clause
"""Server and device under a supervisor: sockets that it passes, and what it is told."""

import os
import socket

import pytest

import ivshmem_wire as wire
from ivshmem_fixtures import expect_refusal
from vfio_user import Client


@pytest.fixture
def notify(room, closing):
    """What a supervisor listens to."""
    sock = wire.bound(room.file("notify"), socket.SOCK_DGRAM)
    closing.append(sock)
    return sock


@pytest.fixture
def listener(room, closing):
    """listener(name): a socket that a supervisor has made."""

    def make(name, kind=socket.SOCK_STREAM, backlog=16):
        sock = wire.bound(room.file(name), kind, backlog)
        closing.append(sock)
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


@pytest.fixture
def activated(processes):
    """Runs a program by a shell that knows its own process id, as LISTEN_PID must be."""

    def activated(argv, *sockets, names=None):
        options, high = activation(*sockets, names=names)
        process = wire.Process(["/bin/sh", "-c", 'LISTEN_PID=$$ exec "$@"', "sh", *argv], **options)
        for fd in high:
            os.close(fd)
        processes.append(process)
        return process

    return activated


def server_argv(*arguments):
    return [wire.program("ivshmem-server"), "-F", *arguments]


def device_argv(room, *arguments):
    name = room.shm_name()
    return [wire.program("ivshmem-device"), "--shm", name, "--size", "1M", *arguments]


@pytest.fixture
def unfit(activated):
    """unfit(argv, *sockets, words=...): what it is activated with makes no sense, and this is said."""

    def unfit(argv, *sockets, words, **options):
        expect_refusal(activated(argv, *sockets, **options), *words)

    return unfit


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


def test_daemon_tells_its_own_pid(daemon, notify):
    started = daemon(env={"NOTIFY_SOCKET": notify.getsockname()})
    assert f"MAINPID={started.daemon}" in notify.recv(4096).decode().split("\n")
    started.finish()
    assert notify.recv(4096) == b"STOPPING=1"


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
    process.finish()
    assert os.path.exists(room.file("clients")) and os.path.exists(room.file("watch")), "they are not its own"


def test_server_and_the_same_path(activated, room, listener):
    process = activated(server_argv("-S", room.socket), listener("socket"))
    wire.RawClient(room.socket).greet().close()
    process.finish()
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
    process.finish()
    assert sorted(os.listdir(room.path)) == ["clients", "nine", "zero"], "what it made itself is gone"


def test_server_and_sockets_of_members_that_do_not_fit(unfit, room, listener):
    one, two, three = listener("one"), listener("two"), listener("three")
    for name in ("member-", "member-x", "member-65536", "member-1.socket"):
        unfit(server_argv(), one, two, names=f"clients:{name}", words=[f"'{name}' is the name of no"])
    unfit(server_argv(), one, two, three, names="clients:member-1:member-1", words=["more than one socket for member 1"])
    elsewhere = room.file("x")
    words = ["for member 1, but --member says", "leave --member out"]
    unfit(server_argv(f"--member=1={elsewhere}"), one, two, names="clients:member-1", words=words)
    words = ["--max-peers 1 is less than there are members with a fixed id, 2"]
    unfit(server_argv("--max-peers=1"), one, two, three, names="clients:member-1:member-2", words=words)
    words = ["leave --observer-socket out"]
    unfit(server_argv(f"--observer-socket={elsewhere}"), one, two, names="clients:observers", words=words)


def test_server_and_sockets_that_do_not_fit(unfit, room, listener):
    one, two = listener("one"), listener("two")
    unfit(server_argv("-S", room.socket), one, words=["leave -S out"])
    unfit(server_argv(), one, two, words=["more than one socket for clients"])
    unfit(server_argv(), one, names="observers", words=["no socket for clients"])
    unfit(server_argv(), listener("datagram", socket.SOCK_DGRAM, None), words=["not a UNIX stream"])
    unfit(server_argv(), listener("deaf", backlog=None), words=["that listens"])
    assert not os.path.exists(room.socket)


def expect_two_vmms(path):
    """It serves one after the other there."""
    for _ in range(2):
        vmm = Client(path)
        vmm.attach()
        vmm.close()


def test_device_takes_the_socket_that_is_passed(activated, room, listener):
    process = activated(device_argv(room), listener("vmm"))
    expect_two_vmms(room.file("vmm"))
    process.expect(rf"ready: {room.file('vmm')}, .*")
    process.finish()
    assert os.path.exists(room.file("vmm"))


def test_device_and_sockets_that_do_not_fit(unfit, room, listener):
    one, two = listener("one"), listener("two")
    unfit(device_argv(room, "--socket", room.socket), one, words=["leave --socket out"])
    unfit(device_argv(room), one, two, words=["one is needed"])
    unfit(device_argv(room), words=["give --socket"])


@pytest.mark.parametrize("program", ["server", "device"])
def test_the_next_one_gets_the_same_socket(activated, room, listener, program):
    """A supervisor keeps its socket when the program ends; who connects in between waits."""
    sock = listener("kept")
    argv = server_argv() if program == "server" else device_argv(room)
    for turn in range(3):
        if turn == 2:
            waiting = wire.connect(room.file("kept"))
        process = activated(argv, sock)
        process.expect(r"(ready: .*|ivshmem-server: listening on .*)")
        if turn == 2 and program == "server":
            assert waiting.recv(8) == bytes(8), "the version"
        elif turn == 2:
            Client(room.file("kept")).attach()
        process.finish()
    waiting.close()


# ---- --socket-path and --fd ----------------------------------------------------------------------------


@pytest.fixture
def device_with(launch, room):
    """device_with(option): the device on some memory."""
    return lambda *options, **more: launch("ivshmem-device", *device_argv(room)[1:], *options, **more)


def test_device_with_the_options_of_the_convention(device_with, room):
    process = device_with(f"--socket-path={room.socket}")
    process.expect(rf"ready: {room.socket}, .*")
    Client(room.socket).close()
    process.finish()
    assert not os.path.exists(room.socket)


def test_device_with_a_descriptor_that_listens(device_with, room, listener):
    sock = listener("vmm")
    process = device_with(f"--fd={sock.fileno()}", pass_fds=[sock.fileno()])
    expect_two_vmms(room.file("vmm"))
    process.finish()
    assert os.path.exists(room.file("vmm"))


def test_device_with_a_descriptor_that_is_connected(device_with, room, listener):
    """It serves this VMM, which may take its time, and ends with it."""
    meeting = listener("meeting")
    vmm = Client(room.file("meeting"))
    theirs = meeting.accept()[0]
    process = device_with(f"--fd={theirs.fileno()}", pass_fds=[theirs.fileno()])
    theirs.close()
    process.expect(r"ready: descriptor \d+, .*")
    vmm.attach()
    assert vmm.info()[0] == 16
    vmm.close()
    assert process.wait() == 0, process.describe()


def test_device_with_a_descriptor_that_is_no_socket(device_with, room):
    with open(room.file("file"), "wb") as file:
        process = device_with(f"--fd={file.fileno()}", pass_fds=[file.fileno()])
        expect_refusal(process, "--fd: ", "Socket operation on non-socket")
    process = device_with("--socket", room.socket, "--fd", "99")
    assert process.wait() == 2
    assert "give --socket or --fd" in process.stderr

# SPDX-License-Identifier: BSD-2-Clause
"""Server and device in their sandbox: what they have given up, and what happens to one who tries it all the same."""

import errno
import os
import pwd
import re
import signal
import socket
import stat

import pytest

import ivshmem_wire as wire
import stepper
from ivshmem_fixtures import LONELY_UID, expect_refusal, root_only
from supervised import supervising

SYS_RESOURCE = 1 << 24
SANITIZED = wire.sanitized()
can_make_calls = pytest.mark.skipif(
    not stepper.CAN_MAKE_CALLS or SANITIZED, reason="needs x86-64, and a build without sanitizers, which need more calls"
)

# Numbers of x86-64, and what the call returns where nobody is killed for it.
FORBIDDEN = {
    "execve": (59, (0, 0, 0), -errno.EFAULT),
    "ptrace": (101, (0x4206, 2**31 - 1, 0, 0), -errno.ESRCH),
    "kill": (62, (2**31 - 1, 0), -errno.ESRCH),
    "keyctl": (250, (2**31 - 1, 0, 0, 0, 0), -errno.EOPNOTSUPP),
    "bpf": (321, (99, 0, 0), -errno.EINVAL),
    "setuid": (105, (0,), 0),
}
AF_INET6_STREAM = (socket.AF_INET6, socket.SOCK_STREAM, 6)


def status_of(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return dict(re.findall(r"^(\w+):\s*(.*?)\s*$", file.read(), re.MULTILINE))


def check_capabilities(status, process):
    """None, but for one that a server may keep, so that nobody's unread descriptors lock out others."""
    kept = SYS_RESOURCE & int(status_of("self")["CapPrm"], 16) if isinstance(process, wire.Server) else 0
    assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == kept
    assert int(status["CapInh"], 16) == int(status["CapAmb"], 16) == 0
    if os.geteuid() == 0:
        assert int(status["CapBnd"], 16) == 0


@pytest.fixture(params=["server", "device"])
def service(request, server, plain):
    """service(*arguments): one of the two, which serves."""
    return server if request.param == "server" else plain


@pytest.fixture
def supervised(room, processes):
    yield from supervising(room, processes)


def serves(process):
    """It goes on, for those who are new."""
    if isinstance(process, wire.Server):
        process.client().close()
    else:
        process.vmm().close()


@pytest.fixture
def injected(processes):
    """injected(process, number, arguments): what the call returns, where it does not end the process."""

    def inject(process, number, arguments):
        held = stepper.Stepper(process.pid, attach=True)
        # It waits: this is the beginning of the same wait again.
        assert held.step() and held.system_call() is not None
        result = held.make_call(number, *arguments)
        if result is not None:
            held.release()
        return result

    return inject


# ---- what is given up ----------------------------------------------------------------------------------


def test_nothing_is_left_of_what_is_not_needed(service):
    process = service()
    status = status_of(process.pid)
    check_capabilities(status, process)
    assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2"
    with open(f"/proc/{process.pid}/coredump_filter", encoding="ascii") as file:
        # No shared memory, neither of files nor of huge pages.
        assert int(file.read(), 16) & 0b1001010 == 0
    # Not even its own user may look inside.
    assert os.stat(f"/proc/{process.pid}/mem").st_uid == 0
    serves(process)


def test_off_gives_nothing_up(service):
    process = service("--sandbox", "off")
    status = status_of(process.pid)
    ours = status_of("self")
    assert status["CapEff"] == ours["CapEff"] and status["Seccomp"] == ours["Seccomp"]
    assert status["NoNewPrivs"] == ours["NoNewPrivs"]
    serves(process)


@pytest.mark.parametrize("program", ["ivshmem-server", "ivshmem-device"])
@pytest.mark.parametrize("mode", ["", "on", "KILL"])
def test_modes_that_are_none(launch, program, mode):
    process = launch(program, "--sandbox", mode)
    assert process.wait() != 0
    assert "none of off, log and kill" in process.stderr


# ---- what is forbidden ---------------------------------------------------------------------------------


@can_make_calls
@pytest.mark.parametrize("name", FORBIDDEN)
def test_a_forbidden_call_ends_the_server(start, injected, name):
    process = start()
    process.expect(r"ivshmem-server: listening on .*")
    number, arguments, _ = FORBIDDEN[name]
    injected(process, number, arguments)
    assert process.wait() == -signal.SIGSYS


@can_make_calls
@pytest.mark.parametrize("name", FORBIDDEN)
def test_it_goes_on_where_calls_are_only_reported(service, injected, name):
    process = service("--sandbox", "log")
    number, arguments, result = FORBIDDEN[name]
    assert status_of(process.pid)["Seccomp"] == "2"
    assert injected(process, number, arguments) == result
    serves(process)


@can_make_calls
def test_the_device_ends_as_well(plain, injected):
    process = plain()
    injected(process, *FORBIDDEN["execve"][:2])
    assert process.wait() == -signal.SIGSYS


@can_make_calls
def test_only_local_sockets_can_be_made(start, injected):
    process = start()
    process.expect(r"ivshmem-server: listening on .*")
    local = injected(process, 41, (socket.AF_UNIX, socket.SOCK_STREAM, 0))
    assert local > 2
    assert injected(process, 3, (local,)) == 0
    injected(process, 41, AF_INET6_STREAM)
    assert process.wait() == -signal.SIGSYS


# ---- another user --------------------------------------------------------------------------------------

USER = pwd.getpwnam("nobody")


def give(room):
    os.chmod(room.path, 0o755)
    os.chown(room.path, USER.pw_uid, USER.pw_gid)


@root_only
@pytest.mark.parametrize("how", [USER.pw_name, str(USER.pw_uid)])
def test_the_server_becomes_another_user(server, room, how):
    give(room)
    name = room.shm_name()
    process = server("--user", how, "-M", name, "-l", "1M")
    status = status_of(process.pid)
    assert status["Uid"].split() == [str(USER.pw_uid)] * 4 and status["Gid"].split() == [str(USER.pw_gid)] * 4
    assert status["Groups"].split() == [str(group) for group in os.getgrouplist(USER.pw_name, USER.pw_gid)]
    check_capabilities(status, process)
    for path in (room.socket, room.socket + ".observe", "/dev/shm/" + name):
        assert os.stat(path).st_uid == USER.pw_uid
    assert os.stat(f"/proc/{process.pid}/mem").st_uid == 0
    serves(process)
    process.finish()
    # All that it has made is gone.
    assert not os.path.exists(room.socket) and not os.path.exists("/dev/shm/" + name)


@root_only
def test_the_device_becomes_another_user(plain, room):
    give(room)
    process = plain("--user", USER.pw_name)
    assert status_of(process.pid)["Uid"].split() == [str(USER.pw_uid)] * 4
    serves(process)
    path = process.path
    assert os.stat(path).st_uid == USER.pw_uid
    process.finish()
    assert not os.path.exists(path)


@root_only
def test_what_that_user_cannot_remove_is_said_at_the_start(start, room):
    os.chmod(room.path, 0o755)
    for _ in range(2):
        # What the first one has left is no harm to the second.
        process = start("--user", USER.pw_name)
        process.expect(r"ivshmem-server: listening on .*")
        process.expect(rf".*'{room.socket}' will stay when the program ends.*", "stderr")
        serves(process)
        process.signal(signal.SIGTERM)
        assert process.wait() == 0
        assert stat.S_ISSOCK(os.stat(room.socket).st_mode)


@root_only
def test_an_owner_that_is_given_counts(server, room):
    give(room)
    process = server("--user", USER.pw_name, "--socket-owner", str(LONELY_UID), "--socket-group", "0")
    status = os.stat(room.socket)
    assert (status.st_uid, status.st_gid) == (LONELY_UID, 0)
    serves(process)


@root_only
def test_a_user_without_sandbox(server, room):
    give(room)
    process = server("--user", USER.pw_name, "--sandbox", "off")
    status = status_of(process.pid)
    assert status["Uid"].split() == [str(USER.pw_uid)] * 4 and int(status["CapPrm"], 16) & ~SYS_RESOURCE == 0
    assert status["Seccomp"] == "0"
    serves(process)


@root_only
def test_only_root_can_become_another_user(start, room):
    os.chown(room.path, LONELY_UID, LONELY_UID)
    binary = room.file("ivshmem-server")
    with open(wire.program("ivshmem-server"), "rb") as source, open(binary, "wb") as copy:
        copy.write(source.read())
    os.chmod(binary, 0o755)
    expect_refusal(start("--user", USER.pw_name, binary=binary, user=LONELY_UID), "--user", "only root")


def test_a_user_that_does_not_exist(refused):
    refused("--user", "nobody-of-that-name", words=["--user", "there is no user"])


@root_only
def test_restarts_of_a_server_of_another_user(supervised, room):
    give(room)
    parent = supervised("--user", USER.pw_name)
    first = parent.client()
    for _ in range(3):
        parent.restart()
        # Its guardian does not serve, and stays who it was, to make another server.
        server = wire.process_children(parent.server)[0]
        assert status_of(server)["Uid"].split() == [str(USER.pw_uid)] * 4
        assert status_of(server)["Seccomp"] == "2"
    # Who has come before knows of who comes now.
    second = parent.client()
    first.follow_until_knows([0, 1])
    assert second.id == 1


# ---- rights that were given on purpose -------------------------------------------------------------------


@root_only
@pytest.mark.skipif(not os.path.exists("/usr/bin/setpriv"), reason="needs setpriv")
@pytest.mark.parametrize("given", [True, False])
def test_rights_that_were_given_by_name_stay(processes, room, given):
    NET_ADMIN = 1 << 12
    ours = int(status_of("self")["CapPrm"], 16)
    argv = [wire.program("ivshmem-server"), "-F", "-S", room.socket]
    # As AmbientCapabilities= does in a unit of systemd.
    names = "+net_admin,+sys_admin" if given else "-all"
    argv = ["/usr/bin/setpriv", f"--inh-caps={names}", f"--ambient-caps={names}", *argv]
    process = wire.Process(argv)
    processes.append(process)
    process.expect(r"ivshmem-server: listening on .*")
    status = status_of(process.pid)
    assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == SYS_RESOURCE & ours | (NET_ADMIN if given else 0)
    assert int(status["CapAmb"], 16) == 0
    process.finish()


# ---- what must still work ------------------------------------------------------------------------------


def test_a_crash_is_still_written_down(start, room):
    trace = room.file("trace")
    process = start("--trace-file", trace)
    process.expect(r"ivshmem-server: listening on .*")
    process.signal(signal.SIGABRT)
    assert process.wait() != 0
    with open(trace, encoding="ascii") as file:
        assert "server_started" in file.read()


def test_names_of_programs_are_still_read(server):
    process = server()
    client = process.client()
    process.expect(r"ivshmem-server: peer 0 joined \(process \d+, user \d+, program [^)]+\)")
    client.close()


def test_a_daemon_is_in_its_sandbox_too(daemon):
    process = daemon()
    status = status_of(process.daemon)
    assert status["Seccomp"] == "2" and int(status["CapEff"], 16) & ~SYS_RESOURCE == 0
    pid_file = process.pid_file
    process.finish()
    assert not os.path.exists(pid_file)


@pytest.mark.parametrize("program", ["ivshmem-server", "ivshmem-device"])
def test_output_to_a_terminal(processes, room, program):
    """The C library asks what its output is when the first line is printed, which may be in the sandbox."""
    terminal, end = os.openpty()
    options = ["-F", "-S", room.socket] if program == "ivshmem-server" else ["--shm", room.shm_name(), "--size", "1M"]
    if program == "ivshmem-device":
        options += ["--socket", room.file("device")]
    process = wire.Process([wire.program(program), *options], stdout=end)
    processes.append(process)
    os.close(end)
    words, text = b"listening on" if program == "ivshmem-server" else b"ready: ", b""
    while words not in text:
        text += os.read(terminal, 4096)
    process.finish()
    os.close(terminal)

# SPDX-License-Identifier: BSD-2-Clause
"""
`ivshmem doctor` on a host: each thing that can go wrong with sockets, servers, memory and channels, made for real.

What is wrong with VMMs is in test_cli_doctor_vmm.py, what is wrong in guests in tests/vm/test_doctor.py.
"""

import ast
import contextlib
import glob
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import threading

import pytest

import ivshmem_wire as wire
from ivshmem_channels import make_memory
from ivshmem_cli import FAILURE, OK, USAGE
from ivshmem_doctor import doctor  # noqa: F401
from ivshmem_fixtures import LONELY_UID, root_only

SOURCES = os.path.join(wire.ROOT, "tools", "ivshmem", "doctor")
TOPICS = "here|socket|server|memory|labels|vmm|qemu|cloud-hypervisor|guest|channels"
ID = re.compile(rf"(?:{TOPICS})\.[a-z0-9-]+")
TESTS = ["tests/protocol/command/test_cli_doctor.py", "tests/protocol/command/test_cli_doctor_vmm.py", "tests/vm/test_doctor.py"]


def text_of(*patterns):
    paths = [path for pattern in patterns for path in glob.glob(os.path.join(wire.ROOT, pattern))]
    assert paths
    return "".join(open(path, encoding="utf-8").read() for path in paths)


def constants(path):
    """The strings of a program, and not those in its comments. That something is not found is no test of it."""
    with open(path, encoding="utf-8") as file:
        nodes = list(ast.walk(ast.parse(file.read())))
    absent = {id(inner) for node in nodes if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.NotIn)
              for inner in ast.walk(node)}
    return [node.value for node in nodes
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in absent]


# ---- the list ------------------------------------------------------------------------------------------


@pytest.fixture
def listed(launch):
    process = launch("ivshmem", "doctor", "--list")
    assert process.wait() == OK
    return {words[1]: (words[0], words[2]) for words in (line.split(None, 2) for line in process.lines())}


def test_every_finding_can_be_found_and_is_tested(listed):
    called = set(re.findall(r'found\(\s*doctor,\s*"([^"]+)"', text_of("tools/ivshmem/doctor/*.c")))
    assert called == set(listed)
    words = [word for path in TESTS for word in constants(os.path.join(wire.ROOT, path))]
    tested = {word for word in words if ID.fullmatch(word)}
    assert tested == set(listed)


def test_every_finding_is_described(listed):
    """In docs/troubleshooting.md: the same findings, as bad as there, with the same words."""
    rows = re.findall(r"^\| `([^`]+)` \| (\w+) \| (.+?) \|", text_of("docs/troubleshooting.md"), re.MULTILINE)
    assert {name: (severity, what) for name, severity, what in rows} == listed


# ---- the command ---------------------------------------------------------------------------------------


def test_text(launch, server, room):
    server("-l", "4M", vectors=2)
    for quiet in (False, True):
        process = launch("ivshmem", "doctor", "-t", room.socket, *(["--quiet"] if quiet else []))
        assert process.wait() == OK
        lines = process.lines()
        assert lines.pop() == "0 errors, 0 warnings, 0 notes"
        assert lines == [] if quiet else lines[0].split() == ["ok", "socket.answers"] and room.socket in lines[1]
    process = launch("ivshmem", "doctor", "-t", room.file("none"))
    assert process.wait() == FAILURE
    assert re.fullmatch(
        r"error +socket\.missing\n +unix:\S+: there is no \S+\n +why: .+\n +mend: ivshmem-server .+\n"
        r"1 error, 0 warnings, 0 notes\n",
        process.stdout,
    )


def test_wrong_usage(run_plain):
    for words in (["--vmm", "0"], ["--vmm", "x"], ["operand"], ["-t", "nonsense"], ["--command-line", ""]):
        run_plain("doctor", *words, status=USAGE)


def test_everything_that_there_is(doctor, server, room):
    """Without a target: our server is among what it finds."""
    server()
    answers = [each for each in doctor().findings if each["id"] == "socket.answers"]
    assert f"unix:{room.socket}" in [each["subject"] for each in answers]


def test_nothing_at_all(doctor, room):
    """In a machine without processes and devices, which another root makes of this one."""
    if os.path.exists("/tmp/ivshmem_socket"):
        pytest.skip("somebody has the default socket")
    doctor("--root", room.path).only("here.nothing").has("here.nothing", "ivshmem-server")


@pytest.mark.parametrize("n", [64, 65])
def test_more_than_it_looks_at(doctor, other_root, room, n):
    """Nothing is left out without a word. All of them name one file, which is there."""
    file = f"/dev/shm/{room.shm_name()}"
    make_memory(file, 4096)
    line = f"qemu-system-x86_64\0-object\0memory-backend-file,id=m,share=on,mem-path={file}\0-device\0ivshmem-plain,memdev=m\0"
    for pid in range(4711, 4711 + n):
        root = other_root(f"proc/{pid}/cmdline", line)
    report = doctor("--root", root, "-t", f"file:{file}").only(*(["here.too-many"] if n > 64 else []))
    assert [each["id"] for each in report.findings].count("qemu.looked-at") == 64
    if n > 64:
        report.has("here.too-many", "more than 64", "--vmm PID")


def test_hostile_names_do_no_harm_to_a_terminal(launch, terminal):
    path = "/tmp/\x1b[2J\nerror"
    process = launch("ivshmem", "doctor", "-t", path, stdout=terminal.process_end)
    assert process.wait() == FAILURE
    output = terminal.rest()
    assert b"\\x1b[2J error" in output and b"\x1b" not in output


# ---- sockets -------------------------------------------------------------------------------------------


def test_a_server_in_order(doctor, server, room):
    peer = server("-l", "4M", vectors=3).client()
    report = doctor("-t", room.socket).only()
    report.has("socket.answers", "4 MiB to 1 peer of 3 vectors")
    report.has("channels.none")
    # Nobody was told of us.
    peer.drain()
    assert set(peer.peers) == {peer.id}
    doctor("-t", f"observe:{room.socket}.observe").only().has("socket.answers", "1 peer of 3")


def test_no_socket(doctor, room):
    doctor("-t", room.file("none")).only("socket.missing").has("socket.missing", f"-S {room.file('none')}")
    make_memory(room.file("file"), 4096)
    doctor("-t", room.file("file")).only("socket.not-a-socket")
    doctor("-t", room.file("x" * 120)).only("socket.path-too-long").has("socket.path-too-long", "107")


def test_stale_socket(doctor, room):
    wire.bound(room.socket, backlog=None).close()
    doctor("-t", room.socket).only("socket.nobody-listens").has("socket.nobody-listens", "ivshmem-server", room.socket)


@root_only
def test_no_permission(doctor, server, room):
    server()
    report = doctor("-t", room.socket, user=LONELY_UID).only("socket.no-permission")
    report.has("socket.no-permission", f"user {LONELY_UID}", "group root, mode 0660", f"chgrp GROUP {room.socket}")
    os.chown(room.socket, 0, 1)
    report = doctor("-t", room.socket, user=LONELY_UID).only("socket.no-permission")
    report.has("socket.no-permission", "group daemon", "usermod -aG daemon USER")
    os.mkdir(room.file("closed"), 0o700)
    doctor("-t", room.file("closed/socket"), user=LONELY_UID).only("socket.no-way")


def test_folder_for_everybody(doctor, server, room):
    os.chmod(room.path, 0o1777)
    server()
    report = doctor("-t", room.socket).only()
    assert report.ids("note") == {"socket.shared-folder"}


class Talker:
    """Listens, and says these (number, descriptors...) to everybody who comes; then it closes, unless it is to stay."""

    def __init__(self, path, *messages, stays=False):
        self.listener = wire.bound(path, backlog=8)
        self.messages = messages
        self.stays = stays
        self.connections = []
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        with contextlib.suppress(OSError):
            while True:
                connection = self.listener.accept()[0]
                self.connections.append(connection)
                for number, *fds in self.messages:
                    socket.send_fds(connection, [struct.pack("<q", number)], fds)
                if not self.stays:
                    connection.close()

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for connection in self.connections:
            connection.close()


@pytest.fixture
def talker(room, closing):
    def start(*messages, **options):
        closing.append(Talker(room.socket, *messages, **options))

    return start


def test_somebody_who_says_nothing(doctor, talker, room):
    talker(stays=True)
    report = doctor("-t", room.socket, "--connect-timeout", "0.3").only("socket.silent")
    report.has("socket.silent", f"process {os.getpid()}")


def test_socket_of_a_device(doctor, plain, room):
    device = plain()
    report = doctor("-t", device.path, "--connect-timeout", "0.3").only("socket.of-a-device")
    report.has("socket.of-a-device", f"process {device.pid}", "--server")


def test_somebody_who_is_no_server(doctor, talker, room):
    talker()
    doctor("-t", room.socket).only("socket.not-a-server")


def test_another_version(doctor, talker, room):
    talker((5,))
    doctor("-t", room.socket).only("socket.version").has("socket.version", "version 5")


def test_server_that_is_full(doctor, server, room):
    server("--no-observer-socket", "--max-peers", "1").client()
    report = doctor("-t", room.socket).only("socket.refused")
    report.has("socket.refused", "--max-peers")


def test_memory_that_cannot_be_used(doctor, talker, room):
    empty = os.memfd_create("empty")
    talker((0,), (0,), (-1, empty), stays=True)
    doctor("-t", room.socket).only("socket.cannot-attach")
    os.close(empty)


def test_server_without_observers(doctor, server, room):
    server("--no-observer-socket", vectors=2)
    report = doctor("-t", room.socket).only()
    report.has("socket.answers", "gives us 2 vectors")
    report.has("socket.no-observers", "took the id 0")


# ---- the server ----------------------------------------------------------------------------------------


def test_program_that_was_replaced(doctor, server, room):
    binary = shutil.copy(wire.program("ivshmem-server"), room.file("ivshmem-server"))
    process = server(binary=binary)
    os.unlink(binary)
    report = doctor("-t", room.socket).only()
    report.has("server.replaced", f"process {process.pid}", binary)


def test_few_descriptors(doctor, server, room):
    process = server(vectors=8, limit_files=64)
    report = doctor("-t", room.socket).only("server.few-descriptors")
    report.has("server.few-descriptors", f"prlimit --pid {process.pid}", "of which each takes 9")


# ---- memory --------------------------------------------------------------------------------------------


def test_memory_in_order(doctor, shm_target):
    doctor("-t", shm_target).only().has("memory.looked-at", "4 MiB")
    doctor("-t", shm_target + ",ro").only().has("memory.looked-at", "4 MiB")


def test_no_memory(doctor, room):
    doctor("-t", "shm:" + room.shm_name("none")).only("memory.missing")
    doctor("-t", "file:" + room.path).only("memory.not-a-file")


@root_only
def test_no_permission_for_memory(doctor, room):
    path = f"/dev/shm/{room.shm_name()}"
    make_memory(path, 4096)
    os.chmod(path, 0o640)
    report = doctor("-t", f"file:{path}", user=LONELY_UID).only("memory.no-permission")
    report.has("memory.no-permission", f"user {LONELY_UID}", "mode 0640")
    os.chmod(path, 0o666)
    doctor("-t", f"file:{path}", user=LONELY_UID).only("memory.open-to-all")


@pytest.mark.parametrize("size, finding", [(0, "memory.empty"), (1000, "memory.size"), (3 << 20, "memory.size")])
def test_size(doctor, room, size, finding):
    path = f"/dev/shm/{room.shm_name()}"
    make_memory(path, size)
    doctor("-t", f"file:{path}").only(finding)


def test_memory_on_a_disk(doctor, room):
    kinds = {
        folder: subprocess.run(["stat", "-f", "-c", "%T", folder], capture_output=True, text=True, check=True).stdout
        for folder in (room.path, wire.BUILD)
    }
    folder = next((folder for folder, kind in kinds.items() if kind.strip() not in ("tmpfs", "ramfs")), None)
    if folder is None:
        pytest.skip("there is no disk here")
    path = os.path.join(folder, f"memory-{os.getpid()}")
    make_memory(path, 4096)
    try:
        doctor("-t", f"file:{path}").only("memory.on-disk").has("memory.on-disk", "/dev/shm")
    finally:
        os.unlink(path)


@root_only
def test_file_where_a_node_should_be(doctor, room):
    path = f"/dev/{os.path.basename(room.path)}"
    make_memory(path, 4096)
    try:
        doctor("-t", f"file:{path}").only("memory.in-dev").has("memory.in-dev", f"rm {path}")
    finally:
        os.unlink(path)


def with_mount(kind, options, path, size):
    """For a child: a file system of its own, and there a file of this size."""
    mount = wire.private_mounts((os.path.dirname(path), kind, options))

    def setup():
        mount()
        make_memory(path, size)

    return setup


@root_only
def test_no_room_for_the_memory(doctor, room):
    os.mkdir(room.file("small"))
    path = room.file("small/memory")
    report = doctor("-t", f"file:{path}", setup=with_mount("tmpfs", "size=64k", path, 1 << 20)).only("memory.no-room")
    report.has("memory.no-room", "1 MiB", "64 KiB", "remount,size=")


@root_only
def test_no_huge_pages(doctor, room):
    with open("/proc/meminfo", encoding="ascii") as file:
        found = dict(re.findall(r"^(Huge\w+): +(\d+)", file.read(), re.MULTILINE))
    if int(found.get("HugePages_Total", "1")):
        pytest.skip("huge pages are reserved here, and others may need them")
    os.mkdir(room.file("huge"))
    path, size = room.file("huge/memory"), 1024 * int(found["Hugepagesize"])
    report = doctor("-t", f"file:{path}", setup=with_mount("hugetlbfs", "mode=0700", path, 2 * size))
    report.only("memory.no-huge-pages").has("memory.no-huge-pages", "lacks 2 huge pages", "echo 2 >")


def test_memory_that_is_not_sealed(doctor, server, room):
    server("-M", room.shm_name())
    doctor("-t", room.socket).only().has("memory.not-sealed", "-M")


# ---- security modules: this machine may have none, so another root plays one ----------------------------


@pytest.fixture
def other_root(room):
    """write(path, text): a file of a root, which is returned."""

    def write(path, text):
        full = room.file(f"root/{path}")
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "w", encoding="utf-8") as file:
            file.write(text)
        return room.file("root")

    return write


def test_selinux(doctor, other_root, shm_target):
    assert "labels.selinux" not in doctor("-t", shm_target, "--root", other_root("sys/fs/selinux/enforce", "0")).ids()
    report = doctor("-t", shm_target, "--root", other_root("sys/fs/selinux/enforce", "1")).only()
    report.has("labels.selinux", "audit2allow")


def test_selinux_and_a_vmm(doctor, other_root):
    other_root("proc/4711/cmdline", "qemu-system-x86_64\0-device\0ivshmem-plain,memdev=m\0")
    other_root("proc/4711/attr/current", "system_u:system_r:svirt_t:s0:c1,c2\0")
    report = doctor("--vmm", "4711", "--root", other_root("sys/fs/selinux/enforce", "1"))
    report.has("labels.selinux", "process 4711", "svirt_t:s0:c1,c2")
    assert [each["id"] for each in report.findings].count("labels.selinux") == 1


def test_apparmor_that_confines(doctor, other_root):
    other_root("proc/4711/cmdline", "qemu-system-x86_64\0-device\0ivshmem-plain,memdev=m\0")
    root = other_root("proc/4711/attr/current", "libvirt-0815 (enforce)\n")
    doctor("--vmm", "4711", "--root", root).has("labels.apparmor", "libvirt-0815", "abstractions/libvirt-qemu")


DENIALS = {
    "apparmor": 'audit: type=1400 apparmor="DENIED" operation="open" profile="libvirt-x" name="{}" comm="qemu-system-x86"\n',
    "selinux": 'type=AVC msg=audit(1): avc:  denied  {{ write }} for pid=1 comm="qemu-kvm" name="{}"\n',
}


@pytest.mark.parametrize("log", ["var/log/audit/audit.log", "var/log/kern.log"])
@pytest.mark.parametrize("module", DENIALS)
def test_refusals(doctor, other_root, shm_target, module, log):
    others = DENIALS[module].format("/somebody/else") + "no refusal of " + shm_target[4:] + "\n"
    assert "labels.denied" not in doctor("-t", shm_target, "--root", other_root(log, others)).ids()
    line = DENIALS[module].format(shm_target[4:])
    report = doctor("-t", shm_target, "--root", other_root(log, others + line + line)).only("labels.denied")
    report.has("labels.denied", "2 refusals", shm_target[4:], "apparmor" if module == "apparmor" else "audit2allow")


# ---- channels ------------------------------------------------------------------------------------------


def test_channels_in_order(doctor, receiver, target):
    receiver(target, "x", "--keep")
    report = doctor("-t", target)
    report.has("channels.looked-at", "8 areas", "1 taken")
    # The file is on a disk.
    report.only(*({"memory.on-disk"} & report.ids()))


def test_memory_too_small_for_channels(doctor, shm_target):
    make_memory("/dev/shm/" + shm_target[4:], 8192)
    doctor("-t", shm_target).only().has("channels.too-small", "12288")


MAGIC = b"IVCHAN"


@pytest.mark.parametrize("begins, finding", [
    (b"something else", "channels.other-content"),
    (MAGIC + b"\x02\x00", "channels.other-layout"),
    (MAGIC + b"\x01\x00" + b"\xff" * 8, "channels.damaged"),
    (b"IVREST\x00\x00", "channels.half-restored"),
])
def test_what_is_in_the_memory(doctor, shm_target, begins, finding):
    with open("/dev/shm/" + shm_target[4:], "r+b") as file:
        file.write(begins)
    report = doctor("-t", shm_target)
    report.has(finding, f"ivshmem -t {shm_target} format")
    report.only(*({finding} - {"channels.other-content"}))


def test_all_areas_taken(doctor, tool, receiver, shm_target):
    assert tool(shm_target, "format", "--areas", "2").wait() == OK
    receiver(shm_target, "x", "--keep")
    doctor("-t", shm_target).only()
    receiver(shm_target, "y", "--keep")
    doctor("-t", shm_target).only("channels.full").has("channels.full", "--areas 4")


def test_owner_that_died(doctor, receiver, shm_target):
    process = receiver(shm_target, "x", "--keep")
    process.signal(signal.SIGKILL)
    process.wait()
    doctor("-t", shm_target).only("channels.dead-owners").has("channels.dead-owners", "1 area", "keeper")


def test_nobody_on_the_host_takes_part(doctor, tool, receiver, server, room):
    """As if the participant were in a guest: of another kernel, where a process began at another time."""
    server("-l", "4M", "-n", "1")
    target = "unix:" + room.socket
    receiver(target, "x", "--keep")
    doctor("-t", target).only()
    for offset in (16, 24):
        assert tool(target, "write", str(4096 + offset), "another").wait() == OK
    report = doctor("-t", target).only("channels.no-keeper")
    report.has("channels.no-keeper", f"ivshmem -t {target} keeper")

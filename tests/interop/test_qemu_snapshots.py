# SPDX-License-Identifier: BSD-2-Clause
"""The recipes of docs/snapshots.md with real QEMUs of this machine: each of its lines about what is in the memory afterwards."""

import os

import pytest

import qmp
from boards import MASK, BuiltIn
from ivshmem_fixtures import launch  # noqa: F401
from qemu_device import BAR0

MIB = 1 << 20
INCOMING = ("-incoming", "defer")


@pytest.fixture
def plain(room, closing):
    """plain(name, ...): QEMU with ivshmem-plain,master=on."""

    def start(name, more=()):
        board = BuiltIn(room, name, 0, MIB, "master=on")
        board.qemu, board.more = None, more
        closing.append(board)
        return board.start()

    return start


@pytest.fixture
def tool(launch):
    """tool(target, ...): run the command line to its end."""

    def tool(target, *arguments, status=0):
        process = launch("ivshmem", "-t", target, *arguments)
        assert process.wait() == status, process.describe()
        return process.stdout

    return tool


def leave_memory_out(board):
    capability = {"capability": "x-ignore-shared", "state": True}
    board.machine.command("migrate-set-capabilities", capabilities=[capability])


def test_guest_to_a_file_and_memory_to_another(room, plain, tool):
    """Stopped, the state of the guest without the memory, and the memory by snapshot; then both come back."""
    source = plain("source")
    source.write(0, MASK, 4, 0x55)
    source.group.memory[:10] = b"when saved"
    source.machine.command("stop")
    leave_memory_out(source)
    qmp.migrate_to(source.machine.command, room.file("state"))
    tool("file:" + source.group.path, "snapshot", room.file("memory.img"))
    source.group.memory[:10] = b"afterwards"

    target = plain("target", INCOMING)
    target.group.memory[:16] = b"of somebody else"
    tool("file:" + target.group.path, "restore", room.file("memory.img"))
    leave_memory_out(target)
    qmp.migrate_from(target.machine.command, room.file("state"))
    assert target.group.memory[:16] == b"when saved" + bytes(6)
    assert target.read(0, MASK, 4) == 0x55
    assert target.read(2, 0, 4) == int.from_bytes(b"when", "little")


def test_the_state_alone_leaves_the_memory_alone(room, plain):
    source = plain("source")
    source.group.memory[:10] = b"when saved"
    leave_memory_out(source)
    qmp.migrate_to(source.machine.command, room.file("state"))
    target = plain("target", INCOMING)
    target.group.memory[:10] = b"as it was "
    leave_memory_out(target)
    qmp.migrate_from(target.machine.command, room.file("state"))
    assert target.group.memory[:10] == b"as it was "


def test_channels_after_loadvm_of_a_master(room, server, qemu, launch, tool):
    """QEMU brings back the memory with its channels: who used them does not learn of it until they are made anew."""
    srv = server(vectors=1)
    machine = qemu(srv, properties=["master=on"])
    target = "unix:" + srv.path
    tool(target, "format")
    tool(target, "write", str(MIB // 2), "when saved")
    machine.write(BAR0 + MASK, 0x55)
    qmp.save(machine.command, room.file("disk"))
    tool(target, "write", str(MIB // 2), "afterwards")
    receiver = launch("ivshmem", "-t", target, "recv", "--keep", "x")
    receiver.expect("ivshmem: listening under 'x'", "stderr")
    machine.write(BAR0 + MASK, 0)
    qmp.load(machine.command)
    assert machine.read(BAR0 + MASK) == 0x55
    # With a snapshot and a restore, they are made anew, and the rest of the memory stays.
    tool(target, "snapshot", room.file("image"))
    tool(target, "restore", "--force", room.file("image"))
    assert receiver.wait() == 1 and "start again" in receiver.stderr, receiver.describe()
    assert tool(target, "read", str(MIB // 2), "10", "--text").strip() == "when saved"
    again = launch("ivshmem", "-t", target, "recv", "x")
    again.expect("ivshmem: listening under 'x'", "stderr")
    sender = launch("ivshmem", "-t", target, "send", "x", stdin=os.open("/dev/null", os.O_RDONLY))
    assert sender.wait() == 0 and again.wait() == 0


def test_memory_while_peers_cannot_be_saved(room, server, qemu, tool):
    """A guest whose device is a peer: savevm is refused, and stopping it and snapshot save the memory."""
    srv = server(vectors=1)
    machine = qemu(srv)
    target = "unix:" + srv.path
    qmp.add_disk(machine.command, room.file("disk"))
    assert "peer mode" in qmp.human(machine.command, "savevm first")
    machine.command("stop")
    tool(target, "write", "5000", "kept")
    tool(target, "snapshot", room.file("image"))
    tool(target, "write", "5000", "lost")
    tool(target, "restore", room.file("image"))
    machine.command("cont")
    assert machine.command("query-status")["status"] == "running"
    machine.command("stop")  # the fixture wants its guest to stand still
    assert tool(target, "read", "5000", "4", "--text").strip() == "kept"

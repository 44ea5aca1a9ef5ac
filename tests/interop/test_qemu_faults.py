# SPDX-License-Identifier: BSD-2-Clause
"""
What QEMU does wrong with these devices, its own and ours, as docs/vmms.md tells it; and what works all the
same. Where a fault was seen is known by version, and there it must be seen again. A test that meets another
version says what it saw, and is skipped: then the document can tell more.
"""

import os
import re
import shutil
import signal
import subprocess

import pytest

import ivshmem_wire as wire
import qmp

from boards import COMMAND, MASK, MSIX_CONTROL, POSITION, SLOT, BuiltIn, VfioUser
import vm
from middleman import Middleman
from qemu_device import BAR0, BAR1, BAR2
from qtest import Refused

KNOWN = ("7.2", "11.1")
MIB = 1 << 20
VECTORS = 2
CRASHES = (signal.SIGSEGV, signal.SIGABRT)

# Where the guest lets its second vector write its message.
MESSAGE = 0x200010
SECOND_VECTOR = BAR1 + 16


def version(program):
    answer = subprocess.run([program, "--version"], check=True, stdout=subprocess.PIPE, text=True).stdout
    return re.search(r"version (\d+\.\d+)", answer)[1]


@pytest.fixture(params=["own", "newer"])
def program(request):
    """Each QEMU there is: the machine's own, and the one for vfio-user if that is another."""
    own, newer = shutil.which("qemu-system-x86_64"), vm.qemu_with_vfio_user()
    if request.param == "own" and own in (None, newer):
        pytest.skip("there is only one QEMU")
    return own if request.param == "own" else newer


def fate(machine, act, *arguments):
    """'lives', or 'crashes', when act() was done and QEMU has looked at all that it is to look at."""
    try:
        act(*arguments)
        for _ in range(3):
            machine.command("query-status")
    except Refused:
        status = machine.wait()
        assert -status in CRASHES, f"status {status}\n{machine.describe()}"
        return "crashes"
    return "lives"


def assert_fate(program, seen, expected):
    if version(program) not in KNOWN:
        pytest.skip(f"QEMU {version(program)} {seen} here; docs/vmms.md does not tell of this version")
    assert seen == expected


# ---- QEMU's own device is unplugged -----------------------------------------------------------------------


def test_unplugged_when_peers_have_left(server, qemu, program):
    """QEMU has freed what it knew of them when they left, and frees it again."""
    srv = server(vectors=VECTORS)
    machine = qemu(srv)
    visitors = [srv.client() for _ in range(4)]
    machine.wait_peer_eventfds(5 * VECTORS)
    for visitor in visitors:
        visitor.close()
        srv.clients.remove(visitor)
    machine.wait_peer_eventfds(VECTORS)
    assert_fate(program, fate(machine, machine.unplug, "dev", SLOT), "crashes")


def test_unplugged_when_nobody_has_left(server, qemu, program):
    srv = server(vectors=VECTORS)
    machine = qemu(srv)
    client = srv.client()
    machine.wait_peer_eventfds(2 * VECTORS)
    assert_fate(program, fate(machine, machine.unplug, "dev", SLOT), "lives")
    assert machine.config_read(0) == 0xFFFFFFFF
    # It stays a member until its connection goes, too.
    client.follow_until_knows([0, 1])
    machine.command("chardev-remove", id="ivshmem")
    client.follow_until_knows([client.id])


def watches_by_io_uring(machine):
    """Else by poll(), which has no idea of a descriptor that was closed."""
    return "anon_inode:[io_uring]" in machine.fds().values()


def test_unplugged_and_then_rung(server, qemu, program):
    """
    QEMU has closed the device's eventfds, but has not ceased to watch them. The server and the peers still hold
    them, and a ring calls what is not there any more, if it is the kernel that watches.
    """
    srv = server(vectors=VECTORS)
    machine = qemu(srv)
    client = srv.client()
    client.follow_until_knows([0, 1])
    machine.wait_peer_eventfds(2 * VECTORS)
    machine.unplug("dev", SLOT)
    by_kernel = watches_by_io_uring(machine)
    seen = fate(machine, wire.ring, client.peers[0][0])
    assert_fate(program, seen, "crashes" if by_kernel else "lives")
    if seen == "lives":
        # It asks for descriptors that are closed, gets an answer at once, and asks again.
        before = machine.cpu_seconds()
        wire.wait_until(lambda: machine.cpu_seconds() > before + 0.3, "QEMU is busy with nothing")


def test_unplugged_and_another_plugged(server, qemu, program):
    """The same; with poll(), it is a new descriptor with the number of an old one that calls it."""
    srv = server(vectors=VECTORS)
    machine = qemu(srv)
    machine.wait_peer_eventfds(VECTORS)
    machine.unplug("dev", SLOT)
    by_kernel = watches_by_io_uring(machine)
    machine.command("chardev-remove", id="ivshmem")

    def plug():
        machine.plug(srv.path, VECTORS, "dev2", addr=f"{SLOT:#x}")
        machine.set_up_pci()
        machine.ring(machine.id, 1)
        machine.wait_pending([1])

    assert_fate(program, fate(machine, plug), "lives" if by_kernel else "crashes")


@pytest.fixture
def start_plain(room, closing, program):
    """start(property..., more=arguments): QEMU's device without server, on a file."""

    def start(*properties, more=(), name="plain"):
        board = BuiltIn(room, name, 0, MIB, *properties)
        board.qemu, board.more = program, more
        closing.append(board)
        return board.start()

    return start


def test_plain_unplugged_and_plugged_again(start_plain, program):
    """The memory still has the name that it was given the first time, and cannot get another one."""
    machine = start_plain().machine
    assert_fate(program, fate(machine, machine.unplug, "dev", SLOT), "lives")
    device = {"driver": "ivshmem-plain", "id": "dev2", "addr": f"{SLOT:#x}"}
    assert_fate(program, fate(machine, lambda: machine.command("device_add", memdev="memory", **device)), "crashes")
    assert "qemu_ram_set_idstr" in machine.stderr


def test_plain_unplugged_and_plugged_again_with_other_memory(start_plain, program):
    """An object of another name, on the same file, can be plugged."""
    board = start_plain()
    machine = board.machine
    machine.unplug("dev", SLOT)
    machine.command(
        "object-add",
        **{"qom-type": "memory-backend-file", "id": "again", "share": True, "size": MIB, "mem-path": board.group.path},
    )
    device = {"driver": "ivshmem-plain", "id": "dev2", "addr": f"{SLOT:#x}"}
    assert_fate(program, fate(machine, lambda: machine.command("device_add", memdev="again", **device)), "lives")
    board.place()
    board.group.memory[:4] = b"here"
    assert board.read(2, 0, 4) == int.from_bytes(b"here", "little")


# ---- snapshots and migration of QEMU's own device ---------------------------------------------------------

PEER_MODE = "Migration is disabled when using feature 'peer mode' in device 'ivshmem'"


def set_up(machine):
    """What a guest leaves in the device: a mask, and a masked vector with its message."""
    machine.write(BAR0 + MASK, 0x55)
    for offset, value in ((0, MESSAGE), (4, 0), (8, 0x77)):
        machine.write(SECOND_VECTOR + offset, value)


def assert_as_set_up(machine, client):
    """It is all there, and works in both directions."""
    assert machine.read(BAR0 + MASK) == 0x55
    machine.ring(client.id, 1)
    wire.wait_rings(client.peers[client.id][1])
    wire.ring(client.peers[machine.id][1])
    machine.wait_pending([1])
    machine.write(SECOND_VECTOR + 12, 0)  # let it out
    assert machine.read(MESSAGE) == 0x77
    machine.write(BAR2 + 8, int.from_bytes(b"vm!!", "little"))
    assert os.pread(client.memory, 4, 8) == b"vm!!"
    os.pwrite(client.memory, b"host", 8)
    assert machine.read(BAR2 + 8) == int.from_bytes(b"host", "little")


@pytest.mark.parametrize("master", ["on", "auto"])
def test_snapshot_of_the_master(room, server, qemu, master):
    """It takes the memory along: loading writes over what everybody sees. Id and interrupts are as they were."""
    srv = server(vectors=VECTORS)
    machine = qemu(srv, properties=[f"master={master}"])
    client = srv.client().follow_until_knows([0, 1])
    machine.wait_peer_eventfds(2 * VECTORS)
    set_up(machine)
    os.pwrite(client.memory, b"when saved", 0)
    qmp.save(machine.command, room.file("disk"))
    os.pwrite(client.memory, b"what is new", 0)
    machine.write(BAR0 + MASK, 0)
    qmp.load(machine.command)
    assert os.pread(client.memory, 11, 0) == b"when saved\0"
    assert machine.id == 0
    assert_as_set_up(machine, client)
    client.follow_until_knows([0, 1])


def test_snapshot_of_others_is_refused(room, server, qemu, start_plain):
    srv = server(vectors=VECTORS)
    machine = qemu(srv)
    qmp.add_disk(machine.command, room.file("disk"))
    assert PEER_MODE in qmp.human(machine.command, "savevm first")
    machine.finish()
    plain = start_plain().machine
    qmp.add_disk(plain.command, room.file("other-disk"))
    assert PEER_MODE in qmp.human(plain.command, "savevm first")


def test_snapshot_of_a_plain_master(room, start_plain):
    board = start_plain("master=on")
    board.write(0, MASK, 4, 0x55)
    board.group.memory[:10] = b"when saved"
    qmp.save(board.machine.command, room.file("disk"))
    board.group.memory[:11] = b"what is new"
    board.write(0, MASK, 4, 0)
    qmp.load(board.machine.command)
    assert board.group.memory[:11] == b"when saved\0"
    assert board.read(0, MASK, 4) == 0x55
    board.write(2, 8, 4, int.from_bytes(b"vm!!", "little"))
    assert board.group.memory[8:12] == b"vm!!"


INCOMING = ("-incoming", "defer")


def test_migration_to_another_server(room, server, qemu):
    """The master becomes the first of the other group, and brings the memory."""
    there, here = server(path=room.file("there"), vectors=VECTORS), server(vectors=VECTORS)
    source = qemu(here, properties=["master=on"])
    old = here.client().follow_until_knows([0, 1])
    source.wait_peer_eventfds(2 * VECTORS)
    set_up(source)
    os.pwrite(old.memory, b"brought along", 0)
    qmp.migrate_to(source.command, room.file("stream"))

    target = qemu(there, ready=False, properties=["master=on"], more=INCOMING)
    target.ready(placed=False)
    client = there.client().follow_until_knows([0, 1])
    target.wait_peer_eventfds(2 * VECTORS)
    qmp.migrate_from(target.command, room.file("stream"))
    assert os.pread(client.memory, 13, 0) == b"brought along"
    target.pba = source.pba
    assert target.id == 0
    assert_as_set_up(target, client)
    # Nobody else moved: the peers that were there have to join the other group themselves.
    old.follow_until_knows([0, 1])


def test_migration_of_a_plain_master(room, start_plain):
    source, target = start_plain("master=on"), start_plain("master=on", name="target", more=INCOMING)
    source.write(0, MASK, 4, 0x55)
    source.group.memory[:13] = b"brought along"
    qmp.migrate_to(source.machine.command, room.file("stream"))
    qmp.migrate_from(target.machine.command, room.file("stream"))
    assert target.group.memory[:13] == b"brought along"
    assert target.read(0, MASK, 4) == 0x55
    assert target.read(2, 0, 4) == int.from_bytes(b"brou", "little")


def test_migration_within_a_group_cannot_be(room, server, qemu):
    """The other end would be a second member, and a master must have id 0."""
    srv = server(vectors=VECTORS)
    source = qemu(srv, properties=["master=on"])
    qmp.migrate_to(source.command, room.file("stream"))
    with pytest.raises(Refused, match="master must connect to the server before any peers"):
        qemu(srv, properties=["master=on"], more=INCOMING)
    target = qemu(srv, more=INCOMING, ready=False)
    target.ready(placed=False)
    target.command("migrate-incoming", uri=f"exec:cat {room.file('stream')}")
    assert target.wait() == 1
    assert "'peer' devices are not migratable" in target.stderr


# ---- our device in QEMU -----------------------------------------------------------------------------------


@pytest.fixture
def vfio_user(room, closing):
    """start(vectors, ...): our device in QEMU, which has taken its place in a group."""

    def start(vectors, *arguments):
        board = VfioUser(room, "vfio-user", vectors, MIB, *arguments)
        closing.append(board)
        return board.start()

    return start


@pytest.mark.parametrize(
    "vectors, arguments",
    [(VECTORS, ()), (VECTORS, ("--revision", "0", "--msi", "off")), (0, ())],
    ids=["msix", "intx", "plain"],
)
def test_vfio_user_unplugged(vfio_user, vectors, arguments):
    """With MSI-X, QEMU stumbles over the table that it has put over ours."""
    board = vfio_user(vectors, *arguments)
    program = vm.qemu_with_vfio_user()
    seen = fate(board.machine, board.machine.unplug, "dev", SLOT)
    if vectors and not arguments:
        assert_fate(program, seen, "crashes")
        assert "memory_region_del_subregion" in board.machine.stderr
    else:
        assert_fate(program, seen, "lives")
        assert board.config_read(0, 4) == 0xFFFFFFFF


def test_vfio_user_snapshot(room, vfio_user):
    """QEMU takes it without a word, and then the device is as after a reset, while the guest goes on."""
    board = vfio_user(VECTORS)
    machine, program = board.machine, vm.qemu_with_vfio_user()
    board.config_write(MSIX_CONTROL, 2, 0x8000)
    board.write(0, MASK, 4, 0x55)
    board.group.memory[:10] = b"when saved"
    qmp.save(machine.command, room.file("disk"))
    qmp.migrate_to(machine.command, room.file("stream"))
    machine.command("cont")  # after migrating, it waits for somebody to say who goes on
    machine.command("stop")
    board.group.memory[:11] = b"what is new"
    qmp.load(machine.command)
    if version(program) not in KNOWN:
        pytest.skip(f"after loadvm of QEMU {version(program)}, the command register is {board.config_read(COMMAND, 2):#x}")
    assert board.config_read(COMMAND, 2) == 0
    assert board.config_read(MSIX_CONTROL, 2) & 0xC000 == 0
    assert [board.config_read(bar, 4) & ~0xF for bar in (0x10, 0x14, 0x18, 0x1C)] == [0, 0, 0, 0]
    assert board.group.memory[:11] == b"what is new"
    # The device is well, once somebody sets it up again.
    board.place()
    assert board.read(0, MASK, 4) == 0
    assert board.read(2, 0, 4) == int.from_bytes(b"what", "little")


# slot, offset, value, size: the register of the machine "pc" that makes a part of the first MiB writable.
SHADOW_RAM = (0, 0x59, 0x30, 1)


class Between(VfioUser):
    """With somebody between QEMU and the device."""

    def device_path(self):
        self.middleman = Middleman(self.room.file("middleman"), super().device_path())
        return self.middleman.path


@pytest.mark.parametrize("taken", [False, True], ids=["unread", "unanswered"])
def test_vfio_user_device_ends_while_asked(room, closing, taken):
    """
    With the request still in its socket, which the kernel tells QEMU as an error. QEMU reports that twice in
    one place, which its own code does not allow. When the request was taken from the socket, it is a plain end.
    """
    board = Between(room, "between", 0, MIB)
    closing.append(board)
    board.start()
    closing.append(board.middleman)
    machine = board.machine
    board.middleman.hold()
    machine.send("readl", hex(board.bars[0] + POSITION))
    board.middleman.break_off(taken)
    values = []
    seen = fate(machine, lambda: values.append(machine.answer()))
    assert_fate(vm.qemu_with_vfio_user(), seen, "lives" if taken else "crashes")
    if taken:
        assert values == [0xFFFFFFFF]
        board.group.memory[:4] = b"here"
        assert board.read(2, 0, 4) == int.from_bytes(b"here", "little")
        # QEMU goes on until the layout of its memory changes, which firmware does when a guest reboots.
        assert fate(machine, machine.config_write, *SHADOW_RAM) == "crashes"
        assert "DMA mapping failed" in machine.stderr
    else:
        assert "error_setv: Assertion" in machine.stderr

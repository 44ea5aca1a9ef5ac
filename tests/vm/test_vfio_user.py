# SPDX-License-Identifier: BSD-2-Clause
"""
One group of three: a guest with our device over vfio-user, a guest with the device that is part of QEMU, and
a process on the host. The tests share it, and each leaves it as it was.

The host, a monitor, is peer 0, the device 1, QEMU's own one 2.
"""

import contextlib
import hashlib
import re
import secrets

import pytest

import ivshmem_wire as wire
import lspci
import vm
from in_guest import FIND_DEVICE, SHELL, answer, ask, command, counts, finish, msix, say, wake, wake_host
from vfio_user_fixtures import Device

pytestmark = [pytest.mark.limit(300), pytest.mark.under_kvm]

VECTORS = 16
MIB = 1 << 20
SIZE = 64 * MIB
HOST, OURS, QEMUS = 0, 1, 2

# Also the memory by another process while the shell has the device, and single accesses to the BARs.
SCRIPT = FIND_DEVICE + """
# Address of a byte of a BAR.
bar() { echo $(($(sed -n "$(($1 + 1))s/ .*//p" $device/resource) + $2)); }
memory() { ivshmem --backend sysfs "$@"; }
bind-vfio
""" + SHELL % "--backend vfio"


class Trio:
    def __init__(self, image, accel):
        with contextlib.ExitStack() as ends:
            self.room = wire.Room()
            ends.callback(self.room.close)
            self.ends = ends
            self.server = self._add(wire.Server(self.room.socket, "-l", str(SIZE), vectors=VECTORS))
            self.monitor = self._add(wire.Cli(self.room.socket, "monitor"))
            self.monitor.expect("attached as peer 0 .*")
            self.device = self._add(Device(self.room.file("device"), "--server", self.room.socket,
                                           "--vectors", str(VECTORS)))
            self.monitor.expect("peer 1 joined .*")
            self.guests = {
                OURS: self._start(image, accel, "ours", vm.vfio_user(self.device.path), "caching",
                                  vm.qemu_with_vfio_user()),
                QEMUS: self._start(image, accel, "qemus", vm.ivshmem_doorbell(self.room.socket, VECTORS), "remapping",
                                   vm.QEMU),
            }
            self.monitor.expect("peer 2 joined .*")
            for guest in self.guests.values():
                say(guest, "ready")
            self.ends = ends.pop_all()

    def _add(self, process):
        self.ends.callback(process.kill)
        return process

    def _start(self, image, accel, name, devices, iommu, qemu):
        # With strict checks, the kernel keeps everybody but vfio-pci from the BARs.
        guest = vm.Guest(
            image, accel, self.room.path, name=name, script=SCRIPT, devices=devices, iommu=iommu, qemu=qemu,
            memory=512, kernel_options="iomem=relaxed", files=lspci.files(image.cache))
        self.ends.callback(guest.stop)
        return guest.start()

    def __getitem__(self, peer):
        return self.guests[peer]

    def run(self, *arguments, stdin=None):
        command = self._add(wire.Cli(self.room.socket, *arguments, stdin=stdin))
        assert command.wait(60) == 0, command.describe()
        return bytes(command.output["stdout"])

    def end(self):
        """Everybody goes as on any other day."""
        for guest in self.guests.values():
            finish(guest)
        assert self.device.running()
        self.device.finish()
        assert self.device.stderr == ""
        self.server.finish()


@pytest.fixture(scope="module")
def trio(request, image, accel):
    failed = request.session.testsfailed
    trio = Trio(image, accel)
    with trio.ends:
        yield trio
        if request.session.testsfailed == failed:
            trio.end()


# ---- interrupts


@pytest.mark.parametrize("peer", [OURS, QEMUS])
def test_host_interrupts_guest(trio, peer):
    """Each vector is an MSI-X of its own, counted by the guest's kernel once, and no other vector counts it."""
    guest = trio[peer]
    before = counts(guest, VECTORS), msix(guest)
    wake(trio, guest, *range(VECTORS), peer=peer)
    for earlier, now in zip(before, (counts(guest, VECTORS), msix(guest))):
        assert now == {vector: count + 1 for vector, count in earlier.items()}


@pytest.mark.parametrize("peer", [OURS, QEMUS])
def test_guest_interrupts_host(trio, peer):
    """One ring after the other, each told by the monitor once."""
    wake_host(trio, trio[peer], *range(VECTORS))


@pytest.mark.parametrize("ringer, rung", [(OURS, QEMUS), (QEMUS, OURS), (OURS, OURS), (QEMUS, QEMUS)],
                         ids=["ours-to-qemus", "qemus-to-ours", "ours-to-itself", "qemus-to-itself"])
def test_guests_interrupt_each_other(trio, ringer, rung):
    before = msix(trio[rung])
    for vector in range(VECTORS):
        trio[ringer].send(f"ring {rung}:{vector}\n")
        trio[rung].send(f"wait {vector} 1 60\n")
        trio[rung].expect(f"^vector {vector} count 1$")
    assert msix(trio[rung]) == {vector: count + 1 for vector, count in before.items()}


def test_rings_that_cannot_arrive_hurt_nobody(trio):
    """A peer or a vector that does not exist, a vector beyond the 8 bits that QEMU looks at."""
    earlier = trio.monitor.stdout
    for peer, vector in ((7, 0), (HOST, VECTORS), (HOST, 256), (HOST, 0xffff), (0xffff, 0xffff)):
        command(trio[OURS], f"devmem $(bar 0 12) 32 {peer << 16 | vector:#x}")
    trio[OURS].send(f"ring {HOST}:3\n")
    trio.monitor.expect("interrupt vector 3 count 1")
    assert trio.monitor.stdout == earlier + "interrupt vector 3 count 1\n"


# ---- masks


def table_word(vector):
    """Vector Control in the MSI-X table."""
    return f"$(bar 1 {16 * vector + 12})"


def test_masked_vector(trio):
    """
    Rings of a masked vector become one interrupt when it is unmasked; other vectors do not care.

    How far the rings have come cannot be read from the pending bits: QEMU keeps them, but below BAR1, so that
    the guest reads the device's, which are 0. But the vector that is rung last is the last to arrive.
    """
    guest = trio[OURS]
    before = msix(guest)
    assert command(guest, f"devmem {table_word(5)} 32") == "0x00000000\n"
    command(guest, f"devmem {table_word(5)} 32 1")
    for _ in range(3):
        trio.run("ring", f"{OURS}:5")
    wake(trio, guest, 6)
    assert msix(guest) == {**before, 6: before[6] + 1}
    guest.send("wait 5 1 60\n")
    command(guest, f"devmem {table_word(5)} 32 0")
    say(guest, "unmasked")
    # It is now as before: the next ring arrives by itself.
    guest.send("wait 5 1 60\n")
    trio.run("ring", f"{OURS}:5")
    say(guest, "rung again")
    assert msix(guest) == {**before, 5: before[5] + 2, 6: before[6] + 1}


def control(guest, value):
    """Writes MSI-X Message Control."""
    command(guest, f"printf '\\{value & 0xff:03o}\\{value >> 8:03o}' |"
            " dd of=$device/config bs=2 count=1 seek=33 conv=notrunc 2>/dev/null")


def test_masked_function(trio):
    """The same for all vectors at once, by the function's mask bit."""
    guest = trio[OURS]
    before = msix(guest)
    control(guest, 0xc000 | VECTORS - 1)
    for vector in (1, 2, 2):
        trio.run("ring", f"{OURS}:{vector}")
    guest.monitor("query-status")  # QEMU has gone through what came before this
    assert msix(guest) == before
    guest.send("wait 1 1 60\nwait 2 1 60\n")
    control(guest, 0x8000 | VECTORS - 1)
    say(guest, "unmasked")
    assert msix(guest) == {**before, 1: before[1] + 1, 2: before[2] + 1}


# ---- memory


def md5(data):
    return hashlib.md5(data).hexdigest()


def test_memory_over_its_whole_size(trio):
    """The host fills half with random bytes, each guest a quarter; each finds what the others wrote."""
    quarter = SIZE // 4
    for number, peer in ((2, OURS), (3, QEMUS)):
        ask(trio[peer], f"head -c {quarter} /dev/urandom >/tmp/random;"
                        f" memory write {number * quarter} </tmp/random; md5sum </tmp/random; rm /tmp/random")
    data = secrets.token_bytes(2 * quarter)
    with open(trio.room.file("random"), "wb+") as file:
        file.write(data)
        file.seek(0)
        trio.run("write", "0", stdin=file)
    written = [md5(data), *(answer(trio[peer]).split()[0] for peer in (OURS, QEMUS))]

    for peer in (OURS, QEMUS):
        ask(trio[peer], f"memory read 0 {SIZE} | md5sum")
    data = trio.run("read", "0", str(SIZE))
    assert written == [md5(data[:2 * quarter]), md5(data[2 * quarter:3 * quarter]), md5(data[3 * quarter:])]
    for peer in (OURS, QEMUS):
        assert answer(trio[peer]).split()[0] == md5(data)


def test_own_words(trio):
    """The tool in the guest tells what the device is."""
    assert re.search("^own id: +1$", command(trio[OURS], "memory info"), re.MULTILINE)
    assert re.search(r"^memory: +64 MiB", command(trio[OURS], "memory info"), re.MULTILINE)


def test_lspci(trio):
    """All of config space, as everybody reads it. QEMU's own device reads the same."""
    for peer in (OURS, QEMUS):
        printed = command(trio[peer], "lspci -vv -d 1af4:1110 2>/dev/null")
        lspci.assert_golden("revision-1", printed, SIZE="[size=64M]", VECTORS="Count=16")

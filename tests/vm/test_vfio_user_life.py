# SPDX-License-Identifier: BSD-2-Clause
"""
Comings and goings with our device over vfio-user: of the guest, its QEMU, the server, the device itself.

The host, a monitor, is peer 0 and the device is peer 1, whatever becomes of the guest.
"""

import pytest

import qmp
import vm
from in_guest import BOOT_LIMIT, ROOT_PORT, SHELL, SYSFS_SHELL, VFIO_SHELL, counts, finish, say

pytestmark = pytest.mark.limit(300)


@pytest.fixture
def member(group, device):
    """A device in the group."""
    member = device("--server", group.server.path, "--vectors", str(group.vectors))
    group.monitor.expect("peer 1 joined .*")
    return member


def assert_both_ways(group, guest, vector=1):
    guest.send(f"wait {vector} 1 60\n")
    group.run("ring", f"1:{vector}")
    guest.expect(f"^vector {vector} count 1$")
    guest.send(f"ring 0:{vector}\n")
    group.monitor.expect(f"interrupt vector {vector} count 1")


def test_reboot(group, member, boot):
    """A guest that reboots is still the same peer, and is interrupted as before."""
    guest = boot(
        "bind-vfio\n"
        "if [ \"$(ivshmem read 256 --text)\" != rebooted ]; then\n"
        "\tivshmem write 256 rebooted --nul; echo first\n"
        "\treboot -f\n"
        "fi\n"
        "echo second" + SHELL % "",
        device=member, reboots=True,
    )
    guest.expect("^first$", BOOT_LIMIT)
    guest.expect("^second$", BOOT_LIMIT)
    say(guest, "ready")
    assert_both_ways(group, guest)
    assert "peer 1 left" not in group.monitor.stdout
    finish(guest)


def test_quits_and_comes_back(group, member, boot):
    """
    A QEMU that goes and another one that comes are the same peer to the others. What the first guest left in
    the memory is there; rings in between are not, because a new machine begins with a reset.
    """
    first = boot(VFIO_SHELL, device=member)
    say(first, "ready")
    assert_both_ways(group, first)
    first.send("write 64 from the first guest\n")
    say(first, "written")
    first.monitor("quit")
    assert first.process.wait(60) == 0
    for _ in range(3):
        group.run("ring", "1:2")

    second = boot(VFIO_SHELL, device=member)
    say(second, "ready")
    assert_both_ways(group, second)
    assert counts(second, group.vectors) == {0: 0, 1: 1, 2: 0, 3: 0}
    second.send("text 64\n")
    second.expect("^from the first guest$")
    finish(second)
    assert "peer 1 left" not in group.monitor.stdout


def test_hot_plug(group, member, boot):
    """Plugged into a running guest. Without a reserve, the root port has room for 2 MiB."""
    guest = boot(
        "echo without; read _\n"
        "until bind-vfio 2>/dev/null; ivshmem info 2>/dev/null | grep -q 'back end: vfio'; do sleep 0.1; done\n" + SHELL % "",
        vfio_user=True, devices=[ROOT_PORT[0], ROOT_PORT[1] + ",pref64-reserve=16M"])
    guest.expect("^without$", BOOT_LIMIT)
    guest.monitor("device_add", **vm.vfio_user_device(member.path, bus="root-port"))
    guest.send("\n")
    say(guest, "ready")
    assert_both_ways(group, guest)
    finish(guest)


RESCAN = """
dev=$(dirname $(grep -l 0x1110 /sys/bus/pci/devices/*/device))
echo 1 >$dev/remove
echo 1 >/sys/bus/pci/rescan
"""


@pytest.mark.parametrize("shell, between", [(VFIO_SHELL, "\n"), (SYSFS_SHELL, RESCAN)], ids=["vfio", "sysfs"])
def test_snapshot(room, group, member, boot, shell, between):
    """
    QEMU's snapshots do not have the device in them, so that after loadvm the guest goes on with one that is as
    after a reset. vfio-pci sets it up again when the next program attaches; else it is taken out and found anew.
    """
    guest = boot(shell + between + shell, device=member)
    say(guest, "ready")
    qmp.add_disk(guest.monitor, room.file("disk"))
    assert qmp.human(guest.monitor, "savevm first") == ""
    assert qmp.human(guest.monitor, "loadvm first") == ""
    guest.send("end\n")
    say(guest, "attached again")
    guest.send("write 64 still here\n")
    say(guest, "written")
    assert group.run("read", "64", "--text") == b"still here\n"
    if shell == VFIO_SHELL:
        assert_both_ways(group, guest)
    finish(guest)


def test_server_ends(group, member, boot):
    """The guest goes on when the server is gone: what is attached stays attached."""
    guest = boot(VFIO_SHELL, device=member)
    say(guest, "ready")
    group.server.finish()
    group.monitor.expect("server lost: .*")
    # The monitor has kept the eventfds of the guest and its own.
    guest.send("ring 0:2\n")
    group.monitor.expect("interrupt vector 2 count 1")
    guest.send("write 64 still here\ntext 64\n")
    guest.expect("^still here$")
    finish(guest)
    assert member.running()


def test_device_ends(group, member, boot):
    """
    When the device is told to end, QEMU and the guest go on, with the memory, but with registers that read
    all ones: QEMU does not connect again.
    """
    guest = boot(VFIO_SHELL, device=member, kernel_options="iomem=relaxed")
    say(guest, "ready")
    member.finish()
    group.monitor.expect("peer 1 left")
    guest.send("write 64 still here\ntext 64\n")
    guest.expect("^still here$")
    guest.send("!devmem $(sed -n '1s/ .*//p' /sys/bus/pci/devices/0000:00:01.0/resource) 32\n")
    guest.expect("^0xFFFFFFFF$")
    assert guest.process.poll() is None
    assert "failed to read header: EOF" in guest.qemu_output()

# SPDX-License-Identifier: BSD-2-Clause
"""
Comings and goings with our device over vfio-user: of the guest, its QEMU, the server, the device itself; and of
the guest and the server with QEMU's own.

The host, a monitor, is peer 0 and the device is peer 1, whatever becomes of the guest.
"""

import pytest

import qmp
from in_guest import (
    BOOT_LIMIT,
    SHELL,
    SYSFS_SHELL,
    VFIO_SHELL,
    counts,
    finish,
    plug,
    say,
    start_shell,
    wake,
    wake_host,
)

pytestmark = pytest.mark.limit(300)


@pytest.fixture(params=["ours", "qemus"])
def attached(request, group):
    """What boot() is told, so that the guest has our device, or QEMU's own."""
    if request.param == "ours":
        return {"device": request.getfixturevalue("member")}
    return {"server": group.server}


def assert_both_ways(group, guest, vector=1):
    wake(group, guest, vector)
    wake_host(group, guest, vector)


def test_reboot(group, attached, boot):
    """A guest that reboots is still the same peer, and is interrupted as before."""
    guest = boot(
        "bind-vfio\n"
        "if [ \"$(ivshmem read 256 --text)\" != rebooted ]; then\n"
        "\tivshmem write 256 rebooted --nul; echo first\n"
        "\treboot -f\n"
        "fi\n"
        "echo second" + SHELL % "",
        reboots=True, **attached,
    )
    guest.expect("^first$", BOOT_LIMIT)
    guest.expect("^second$", BOOT_LIMIT)
    say(guest, "ready")
    assert_both_ways(group, guest)
    assert "peer 1 left" not in group.monitor.stdout
    finish(guest)
    if "server" in attached:
        group.monitor.expect("peer 1 left")


def test_quits_and_comes_back(group, member, boot):
    """
    A QEMU that goes and another one that comes are the same peer to the others. What the first guest left in
    the memory is there; rings in between are not, because a new machine begins with a reset.
    """
    first = start_shell(boot, device=member)
    assert_both_ways(group, first)
    first.send("write 64 from the first guest\n")
    say(first, "written")
    first.monitor("quit")
    assert first.process.wait(60) == 0
    for _ in range(3):
        group.run("ring", "1:2")

    second = start_shell(boot, device=member)
    assert_both_ways(group, second)
    assert counts(second, group.vectors) == {0: 0, 1: 1, 2: 0, 3: 0}
    second.send("text 64\n")
    second.expect("^from the first guest$")
    finish(second)
    assert "peer 1 left" not in group.monitor.stdout


def test_hot_plug(group, member, boot):
    """Plugged into a running guest. Without a reserve, the root port has room for 2 MiB."""
    guest = plug(boot, member, "16M")
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
    guest = start_shell(boot, shell + between + shell, device=member)
    qmp.save(guest.monitor, room.file("disk"))
    qmp.load(guest.monitor)
    guest.send("end\n")
    say(guest, "attached again")
    guest.send("write 64 still here\n")
    say(guest, "written")
    assert group.run("read", "64", "--text") == b"still here\n"
    if shell == VFIO_SHELL:
        assert_both_ways(group, guest)
    finish(guest)


def test_server_ends(group, attached, boot):
    """The guest goes on when the server is gone: what is attached stays attached."""
    guest = start_shell(boot, **attached)
    group.server.finish()
    group.monitor.expect("server lost: .*")
    # The monitor has kept the eventfds of the guest and its own.
    wake_host(group, guest, 2)
    guest.send("write 64 still here\ntext 64\n")
    guest.expect("^still here$")
    finish(guest)


def test_device_ends(group, member, boot):
    """
    When the device is told to end, QEMU and the guest go on, with the memory, but with registers that read
    all ones: QEMU does not connect again.
    """
    guest = start_shell(boot, device=member, kernel_options="iomem=relaxed")
    member.finish()
    group.monitor.expect("peer 1 left")
    guest.send("write 64 still here\ntext 64\n")
    guest.expect("^still here$")
    guest.send("!devmem $(sed -n '1s/ .*//p' /sys/bus/pci/devices/0000:00:01.0/resource) 32\n")
    guest.expect("^0xFFFFFFFF$")
    assert guest.process.poll() is None
    assert "failed to read header: EOF" in guest.qemu_output()

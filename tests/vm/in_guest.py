# SPDX-License-Identifier: BSD-2-Clause
"""An `ivshmem shell` in a guest, and what tests ask it."""

import re

import vm

BOOT_LIMIT = 120

# $device: the folder of the first ivshmem device.
FIND_DEVICE = """
for device in /sys/bus/pci/devices/*; do
	[ "$(cat $device/vendor) $(cat $device/device)" != "0x1af4 0x1110" ] || break
done
"""

# An `ivshmem shell` that we type to; a line that begins with "!" is a command for the guest's own shell.
SHELL = """
exec 3>&1
while read -r line && [ "$line" != end ]; do
	case $line in
	!*) eval "${line#!}" >&3 2>&1 ;;
	*) echo "$line" ;;
	esac
done | ivshmem %s shell --exit-on-error 2>&1
"""
VFIO_SHELL = "bind-vfio" + SHELL % ""
SYSFS_SHELL = SHELL % "--backend sysfs"

# Where a device can be unplugged.
ROOT_PORT = ["-device", "pcie-root-port,id=root-port,chassis=1"]


def unplug(group, guest):
    """
    QEMU crashes when its own device is unplugged after any peer has left (docs/vmms.md), so that a test which
    does this must not have run a command on the host before: those are peers, too.
    """
    assert not re.search(r"peer \d+ left", group.monitor.stdout), "QEMU would crash, whatever the guest does"
    guest.monitor("device_del", id="ivshmem")


def plug(boot, member, room, *devices):
    """A guest into which the device was plugged while it ran, with so much room for it at its root port."""
    guest = boot(
        "echo without; read _\n"
        "until bind-vfio 2>/dev/null; ivshmem info 2>/dev/null | grep -q 'back end: vfio'; do sleep 0.1; done\n"
        + SHELL % "",
        vfio_user=True, devices=[ROOT_PORT[0], f"{ROOT_PORT[1]},pref64-reserve={room}", *devices])
    guest.expect("^without$", BOOT_LIMIT)
    guest.monitor("device_add", **vm.vfio_user_device(member.path, bus="root-port"))
    guest.send("\n")
    say(guest, "ready")
    return guest


def say(guest, text):
    """Waits until the guest's shell has done everything before this."""
    guest.send(f"say {text}\n")
    guest.expect(f"^{text}$", BOOT_LIMIT)


def ask(guest, line):
    """Has the guest's own shell carry out a command; what it prints is for answer()."""
    guest.send(f"!{line}; echo end of output\n")


def answer(guest):
    printed = []
    while (text := guest.expect("^.*$").group()) != "end of output":
        printed.append(text + "\n")
    return "".join(printed)


def command(guest, line):
    ask(guest, line)
    return answer(guest)


def start_shell(boot, shell=VFIO_SHELL, **options):
    """A guest whose shell is attached."""
    guest = boot(shell, **options)
    say(guest, "ready")
    return guest


def wake(group, guest, *vectors, peer=1):
    """The host rings the guest, which is woken once by each vector."""
    for vector in vectors:
        guest.send(f"wait {vector} 1 60\n")
        group.run("ring", f"{peer}:{vector}")
        guest.expect(f"^vector {vector} count 1$")


def wake_host(group, guest, *vectors, command="ring 0:%d\n"):
    """The guest rings the host, whose monitor tells of it once."""
    for vector in vectors:
        guest.send(command % vector)
        group.monitor.expect(f"interrupt vector {vector} count 1")


def counts(guest, vectors):
    guest.send("counts\n")
    return {int(vector): int(count) for vector, count in
            (guest.expect(r"^vector (\d+) received (\d+)$").groups() for _ in range(vectors))}


def msix(guest):
    """What the guest's kernel counted for each vector."""
    lines = re.findall(r" *\d+: +(\d+) .*vfio-msix\[(\d+)\]", command(guest, "cat /proc/interrupts"))
    return {int(vector): int(count) for count, vector in lines}


def finish(guest):
    guest.send("end\n")
    status, lines = guest.wait_script()
    assert status == 0, lines
    assert guest.wait_end() == 0

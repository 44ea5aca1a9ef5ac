# SPDX-License-Identifier: BSD-2-Clause
"""
`ivshmem doctor` in Linux guests: what can go wrong with a device there, made for real. tests/unit/tools/memory_speed.c has more
on memory that is slow.
"""

import json

import pytest

import ivshmem_wire as wire
import vm
from in_guest import BOOT_LIMIT, FIND_DEVICE
from ivshmem_cli import FAILURE, OK
from ivshmem_doctor import doctor  # noqa: F401
from ivshmem_fixtures import fake  # noqa: F401
from test_driver import driver  # noqa: F401
from vfio_user_fixtures import device, device_at_fake  # noqa: F401

pytestmark = pytest.mark.limit(300)

# look NAME COMMAND...: one report; as_user runs a command as somebody without rights.
LOOK = FIND_DEVICE + """
look() {
	echo "report $1"; shift
	"$@" 2>&1
	echo "status $?"
}
doctor() { ivshmem doctor --json "$@"; }
as_user() { su user -c "$*"; }
mkdir -p /etc; echo user:x:1000:1000::/tmp:/bin/sh >/etc/passwd
address=${device##*/}
bind() { echo $1 >$device/driver_override; echo $address >/sys/bus/pci/drivers_probe; }
unbind() { echo $address >$device/driver/unbind; }
"""
BAD = ("warning", "error")


class Reports(dict):
    """Name -> the findings by their ids."""

    def __init__(self, lines):
        super().__init__()
        for line in lines:
            if line.startswith("report "):
                findings = self[line[7:]] = {}
            elif line.startswith("status "):
                errors = any(each["severity"] == "error" for each in findings.values())
                assert int(line[7:]) == (FAILURE if errors else OK), lines
            elif line.startswith("{"):
                finding = json.loads(line)
                findings[finding["id"]] = finding

    def only(self, name, *bad):
        """These are all that is wrong."""
        assert {each for each, finding in self[name].items() if finding["severity"] in BAD} == set(bad), self[name]
        return self[name]

    def has(self, name, finding, *words):
        assert finding in self[name], self[name]
        text = f'{self[name][finding]["subject"]}: {self[name][finding]["finding"]} {self[name][finding]["remedy"]}'
        for word in words:
            assert word in text, text


@pytest.fixture
def look(boot):
    """look(script, ...): the reports of a guest that ran the script."""

    def look(script, **options):
        guest = boot(LOOK + script, **{"iommu": None, **options})
        status, lines = guest.wait_script(BOOT_LIMIT + 60)
        assert status == 0, (lines, guest.report())
        return Reports(lines)

    return look


WITH_DRIVER = """
look none doctor
bind vfio-pci 2>/dev/null
look wish doctor
bind uio_pci_generic
look other doctor
unbind
echo >$device/driver_override
insmod /modules/ivshmem.ko || exit 9
look root doctor
look no-ring doctor --no-ring -t dev:/dev/ivshmem0
look user as_user ivshmem doctor --json
load_groups() {
	printf '%s\\n' user:x:1000: ivshmem:x:998:user >/etc/group
	chgrp ivshmem /dev/ivshmem0
	chmod 0660 /dev/ivshmem0
}
load_groups
look member as_user ivshmem doctor --json
chgrp 5 /dev/ivshmem0
look group as_user ivshmem doctor --json
chgrp ivshmem /dev/ivshmem0
echo 0.0.9 >/tmp/version
mount -o bind /tmp/version /sys/module/ivshmem/version || exit 8
look version doctor
umount /sys/module/ivshmem/version
echo 2 >/tmp/vectors
mount -o bind /tmp/vectors /sys/class/ivshmem/ivshmem0/vectors || exit 7
look vectors doctor
umount /sys/class/ivshmem/ivshmem0/vectors
printf '\\002' | dd of=$device/config bs=1 seek=4 conv=notrunc 2>/dev/null
look lost doctor
rm /dev/ivshmem0
look node doctor
exit 0
"""


def test_driver(look, group, driver):
    """From no driver at all to an ordinary user who is interrupted, and what breaks that again."""
    reports = look(WITH_DRIVER, server=group.server, files=driver)
    reports.only("none", "guest.no-driver")
    reports.has("none", "guest.no-driver", "modprobe ivshmem", "drivers_probe")
    reports.has("none", "guest.mapping", "write-combining by sysfs")
    assert "guest.interrupts-arrive" not in reports["none"]
    reports.only("wish", "guest.no-driver", "guest.no-iommu")
    reports.only("other", "guest.other-driver")
    reports.has("other", "guest.other-driver", "uio_pci_generic", "driver/unbind; ")

    reports.only("root", "guest.root-only")
    reports.has("root", "guest.root-only", "60-ivshmem.rules")
    reports.has("root", "guest.interrupts-arrive", "our own id, 1, once on vector 3")
    reports.has("root", "guest.memory-quick")
    reports.has("root", "channels.none")
    assert set(reports["root"]) - set(reports["no-ring"]) == {"guest.interrupts-arrive"}
    reports.only("user", "guest.no-permission")
    reports.has("user", "guest.no-permission", "user 1000", "mode 0600", "chown USER /dev/ivshmem0")
    reports.only("member")
    reports.has("member", "guest.interrupts-arrive")
    assert not [each for each in reports["member"].values() if each["severity"] != "ok"]
    reports.only("group", "guest.no-permission")
    reports.has("group", "guest.no-permission", "usermod -aG 5 USER")

    reports.only("version", "guest.driver-version")
    reports.has("version", "guest.driver-version", "version 0.0.9")
    # As if the kernel had given two: which kernel does that is up to its architecture.
    reports.only("vectors", "guest.vectors")
    reports.has("vectors", "guest.vectors", "has 4 vectors, and the kernel gave 2")
    # The function may not send messages without bus mastering.
    reports.only("lost", "guest.interrupts-lost")
    reports.has("lost", "guest.interrupts-lost", "no interrupt came in 10 s")
    reports.only("node", "guest.no-node")
    # Nobody else was rung, and nobody joined.
    assert "interrupt" not in group.monitor.stdout and "peer 2" not in group.monitor.stdout


@pytest.mark.under_kvm
def test_interrupts_arrive(look, group, driver):
    reports = look("insmod /modules/ivshmem.ko || exit 9\nlook driver doctor\n", server=group.server, files=driver)
    reports.has("driver", "guest.interrupts-arrive")


@pytest.mark.under_kvm
def test_vfio(look, group):
    reports = look(
        "bind vfio-pci\nlook vfio doctor\nivshmem wait --timeout 100 2>/tmp/out & waiter=$!\n"
        "until grep -q 'waiting as peer 1' /tmp/out; do sleep 0.1; done\nlook busy doctor\n"
        "kill $waiter; wait $waiter\nchgrp 1000 /dev/vfio/[0-9]*; look user as_user ivshmem doctor --json\n",
        server=group.server, iommu="remapping",
    )
    reports.only("vfio", "guest.root-only")
    reports.has("vfio", "guest.vfio", "modprobe ivshmem")
    reports.has("vfio", "guest.mapping", "uncached-minus by vfio")
    reports.has("vfio", "guest.interrupts-arrive", "on vector 0")
    reports.has("busy", "guest.busy", "in use by another process")
    reports.only("busy", "guest.root-only")
    reports.only("user", "guest.no-permission")


def test_vfio_without_remapping(look, group):
    reports = look("bind vfio-pci\nlook vfio doctor\n", server=group.server, iommu="plain")
    reports.only("vfio", "guest.cannot-attach", "guest.root-only")
    reports.has("vfio", "guest.cannot-attach", "intremap=on")


def test_plain_devices(look):
    memory = [word for name in ("one", "other") for word in (
        "-object", f"memory-backend-memfd,id={name},size=1M,share=on", "-device", f"ivshmem-plain,memdev={name}")]
    reports = look("look both doctor\nlook one doctor -t pci:$address\n", devices=memory)
    reports.has("both", "guest.several-devices", "there are 2", "--target pci:0000:00:0")
    reports.has("one", "guest.no-interrupts", "plain")
    assert "guest.several-devices" not in reports["one"]


def test_no_device(look):
    reports = look("look any doctor\nlook auto doctor -t pci:auto\nlook other doctor -t pci:0000:00:1f.0\n")
    reports.only("any", "here.nothing")
    for name in ("auto", "other"):
        reports.only(name, "guest.no-device")
        reports.has(name, "guest.no-device", "ivshmem-doorbell")


def test_no_messages(look, group, driver):
    reports = look("insmod /modules/ivshmem.ko || exit 9\nlook nomsi doctor\n",
                   server=group.server, files=driver, kernel_options="pci=nomsi")
    reports.only("nomsi", "guest.msi-off", "guest.root-only")
    assert "guest.interrupts-arrive" not in reports["nomsi"]


def test_lockdown(look, group):
    reports = look("mount -t securityfs securityfs /sys/kernel/security || exit 9\nlook locked doctor\n",
                   server=group.server, kernel_options="lockdown=integrity")
    reports.only("locked", "guest.lockdown", "guest.no-driver")
    reports.has("locked", "guest.lockdown", "[integrity]", "mokutil")


def test_no_place_for_the_memory(look, server, doctor, room):
    """What is said of the command line on the host happens in the guest."""
    big = server("-l", "64G")
    cpu = "qemu64,phys-bits=36"
    line = ["qemu-system-x86_64", "-machine", "q35", "-cpu", cpu, "-m", "256",
            *vm.ivshmem_doorbell(big.path, 1, bus="pcie.0")]
    with open(room.file("line"), "w", encoding="utf-8") as file:
        file.write(" ".join(line))
    doctor("--command-line", room.file("line")).only("qemu.address-bits")
    reports = look("look big doctor\n", server=big, cpu=cpu)
    reports.only("big", "guest.not-placed", "guest.no-driver")
    reports.has("big", "guest.not-placed", "BAR2", "phys-bits=46")


def test_revision_0_without_a_server(look, device_at_fake, driver):
    """Its server has taken it in, and says nothing."""
    late, _ = device_at_fake("--revision", "0", "--size", "1M")
    late.expect("ready: .*")
    reports = look("insmod /modules/ivshmem.ko || exit 9\nlook late doctor\n", device=late, files=driver)
    reports.has("late", "guest.revision", "--revision 1")
    reports.has("late", "guest.no-id", "ivshmem-server")
    reports.only("late", "guest.no-id", "guest.root-only")


def test_slow_memory(look, group, device, driver):
    """After the first INTx, QEMU never maps the memory again, and each access is a message to the device (docs/vmms.md)."""
    old = device("--server", group.server.path, "--revision", "0", "--msi", "off", "--size", "1M")
    reports = look("insmod /modules/ivshmem.ko || exit 9\nlook before doctor --no-ring\nlook ring doctor\nlook slow doctor\n",
                   device=old, files=driver)
    reports.only("before", "guest.root-only")
    reports.has("before", "guest.memory-quick")
    reports.has("ring", "guest.interrupts-arrive")
    reports.only("slow", "guest.memory-slow", "guest.root-only")
    reports.has("slow", "guest.memory-slow", "times slower than with other memory", "modprobe ivshmem")


def test_only_guests_use_channels(boot, group, driver, doctor):
    """Seen from the host, before and after a keeper runs there."""
    guest = boot("insmod /modules/ivshmem.ko || exit 9\nivshmem recv x --keep >/dev/null 2>&1 & echo started; read -r line\n",
                 server=group.server, iommu=None, files=driver)
    guest.expect("^started$", BOOT_LIMIT)

    def looked():
        return doctor("-t", group.server.path)

    wire.wait_until(lambda: "channels.looked-at" in looked().ids(), "the guest takes part")
    looked().only("channels.no-keeper")
    keeper = group.cli("keeper")
    wire.wait_until(lambda: "channels.no-keeper" not in looked().ids(), "the keeper takes part")
    looked().only()
    keeper.finish()
    guest.send("\n")
    guest.wait_end()


def test_caching_mode(boot, member):
    """QEMU ends as the doctor says (qemu.caching-mode): when the guest switches the IOMMU on."""
    guest = boot("read -r line\n", device=member, iommu="remapping")
    assert guest.process.wait(BOOT_LIMIT * wire.FACTOR) != 0
    assert "caching mode" in guest.qemu_output()

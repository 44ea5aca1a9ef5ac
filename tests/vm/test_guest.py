# SPDX-License-Identifier: BSD-2-Clause
"""
The tool and the library inside a Linux guest, through both back ends, against our server and the host.

The server's first client, a monitor on the host, is peer 0 everywhere here; the guest is peer 1.
"""

import json
import re
import secrets

import pytest

import ivshmem_wire as wire
import vm
from in_guest import (
    BOOT_LIMIT,
    ROOT_PORT,
    SHELL,
    SYSFS_SHELL,
    VFIO_SHELL,
    counts,
    finish,
    msix,
    say,
    start_shell,
    unplug,
    wake,
    wake_host,
)

pytestmark = pytest.mark.limit(300)


# ---- vfio


@pytest.mark.under_kvm
@pytest.mark.parametrize("group, newer", [(1, False), (64, False), (4, True)], indirect=["group"],
                         ids=["1", "64", "newer-qemu"])
def test_woken_on_each_vector(group, boot, newer):
    """
    Each vector wakes the guest by an MSI-X of its own, and no other vector counts it.

    Under KVM, QEMU's device refuses to interrupt for ever if the table is empty when the guest enables MSI-X.
    """
    qemu = {"qemu": vm.qemu_with_vfio_user()} if newer else {}
    guest = start_shell(boot, server=group.server, **qemu)
    wake(group, guest, *range(group.vectors))
    once = dict.fromkeys(range(group.vectors), 1)
    assert counts(guest, group.vectors) == once
    assert msix(guest) == once
    finish(guest)


def test_rings_that_cannot_arrive_hurt_nobody(group, boot):
    """In a guest nobody says that a peer or a vector does not exist; the ring is just lost."""
    guest = start_shell(boot, server=group.server)
    guest.send("ring 7:0\nring 0:4\nring 0:2047\nring 65535:0\nring 0:3\n")
    group.monitor.expect("interrupt vector 3 count 1")
    assert not re.search("vector [0-2]", group.monitor.stdout)
    finish(guest)


def test_wait_command(group, boot):
    """`ivshmem wait` in a guest ends with the ring it waits for, and with 3 if none comes."""
    guest = boot(
        "bind-vfio\n"
        "ivshmem wait --vector 1 --timeout 0.2; echo status $?\n"
        "ivshmem wait --vector 2 --timeout 60; echo status $?; read -r line\n",
        server=group.server,
    )
    guest.expect("^status 3$", BOOT_LIMIT)

    # Nobody tells when the process has armed its vectors, and a ring before that is lost. So ring on.
    def woken():
        group.run("ring", "1:2")
        return "status 0" in (guest.lines() or ())

    wire.wait_until(woken, "the guest to be woken")
    guest.send("\n")
    assert guest.wait_end() == 0


def test_rings_while_nobody_listens(group, boot):
    """Rung without pause while processes attach and detach, a guest is still woken afterwards."""
    guest = boot(
        "bind-vfio\n"
        "echo ready; for i in 1 2 3 4 5 6 7 8; do ivshmem info >/dev/null || exit 1; done\n" + SHELL % "",
        server=group.server,
    )
    guest.expect("^ready$", BOOT_LIMIT)
    storm = group.cli("ring", "1:3", "--count", "1000000000000")
    say(guest, "attached")
    assert storm.running()
    storm.kill()
    wake(group, guest, 1)
    finish(guest)


def test_one_process_at_a_time(group, boot):
    """The second process is told who is in its way; when the first has ended, the next one attaches."""
    guest = boot(VFIO_SHELL + "ivshmem info\n", server=group.server)
    say(guest, "ready")
    guest.send("!ivshmem info\n")
    guest.expect("in use by another process")
    guest.send("!ivshmem --backend sysfs info\n")
    guest.expect("a process is using the device through vfio")
    guest.send("end\n")
    guest.expect("^back end: vfio$")
    assert guest.wait_script()[0] == 0


def test_memory_both_ways(group, boot):
    """Every byte value at odd offsets and lengths arrives, in both directions and through both back ends."""
    data = secrets.token_bytes(70001)
    there = group.cli("write", "4095", stdin=wire.subprocess.PIPE)
    there.process.stdin.write(data)
    there.process.stdin.close()
    there.process.stdin = None
    assert there.wait() == 0
    guest = boot(
        "ivshmem --backend sysfs read 4095 70001 >/tmp/a || exit 1\n"
        "ivshmem --backend sysfs write 200001 </tmp/a || exit 1\n"
        "bind-vfio\n"
        "ivshmem read 4095 70001 >/tmp/b || exit 1\n"
        "ivshmem write 400003 </tmp/b\n",
        server=group.server,
    )
    status, lines = guest.wait_script(BOOT_LIMIT)
    assert status == 0, lines
    assert group.run("read", "200001", "70001") == data
    assert group.run("read", "400003", "70001") == data


def test_memory_ends_where_it_ends(group, boot):
    """The last byte can be used, the one after it is refused, in the guest as on the host."""
    guest = boot(
        "bind-vfio\n"
        "ivshmem write 0x3fffff x || exit 1\n"
        "ivshmem write 0x3fffff xy; echo status $?\n"
        "ivshmem read 4M 1; echo status $?\n",
        server=group.server,
    )
    guest.expect("^status 1$", BOOT_LIMIT)
    guest.expect("^status 1$")
    assert guest.wait_script()[0] == 0
    assert group.run("read", "0x3fffff", "1") == b"x"


# ---- what the tool tells


@pytest.mark.parametrize("backend", ["vfio", "sysfs"])
def test_info(group, boot, backend):
    """id, vectors, size, driver, and the mapping type, which is the one in the kernel's own list."""
    shell = VFIO_SHELL if backend == "vfio" else SYSFS_SHELL
    guest = boot("export address=$(basename $(dirname $(grep -l 0x1110 /sys/bus/pci/devices/*/device)))\n"
                 f"{shell}"
                 f"ivshmem --json --target pci:$address --backend {backend} info\n",
                 server=group.server)
    say(guest, "ready")
    guest.send("!cat /sys/kernel/debug/x86/pat_memtype_list; sed -n 's/^/resource /p' "
               "/sys/bus/pci/devices/$address/resource; echo address $address\n")
    types = {}
    resources = []
    while not (address := re.match("address (.*)", line := guest.expect("^.*$").group())):
        if entry := re.match(r"PAT: \[mem (0x[0-9a-f]+)-(0x[0-9a-f]+)\] (\S+)", line):
            types[int(entry[1], 0)] = entry[3]
        elif resource := re.match("resource (0x[0-9a-f]+)", line):
            resources.append(int(resource[1], 0))
    guest.send("info\n")
    expected = {
        "target": "pci:auto",
        "back end": backend,
        "address": address[1],
        "driver": "vfio-pci" if backend == "vfio" else "none",
        "doorbell": "register",
        "own id": "1",
        "vectors": "4" if backend == "vfio" else "0",
        "memory": "4 MiB (4194304 bytes)",
        "mapping": types[resources[2]],
    }
    assert expected["mapping"] == ("uncached-minus" if backend == "vfio" else "write-combining")
    for _ in expected:
        name, value = guest.expect(r"^([\w ]+): +(.*)$").groups()
        assert value == expected[name], name

    guest.send("peers\n")
    guest.expect(f"^own id 1: {expected['vectors']} vectors$")
    guest.expect("^other peers: unknown, the device does not tell who is connected$")
    guest.send("end\n")
    as_json = json.loads(guest.expect(r"^\{.*\}$").group())
    assert as_json == {"target": f"pci:{address[1]}", "backend": backend, "id": 1,
                       "vectors": int(expected["vectors"]), "size": 4 << 20,
                       "mapping": expected["mapping"], "address": address[1],
                       "driver": "vfio-pci" if backend == "vfio" else "", "doorbell": "register"}


# ---- sysfs


def test_sysfs(group, boot):
    """Registers and memory without any driver: it rings and writes, but cannot be woken, and says why."""
    group.run("write", "64", "from the host", "--nul")  # as peer 1
    guest = boot(
        "ivshmem --backend sysfs read 64 --text\n"
        "ivshmem --backend sysfs write 128 'from the guest' --nul\n"
        "ivshmem --backend sysfs ring 0:2\n"
        "ivshmem --backend sysfs wait --timeout 5; echo status $?\n",
        server=group.server,
    )
    guest.expect("^from the host$", BOOT_LIMIT)
    group.monitor.expect("interrupt vector 2 count 1")
    assert group.run("read", "128", "--text") == b"from the guest\n"
    guest.expect("^ivshmem: .*(vfio.*interrupt|interrupt.*vfio)")
    guest.expect("^status 1$")


def test_msix_table_before_its_use(group, boot):
    """
    Before Linux enables MSI-X, each entry has an address that a vIOMMU lets pass: else, under KVM, QEMU finds no route
    for it, then and later. Seen where a lack of descriptors ends the tool just before it has Linux enable MSI-X.
    """
    guest = boot("bind-vfio; n=5\n"
                 "until (ulimit -n $n; ivshmem wait --timeout 1 2>&1) | grep 'eventfd for each of 4'; do n=$((n + 1)); done\n"
                 "ivshmem --backend sysfs info >/dev/null; echo status $?\n"
                 "for device in /sys/bus/pci/devices/*; do\n"
                 "\t[ \"$(cat $device/device)\" != 0x1110 ] || sed -n '2s/^/table /p' $device/resource\n"
                 "done\nread -r line\n",
                 server=group.server)
    guest.expect("cannot create an eventfd for each of 4", BOOT_LIMIT)
    guest.expect("^status 0$")  # and the memory is decoded
    table = int(guest.expect("^table 0x([0-9a-f]+) ").group(1), 16)
    dump = guest.monitor("human-monitor-command", **{"command-line": f"xp /16wx {table:#x}"})
    entries = [line.split(": ")[1].split() for line in dump.strip().splitlines()]
    assert entries == [["0xfee00000", "0x00000000", "0x00000000", "0x00000001"]] * 4
    guest.send("\n")
    assert guest.wait_script()[0] == 0


# ---- what is missing


def test_without_iommu(group, boot):
    """
    vfio can serve a guest without vIOMMU only if its kernel was built for that (CONFIG_VFIO_NOIOMMU), which Debian's is
    not. The error names what to do, for either kernel. If that one can, the commands in it are carried out as they
    stand, and the guest is interrupted, while a user without rights is told what is missing.
    """
    guest = boot("modprobe() { :; }\n"  # its modules are there already
                 "bind-vfio 2>/dev/null\nivshmem --backend vfio info 2>/tmp/error; echo status $?; cat /tmp/error\n"
                 "eval \"$(sed -n 's/.*as root: //p' /tmp/error)\"\n"
                 "ls -d /sys/module/vfio/parameters/*_mode || { read -r line; exit 0; }\n"
                 "mkdir -p /etc; echo user:x:1000:1000::/:/bin/sh >/etc/passwd; chmod 666 /dev/vfio/*\n"
                 "su user -c 'ivshmem info'; echo user $?\n" + SHELL % "",
                 server=group.server, iommu=None)
    guest.expect("^status 1$", BOOT_LIMIT)
    error = guest.expect("^ivshmem: .*$").group()
    assert "intel-iommu,intremap=on" in error and "intel_iommu=on" in error and "sysfs" in error
    if guest.expect("^(ls: )?/sys.*_mode").group(1):
        assert "this kernel's vfio cannot do without" in error
        guest.send("\n")
        assert guest.wait_script()[0] == 0
        return
    assert "CAP_SYS_RAWIO" in guest.expect("^ivshmem: .*$").group()
    guest.expect("^user 1$")
    say(guest, "ready")
    guest.send("!ls -l /proc/[0-9]*/fd | grep noiommu\n")
    guest.expect("/dev/vfio/noiommu-0$")
    wake(group, guest, *range(group.vectors))
    assert msix(guest) == dict.fromkeys(range(group.vectors), 1)
    wake_host(group, guest, 2)
    finish(guest)


def test_without_interrupt_remapping(group, boot):
    guest = boot("bind-vfio\nivshmem info; echo status $?\n"
                 "echo 1 > /sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts\n"
                 "ivshmem info; echo status $?\n",
                 server=group.server, iommu="plain")
    error = guest.expect("^ivshmem: .*$", BOOT_LIMIT).group()
    assert "intel-iommu,intremap=on" in error and "allow_unsafe_interrupts" in error
    guest.expect("^status 1$")
    guest.expect("^status 0$")


def test_not_bound(group, boot):
    """The error names the commands that bind the device; carried out as they stand, they do."""
    guest = boot("modprobe() { :; }\n"  # its module is there already
                 "ivshmem --backend vfio info 2>/tmp/error; echo status $?; cat /tmp/error\n"
                 "eval \"$(sed 's/.*as root: //' /tmp/error)\"\n"
                 "ivshmem info; echo status $?\n",
                 server=group.server)
    guest.expect("^status 1$", BOOT_LIMIT)
    guest.expect("not bound to vfio-pci; as root: ")
    guest.expect("^back end: vfio$")
    guest.expect("^status 0$")


def test_no_device(boot):
    guest = boot("ivshmem info; echo status $?\nivshmem --target pci:auto info; echo status $?\n")
    guest.expect("^ivshmem: .*no ivshmem PCI device.*unix:PATH.*ivshmem-doorbell", BOOT_LIMIT)
    guest.expect("^status 1$")
    guest.expect("^ivshmem: this machine has no ivshmem PCI device .*ivshmem-doorbell")
    guest.expect("^status 1$")


def test_unprivileged(group, boot):
    """With a chown of the group, a user without any right can be interrupted."""
    guest = boot("bind-vfio\nmkdir -p /etc; echo user:x:1000:1000::/:/bin/sh >/etc/passwd\n"
                 "su user -c 'ivshmem info'; echo status $?\n"
                 "chown 1000 /dev/vfio/[0-9]*\n"
                 "su user -c 'ivshmem info'; echo status $?\n",
                 server=group.server)
    assert "chown" in guest.expect("^ivshmem: .*$", BOOT_LIMIT).group()
    guest.expect("^status 1$")
    guest.expect("^status 0$")


# ---- coming and going


def test_killed_guest_is_seen(group, boot):
    guest = start_shell(boot, server=group.server)
    guest.process.kill()
    group.monitor.expect("peer 1 left")


@pytest.mark.parametrize("shell", [VFIO_SHELL, SYSFS_SHELL], ids=["vfio", "sysfs"])
def test_unplugged(group, boot, shell):
    """A program is told that its device goes, and when it has let go the device does go."""
    guest = start_shell(boot, shell, server=group.server, devices=ROOT_PORT, bus="root-port")
    unplug(group, guest)
    guest.expect("^device lost: ", BOOT_LIMIT)
    guest.send("quit\n")
    guest.wait_event("DEVICE_DELETED", BOOT_LIMIT)
    # The connection to the server belongs to QEMU's character device, which outlives the PCI device.
    assert "peer 1 left" not in group.monitor.stdout
    guest.monitor("chardev-remove", id="ivshmem-server")
    group.monitor.expect("peer 1 left")

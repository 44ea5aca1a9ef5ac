# SPDX-License-Identifier: BSD-2-Clause
"""
ivshmem.ko in Linux guests, with each kind of device: the programs of tests/driver look at all that it promises to
programs in the guest. No guest has a virtual IOMMU, or needs one. Behind a root port, a device can be reset.
"""

import os
import re

import pytest

import ivshmem_wire as wire
import vm
from in_guest import BOOT_LIMIT, ROOT_PORT, SHELL, say, unplug

pytestmark = pytest.mark.limit(400)

VECTORS = 4

SCRIPT = """
insmod /modules/ivshmem.ko || exit 9
for device in /sys/bus/pci/devices/*; do
	[ "$(cat $device/vendor) $(cat $device/device)" != "0x1af4 0x1110" ] || break
done
export PCI=$device TEST_COUNT_DIVISOR=%d
driver-driver
driver-leaving
for name in interrupts doorbell revision vectors; do echo $name $(cat /sys/class/ivshmem/ivshmem0/$name); done
rmmod ivshmem && echo removed
""" % wire.sized(10, 1)

# What cannot be tested with a device, because it has no such thing.
NO_WORDS = {"words_ring"}
NO_VECTORS = NO_WORDS | {
    "a_ring_reaches_an_eventfd", "every_vector_comes_by_itself", "a_batch_rings_all", "rings_wait_for_somebody_who_listens",
    "several_may_have_one_vector", "who_listens_after_a_reset_is_told", "one_may_have_a_vector_alone", "a_process_that_dies_leaves_word",
    "a_read_that_fails_loses_nothing", "a_short_read_leaves_the_rest", "a_signal_ends_a_read_and_takes_nothing",
}
ONE_VECTOR = NO_WORDS | {"a_batch_rings_all", "a_process_that_dies_leaves_word", "a_short_read_leaves_the_rest"}


@pytest.fixture(scope="session")
def driver(image):
    def program(name):
        with open(os.path.join(wire.BUILD, "tests", "driver", name), "rb") as file:
            return file.read()

    return {"modules/ivshmem.ko": vm.build_driver(image), "bin/driver-driver": program("driver-driver"),
            "bin/driver-leaving": program("driver-leaving"), "bin/driver-fuzz": program("driver-fuzz")}


@pytest.fixture(scope="session")
def narrow_driver(driver):
    """With a program of 32 bits in the place of the same of 64."""
    path = os.path.join(wire.BUILD, "tests", "driver", "driver-driver-32")
    if not os.path.exists(path):
        pytest.skip("the compiler makes no programs of 32 bits")
    with open(path, "rb") as file:
        return {**driver, "bin/driver-driver": file.read()}


def check(guest, skipped, **attributes):
    """Every test of both programs passed, but for those that this device cannot have."""
    status, lines = guest.wait_script(wire.sized(300, 3000))
    report = "\n".join(line for line in lines if not line.startswith("ok")) + "\n" + guest.report()
    assert status == 0, report
    planned = sum(int(number) for line in lines for number in re.findall(r"^1\.\.(\d+)$", line))
    results = [match for line in lines if (match := re.match(r"(ok|not ok) \d+ - (\w+)( # SKIP.*)?$", line))]
    assert planned > 0 and len(results) == planned, report
    assert all(match[1] == "ok" for match in results), report
    assert {match[2] for match in results if match[3]} == skipped, report
    for name, value in attributes.items():
        assert f"{name} {value}" in lines, report
    assert lines[-1] == "removed", report
    check_console(guest)


def check_console(guest):
    console = guest.console_output()
    assert not re.search(r"WARNING:|BUG:|Call Trace|refcount_t|nobody cared", console), console[-5000:]


def test_driver_with_qemus_doorbell_device(server, boot, driver):
    guest = boot(SCRIPT, server=server("-l", "4M", vectors=VECTORS), bus="root-port", devices=ROOT_PORT, iommu=None, files=driver)
    guest.expect("^TAP version", BOOT_LIMIT)
    check(guest, NO_WORDS, interrupts="msix", doorbell="register", revision=1, vectors=VECTORS)


def test_driver_with_qemus_plain_device(boot, driver):
    devices = ["-object", "memory-backend-memfd,id=memory,size=4M,share=on", "-device", "ivshmem-plain,memdev=memory,bus=root-port"]
    guest = boot(SCRIPT, devices=ROOT_PORT + devices, iommu=None, files=driver)
    check(guest, NO_VECTORS, interrupts="none", doorbell="register", revision=1, vectors=0)


@pytest.mark.parametrize("words", ["off", "on"])
def test_driver_with_our_device(server, device, boot, driver, words):
    ours = device("--server", server("-l", "4M", vectors=VECTORS).path, "--vectors", str(VECTORS), "--doorbell-bar", words)
    guest = boot(SCRIPT, device=ours, bus="root-port", devices=ROOT_PORT, iommu=None, files=driver)
    check(guest, set() if words == "on" else NO_WORDS, interrupts="msix", doorbell="words" if words == "on" else "register",
          revision=1, vectors=VECTORS)


def test_driver_with_programs_of_32_bits(server, device, boot, narrow_driver):
    ours = device("--server", server("-l", "4M", vectors=VECTORS).path, "--vectors", str(VECTORS), "--doorbell-bar", "on")
    guest = boot(SCRIPT, device=ours, bus="root-port", devices=ROOT_PORT, iommu=None, files=narrow_driver)
    check(guest, set(), doorbell="words")


@pytest.mark.parametrize("msi", ["on", "off"])
def test_driver_with_revision_0(server, device, boot, driver, msi):
    """With MSI-X, and with INTx, which has one vector."""
    ours = device("--server", server("-l", "4M", vectors=VECTORS).path, "--vectors", str(VECTORS), "--revision", "0", "--msi", msi)
    guest = boot(SCRIPT, device=ours, bus="root-port", devices=ROOT_PORT, iommu=None, files=driver)
    if msi == "on":
        check(guest, NO_WORDS, interrupts="msix", revision=0, vectors=VECTORS)
    else:
        check(guest, ONE_VECTOR, interrupts="intx", revision=0, vectors=1)


FUZZ = """
insmod /modules/ivshmem.ko || exit 9
for device in /sys/bus/pci/devices/*; do
	[ "$(cat $device/vendor) $(cat $device/device)" != "0x1af4 0x1110" ] || break
done
PCI=$device driver-fuzz %d && rmmod ivshmem && echo removed
"""
FUZZ_SECONDS = int(os.environ.get("IVSHMEM_FUZZ_SECONDS", "5"))


@pytest.mark.limit(300 + 2 * FUZZ_SECONDS)
def test_anything_is_asked_for(server, device, boot, driver):
    """And the kernel has nothing to say about it. For longer: IVSHMEM_FUZZ_SECONDS=600."""
    ours = device("--server", server("-l", "4M", vectors=VECTORS).path, "--vectors", str(VECTORS), "--doorbell-bar", "on")
    guest = boot(FUZZ % FUZZ_SECONDS, device=ours, bus="root-port", devices=ROOT_PORT, iommu=None, files=driver, cpus=2)
    seed = guest.expect(r"^seed \d+$", BOOT_LIMIT).group()
    status, lines = guest.wait_script(200 + 2 * FUZZ_SECONDS)
    assert status == 0, (seed, lines, guest.report())
    # Most find no device, or are wrong. A fuzzer of which nothing works would find nothing.
    assert int(re.search(r"\d+ calls, (\d+) of them worked", "\n".join(lines))[1]) > 100, (seed, lines)
    check_console(guest)


# ---- the same with libivshmem and the command line, which use the driver if it is there

AS_USER = """
load-driver || exit 9
as_user() { su user -c "$1"; }
"""
ROUND_TRIPS = 2500
FIRST_PING = 2  # the monitor is peer 0, and the guest 1


@pytest.mark.under_kvm
def test_rings_each_way_are_counted_exactly(group, boot, driver):
    """Four processes of an ordinary user share the device; each answers every ring of its vector, and no ring is lost."""
    echoes = "".join(f"as_user 'ivshmem echo {FIRST_PING + vector}:{vector} --count {ROUND_TRIPS} 2>&1; echo echo {vector} $?' &\n" for vector in range(VECTORS))
    guest = boot(AS_USER + "as_user 'ivshmem info'\n" + echoes + "wait\n", server=group.server, iommu=None, files=driver)
    guest.expect("^back end: kernel$", BOOT_LIMIT)
    guest.expect("^mapping:  write-back$")
    for _ in range(VECTORS):
        guest.expect("echoing as peer 1")
    pings = []
    for vector in range(VECTORS):
        pings.append(group.cli("ping", f"1:{vector}", "--count", str(ROUND_TRIPS), "--timeout", "60"))
        pings[-1].expect(f"ivshmem: ringing as peer {FIRST_PING + vector}", "stderr")
    for ping in pings:
        assert ping.wait(240) == 0, ping.describe()
    status, lines = guest.wait_script()
    assert status == 0, lines
    assert sorted(line for line in lines if line.startswith("echo")) == [f"echo {vector} 0" for vector in range(VECTORS)], lines


HEARING = """
insmod /modules/ivshmem.ko || exit 9
echo loaded
read -r line
ivshmem info
for vector in 1 2; do
	ivshmem wait --vector $vector >/tmp/out$vector 2>/tmp/err$vector & eval wait$vector=$!
done
for vector in 1 2; do
	eval pid=\\$wait$vector
	until grep -q "waiting as peer 1" /tmp/err$vector && grep -q "^271 " /proc/$pid/syscall; do sleep 0.1; done
	grep "^$pid " /sys/class/ivshmem/ivshmem0/holders | sed "s/^$pid/hears/"
done
switches() { grep -h "^voluntary" /proc/$wait2/status; }
before=$(switches)
echo waiting
wait $wait1 && cat /tmp/out1
[ "$before" = "$(switches)" ] && echo nobody else woke
wait $wait2 && cat /tmp/out2
ivshmem wait --vector 3 --timeout 60
"""


def test_a_process_hears_the_vector_that_it_waits_for(group, boot, driver):
    """One that waits (in ppoll, 271) for another vector is not woken; one that only looks leaves rings to others."""
    guest = boot(HEARING, server=group.server, iommu=None, files=driver)
    guest.expect("^loaded$", BOOT_LIMIT)
    group.run("ring", "1:3")
    guest.send("\n")
    for vector in (1, 2):
        guest.expect(f"^hears {vector}$", BOOT_LIMIT)
    guest.expect("^waiting$")
    for vector in (1, 2):
        group.run("ring", f"1:{vector}")
        guest.expect(f"^vector {vector} count 1$")
        if vector == 1:
            guest.expect("^nobody else woke$")
    guest.expect("^vector 3 count 1$")
    assert guest.wait_script()[0] == 0


@pytest.mark.parametrize("group", [512], indirect=True)
def test_more_vectors_than_the_processors_have_room_for(group, boot, driver):
    """Who wants all is told so; who wants one gets it; who wants none gets by."""
    guest = boot("insmod /modules/ivshmem.ko || exit 9\nivshmem monitor 2>&1; ivshmem info | grep ^vectors\n"
                 "ivshmem wait --vector 500 --timeout 60\n", server=group.server, iommu=None, files=driver)
    guest.expect("does not give us interrupt vector .* processors have no room for it", BOOT_LIMIT)
    guest.expect("^vectors: +512$")
    group.run("ring", "1:500")
    guest.expect("^vector 500 count 1$")
    assert guest.wait_script()[0] == 0


def test_who_may_not_open_the_node_is_told_how_to(group, boot, driver):
    guest = boot(AS_USER + "chgrp 0 /dev/ivshmem0\nas_user 'ivshmem info' 2>&1; as_user 'ivshmem -t dev:/dev/null info' 2>&1\n"
                 "chgrp ivshmem /dev/ivshmem0; as_user 'ivshmem -t dev:/dev/ivshmem0 info'\n",
                 server=group.server, iommu=None, files=driver)
    guest.expect("no permission to open /dev/ivshmem0; as root: usermod -aG ivshmem", BOOT_LIMIT)
    guest.expect("/dev/null is not a node of the driver ivshmem")
    guest.expect("^back end: kernel$")
    assert guest.wait_script()[0] == 0


def test_memory_both_ways_through_the_driver(group, boot, driver):
    guest = boot(AS_USER + "as_user 'echo said by the guest | ivshmem write 4096'\necho written\nread -r line\n"
                 "as_user 'ivshmem read 8192 --text'\n", server=group.server, iommu=None, files=driver)
    guest.expect("^written$", BOOT_LIMIT)
    assert bytes(group.run("read", "4096", "18")) == b"said by the guest\n"
    there = group.cli("write", "8192", stdin=wire.subprocess.PIPE)
    there.process.stdin.write(b"said by the host\0")
    there.process.stdin.close()
    there.process.stdin = None
    assert there.wait() == 0
    guest.send("\n")
    guest.expect("said by the host")
    assert guest.wait_script()[0] == 0


@pytest.mark.parametrize("which", ["qemus", "ours"])
def test_unplugged_under_a_program(group, device, boot, driver, which):
    """
    The program is told, and the device goes at once although the program still has it. Ours comes back; it has no
    MSI-X, with which QEMU would crash (docs/vmms.md).
    """
    if which == "ours":
        ours = device("--server", group.server.path, "--vectors", str(group.vectors), "--revision", "0", "--msi", "off")
        group.monitor.expect("peer 1 joined .*")
        place = {"device": ours, "bus": "root-port"}
    else:
        place = {"server": group.server, "bus": "root-port"}
    guest = boot(AS_USER + SHELL % "", devices=ROOT_PORT, iommu=None, files=driver, **place)
    say(guest, "ready")
    unplug(group, guest)
    guest.expect("^device lost: the device was unplugged", BOOT_LIMIT)
    guest.wait_event("DEVICE_DELETED", BOOT_LIMIT)
    if which == "ours":
        guest.monitor("device_add", **vm.vfio_user_device(ours.path, bus="root-port"))
        guest.send("!while ! [ -e /dev/ivshmem0 ]; do sleep 0.1; done; ivshmem info\n")
        guest.expect("^back end: kernel$", BOOT_LIMIT)
    guest.send("end\n")
    guest.wait_script()


@pytest.mark.parametrize("which", ["qemus", "ours"])
def test_the_guest_sleeps_and_wakes(group, device, boot, driver, which):
    """A program that is attached goes on: everything was told once more, and rings come again, both ways."""
    place = {"server": group.server}
    if which == "ours":
        place = {"device": device("--server", group.server.path, "--vectors", str(group.vectors))}
        group.monitor.expect("peer 1 joined .*")
    guest = boot(AS_USER + SHELL % "", iommu=None, files=driver, **place)
    say(guest, "ready")
    guest.monitor("query-status")
    guest.send("!echo mem >/sys/power/state; echo awake; cat /sys/class/ivshmem/ivshmem0/generation\n")
    guest.wait_event("SUSPEND", BOOT_LIMIT)
    guest.monitor("system_wakeup")
    for _ in range(2):
        guest.expect(r"^(awake|1)$", BOOT_LIMIT)
    guest.send("counts\nring 0:3\n")
    group.monitor.expect("interrupt vector 3 count 1")
    guest.send("wait 2 1 60\n")
    group.run("ring", "1:2")
    guest.expect("^vector 2 count [12]$")
    guest.send("end\n")
    assert guest.wait_script()[0] == 0

# SPDX-License-Identifier: BSD-2-Clause
"""
ivshmem.ko in Linux guests, with each kind of device: the programs of tests/driver look at all that it promises to
programs in the guest. No guest needs a virtual IOMMU. Behind a root port, a device can be reset.
"""

import os
import re

import pytest

import ivshmem_wire as wire
import vm
from in_guest import BOOT_LIMIT, FIND_DEVICE, ROOT_PORT, SHELL, say, unplug

pytestmark = pytest.mark.limit(400)

VECTORS = 4

LOAD = f"""
insmod /modules/ivshmem.ko || exit 9
{FIND_DEVICE}
export PCI=$device TEST_TIMEOUT_FACTOR={wire.FACTOR}
"""

# A kernel that looks for leaks finds what is older than five seconds and did not change between two looks. What it finds
# goes to the console.
UNLOAD = """
rmmod ivshmem || exit 8
echo removed
leaks=/sys/kernel/debug/kmemleak
if [ -e $leaks ]; then
	sleep 6
	echo scan >$leaks
	echo scan >$leaks
	cat $leaks >/dev/console
fi
"""

SCRIPT = LOAD + f"""
export TEST_COUNT_DIVISOR={wire.sized(10, 1)}
driver-driver
driver-leaving
for name in interrupts doorbell revision vectors; do echo $name $(cat /sys/class/ivshmem/ivshmem0/$name); done
""" + UNLOAD

# What cannot be tested with a device, because it has no such thing.
NO_WORDS = {"words_ring"}
NO_VECTORS = NO_WORDS | {
    "a_ring_reaches_an_eventfd", "every_vector_comes_by_itself", "a_batch_rings_all", "rings_wait_for_somebody_who_listens",
    "several_may_have_one_vector", "who_listens_after_a_reset_is_told", "one_may_have_a_vector_alone",
    "a_process_that_dies_leaves_word", "a_read_that_fails_loses_nothing", "a_short_read_leaves_the_rest",
    "a_signal_ends_a_read_and_takes_nothing",
}
ONE_VECTOR = NO_WORDS | {"a_batch_rings_all", "a_process_that_dies_leaves_word", "a_short_read_leaves_the_rest"}


@pytest.fixture(scope="session")
def driver(image):
    def program(name):
        with open(os.path.join(wire.BUILD, "tests", "driver", name), "rb") as file:
            return file.read()

    names = ("driver-driver", "driver-leaving", "driver-failing", "driver-fuzz")
    return {"modules/ivshmem.ko": vm.build_driver(image), **{f"bin/{name}": program(name) for name in names}}


# What a kernel says of faults. Most of it is only said by the one that looks for them (scripts/vm/debug.config).
# That RCU stalls is said on hosts that are busy.
REPORT = re.compile(r"WARNING:|BUG:|Oops|Call Trace|refcount_t|nobody cared|KASAN|UBSAN|ODEBUG|DEBUG_LOCKS_WARN_ON|"
                    r"(?<!rcu: )INFO: |unreferenced object|suspected memory leaks|list_(add|del) corruption")

# What it says of itself when it is refused memory: that it removes an entry of an interrupt in /proc which it could not
# add, and that there is none for a stack.
OF_ITSELF = re.compile(r"^.*(WARNING: .* remove_proc_entry|vmalloc error: )(.*\n)*?.*</TASK>", re.MULTILINE)


@pytest.fixture
def boot(boot):
    """The kernels of all guests have nothing to say."""
    guests = []

    def start(*arguments, **options):
        guests.append(boot(*arguments, **options))
        return guests[-1]

    yield start
    for guest in guests:
        console = OF_ITSELF.sub("", guest.console_output())
        if found := REPORT.search(console):
            pytest.fail(f"the kernel of {guest.name}:\n{console[max(found.start() - 500, 0):found.start() + 8000]}")


@pytest.fixture(scope="session")
def narrow_driver(driver):
    """With a program of 32 bits in the place of the same of 64."""
    path = os.path.join(wire.BUILD, "tests", "driver", "driver-driver-32")
    if not os.path.exists(path):
        pytest.skip("the compiler makes no programs of 32 bits")
    with open(path, "rb") as file:
        return {**driver, "bin/driver-driver": file.read()}


def check(guest, skipped, **attributes):
    """Every test of the programs passed, but for those that this device cannot have."""
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
    assert "removed" in lines, report


def test_driver_with_qemus_doorbell_device(server, boot, driver):
    guest = boot(SCRIPT, server=server("-l", "4M", vectors=VECTORS), bus="root-port", devices=ROOT_PORT, iommu=None, files=driver)
    guest.expect("^TAP version", BOOT_LIMIT)
    check(guest, NO_WORDS, interrupts="msix", doorbell="register", revision=1, vectors=VECTORS)


@pytest.mark.under_kvm
def test_driver_with_qemus_doorbell_device_behind_an_iommu(server, boot, driver):
    """
    Under KVM, QEMU's device refuses to interrupt for ever if the table is empty when the guest enables MSI-X, as Linux
    does at the start and after a reset.
    """
    guest = boot(LOAD + "driver-driver every_vector_comes_by_itself\ndriver-leaving a_reset_keeps_what_is_held\n" + UNLOAD,
                 server=server("-l", "4M", vectors=VECTORS), bus="root-port", devices=ROOT_PORT, files=driver)
    guest.expect("^TAP version", BOOT_LIMIT)
    check(guest, set())


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


TWO_NODES = """
insmod /modules/ivshmem.ko || exit 9
for n in 0 1; do
	path=$(readlink /sys/class/ivshmem/ivshmem$n/device)
	eval device$n=${path##*/}
done
cd /sys/bus/pci/drivers/ivshmem
echo $device0 >unbind
echo $device1 >unbind
echo $device1 >bind
echo /dev/ivshmem*
echo $device0 >bind
echo /dev/ivshmem*
""" + UNLOAD


def test_a_device_that_comes_back_has_its_number(boot, driver):
    """Also when the other one is not there, which had the first number."""
    devices = [word for name in ("one", "other") for word in (
        "-object", f"memory-backend-memfd,id={name},size=1M,share=on", "-device", f"ivshmem-plain,memdev={name}")]
    status, lines = boot(TWO_NODES, devices=devices, iommu=None, files=driver).wait_script(BOOT_LIMIT)
    assert status == 0, lines
    assert lines == ["/dev/ivshmem1", "/dev/ivshmem0 /dev/ivshmem1", "removed"], lines


# What a kernel that can make calls fail is told: no words about it, and any memory may be refused.
FAILURES = """
for what in failslab fail_page_alloc fail_usercopy; do
	for setting in verbose=0 task-filter=Y times=-1 ignore-gfp-wait=N min-order=0; do
		file=/sys/kernel/debug/$what/${setting%=*}
		! [ -e $file ] || echo ${setting#*=} >$file
	done
done
"""
# One in fifty times, to processes that ask for it.
REFUSALS = """
for what in failslab fail_page_alloc; do
	! [ -d /sys/kernel/debug/$what ] || echo 2 >/sys/kernel/debug/$what/probability
done
"""

FUZZ_SECONDS = int(os.environ.get("IVSHMEM_FUZZ_SECONDS", "5"))
FUZZ = LOAD + FAILURES + REFUSALS + f"driver-fuzz {FUZZ_SECONDS} || exit 1" + UNLOAD


@pytest.mark.limit(300 + 2 * FUZZ_SECONDS)
def test_anything_is_asked_for(server, device, boot, driver):
    """And the kernel has nothing to say about it. For longer: IVSHMEM_FUZZ_SECONDS=600."""
    ours = device("--server", server("-l", "4M", vectors=VECTORS).path, "--vectors", str(VECTORS), "--doorbell-bar", "on")
    guest = boot(FUZZ, device=ours, bus="root-port", devices=ROOT_PORT, iommu=None, files=driver, cpus=2)
    seed = guest.expect(r"^seed \d+$", BOOT_LIMIT).group()
    status, lines = guest.wait_script(200 + 2 * FUZZ_SECONDS)
    assert status == 0, (seed, lines, guest.report())
    # Most find no device, or are wrong. A fuzzer of which nothing works would find nothing.
    assert int(re.search(r"\d+ calls, (\d+) of them worked", "\n".join(lines))[1]) > 100, (seed, lines)


# ---- what takes a kernel that finds faults

def our_device_behind_a_root_port(server, device):
    ours = device("--server", server("-l", "4M", vectors=VECTORS).path, "--vectors", str(VECTORS), "--doorbell-bar", "on")
    return {"device": ours, "bus": "root-port", "devices": ROOT_PORT, "iommu": None}


@pytest.mark.debug_kernel
def test_whatever_fails_changes_nothing(server, device, boot, driver):
    guest = boot(LOAD + FAILURES + "driver-failing --verbose" + UNLOAD, files=driver,
                 **our_device_behind_a_root_port(server, device))
    check(guest, set())


# The kernel releases objects seconds later than usual, those of the driver among them, and two cannot have one name.
CYCLES = """
for i in $(seq 10); do
	rmmod ivshmem || exit 1
	while [ -e /sys/bus/pci/drivers/ivshmem ]; do sleep 0.1; done
	insmod /modules/ivshmem.ko || exit 1
	[ -e /dev/ivshmem0 ] || exit 2
done
"""


@pytest.mark.debug_kernel
@pytest.mark.limit(1000)
def test_a_thousand_comings_and_goings(server, device, boot, driver):
    guest = boot(LOAD + "driver-leaving openers_beside_unbinds" + CYCLES + UNLOAD, files=driver, cpus=2,
                 **our_device_behind_a_root_port(server, device))
    check(guest, set())


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
    echoes = "".join(f"as_user 'ivshmem echo {FIRST_PING + vector}:{vector} --count {ROUND_TRIPS} 2>&1; echo echo {vector} $?' &\n"
                     for vector in range(VECTORS))
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

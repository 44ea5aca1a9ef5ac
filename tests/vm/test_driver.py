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
from in_guest import BOOT_LIMIT, ROOT_PORT

pytestmark = [pytest.mark.limit(400), pytest.mark.under_kvm]

VECTORS = 4

SCRIPT = """
insmod /modules/ivshmem.ko || exit 9
for device in /sys/bus/pci/devices/*; do
	[ "$(cat $device/vendor) $(cat $device/device)" != "0x1af4 0x1110" ] || break
done
export PCI=$device TEST_COUNT_DIVISOR=10
driver-driver
driver-leaving
for name in interrupts doorbell revision vectors; do echo $name $(cat /sys/class/ivshmem/ivshmem0/$name); done
rmmod ivshmem && echo removed
"""

# What cannot be tested with a device, because it has no such thing.
NO_WORDS = {"words_ring"}
NO_VECTORS = NO_WORDS | {
    "a_ring_reaches_an_eventfd", "every_vector_comes_by_itself", "a_batch_rings_all", "rings_wait_for_somebody_who_listens",
    "several_may_have_one_vector", "one_may_have_a_vector_alone", "a_process_that_dies_leaves_word",
}
ONE_VECTOR = NO_WORDS | {"a_batch_rings_all", "a_process_that_dies_leaves_word"}


@pytest.fixture(scope="session")
def driver(image):
    def program(name):
        with open(os.path.join(wire.BUILD, "tests", "driver", name), "rb") as file:
            return file.read()

    return {"modules/ivshmem.ko": vm.build_driver(image), "bin/driver-driver": program("driver-driver"),
            "bin/driver-leaving": program("driver-leaving")}


def check(guest, skipped, **attributes):
    """Every test of both programs passed, but for those that this device cannot have."""
    status, lines = guest.wait_script(300)
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
    console = guest.console_output()
    assert not re.search(r"WARNING:|BUG:|Call Trace|refcount_t", console), console[-5000:]


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


@pytest.mark.parametrize("msi", ["on", "off"])
def test_driver_with_revision_0(server, device, boot, driver, msi):
    """With MSI-X, and with INTx, which has one vector."""
    ours = device("--server", server("-l", "4M", vectors=VECTORS).path, "--vectors", str(VECTORS), "--revision", "0", "--msi", msi)
    guest = boot(SCRIPT, device=ours, bus="root-port", devices=ROOT_PORT, iommu=None, files=driver)
    if msi == "on":
        check(guest, NO_WORDS, interrupts="msix", revision=0, vectors=VECTORS)
    else:
        check(guest, ONE_VECTOR, interrupts="intx", revision=0, vectors=1)

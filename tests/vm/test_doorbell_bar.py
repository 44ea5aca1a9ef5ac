# SPDX-License-Identifier: BSD-2-Clause
"""
A device with --doorbell-bar on in a Linux guest: the guest finds BAR4 and what announces it, and the tool
rings there. The host, a monitor, is peer 0, the device peer 1.
"""

import json
import re

import pytest

import lspci
from in_guest import BOOT_LIMIT, SHELL, VFIO_SHELL, finish, plug, say, wake, wake_host

# With words.
pytestmark = [pytest.mark.limit(300), pytest.mark.parametrize("member", [("--doorbell-bar", "on")], indirect=True, ids=[""])]

# As QEMU tells of accesses to the device that it hands on: "vfio_region_write  (...:region4+0x4, 0x1, 4)".
WRITE = re.compile(r"vfio_region_write .*:region(\d)\+(0x[0-9a-f]+), (0x[0-9a-f]+), (\d)\)")


def writes(guest, region):
    """The accesses to a region up to now: (offset, value, size). The guest has a shell."""
    say(guest, "written")  # the guest's processor has gone on, so QEMU is done with what came before
    return [tuple(int(number, 0) for number in found[1:]) for found in WRITE.findall(guest.qemu_output())
            if found[0] == str(region)]


# Four vectors: 16 bytes for each peer.
WORDS = [(4 * vector, 1, 4) for vector in range(4)]


def test_guest_rings_by_words(group, member, boot, image):
    """Through both back ends, each ring is a write to its word, and the register is not touched."""
    guest = boot(
        "ivshmem --backend sysfs --json info\n"
        "read -r line\n"
        "for vector in 0 1 2 3; do ivshmem --backend sysfs ring 0:$vector; read -r line; done\n" + VFIO_SHELL,
        device=member, devices=["-trace", "vfio_region_write"], files=lspci.files(image.cache))
    as_json = json.loads(guest.expect(r"^\{.*\}$", BOOT_LIMIT).group())
    assert (as_json["backend"], as_json["doorbell"]) == ("sysfs", "words")
    wake_host(group, guest, *range(group.vectors), command="%d\n")
    guest.send("\n")
    say(guest, "ready")
    assert writes(guest, 4) == WORDS

    guest.send("info\n")
    guest.expect("^doorbell: words$")
    wake_host(group, guest, *range(group.vectors))
    assert writes(guest, 4) == 2 * WORDS
    assert not [at for at, _, _ in writes(guest, 0) if at == 12]

    # To itself, to nobody, and by the register all the same, which nothing but our library leaves alone.
    guest.send("ring 1:2\nwait 2 1 60\n")
    guest.expect("^vector 2 count 1$")
    guest.send("ring 9:0\nring 65535:3\n")
    wake_host(group, guest, *range(group.vectors))
    assert writes(guest, 4)[len(2 * WORDS):] == [(16 + 8, 1, 4), (9 * 16, 1, 4), (65535 * 16 + 12, 1, 4), *WORDS]

    guest.send("!lspci -vv -d 1af4:1110 2>/dev/null; echo end\n")
    guest.expect(r"^\tRegion 4: Memory at [0-9a-f]+ \(64-bit, prefetchable\) \[size=1M\]$")
    guest.expect(r"^\tCapabilities: \[40\] MSI-X: Enable\+ Count=4 Masked-$")
    guest.expect(r"^\tCapabilities: \[4c\] Vendor Specific Information: Len=10 ")
    finish(guest)


@pytest.mark.parametrize("group", [64], indirect=True)
def test_no_room_for_the_words(group, member, boot):
    """A root port that has room for the memory, but not for the 16 MiB of BAR4: rings take the register."""
    guest = plug(boot, member, "8M", "-trace", "vfio_region_write")
    guest.send("info\n")
    guest.expect("^doorbell: register$")
    wake_host(group, guest, *range(group.vectors))
    wake(group, guest, 5)
    assert not writes(guest, 4)
    finish(guest)


@pytest.mark.parametrize("group", [64], indirect=True)
def test_words_that_cannot_be_mapped(group, member, boot):
    """Where the process may not have 16 MiB of addresses more, each ring is a system call, to the same word."""
    guest = boot(
        "bind-vfio; ulimit -v 20000\n"
        "ivshmem --verbose ring 0:63 2>&1; read -r line\n"
        "for vector in $(seq 0 63); do ivshmem ring 0:$vector; read -r line; done\n" + SHELL % "",
        device=member, devices=["-trace", "vfio_region_write"])
    guest.expect("the doorbell words of PCI device .* cannot be mapped: a ring will be a system call", BOOT_LIMIT)
    group.monitor.expect("interrupt vector 63 count 1")
    guest.send("\n")
    wake_host(group, guest, *range(group.vectors), command="%d\n")
    guest.send("info\n")
    guest.expect("^doorbell: words$")
    assert writes(guest, 4) == [(4 * vector, 1, 4) for vector in (63, *range(64))]
    finish(guest)

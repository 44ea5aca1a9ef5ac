# SPDX-License-Identifier: BSD-2-Clause
"""A guest with three devices over vfio-user: of groups with 1 GiB and 4 GiB, and one that is memory only."""

import mmap
import re

import pytest

import ivshmem_wire as wire
import lspci
import vm
from in_guest import BOOT_LIMIT, command

pytestmark = pytest.mark.limit(300)

MIB, GIB = 1 << 20, 1 << 30
VECTORS = 3

# A shell for each device; lines to and from it begin with its number. "!" is for the guest's own shell.
SCRIPT = """
bind-vfio
number=0
for device in /sys/bus/pci/devices/*; do
	[ "$(cat $device/vendor) $(cat $device/device)" = "0x1af4 0x1110" ] || continue
	mkfifo /run/$number
	ivshmem --target pci:${device##*/} shell --exit-on-error </run/$number 2>&1 |
		while read -r line; do echo "$number: $line"; done &
	eval "exec 5$number>/run/$number"
	number=$((number + 1))
done
while read -r number line && [ "$number" != end ]; do
	case $number in
	!) eval "$line" 2>&1 ;;
	*) eval "echo \\"\\$line\\" >&5$number" ;;
	esac
done
exec 50>&- 51>&- 52>&-
wait
"""


def places(size):
    """Around each power of two, in between, and up to the end."""
    found = set(range(0, size, size // 64))
    power = 4096
    while power <= size:
        found |= {power - 64, power}
        power *= 2
    return sorted(place for place in found if place < size)


class Numbered:
    """One of the devices as seen from the guest, and the memory as seen from the host."""

    def __init__(self, guest, number, size, memory):
        self.guest = guest
        self.number = number
        self.size = size
        self.memory = mmap.mmap(memory, size)

    def send(self, text):
        self.guest.send("".join(f"{self.number} {line}\n" for line in text.splitlines()))

    def expect(self, pattern):
        return self.guest.expect(f"^{self.number}: {pattern}$", BOOT_LIMIT)

    def text(self, place):
        return bytes(self.memory[place:place + 32]).split(b"\0")[0].decode()

    def check_memory(self):
        for place in places(self.size):
            text = f"host {self.number} {place:#x}\0".encode()
            self.memory[place:place + len(text)] = text
        for place in places(self.size):
            self.send(f"text {place}\nwrite {place + 32} guest {self.number} {place:#x}")
        self.send("say checked")
        for place in places(self.size):
            self.expect(f"host {self.number} {place:#x}")
        self.expect("checked")
        for place in places(self.size):
            assert self.text(place + 32) == f"guest {self.number} {place:#x}"


def test_three_devices(room, image, server, device, plain, boot):
    sizes = (GIB, 4 * GIB)
    servers = [server("-l", str(size), path=room.file(f"server-{number}"), vectors=VECTORS)
               for number, size in enumerate(sizes)]
    peers = [each.client() for each in servers]
    members = [device("--server", each.path, "--vectors", str(VECTORS), path=room.file(f"device-{number}"))
               for number, each in enumerate(servers)]
    members.append(plain(size=16 * MIB, path=room.file("device-2")))
    for peer in peers:
        peer.follow_until_knows([0, 1])

    devices = [argument for number, each in enumerate(members)
               for argument in vm.vfio_user(each.path, name=f"ivshmem-{number}")]
    guest = boot(SCRIPT, devices=devices, vfio_user=True, files=lspci.files(image.cache))
    with open(room.file("memory"), "r+b") as file:
        three = [Numbered(guest, number, size, memory) for number, (size, memory) in
                 enumerate(zip((*sizes, 16 * MIB), (*(peer.memory for peer in peers), file.fileno())))]
    for each in three:
        each.send("info")
        each.expect(rf"memory: +.*\({each.size} bytes\)")
        each.check_memory()

    # Each device has interrupts of its own, in both directions.
    for number, (each, peer) in enumerate(zip(three[:2], peers)):
        each.send("counts")
        for vector in range(VECTORS):
            each.expect(f"vector {vector} received 0")
        for vector in range(VECTORS):
            each.send(f"wait {vector} 1 60")
            wire.ring(peer.peers[1][vector])
            each.expect(f"vector {vector} count 1")
            each.send(f"ring 0:{vector}")
            wire.wait_rings(peer.peers[0][vector])
        assert not any(map(wire.rings, peers[1 - number].peers[0]))

    printed = command(guest, " lspci -vv -d 1af4:1110 2>/dev/null")
    texts = re.findall(r"^\S.*\n(?:\t.*\n)*", printed, re.MULTILINE)
    assert len(texts) == 3
    for size, text in zip(("1G", "4G"), texts):
        lspci.assert_golden("revision-1", text, SIZE=f"[size={size}]", VECTORS="Count=3")
    lspci.assert_golden("revision-1-plain", texts[2])
    guest.send("end\n")
    assert guest.wait_end() == 0

# SPDX-License-Identifier: BSD-2-Clause
"""
One script of accesses, done to QEMU's device and to ours: what differs is what docs/device.md says, all of it
and nothing else. Ours is seen in three ways, since none shows everything: in QEMU over vfio-user, where QEMU
has the MSI-X table; as a raw client of vfio-user sees it; and embedded in a machine of a few lines.
"""

import os
import re

import pytest

import ivshmem_wire as wire

import script
from boards import BuiltIn, Embedded, OlderQemu, Raw, VfioUser
import vm
from differences import DIFFERENCES, ELSEWHERE, OURS

MIB = 1 << 20
VECTORS = 4

KINDS = {"doorbell": VECTORS, "plain": 0}


class Runs:
    """What the script notes on each board; each is done once."""

    def __init__(self):
        self.room = wire.Room()
        self.notes = {}
        self.made = 0

    def run(self, board, vectors, *arguments, scenes=None):
        """(board, notes); the board has ended."""
        key = board, vectors, arguments, scenes
        if key not in self.notes:
            made = board(self.room, f"board{self.made}", vectors, MIB, *arguments)
            self.made += 1
            try:
                self.notes[key] = made, script.perform(made.start(), scenes)
                made.finish()
            finally:
                made.close()
        return self.notes[key]


@pytest.fixture(scope="module")
def runs():
    runs = Runs()
    yield runs
    runs.room.close()


BOARDS = {board.kind: board for board in (Embedded, VfioUser, Raw)}


def unexplained(board, reference, ours):
    """
    Differences that are not in the list, and entries of the list that show none. Whatever an entry is about,
    it must predict exactly, also where both give the same.
    """
    entries = [entry for entry in DIFFERENCES if board.kind in entry.boards]
    seen, wrong = set(), []
    for name, value in ours.items():
        found = [(entry, match) for entry in entries if (match := re.fullmatch(entry.notes, name))]
        assert len(found) <= 1, f"{name} is in the list twice"
        if not found:
            if value != reference[name]:
                wrong.append(f"{name}: {reference[name]!r} in QEMU, {value!r} here, but there is no such difference")
            continue
        entry, match = found[0]
        if not entry.explains(board, match, reference[name], value):
            wrong.append(f"{name}: {reference[name]!r} in QEMU, {value!r} here: not what '{entry.row}' says")
        elif value != reference[name]:
            seen.add(entry)
    return wrong, [entry for entry in entries if entry not in seen]


def report(lines):
    return "\n".join([f"{len(lines)} differences", *lines[:40]])


def documented(heading):
    """The rows of the tables under a heading of docs/device.md, by what their first column says."""
    with open(os.path.join(wire.ROOT, "docs", "device.md"), encoding="utf-8") as file:
        text = file.read()
    section = text.partition(f"{heading}\n")[2]
    section = re.split(r"^#", section, maxsplit=1, flags=re.MULTILINE)[0]
    rows = re.findall(r"^\| +([^|]*?) \|", section, re.MULTILINE)
    return {row for row in rows if row not in ("", "---")}


# ---- against QEMU -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ours", OURS)
def test_differences_are_the_documented_ones(runs, ours, kind):
    vectors = KINDS[kind]
    _, reference = runs.run(BuiltIn, vectors)
    board, notes = runs.run(BOARDS[ours], vectors)
    assert len(notes) > 5000, "the script has hardly done anything"
    # A board without a table that masks has not done the scenes of that.
    assert notes.keys() <= reference.keys()
    assert board.kind == "raw" or notes.keys() == reference.keys()
    wrong, idle = unexplained(board, reference, notes)
    assert not wrong, report(wrong)
    gone = {(entry.row, entry.notes) for entry in idle if kind == "doorbell" or not entry.server}
    assert not gone, f"documented, but there is no such difference: {gone}"


@pytest.mark.parametrize("kind", KINDS)
def test_older_qemu_is_the_same(runs, kind):
    if OlderQemu.qemu in (None, vm.qemu_with_vfio_user()):
        pytest.skip("there is only one QEMU")
    _, reference = runs.run(BuiltIn, KINDS[kind])
    _, notes = runs.run(OlderQemu, KINDS[kind])
    assert notes == reference


def test_every_documented_difference_has_a_test():
    """And every one that is tested is documented."""
    rows = documented("## What differs from QEMU, and why")
    tested = {entry.row for entry in DIFFERENCES}
    assert not tested & ELSEWHERE.keys()
    assert rows == tested | ELSEWHERE.keys()
    for row, place in ELSEWHERE.items():
        path, test = place.split(": ")
        with open(os.path.join(wire.ROOT, "tests", path), encoding="utf-8") as file:
            assert re.search(rf"^TEST(_WITH)?\({test}\b", file.read(), re.MULTILINE), f"there is no {place}, which should test '{row}'"


# ---- more vectors than a byte counts ----------------------------------------------------------------------

MANY = 300
MANY_SCENES = (script.capability_walk, script.doorbell, script.bar1_reads, script.bar1_writes)


@pytest.mark.parametrize("ours", OURS)
def test_many_vectors(runs, ours):
    scenes = MANY_SCENES + ((script.msix_every_vector,) if ours != "raw" else ())
    _, reference = runs.run(BuiltIn, MANY, scenes=MANY_SCENES + (script.msix_every_vector,))
    board, notes = runs.run(BOARDS[ours], MANY, scenes=scenes)
    wrong, _ = unexplained(board, reference, notes)
    assert not wrong, report(wrong)
    assert notes["doorbell: peer 2 vector 12b"] == "2:299x1"


@pytest.mark.parametrize("vectors", [VECTORS, MANY])
@pytest.mark.parametrize("ours", ["vfio-user", "raw"])
def test_legacy_doorbell_is_as_in_qemu(runs, ours, vectors):
    """Without ioeventfds, which QEMU's has for each vector and which see 16 bits."""
    scenes = (script.doorbell,)
    _, reference = runs.run(BuiltIn, vectors, "ioeventfd=off", scenes=scenes)
    _, notes = runs.run(BOARDS[ours], vectors, "--legacy-doorbell", scenes=scenes)
    assert notes == reference
    assert notes["doorbell: peer 2 vector 101"] == "2:1x1"
    assert notes["doorbell: peer 2 vector 12b"] == ("2:43x1" if vectors == MANY else "")


# ---- revision 0, which QEMU does not have any more --------------------------------------------------------

# Which register a note about config space shows.
SHOWN = [
    (r"config, after reset: read(\d+) (\w\w)", lambda match: (int(match[2], 16), int(match[1]) // 8)),
    (r"random .*: config read(\d+) (\w\w)", lambda match: (int(match[2], 16), int(match[1]) // 8)),
    (r"config: bit \d+ alone in (\w\w)", lambda match: (int(match[1], 16), 4)),
    (r"config: write\d+ (\w\w) \w+", lambda match: (int(match[1], 16) & ~3, 4)),
    (r"sizing (\w\w).*", lambda match: (int(match[1], 16), 4)),
    (r"interrupt status, .*", lambda match: (6, 2)),
]

# Rows of the table of revisions, by byte of config space: what revision 0 has where 1 has this.
REVISION_0 = {
    0x08: ("PCI revision id", lambda byte: byte & ~1),
    0x3D: ("interrupt pin", lambda byte: 1),
    0x18: ("BAR2", lambda byte: byte & ~0xC),
    **{at: ("BAR2", lambda byte: 0) for at in range(0x1C, 0x20)},
}
INTERRUPT_STATUS = "IntrMask, IntrStatus"


def interrupt_requested(name, byte):
    """Bit 3 of the status register. The script looks at it; the dice meet it now and then."""
    match = re.fullmatch(r"interrupt status, command \w+, mask (\w+), status (\w+): (set|taken)", name)
    if match is None:
        return name.startswith("random") and byte & 8
    return 8 * (match[3] == "set" and int(match[1], 16) & int(match[2], 16) != 0)


# With INTx, QEMU says a word to the device after each access.
REVISION_0_IN_QEMU = (
    script.config_after_reset, script.bar_sizing, script.capability_walk, script.bar0_registers,
    script.interrupt_status, script.bar2,
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ours", ["vfio-user", "raw"])
def test_revision_0_differs_from_1_as_documented(runs, ours, kind):
    scenes = None
    if ours == "vfio-user":
        scenes = REVISION_0_IN_QEMU + (tuple(script.WITH_MSIX) if kind == "doorbell" else ())
    _, one = runs.run(BOARDS[ours], KINDS[kind])
    _, zero = runs.run(BOARDS[ours], KINDS[kind], "--revision", "0", scenes=scenes)
    assert zero.keys() <= one.keys()
    seen, wrong = set(), []
    for name, value in zero.items():
        shown = [of(match) for pattern, of in SHOWN if (match := re.fullmatch(pattern, name))]
        expected = one[name]
        if shown:
            offset, size = shown[0]
            data = bytearray(expected.to_bytes(size, "little"))
            for at in range(offset, offset + size):
                old = data[at - offset]
                row, change = REVISION_0.get(at, (INTERRUPT_STATUS, lambda byte: byte))
                data[at - offset] = change(old)
                if at == 6:
                    data[at - offset] |= interrupt_requested(name, value >> 8 * (at - offset))
                if data[at - offset] != old:
                    seen.add(row)
            expected = int.from_bytes(data, "little")
        if value != expected:
            wrong.append(f"{name}: {value!r} in revision 0 instead of {expected!r}")
    assert not wrong, report(wrong)
    assert seen == {row for row, _ in REVISION_0.values()} | {INTERRUPT_STATUS}
    assert seen <= documented("# The device"), "rows that docs/device.md does not have"

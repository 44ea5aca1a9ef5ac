# SPDX-License-Identifier: BSD-2-Clause
"""
The deliberate differences between QEMU's device and ours, row by row of docs/device.md: which notes of the
script show it, on which boards, and what each side gives. Nothing else may differ, and all of this must.
"""

import re
from typing import Callable, NamedTuple

from boards import FIRST, LAST, MASK, OWN, POSITION, STATUS
from script import OLD_MASK, OLD_STATUS, RINGING, ones, words

# Boards with our device: the table is the library's, QEMU's, or nobody's.
EMBEDDED, VFIO_USER, RAW = "embedded", "vfio-user", "raw"
OURS = (EMBEDDED, VFIO_USER, RAW)


class Difference(NamedTuple):
    """
    row		of docs/device.md
    boards	where it can be seen
    notes	a pattern for the names of notes
    server	whether it takes one, so that a plain device cannot show it
    gives	from the board and the match: what QEMU's device gives, and what ours does; or
    allows	from these two: whether they may be so
    """

    row: str
    boards: tuple
    notes: str
    gives: Callable = None
    allows: Callable = None
    server: bool = True

    def explains(self, board, match, qemu, ours):
        if self.allows:
            return self.allows(qemu, ours)
        return (qemu, ours) == self.gives(board, match)


def exactly(table):
    """gives, of a table: note to what both give."""
    return "|".join(re.escape(name) for name in table), lambda _board, match: table[match[0]]


# ---- config space -----------------------------------------------------------------------------------------


def status(board):
    return 0x100000 if board.vectors else 0


def beyond(board, offset):
    """Behind the header and the capability."""
    return offset >= (0x4C if board.vectors else 0x40)


def bit_beyond(board, match):
    bit, offset = int(match[1]), int(match[2], 16)
    if beyond(board, offset):
        return 1 << bit, 0
    same = {0x40: 0x30011 | (1 << bit if bit in (30, 31) else 0), 0x44: 1, 0x48: 0x801}[offset]
    return same, same


def ones_beyond(board, match):
    size, offset = int(match[1]) // 8, int(match[2], 16)
    if beyond(board, offset):
        return ones(size) << 8 * (offset & 3), 0
    same = {0x40: 0x30011, 0x44: 1, 0x48: 0x801}[offset & ~3]
    if offset + size == 0x44:
        same |= 0xC0000000
    return same, same


# ---- BAR0: QEMU's takes accesses of any size as one of 32 bits ---------------------------------------------


def pieces(offset, size, largest):
    """How QEMU's memory core cuts an access: each piece is aligned."""
    while size:
        piece = largest
        while piece > size or offset % piece:
            piece //= 2
        yield offset, piece
        offset, size = offset + piece, size - piece


class Registers:
    def __init__(self, board):
        self.vectors = board.vectors
        self.mask, self.status, self.rung = OLD_MASK, OLD_STATUS, {}

    def read(self, offset):
        if offset == STATUS:
            value, self.status = self.status, 0
            return value
        return {MASK: self.mask, POSITION: OWN if self.vectors else 0}.get(offset, 0)

    def write(self, offset, value):
        if offset == MASK:
            self.mask = value
        elif offset == STATUS:
            self.status = value
        elif offset == 12:
            key = value >> 16, value & 0xFF
            if key[0] in (FIRST, LAST) and key[1] < self.vectors:
                self.rung[key] = self.rung.get(key, 0) + 1


def our_pieces(board, offset, size):
    """Who embeds the device gives it an access as it is; QEMU cuts only what is not aligned."""
    found = pieces(offset, size, 8) if board.kind == VFIO_USER else [(offset, size)]
    return [(at, piece) for at, piece in found if piece == 4 and at % 4 == 0]


def bar0_read(board, match):
    size, offset = int(match[1]) // 8, int(match[2], 16)

    def give(cut):
        registers, value = Registers(board), 0
        for at, piece in cut:
            value |= (registers.read(at) & ones(piece)) << 8 * (at - offset)
        return value, registers.mask, registers.status

    return give(pieces(offset, size, 4)), give(our_pieces(board, offset, size))


def bar0_write(board, match):
    size, offset = int(match[1]) // 8, int(match[2], 16)

    def give(cut):
        registers = Registers(board)
        for at, piece in cut:
            registers.write(at & ~3, RINGING >> 8 * (at - offset) & ones(piece))
        return registers.mask, registers.status, words(registers.rung)

    return give(pieces(offset, size, 4)), give(our_pieces(board, offset, size))


def doorbell(board, match):
    """The reference has ioeventfds: who is named exactly is rung, all others by 8 bits."""
    peer, vector = int(match[1], 16), int(match[2], 16)

    def ring(vector):
        return words({(peer, vector): 1}) if peer in (FIRST, LAST) and vector < board.vectors else ""

    return ring(vector) or ring(vector & 0xFF), ring(vector)


def undecoded(board, match):
    return {
        "BAR0 without decoding: read 0": (0, OLD_MASK),
        "BAR0 without decoding: read 8": (0, OWN if board.vectors else 0),
        "BAR0 without decoding: doorbell": ("", words({(FIRST, 0): 1}) if board.vectors else ""),
        "BAR0 with decoding again": ((OLD_MASK, OLD_STATUS), (0x55, OLD_STATUS)),
        "BAR1 without decoding: read c": (0, 1),
    }[match[0]]


# ---- BAR1 --------------------------------------------------------------------------------------------------


def filled(board):
    return {4 * at: 1 if at % 4 == 3 else 0x81828300 + 4 * at & 0xFFFFFFFF for at in range(4 * board.vectors)}


def acting(cut):
    """Of these pieces, the dwords that an access reaches."""
    dwords = []
    for offset, piece in cut:
        if piece in (4, 8) and offset % piece == 0:
            dwords += range(offset, offset + piece, 4)
    return dwords


def bar1_read(board, match):
    size, offset = int(match[1]) // 8, int(match[2], 16)

    def give(cut):
        return sum(filled(board).get(at, 0) << 8 * (at - offset) for at in acting(cut))

    return give(pieces(offset, size, 8)), give([(offset, size)])


def bar1_write(board, match):
    size, offset = int(match[1]) // 8, int(match[2], 16)

    def give(cut):
        table = filled(board)
        for at in acting(cut):
            if at in table:
                table[at] = 0xF7F6F5F4F3F2F1F0 >> 8 * (at - offset) & ones(4)
        first = max(0, (offset & ~7) - 8)
        return tuple(table.get(at, 0) for at in range(first, min(first + 32, board.bar1_size), 4))

    return give(pieces(offset, size, 8)), give([(offset, size)])


# ---- the list ----------------------------------------------------------------------------------------------

BAR0 = "BAR0 accesses of 8, 16, 64 bits and unaligned"
BAR0_IN_QEMU = "BAR0 accesses of 64 bits, unaligned"
BAR1 = "BAR1 accesses of 64 bits, unaligned"
BEYOND = "config space behind the capability (from 4c on, if plain from 40 on)"
OPEN_BEFORE = "pending bits of a vector that was open before"

DIFFERENCES = [
    Difference("doorbell vector", OURS, r"doorbell: peer (\w+) vector (\w+)", doorbell),
    Difference(BAR0, (EMBEDDED, RAW), r"BAR0: read(\d+) (\w\w)", bar0_read, server=False),
    Difference(BAR0, (EMBEDDED, RAW), r"BAR0: write(\d+) (\w\w)", bar0_write, server=False),
    Difference(BAR0, (VFIO_USER,), r"BAR0: read(\d+) (\w[08]|(?<!64 )\w\w)", bar0_read, server=False),
    Difference(BAR0, (VFIO_USER,), r"BAR0: write(\d+) (\w[08]|(?<!64 )\w\w)", bar0_write, server=False),
    Difference(BAR0_IN_QEMU, (VFIO_USER,), r"BAR0: read(64) (\w[^08])", bar0_read),
    Difference(BAR0_IN_QEMU, (VFIO_USER,), r"BAR0: write(64) (\w[^08])", bar0_write, server=False),
    Difference(BAR1, (EMBEDDED, RAW), r"BAR1: read(\d+) (\w+)", bar1_read),
    Difference(BAR1, (EMBEDDED, RAW), r"BAR1: write(\d+) (\w+)", bar1_write),
    Difference(
        "ring before MSI-X is enabled",
        (EMBEDDED, VFIO_USER),
        *exactly(
            {
                "MSI-X, before it is enabled, rung: pending": ([], [0, 1]),
                "MSI-X, before it is enabled, enabled: pending": ([], [1]),
                "MSI-X, before it is enabled, enabled: messages": ({}, {0: 0x1000}),
                "MSI-X, before it is enabled, unmasked: messages": ({}, {1: 0x1001}),
            }
        ),
    ),
    Difference(
        "ring without bus mastering",
        (EMBEDDED,),
        *exactly(
            {
                "MSI-X, no bus mastering, rung: pending": ([1], [0, 1]),
                "MSI-X, no bus mastering, unmasked: pending": ([], [0, 1]),
                "MSI-X, no bus mastering, on again: messages": ({}, {0: 0x1000, 1: 0x1001}),
            }
        ),
    ),
    Difference(
        "message address",
        (EMBEDDED,),
        r"MSI-X, address, bits 1 and 0 are (\d): messages",
        lambda _board, match: ({0: 0x5A << 8 * int(match[1])}, {0: 0x5A}),
    ),
    Difference(
        "command register",
        OURS,
        r"config: (?:bit 6 alone in 04|write8 04 ff|write16 04 ffff)",
        lambda board, match: {
            "config: bit 6 alone in 04": (status(board), status(board) | 0x40),
            "config: write8 04 ff": (status(board) | 0x07, status(board) | 0x47),
            "config: write16 04 ffff": (status(board) | 0x507, status(board) | 0x547),
        }[match[0]],
        server=False,
    ),
    Difference(
        "latency timer (0d)",
        OURS,
        r"config: bit (8|9|1[0-5]) alone in 0c",
        lambda _board, match: (0, 1 << int(match[1])),
        server=False,
    ),
    Difference(
        "latency timer (0d)",
        OURS,
        *exactly({"config: write8 0d ff": (0, 0xFF00), "config: write16 0c ffff": (0xFF, 0xFFFF)}),
        server=False,
    ),
    Difference(BEYOND, OURS, r"config: bit (\d+) alone in ([4-9a-f]\w)", bit_beyond, server=False),
    Difference(BEYOND, OURS, r"config: write(\d+) ([4-9a-f]\w) f+", ones_beyond, server=False),
    Difference(
        "BAR0 or BAR1 while memory decoding is off", (RAW,), r"BAR[01] with(?:out)? decoding.*", undecoded, server=False
    ),
    Difference(
        OPEN_BEFORE,
        (VFIO_USER,),
        *exactly(
            {
                "MSI-X, masked vector, masked after use: pending": ([1], []),
                "MSI-X, function mask, masked again: pending": ([1, 2], [2]),
                "MSI-X, function mask, a vector unmasked meanwhile: pending": ([1, 2], [2]),
                "MSI-X, entry, masked by a write of 64 bits: pending": ([0], []),
                "MSI-X, entry, control word ffffffff: pending": ([0], []),
            }
        ),
    ),
    Difference(
        OPEN_BEFORE,
        (VFIO_USER,),
        r"MSI-X, random \d with MSI-X, \d+: pending",
        allows=lambda qemu, ours: set(ours) <= set(qemu),
    ),
]


# Where that is tested which no accesses show: a peer, a start, a save, or a device of 2010 takes part in it.
MODEL = "model/device/device.c: device_against_naive_device"  # which knows them all
ELSEWHERE = {
    "unmasking a vector the server never connected": "unit/device/msix.c: unmask_unconnected_vector",
    "a peer's id comes again, or leaves twice": MODEL,
    "more eventfds than vectors": MODEL,
    "memory size no power of two": "unit/device/config.c: memory_size_out_of_range",
    "`vectors` too large": "unit/device/config.c: vectors_out_of_range",
    # 2010
    "INTx while MSI-X is enabled": "unit/device/registers.c: msix_keeps_intx_low",
    "INTx after reset and load": MODEL,
    "reset": "unit/device/config.c: reset_is_power_on",
    "command register at power-on": "unit/device/config.c: reset_is_power_on",
    "rings with `msi=off`": "unit/device/registers.c: many_rings_leave_1",
    "BAR0 accesses of 64 bits": MODEL,
    "doorbell: bits 15…8 of the vector": "unit/device/peers.c: doorbell_vector_is_16_bits",
    "a shared memory object that is created": (
        "unit/member/memory.c: behaviour_35_missing_object_is_created_and_stays"
    ),
    "doorbell without server": MODEL,
    "BAR0 moves, decoding goes off, or a peer leaves": "unit/device/peers.c: triggers_follow_bar0",
    "no room for ioeventfds": "unit/device/peers.c: no_room_for_triggers",
    "the memory when decoding is off": "unit/device/config.c: bar2_follows_placement_and_decoding",
    "a second memory, or an id given twice": "unit/device/registers.c: memory_of_another_size",
    "sizes such as ``, `0`, `4Mxyz`, `-1`, `17592186044416`": "unit/device/properties.c: bad_sizes",
    "size 4G and larger": "unit/device/properties.c: bad_sizes",
    "neither `chardev` nor `shm`; a `chardev` that is no UNIX socket": (
        "unit/device/properties.c: where_the_memory_comes_from"
    ),
    "`vectors`": "unit/device/config.c: vectors_out_of_range",
    "eventfds beyond `vectors`": MODEL,
    "memory smaller than `size`": "unit/member/late.c: memory_that_is_too_small_is_not_given_to_anybody",
    "a server that ends the connection before id and memory came": (
        "unit/kvm/late.c: server_that_goes_before_the_memory"
    ),
    "saved state with `msi=on`": "unit/device/state.c: native_bytes",
}

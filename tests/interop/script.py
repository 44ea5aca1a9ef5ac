# SPDX-License-Identifier: BSD-2-Clause
"""
What a guest does to the device, the same on every board. Each scene writes down what it saw under names of
its own, and leaves the device as after place(); what it does never depends on what it saw.
"""

import itertools
import random

from boards import ABSENT, COMMAND, DOORBELL, FIRST, LAST, MASK, MESSAGES, MSIX_CONTROL, OWN, POSITION, STATUS

ENABLE, MASK_ALL = 0x8000, 0x4000
DECODE, MASTER = 0x0002, 0x0004
SIZES = (1, 2, 4, 8)

# What the registers hold before each single access.
OLD_MASK, OLD_STATUS = 0xDEADBEEF, 0x11223344
# Written to BAR0: whatever part of it reaches the doorbell rings somebody.
RINGING = 0x0002000200020001


class Notes(dict):
    def __call__(self, name, value):
        assert name not in self, f"two things are called {name}"
        self[name] = value


def ones(size):
    return (1 << 8 * size) - 1


def words(rung):
    """What was rung, in words."""
    return " ".join(f"{peer}:{vector}x{count}" for (peer, vector), count in sorted(rung.items()))


# ---- config space -----------------------------------------------------------------------------------------


def config_reads(board, note, when):
    for size in (1, 2, 4):
        for offset in range(0, 256, size):
            note(f"config, {when}: read{8 * size} {offset:02x}", board.config_read(offset, size))


def config_after_reset(board, note):
    board.reset()
    config_reads(board, note, "after reset")
    board.place()


def config_walking_ones(board, note):
    """Each bit alone; nothing is placed or decoded, except what the bit itself does."""
    board.reset()
    for offset in range(0, 256, 4):
        old = board.config_read(offset, 4)
        for bit in range(32):
            board.config_write(offset, 4, 1 << bit)
            note(f"config: bit {bit} alone in {offset:02x}", board.config_read(offset, 4))
        board.config_write(offset, 4, old)
    board.restart()


def config_bytes_and_words(board, note):
    """Ones, and what is left when they are taken away again."""
    board.reset()
    for size in (1, 2):
        for offset in range(0, 256, size):
            old = board.config_read(offset, size)
            for value in (ones(size), 0):
                board.config_write(offset, size, value)
                note(f"config: write{8 * size} {offset:02x} {value:x}", board.config_read(offset & ~3, 4))
            board.config_write(offset, size, old)
    board.restart()


def bar_sizing(board, note):
    board.config_write(COMMAND, 2, 0)
    for register in (0x10, 0x14, 0x18, 0x1C, 0x20, 0x24, 0x30):
        old = board.config_read(register, 4)
        board.config_write(register, 4, ones(4))
        note(f"sizing {register:02x}", board.config_read(register, 4))
        board.config_write(register, 4, 0xFFFFF800)
        note(f"sizing {register:02x} like a ROM", board.config_read(register, 4))
        board.config_write(register, 4, old)
    board.place()


def capability_walk(board, note):
    note("capabilities: status", board.config_read(0x06, 2) >> 4 & 1)
    at, steps = board.config_read(0x34, 1) if board.config_read(0x06, 2) & 0x10 else 0, 0
    found = []
    while at and steps < 48:
        found.append((at, board.config_read(at, 1)))
        at, steps = board.config_read(at + 1, 1), steps + 1
    note("capabilities: found", found)
    for offset in (MSIX_CONTROL, 0x44, 0x48):
        note(f"capabilities: MSI-X {offset:02x}", board.config_read(offset, 4 if offset & 3 == 0 else 2))


# ---- BAR0 -------------------------------------------------------------------------------------------------


def preset(board):
    board.write(0, MASK, 4, OLD_MASK)
    board.write(0, STATUS, 4, OLD_STATUS)


def registers(board):
    return board.read(0, MASK, 4), board.read(0, STATUS, 4)


def bar0_reads(board, note):
    """Every access of every size: what it gives, and what the registers are after it."""
    for size in SIZES:
        for offset in range(257 - size):
            preset(board)
            value = board.read(0, offset, size)
            note(f"BAR0: read{8 * size} {offset:02x}", (value, *registers(board)))


def bar0_writes(board, note):
    """The same; and who is rung."""
    for size in SIZES:
        for offset in range(257 - size):
            preset(board)
            board.write(0, offset, size, RINGING & ones(size))
            note(f"BAR0: write{8 * size} {offset:02x}", (*registers(board), words(board.group.rung())))


def bar0_registers(board, note):
    """Every bit of every register."""
    for offset in (MASK, STATUS, POSITION, 0x10, 0xFC):
        for value in [0, ones(4), *(1 << bit for bit in range(32))]:
            board.write(0, offset, 4, value)
            note(f"BAR0: {offset:02x} after {value:x}", (board.read(0, offset, 4), board.read(0, offset, 4)))
    note("BAR0: reading Doorbell", board.read(0, DOORBELL, 4))
    preset(board)
    board.restart()
    note("BAR0: after reset", registers(board))


def peers_and_vectors(vectors):
    """Doorbell values around everything that is a limit."""
    interesting = {0, 1, vectors - 1, vectors, 63, 64, 127, 128, 254, 255, 256, 257, 256 + vectors - 1, 256 + vectors}
    interesting |= {299, 300, 511, 512, 0x1000, 0x7FFF, 0x8000, 0xFF00, 0xFF01, 0xFFFF}
    return itertools.product((FIRST, LAST, *ABSENT), sorted(vector for vector in interesting if vector >= 0))


def doorbell(board, note):
    for peer, vector in peers_and_vectors(board.vectors):
        board.write(0, DOORBELL, 4, peer << 16 | vector)
        note(f"doorbell: peer {peer:x} vector {vector:x}", words(board.group.rung()))
    for _ in range(5):
        board.write(0, DOORBELL, 4, LAST << 16)
    note("doorbell: five times", words(board.group.rung()))


def interrupt_status(board, note):
    """What the status register of config space says while IntrStatus and IntrMask are set."""
    for command in (DECODE | MASTER, DECODE | MASTER | 0x400):
        board.config_write(COMMAND, 2, command)
        for mask, status in ((0, 0), (1, 0), (0, 1), (1, 1), (2, 1), (OLD_MASK, OLD_STATUS)):
            board.write(0, MASK, 4, mask)
            board.write(0, STATUS, 4, status)
            when = f"command {command:x}, mask {mask:x}, status {status:x}"
            note(f"interrupt status, {when}: set", board.config_read(0x06, 2))
            board.read(0, STATUS, 4)
            note(f"interrupt status, {when}: taken", board.config_read(0x06, 2))
    board.place()


def decoding_off(board, note):
    preset(board)
    board.config_write(COMMAND, 2, MASTER)
    for offset in (MASK, POSITION):
        note(f"BAR0 without decoding: read {offset:x}", board.read(0, offset, 4))
    board.write(0, MASK, 4, 0x55)
    board.write(0, DOORBELL, 4, FIRST << 16)
    note("BAR0 without decoding: doorbell", words(board.group.rung()))
    if board.vectors:
        note("BAR1 without decoding: read c", board.read(1, 12, 4))
    board.config_write(COMMAND, 2, MASTER | DECODE)
    note("BAR0 with decoding again", registers(board))


# ---- BAR1 -------------------------------------------------------------------------------------------------


def table(board, vectors=None):
    return [board.read(1, 4 * dword, 4) for dword in range(4 * (vectors or min(board.vectors, 4)))]


def pending(board):
    """The vectors whose pending bit is set."""
    found = []
    for word in range((board.vectors + 63) // 64):
        bits = board.read(1, board.pba + 8 * word, 8)
        found += [64 * word + bit for bit in range(64) if bits >> bit & 1]
    return found


def bar1_offsets(board, size):
    """The whole table of four vectors, its end, the pending bits, the holes and the end of it all."""
    end, pba, last = 16 * board.vectors, board.pba, board.pba + (board.vectors + 63) // 64 * 8
    offsets = {*range(min(end, 64)), *range(end - 8, end + 9), *range(pba - 8, pba + 17), *range(last - 8, last + 9)}
    offsets |= {*range(board.bar1_size - 16, board.bar1_size)}
    return sorted(offset for offset in offsets if 0 <= offset <= board.bar1_size - size)


def fill(board, dwords=None):
    """Every dword of the table is another one; all vectors are masked."""
    for dword in range(4 * board.vectors) if dwords is None else dwords:
        if dword < 4 * board.vectors:
            board.write(1, 4 * dword, 4, 1 if dword % 4 == 3 else 0x81828300 + dword * 4)


def bar1_reads(board, note):
    fill(board)
    for size in SIZES:
        for offset in bar1_offsets(board, size):
            note(f"BAR1: read{8 * size} {offset:03x}", board.read(1, offset, size))


def bar1_writes(board, note):
    """MSI-X is off, so that what is written only is stored, or not."""
    fill(board)
    for size in SIZES:
        for offset in bar1_offsets(board, size):
            first = max(0, (offset & ~7) - 8) // 4
            near = range(first, min(first + 8, board.bar1_size // 4))
            board.write(1, offset, size, 0xF7F6F5F4F3F2F1F0 & ones(size))
            note(f"BAR1: write{8 * size} {offset:03x}", tuple(board.read(1, 4 * dword, 4) for dword in near))
            fill(board, near)
    note("BAR1: all of it after the writes", table(board, board.vectors))


def bar1_after_reset(board, note):
    fill(board)
    board.restart()
    note("BAR1: after reset", table(board))
    note("BAR1: nothing pending after reset", pending(board))


# ---- MSI-X ------------------------------------------------------------------------------------------------


class Vectors:
    """The guest's driver, and what it sees: who is pending, and which messages came."""

    def __init__(self, board, note, scene):
        self.board, self.note, self.scene = board, note, scene
        board.restart()
        for vector in range(board.vectors):
            self.entry(vector)
        board.messages()

    def entry(self, vector, address=None, data=None):
        """Where the message goes and what it is; the vector stays as it is."""
        address = MESSAGES + 16 * vector if address is None else address
        self.board.write(1, 16 * vector, 4, address & ones(4))
        self.board.write(1, 16 * vector + 4, 4, address >> 32)
        self.board.write(1, 16 * vector + 8, 4, 0x1000 + vector if data is None else data)

    def mask(self, vector, masked=1):
        self.board.write(1, 16 * vector + 12, 4, masked)

    def unmask(self, *vectors):
        for vector in vectors:
            self.mask(vector, 0)

    def control(self, value):
        self.board.config_write(MSIX_CONTROL, 2, value)

    def command(self, value):
        self.board.config_write(COMMAND, 2, value)

    def write_pending(self, value):
        self.board.write(1, self.board.pba, 4, value)

    def write64(self, offset, value):
        self.board.write(1, offset, 8, value)

    def ring(self, *vectors):
        for vector in vectors:
            self.board.group.ring(vector)
            self.board.settle()

    def doorbell(self, vector):
        self.board.write(0, DOORBELL, 4, OWN << 16 | vector)

    def see(self, what):
        self.board.settle()
        self.note(f"MSI-X, {self.scene}, {what}: pending", pending(self.board))
        self.note(f"MSI-X, {self.scene}, {what}: messages", self.board.messages())


def scene(name):
    """A scene of the guest's driver, after which the machine is as before."""

    def decorate(act):
        def perform(board, note):
            act(Vectors(board, note, name))
            board.restart()

        return perform

    return decorate


# What is seen, after what the driver, or somebody who rings, has done.
STEPS = {
    "before it is enabled": [
        ("rung", ("unmask", 0), ("ring", 0, 1)),
        ("enabled", ("control", ENABLE)),
        ("unmasked", ("unmask", 1)),
        ("rung again", ("ring", 0, 1)),
    ],
    "masked vector": [
        ("nothing yet", ("control", ENABLE)),
        ("rung", ("ring", 0, 0, 2)),
        ("unmasked", ("unmask", 0, 1)),
        ("and again", ("mask", 0), ("unmask", 0)),
        ("open ones", ("ring", 0, 1, 2)),
        ("the last one", ("unmask", 2)),
        ("masked after use", ("mask", 1), ("ring", 1)),
        ("unmasked after use", ("unmask", 1)),
    ],
    "function mask": [
        ("rung", ("control", ENABLE | MASK_ALL), ("unmask", 0, 1), ("ring", 0, 2)),
        ("opened", ("control", ENABLE)),
        ("masked again", ("ring", 1), ("control", ENABLE | MASK_ALL), ("ring", 1)),
        ("a vector unmasked meanwhile", ("unmask", 2)),
        ("opened again", ("control", ENABLE)),
    ],
    # What is pending stays so, whatever is written to it.
    "disabled": [
        ("rung", ("control", ENABLE), ("ring", 0, 1)),
        ("disabled", ("control", 0)),
        ("0 written to what is pending", ("write_pending", 0)),
        ("ffffffff written to what is pending", ("write_pending", ones(4))),
        ("unmasked while disabled", ("unmask", 0)),
        ("enabled", ("control", ENABLE)),
        ("unmasked", ("unmask", 1)),
    ],
    "address": [
        (f"bits 1 and 0 are {low}", ("control", ENABLE), ("entry", 0, MESSAGES + low, 0x5A), ("unmask", 0), ("ring", 0))
        for low in (1, 2, 3)
    ],
    "no bus mastering": [
        ("rung", ("control", ENABLE), ("unmask", 0), ("command", DECODE), ("ring", 0, 1)),
        ("unmasked", ("unmask", 1)),
        ("on again", ("command", DECODE | MASTER)),
        ("rung again", ("ring", 0, 1)),
    ],
    "entry": [
        ("changed while masked", ("control", ENABLE), ("ring", 0), ("entry", 0, MESSAGES + 16, 0xABCDEF01)),
        ("unmasked", ("unmask", 0)),
        ("changed while open", ("entry", 0, MESSAGES + 32, 0x77), ("ring", 0)),
        ("where nothing is", ("entry", 0, 1 << 45, 0x88), ("ring", 0)),
        ("masked by a write of 64 bits", ("write64", 0, MESSAGES + 48), ("write64", 8, 1 << 32 | 0x99), ("ring", 0)),
        ("unmasked by a write of 64 bits", ("write64", 8, 0xAA)),
        *((f"control word {word:x}", ("mask", 0, word), ("ring", 0)) for word in (0xFFFFFFFE, 0xFFFFFFFF, 2)),
    ],
}


def scene_of(name):
    @scene(name)
    def play(v):
        for seen, *actions in STEPS[name]:
            for action, *arguments in actions:
                getattr(v, action)(*arguments)
            v.see(seen)
            v.note(f"MSI-X, {name}, {seen}: control word of vector 0", v.board.read(1, 12, 4))

    return play


@scene("own doorbell")
def msix_own_doorbell(v):
    """A ring from ourselves is one like any other."""
    v.control(ENABLE)
    v.doorbell(0)
    v.doorbell(1)
    v.see("masked")
    v.unmask(0, 1)
    v.see("unmasked")
    for vector in range(min(v.board.vectors, 4)):
        v.unmask(vector)
        v.doorbell(vector)
        v.see(f"vector {vector}")
    v.doorbell(v.board.vectors)
    v.see("one too many")


@scene("reset")
def msix_reset(v):
    v.control(ENABLE)
    v.unmask(0)
    v.ring(1)
    v.see("pending")
    v.board.group.ring(2)
    v.board.restart()
    v.see("nothing pending")
    v.note("MSI-X, reset: table", table(v.board))
    v.note("MSI-X, reset: control word", v.board.config_read(MSIX_CONTROL, 2))
    v.entry(0)
    v.entry(1)
    v.control(ENABLE)
    v.unmask(0, 1)
    v.see("enabled and unmasked")
    v.ring(0)
    v.see("rung")


@scene("every vector")
def msix_every_vector(v):
    v.control(ENABLE)
    for vector in range(v.board.vectors):
        v.board.group.ring(vector)
    v.see("all pending")
    v.unmask(*range(v.board.vectors))
    v.see("all delivered")


# ---- BAR2 -------------------------------------------------------------------------------------------------


def bar2(board, note):
    """Every size and alignment where it matters, seen from both sides."""
    memory, end = board.group.memory, board.size
    memory[:] = bytes(index * 7 % 251 for index in range(4096)) * (end // 4096)
    for size in SIZES:
        places = [*range(16), *range(4096 - 8, 4096 + 8), end // 2 + 1, *range(end - 16, end - size + 1)]
        for offset in places:
            note(f"BAR2: read{8 * size} {offset:x}", board.read(2, offset, size))
            board.write(2, offset, size, 0xF8E7D6C5B4A39281 & ones(size))
            note(f"BAR2: write{8 * size} {offset:x}", memory[max(0, offset - 8) : offset + 16].hex())
            board.write(2, offset, size, 0)
    memory[100:108] = b"from out"
    note("BAR2: written by the host", board.read(2, 100, 8))
    board.write(2, 200, 8, 0x1122334455667788)
    board.restart()
    note("BAR2: after reset", board.read(2, 200, 8))


# ---- anything ---------------------------------------------------------------------------------------------

RANDOM_STEPS = 1500


def random_accesses(board, note, seed, msix):
    """Of those whose results are the same everywhere, so that one surprise does not lead to others."""
    name = f"random {seed}{' with MSI-X' if msix else ''}"
    dice = random.Random(f"{name} {board.vectors} {board.size}")
    vectors = board.vectors
    if msix:
        v = Vectors(board, note, name)
        v.control(ENABLE)

    def value():
        return dice.choice((0, 1, ones(4), dice.getrandbits(32), 1 << dice.randrange(32)))

    def config_read(step):
        size = dice.choice((1, 2, 4))
        offset = dice.randrange(0, 256, size)
        note(f"{name}, {step}: config read{8 * size} {offset:02x}", board.config_read(offset, size))

    def config_write(step):
        which = dice.randrange(3)
        if which == 0:
            board.config_write(COMMAND, 2, DECODE | MASTER | dice.choice((0, 1, 0x100, 0x400, 0x401)))
        elif which == 1:
            board.config_write(dice.choice((0x0C, 0x3C)), 1, dice.getrandbits(8))
        elif msix:
            v.control(ENABLE | dice.choice((0, MASK_ALL)))

    def register_read(step):
        offset = dice.choice((MASK, STATUS, POSITION, DOORBELL, dice.randrange(0, 256, 4)))
        note(f"{name}, {step}: read {offset:02x}", board.read(0, offset, 4))

    def register_write(step):
        offset = dice.choice((MASK, STATUS, POSITION, dice.randrange(0x10, 256, 4)))
        board.write(0, offset, 4, value())

    def ring(step):
        peer = dice.choice((FIRST, LAST, *ABSENT))
        board.write(0, DOORBELL, 4, peer << 16 | dice.randrange(vectors + 3 if vectors else 4))
        note(f"{name}, {step}: rung", words(board.group.rung()))

    def table_read(step):
        size = dice.choice((4, 8))
        offset = dice.choice((dice.randrange(0, 16 * vectors, size), dice.randrange(0, 0x1000, size)))
        note(f"{name}, {step}: BAR1 read{8 * size} {offset:03x}", board.read(1, offset, size))

    def table_write(step):
        if not msix:
            size = dice.choice((1, 2, 4, 8))
            offset = dice.randrange(0, 16 * vectors, size)
            board.write(1, offset, size, value() << (8 * size - 8 if size < 4 else 0) & ones(size))
            return
        vector = dice.randrange(vectors)
        which = dice.randrange(4)
        if which == 0:
            v.entry(vector, MESSAGES + 16 * dice.randrange(vectors), dice.getrandbits(32) | 1)
        elif which == 1:
            board.write(1, 16 * vector + 8, 8, dice.getrandbits(33) | 1)
        else:
            v.mask(vector, which & 1)
        v.see(f"{step}")

    def interrupt(step):
        if dice.randrange(2):
            v.ring(dice.randrange(vectors))
        else:
            v.doorbell(dice.randrange(vectors))
        v.see(f"{step}")

    def memory(step):
        size = dice.choice(SIZES)
        offset = dice.choice((dice.randrange(64), dice.randrange(board.size - 7), board.size - size))
        if dice.randrange(2):
            board.write(2, offset, size, dice.getrandbits(8 * size))
        else:
            note(f"{name}, {step}: BAR2 read{8 * size} {offset:x}", board.read(2, offset, size))

    kinds = [config_read, config_write, register_read, register_read, register_write, ring, memory, memory]
    if vectors:
        kinds += [table_read, table_write]
    if msix:
        kinds += [interrupt, interrupt]
    for step in range(RANDOM_STEPS):
        dice.choice(kinds)(step)
        if step % 500 == 499:
            board.restart()
            if msix:
                v.control(ENABLE)


# ---- the whole --------------------------------------------------------------------------------------------

EVERY = [
    config_after_reset, config_walking_ones, config_bytes_and_words, bar_sizing, capability_walk,
    bar0_reads, bar0_writes, bar0_registers, interrupt_status, doorbell, decoding_off, bar2,
]  # fmt: skip
WITH_TABLE = [bar1_reads, bar1_writes, bar1_after_reset]
WITH_MSIX = [*map(scene_of, STEPS), msix_own_doorbell, msix_reset, msix_every_vector]
SEEDS = (1, 2)


def perform(board, scenes=None):
    """All that can be seen on this board, or some of it."""
    note = Notes()
    if scenes is None:
        scenes = [*EVERY]
        if board.vectors:
            scenes += WITH_TABLE
            if board.has_msix:
                scenes += WITH_MSIX
        for seed in SEEDS:
            scenes.append(lambda board, note, seed=seed: random_accesses(board, note, seed, False))
            if board.vectors and board.has_msix:
                scenes.append(lambda board, note, seed=seed: random_accesses(board, note, seed, True))
    for scene in scenes:
        board.group.memory[:] = bytes(board.size)
        scene(board, note)
    return note

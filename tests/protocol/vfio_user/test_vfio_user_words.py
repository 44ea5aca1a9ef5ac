# SPDX-License-Identifier: BSD-2-Clause
"""vfio-user: a device with --doorbell-bar on, which has a word for each vector of each peer in BAR4."""

import struct

import pytest

import ivshmem_wire as wire
import vfio_user as vu
from vfio_user import BAR0, BAR1, BAR2, CONFIG, READABLE, WRITABLE, version_payload
from vfio_user_fixtures import MIB, VECTORS

BAR4, BAR5 = 4, 5
MANY = version_payload({"capabilities": {"max_msg_fds": 253, "max_data_xfer_size": 1 << 20}})


@pytest.fixture
def words(shared):
    return shared("--doorbell-bar", "on")


def word(peer, vector, stride=VECTORS):
    return 4 * (peer * stride + vector)


@pytest.mark.parametrize("vectors, stride", [(1, 1), (2, 2), (3, 4), (2048, 2048)])
def test_bar_by_vectors(shared, vectors, stride):
    """256 KiB for each vector, rounded up; it can be sized and placed anywhere."""
    vmm = shared("--doorbell-bar", "on", device_vectors=vectors, vectors=1).vmm()
    info = vmm.region_info(BAR4)
    assert (info.size, info.flags, info.fd) == (stride * 256 * 1024, READABLE | WRITABLE, None)
    assert (vmm.region_info(BAR5).size, vmm.region_info(BAR5).flags) == (0, 0)
    assert vmm.bar_size(0x20, 64) == info.size
    assert vmm.config(0x20) & 0xF == 0xC, "64 bits, prefetchable"
    shift = stride.bit_length() - 1
    assert vmm.read(CONFIG, 0x4C, 20) == struct.pack("<BBBBBBHI4sI", 9, 0, 16, 1, 4, shift, 0, 65536, b"IVDB", 0)
    assert vmm.config(0x40, 2) == 0x4C11


def test_nothing_else_is_new(words, group):
    """All of config space but BAR4 and the capability, and all other regions."""
    with_words, without = words.vmm(), group.vmm()
    spaces = [bytearray(vmm.read(CONFIG, 0, 256)) for vmm in (with_words, without)]
    assert spaces[1][0x4C:] == bytes(256 - 0x4C)
    for space in spaces:
        space[0x20:0x28] = bytes(8)
        space[0x41] = 0
        space[0x4C:0x5C] = bytes(16)
    assert spaces[0] == spaces[1]
    for index in (BAR0, BAR1, BAR2, 3, 5, 6, 7, 8):
        ours, theirs = with_words.region_info(index), without.region_info(index)
        assert (ours.size, ours.flags, ours.offset) == (theirs.size, theirs.flags, theirs.offset)
    assert without.region_info(BAR4).size == 0


def test_each_word_rings_its_vector(words):
    vmm = words.vmm()
    for vector in range(VECTORS):
        at, value = word(words.peer_id, vector), 0x12345678 * vector
        words.expect_rung(vector, lambda at=at, value=value: vmm.write_number(BAR4, at, 4, value))


def test_own_word(words, arm):
    """A guest may ring itself."""
    vmm = words.vmm()
    own = arm(vmm)
    vmm.write_number(BAR4, word(words.id, 2), 4, 1)
    wire.wait_rings(own[2])


def test_register_and_words_meet(words):
    vmm = words.vmm()
    vmm.ring(words.peer_id, 1)
    vmm.write_number(BAR4, word(words.peer_id, 1), 4, 1)
    assert words.rung() == [0, 2, 0, 0]


def test_what_does_not_ring(words):
    """Other sizes, other places, other peers, and reads, which give 0."""
    vmm = words.vmm()
    at = word(words.peer_id, 0)
    for size in (1, 2, 8):
        vmm.write_number(BAR4, at, size, 1)
    for offset in (1, 2, 3):
        vmm.write_number(BAR4, at + offset, 4, 1)
    for peer in (2, 3, 1000, 65535):
        vmm.write_number(BAR4, word(peer, 0), 4, 1)
    vmm.write_number(BAR4, MIB, 4, 1)
    vmm.write(BAR4, 0, bytes(256))
    for size in (1, 2, 4, 8):
        assert vmm.read_number(BAR4, at, size) == 0
    assert vmm.read_number(BAR4, MIB - 4, 4) == 0
    assert vmm.read_number(BAR4, MIB, 4) == 0xFFFFFFFF
    assert words.rung() == [0] * VECTORS


def test_a_vector_that_a_peer_has_not(shared):
    """The device has room for more vectors than the server gives anybody."""
    group = shared("--doorbell-bar", "on", device_vectors=VECTORS + 1)
    vmm = group.vmm()
    for vector in range(VECTORS, 8):
        vmm.write_number(BAR4, word(group.peer_id, vector, 8), 4, 1)
    assert group.rung() == [0] * VECTORS
    vmm.write_number(BAR4, word(group.peer_id, 3, 8), 4, 1)
    assert group.rung() == [0, 0, 0, 1]


def test_many_writes_at_once(words):
    words.vmm().write_multi(*((BAR4, word(words.peer_id, vector), b"ring") for vector in (3, 1, 3)))
    assert words.rung() == [0, 1, 0, 2]


@pytest.mark.parametrize("stride", [VECTORS, 2 * VECTORS])
def test_io_fds(shared, stride):
    """Each has a place of its own and takes any value; the register's are still there."""
    words = shared("--doorbell-bar", "on", device_vectors=stride)
    vmm = words.vmm(MANY)
    need, count, entries = vmm.io_fds(BAR4)
    assert (need, count, len(entries)) == (16 + 2 * VECTORS * 40, 2 * VECTORS, 2 * VECTORS)
    places = {}
    for entry, fd in entries:
        assert (entry.size, entry.kind, entry.flags, entry.padding, entry.datamatch) == (4, 0, 0, 0, 0)
        places[entry.offset] = fd
    assert places.keys() == {word(peer, vector, stride) for peer in (0, 1) for vector in range(VECTORS)}
    for vector in range(VECTORS):
        words.expect_rung(vector, lambda fd=places[word(words.peer_id, vector, stride)]: wire.ring(fd))
    entries = vmm.io_fds(BAR0)[2]
    assert len(entries) == 2 * VECTORS
    assert {(entry.offset, entry.flags) for entry, _ in entries} == {(vu.DOORBELL, 1)}


def test_io_fds_page_by_page(words):
    vmm = words.vmm(version_payload({"capabilities": {"max_msg_fds": 3, "max_data_xfer_size": 1 << 20}}))
    places = []
    while len(places) < 2 * VECTORS:
        page = vmm.io_fds(BAR4, first=len(places))[2]
        assert len(page) == min(3, 2 * VECTORS - len(places))
        places += [entry.offset for entry, _ in page]
    assert sorted(places) == sorted(word(peer, vector) for peer in (0, 1) for vector in range(VECTORS))


def test_io_fds_switched_off(shared):
    group = shared("--doorbell-bar", "on", "--ioeventfd", "off")
    vmm = group.vmm(MANY)
    assert vmm.io_fds(BAR4)[1:] == (0, [])
    vmm.write_number(BAR4, word(group.peer_id, 0), 4, 1)
    assert group.rung() == [1, 0, 0, 0]

# SPDX-License-Identifier: BSD-2-Clause
"""vfio-user: GET_REGION_IO_FDS, an eventfd for every value that a guest can write to the doorbell."""

import errno
import struct

import pytest

import ivshmem_wire as wire
import vfio_user as vu
from vfio_user import BAR0, GET_REGION_IO_FDS, version_payload
from vfio_user_fixtures import VECTORS, ring_until_known

HEADER, ENTRY = 16, 40


def taking(max_fds, **more):
    return version_payload({"capabilities": {"max_msg_fds": max_fds, "max_data_xfer_size": 1 << 20, **more}})


def doorbells(entries):
    """What was written to where, by (peer, vector)."""
    result = {}
    for entry, fd in entries:
        assert (entry.offset, entry.size, entry.kind, entry.flags, entry.padding) == (vu.DOORBELL, 4, 0, 1, 0)
        key = entry.datamatch >> 16, entry.datamatch & 0xFFFF
        assert key not in result, f"{key} twice"
        result[key] = fd
    return result


def all_pages(vmm, argsz=1 << 16):
    """As a client does that wants them all."""
    entries, first = [], 0
    while True:
        need, count, page = vmm.io_fds(BAR0, argsz, first)
        assert count == len(page)
        left = (need - HEADER) // ENTRY
        entries += page
        first += count
        if left == count:
            return entries
        assert count > 0, "no progress"


def expected(group, *more):
    return {(peer, vector) for peer in (0, 1, *more) for vector in range(group.vectors)}


def test_one_for_every_peer_and_vector(group):
    """Ourselves included: a guest may ring itself."""
    vmm = group.vmm(taking(16))
    need, count, entries = vmm.io_fds(BAR0)
    assert need == HEADER + 2 * VECTORS * ENTRY
    assert count == len(entries) == 2 * VECTORS
    assert doorbells(entries).keys() == expected(group)
    assert len({fd for _, fd in entries}) == 2 * VECTORS


def test_each_rings_what_it_says(group, eventfds):
    vmm = group.vmm(taking(16))
    own = eventfds(VECTORS)
    vmm.assign(vu.MSIX, 0, *own)
    for (peer, vector), fd in doorbells(vmm.io_fds(BAR0)[2]).items():
        assert wire.is_eventfd(fd)
        wire.ring(fd)
        if peer == group.peer_id:
            assert [wire.rings(each) for each in group.at_peer] == [int(at == vector) for at in range(VECTORS)]
        else:
            wire.wait_rings(own[vector])


def test_083_slow_and_fast_way_meet(group):
    """Both add to the same eventfd."""
    vmm = group.vmm(taking(16))
    fd = doorbells(vmm.io_fds(BAR0)[2])[group.peer_id, 2]
    wire.ring(fd)
    vmm.ring(group.peer_id, 2)
    assert wire.rings(group.at_peer[2]) == 2


@pytest.mark.parametrize("index", [1, 2, 3, 6, 7, 8])
def test_other_regions_have_none(vmm, index):
    assert vmm.io_fds(index) == (HEADER, 0, [])


@pytest.mark.parametrize("index", [9, 255, 0xFFFFFFFF])
def test_no_such_region(vmm, index):
    assert vmm.refused(GET_REGION_IO_FDS, struct.pack("=IIII", 4096, 0, index, 0)) == errno.EINVAL


@pytest.mark.parametrize("argsz", [0, 1, 15])
def test_no_room_for_the_header(vmm, argsz):
    assert vmm.refused(GET_REGION_IO_FDS, struct.pack("=IIII", argsz, 0, BAR0, 0)) == errno.EINVAL


@pytest.mark.parametrize("flags", [1, 0x80000000])
def test_flags_must_be_none(vmm, flags):
    assert vmm.refused(GET_REGION_IO_FDS, struct.pack("=IIII", 4096, flags, BAR0, 0)) == errno.EINVAL


@pytest.mark.parametrize("length", [0, 4, 12, 15])
def test_too_short(vmm, length):
    request = struct.pack("=IIII", 4096, 0, BAR0, 0)[:length]
    assert vmm.refused(GET_REGION_IO_FDS, request) == errno.EINVAL


@pytest.mark.parametrize(
    "argsz, fit",
    [
        (HEADER, 0),
        (HEADER + ENTRY - 1, 0),
        (HEADER + ENTRY, 1),
        (HEADER + 3 * ENTRY + 39, 3),
        (HEADER + 8 * ENTRY, 8),
        (HEADER + 9 * ENTRY, 8),
        (0xFFFFFFFF, 8),
    ],
)
def test_as_many_as_fit(group, argsz, fit):
    """The need is always told, so a client can ask again with more room."""
    vmm = group.vmm(taking(16))
    need, count, entries = vmm.io_fds(BAR0, argsz)
    assert need == HEADER + 8 * ENTRY
    assert count == len(entries) == fit


@pytest.mark.parametrize("max_fds", [1, 3, 8, 16, 253])
def test_as_many_as_the_client_takes(group, max_fds):
    vmm = group.vmm(taking(max_fds))
    need, _, entries = vmm.io_fds(BAR0)
    assert need == HEADER + 8 * ENTRY
    assert len(entries) == min(8, max_fds)
    assert doorbells(all_pages(vmm)).keys() == expected(group)


def test_a_client_that_names_no_number_takes_one(group):
    vmm = group.vmm(version_payload(None))
    assert len(vmm.io_fds(BAR0)[2]) == 1


def test_paging(group):
    """Our extension: `count` of the request is the number of the first entry that is wanted."""
    vmm = group.vmm(taking(16))
    whole = [entry._replace(fd_index=0) for entry, _ in vmm.io_fds(BAR0)[2]]
    for first in range(10):
        need, _, entries = vmm.io_fds(BAR0, first=first)
        assert [entry._replace(fd_index=0) for entry, _ in entries] == whole[first:]
        assert need == HEADER + ENTRY * len(whole[first:])
    assert vmm.io_fds(BAR0, first=0xFFFFFFFF) == (HEADER, 0, [])


@pytest.mark.parametrize("max_fds, argsz", [(16, 1 << 16), (253, 1 << 20), (5, HEADER + 4 * ENTRY)])
def test_hundreds_in_pages(shared, max_fds, argsz):
    group = shared(vectors=128)
    vmm = group.vmm(taking(max_fds))
    assert doorbells(all_pages(vmm, argsz)).keys() == expected(group)


def test_no_descriptors_stay_behind(group):
    vmm = group.vmm(taking(16))
    before = len(group.device.fds())
    for _ in range(50):
        for _, fd in vmm.io_fds(BAR0)[2]:
            vmm.close_fd(fd)
        vmm.send(GET_REGION_IO_FDS, struct.pack("=IIII", 4096, 0, BAR0, 0), flags=vu.NO_REPLY)
    vmm.info()
    group.device.wait_fds(before)


def test_peers_come_and_go(group):
    vmm = group.vmm(taking(16))
    other = group.server.client()
    group.peer.follow_until_knows([0, 1, other.id])
    for vector in range(VECTORS):
        ring_until_known(vmm, other.id, vector, other.peers[other.id][vector])
    found = doorbells(all_pages(vmm))
    assert found.keys() == expected(group, other.id)
    wire.ring(found[other.id, 3])
    assert wire.rings(other.peers[other.id][3]) == 1
    known = len(group.device.fds())
    other.close()
    wire.wait_until(lambda: len(group.device.fds()) <= known - VECTORS, "the device knows that it left")
    assert doorbells(all_pages(vmm)).keys() == expected(group)
    group.peer.follow(lambda: other.id not in group.peer.peers, "it left")


def test_the_device_uses_no_more_vectors_than_it_has(shared):
    """The server gives 4; what the model does not ring is not offered either."""
    vmm = shared(device_vectors=2, vectors=VECTORS).vmm(taking(16))
    assert doorbells(vmm.io_fds(BAR0)[2]).keys() == {(peer, vector) for peer in (0, 1) for vector in (0, 1)}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--ioeventfd", "off"],
        ["--revision", "0", "--size", "1"],
        ["--revision", "0", "--msi", "off", "--size", "1"],
    ],
    ids=" ".join,
)
def test_not_offered(shared, arguments):
    """Off, or by default off as in 2010."""
    assert shared(*arguments, size=1 << 20).vmm(taking(16)).io_fds(BAR0) == (HEADER, 0, [])


def test_079_revision_0_with_ioeventfd(shared):
    group = shared("--revision", "0", "--size", "1", "--ioeventfd", "on", size=1 << 20)
    assert doorbells(group.vmm(taking(16)).io_fds(BAR0)[2]).keys() == expected(group)


def test_plain_devices_have_none(plain):
    assert plain().vmm(taking(16)).io_fds(BAR0) == (HEADER, 0, [])


def test_legacy_doorbell_has_no_more_values(shared):
    """A guest that writes vector 256 there rings vector 0, and the offer must not promise anything else."""
    group = shared("--legacy-doorbell")
    assert doorbells(group.vmm(taking(16)).io_fds(BAR0)[2]).keys() == expected(group)

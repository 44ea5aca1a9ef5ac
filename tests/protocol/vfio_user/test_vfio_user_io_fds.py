# SPDX-License-Identifier: BSD-2-Clause
"""vfio-user: GET_REGION_IO_FDS, an eventfd for every value that a guest can write to the doorbell."""

import pytest

import ivshmem_wire as wire
import vfio_user as vu
from vfio_user import BAR0, version_payload
from vfio_user_fixtures import VECTORS, expect_ring, ring_until_known

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


def test_each_rings_what_it_says(group, arm):
    vmm = group.vmm(taking(16))
    own = arm(vmm)
    for (peer, vector), fd in doorbells(vmm.io_fds(BAR0)[2]).items():
        assert wire.is_eventfd(fd)
        if peer == group.peer_id:
            group.expect_rung(vector, lambda fd=fd: wire.ring(fd))
        else:
            expect_ring(fd, own[vector])


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


@pytest.mark.parametrize(
    "max_fds, argsz, fit",
    [
        (16, HEADER, 0),
        (16, HEADER + ENTRY - 1, 0),
        (16, HEADER + ENTRY, 1),
        (16, HEADER + 3 * ENTRY + 39, 3),
        (16, HEADER + 8 * ENTRY, 8),
        (16, HEADER + 9 * ENTRY, 8),
        (16, 0xFFFFFFFF, 8),
        *((max_fds, 1 << 16, min(8, max_fds)) for max_fds in (1, 3, 8, 16, 253)),
    ],
)
def test_as_many_as_fit_and_the_client_takes(group, max_fds, argsz, fit):
    """The need is always told, so a client can ask again, or go on."""
    vmm = group.vmm(taking(max_fds))
    need, count, entries = vmm.io_fds(BAR0, argsz)
    assert need == HEADER + 8 * ENTRY
    assert count == len(entries) == fit
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
    with group.serving(taking(16)) as vmm:
        for _ in range(50):
            for _, fd in vmm.io_fds(BAR0)[2]:
                vmm.close_fd(fd)
            vmm.send(*vu.get_io_fds(BAR0), flags=vu.NO_REPLY)


def test_peers_come_and_go(group):
    vmm = group.vmm(taking(16))
    known = len(group.device.fds())
    other = group.server.client()
    for vector, fd in enumerate(other.peers[other.id]):
        ring_until_known(vmm, other.id, vector, fd)
    found = doorbells(all_pages(vmm))
    assert found.keys() == expected(group, other.id)
    expect_ring(found[other.id, 3], other.peers[other.id][3])
    other.close()
    group.device.wait_fds(known)
    assert doorbells(all_pages(vmm)).keys() == expected(group)
    group.expect_alone()


def test_the_device_uses_no_more_vectors_than_it_has(shared):
    """The server gives 4; what the model does not ring is not offered either."""
    vmm = shared(device_vectors=2, vectors=VECTORS).vmm(taking(16))
    assert doorbells(vmm.io_fds(BAR0)[2]).keys() == {(peer, vector) for peer in (0, 1) for vector in (0, 1)}


def test_not_offered(shared, old_group, intx_group, plain):
    """Off, or by default off as in 2010, or without peers."""
    for device in (shared("--ioeventfd", "off"), old_group, intx_group, plain()):
        assert device.vmm(taking(16)).io_fds(BAR0) == (HEADER, 0, [])


def test_079_revision_0_with_ioeventfd(shared):
    group = shared("--revision", "0", "--size", "1", "--ioeventfd", "on", size=1 << 20)
    assert doorbells(group.vmm(taking(16)).io_fds(BAR0)[2]).keys() == expected(group)


def test_legacy_doorbell_has_no_more_values(shared):
    """A guest that writes vector 256 there rings vector 0, and the offer must not promise anything else."""
    group = shared("--legacy-doorbell", vectors=300)
    found = doorbells(all_pages(group.vmm(taking(253))))
    assert found.keys() == {(peer, vector) for peer, vector in expected(group) if vector < 256}

# SPDX-License-Identifier: BSD-2-Clause
"""What the server's policy does to QEMU's own device."""

import os

import pytest

import ivshmem_wire as wire
from qemu_device import BAR2, Refused

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be several users")


@root_only
def test_a_machine_that_may_not_join_ends_with_an_error(server, qemu):
    srv = server("--allow-user", "12345")
    with pytest.raises(Refused, match="version"):
        qemu(srv)
    srv.expect(r"ivshmem-server: a client is refused \(process \d+, user 0, program qemu.*--allow-user.*", "stderr")


@root_only
def test_a_machine_that_may_only_read_ends_with_an_error(server, qemu):
    """docs/policy.md: QEMU's device maps the memory for writing or not at all."""
    srv = server("--read-only-user", "root")
    with pytest.raises(Refused, match="unable to map backing store for guest RAM: Permission denied"):
        qemu(srv)
    # Plugged into a machine that runs, it is the plugging that fails.
    other = server("-l", "1M", path=srv.path + "-2")
    machine = qemu(other)
    with pytest.raises(AssertionError, match="Permission denied"):
        machine.plug(srv.path, 1, "reader", addr="0x6")
    machine.alive()
    machine.write(BAR2, 77)
    assert machine.read(BAR2) == 77


def test_machines_in_a_star(server, qemu, room, closing):
    srv = server("--see", "star:9", "--member", f"9={room.file('centre')}", vectors=2)
    one, other = qemu(srv), qemu(srv)
    centre = wire.RawClient(room.file("centre"), 2)
    closing.append(centre)
    centre.greet().follow_until_knows([one.id, other.id, 9])
    machine = qemu(srv)
    centre.follow_until_knows([one.id, other.id, machine.id, 9])
    # A ring to one that it was not told of is lost, as one to nobody.
    machine.ring(one.id, 0)
    machine.ring(9, 1)
    wire.wait_rings(centre.peers[9][1])
    wire.ring(centre.peers[one.id][1])
    one.wait_pending([1])
    assert other.pending() == set()
    other.kill()
    centre.follow_until_knows([one.id, machine.id, 9])
    for vm in one, machine:
        vm.alive()

# SPDX-License-Identifier: BSD-2-Clause
"""ivshmem-device of revision 0: servers that are late, and servers of 2010, which say no version."""

import os
import re
import time

import pytest

import ivshmem_wire as wire
import vfio_user as vu
from ivshmem_wire import MEMORY
from vfio_user import BAR2, INTX
from vfio_user_fixtures import MIB, expect_ring, ring_until_known

REVISION_0 = ("--revision", "0", "--size", "1", "--timeout", "60")
# Ready before the server has said anything, as a device of 2010 was.
IMPATIENT = (*REVISION_0[:-1], "0.001")


@pytest.fixture
def large_memory():
    """Of 1 MiB: sizes of revision 0 are in MiB."""
    fd = wire.memory_fd(MIB)
    yield fd
    os.close(fd)


@pytest.mark.parametrize("own_id", [0, 1, 5, 65535])
@pytest.mark.parametrize("msi", ["on", "off"])
@pytest.mark.parametrize("version", [[], [wire.VERSION]], ids=["2010", "today"])
def test_113_server_of_2010(device_at_fake, large_memory, eventfds, arm, own_id, msi, version):
    """No version: the first number is the id, which may be 0 and look like one. A server of today says it."""
    process, connection = device_at_fake(*REVISION_0, "--msi", msi)
    fds, peers = eventfds(2), eventfds(2)
    other = 3
    for number in (*version, own_id):
        connection.send(number)
    connection.send(MEMORY, large_memory)
    for fd in peers:
        connection.send(other, fd)
    for fd in fds:
        connection.send(own_id, fd)
    vmm = process.expect_ready().vmm()
    wire.wait_until(lambda: vmm.register(vu.IV_POSITION) == own_id, "the id")
    vmm.write(BAR2, 0, b"2010")
    assert os.pread(large_memory, 4, 0) == b"2010"
    ring_until_known(vmm, other, 1, peers[1])
    if msi == "on":
        for ring, trigger in zip(fds, arm(vmm, 2)):
            expect_ring(ring, trigger)
    else:
        [trigger] = arm(vmm, 1, INTX)
        vmm.set_register(vu.INTR_MASK, 1)
        expect_ring(fds[1], trigger)
        assert vmm.register(vu.INTR_STATUS) == 1
    # A peer leaves, another one comes.
    connection.send(other)
    new = eventfds(1)
    connection.send(other + 1, new[0])
    ring_until_known(vmm, other + 1, 0, new[0])
    wire.rings(peers[0])
    vmm.ring(other, 0)
    assert wire.rings(peers[0]) == 0
    process.finish()


def test_022_revision_0_waits_for_ever(device_at_fake, large_memory, eventfds, arm):
    """A guest starts, and its server takes its time: --timeout ends only the waiting before `ready`."""
    process, connection = device_at_fake(*IMPATIENT)
    vmm = process.expect_ready().vmm()
    [trigger] = arm(vmm, 1)
    time.sleep(0.5)
    assert vmm.register(vu.IV_POSITION) == 0xFFFFFFFF
    vmm.ring(0, 0)
    fds = eventfds(2)
    connection.greeting(4, large_memory, vectors=fds)
    expect_ring(fds[0], trigger)
    assert vmm.register(vu.IV_POSITION) == 4
    process.finish()


@pytest.mark.parametrize("own_id", [0, 5])
@pytest.mark.parametrize("options", [REVISION_0, IMPATIENT], ids=["waits", "late"])
def test_memory_before_the_id(device_at_fake, large_memory, eventfds, own_id, options):
    """Either order was legal in 2010."""
    process, connection = device_at_fake(*options)
    if options is IMPATIENT:
        process.expect_ready()
    own, other = eventfds(2), eventfds(2)
    connection.send(MEMORY, large_memory)
    connection.send(own_id)
    for peer, fds in ((own_id, own), (own_id + 1, other)):
        for fd in fds:
            connection.send(peer, fd)
    if options is REVISION_0:
        process.expect_ready()
        assert f"peer {own_id}, memory 1 MiB" in process.stdout
    vmm = process.vmm()
    wire.wait_until(lambda: vmm.register(vu.IV_POSITION) == own_id, "the id")
    # Another one: the device itself reads its own eventfds.
    ring_until_known(vmm, own_id + 1, 1, other[1])
    process.finish()


def test_ready_waits_for_the_memory(device_at_fake, large_memory, eventfds):
    """The VMM asks once what it may map, so it must not come too early; our vectors are there as well."""
    process, connection = device_at_fake(*REVISION_0)
    connection.send(wire.VERSION)
    connection.send(3)
    fds = eventfds(2)
    time.sleep(0.2)
    connection.send(MEMORY, large_memory)
    for fd in fds:
        connection.send(3, fd)
    process.expect_ready()
    assert "peer 3, memory 1 MiB" in process.stdout
    assert process.stderr == ""
    with process.vmm().region_info(BAR2).map() as view:
        view[:4] = b"here"
    assert os.pread(large_memory, 4, 0) == b"here"
    process.finish()


def test_022_memory_after_the_vmm(device_at_fake, large_memory):
    """This VMM reaches it by messages, the next one maps it; the log said so."""
    process, connection = device_at_fake(*IMPATIENT)
    vmm = process.expect_ready().vmm()
    assert "memory not there yet" in process.stdout
    assert re.search("has not sent the memory yet.*slow", process.stderr)
    info = vmm.region_info(BAR2)
    assert (info.size, info.fd) == (MIB, None)
    assert vmm.read(BAR2, 0, 4) == b"\xff" * 4
    vmm.write(BAR2, 0, b"lost")
    connection.send(wire.VERSION)
    connection.send(4)
    connection.wait_taken()
    assert vmm.register(vu.IV_POSITION) == 0xFFFFFFFF, "the memory is missing"
    connection.send(MEMORY, large_memory)
    wire.wait_until(lambda: vmm.register(vu.IV_POSITION) == 4, "the id")
    assert vmm.read(BAR2, 0, 4) == bytes(4)
    vmm.write(BAR2, 0, b"slow")
    assert os.pread(large_memory, 4, 0) == b"slow"
    process.forget_vmms()
    with process.vmm().region_info(BAR2).map() as view:
        assert view[:4] == b"slow"
    process.finish()


@pytest.fixture(params=[False, True], ids=["start", "late"])
def hopeless(request, device_at_fake):
    """hopeless(say, words): what the device needs can never come. It says why and ends, also with a VMM."""

    def hopeless(say, words):
        process, connection = device_at_fake(*(IMPATIENT if request.param else REVISION_0))
        if request.param:
            process.expect_ready().vmm()
        try:
            say(connection)
        except BrokenPipeError:
            pass  # it has gone already
        assert process.wait() == 1, process.describe()
        assert re.search(words, process.stderr.splitlines()[-1]), process.stderr
        assert "goes on" not in process.stderr
        assert ("ready" in process.stdout) == request.param
        assert not os.path.lexists(process.path), "the socket is still there"

    return hopeless


def test_revision_0_and_a_memory_that_is_too_small(hopeless, memory):
    hopeless(lambda connection: connection.greeting(4, memory), r"65536 bytes.*1048576: give")


@pytest.mark.parametrize("numbers", [[-28], [-5], [65536], [0, 70000], [3, -7], [0, 3, -1]], ids=str)
def test_revision_0_and_a_server_that_lies(hopeless, numbers):
    """Or refuses: -28."""

    def say(connection):
        for number in numbers:
            connection.send(number)

    hopeless(say, "server refused us: no peer id" if numbers == [-28] else "server")


@pytest.mark.parametrize("before", ["nothing", "id", "memory"])
def test_revision_0_and_a_server_that_goes(hopeless, large_memory, before):
    """Without both there is no membership."""

    def say(connection):
        if before == "id":
            connection.send(7)
        if before == "memory":
            connection.send(MEMORY, large_memory)
        connection.close()

    hopeless(say, "the server closed the connection")


def test_revision_1_and_a_server_of_2010(device_at_fake, memory):
    """Refused, with a hint at what it is."""
    process, connection = device_at_fake()
    connection.send(5)
    try:
        connection.send(MEMORY, memory)
    except BrokenPipeError:
        pass  # it has gone already
    assert process.wait() == 1, process.describe()
    assert "version" in process.stderr

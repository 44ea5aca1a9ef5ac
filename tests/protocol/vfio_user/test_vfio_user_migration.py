# SPDX-License-Identifier: BSD-2-Clause
"""vfio-user: a device's state and memory carried to another device, and streams that are wrong."""

import itertools
import os
import random
import struct

import pytest

import ivshmem_wire as wire
import vfio_user as vu
from vfio_user import BAR2, INTR_MASK, INTR_STATUS
from vfio_user_fixtures import KIB, MIB, SIZE
from vfio_user_migration import (
    RESUMING,
    RUNNING,
    STATE_ERROR,
    STOP,
    STOP_COPY,
    check_configured,
    configure,
    load,
    migrate,
    save,
)


@pytest.fixture
def group(master):
    return master


# ---- from one device to another ------------------------------------------------------------------------


@pytest.fixture
def destination(shared):
    """Another group, with its own server and memory."""
    return shared("--master", "auto", device_first=True)


@pytest.mark.parametrize("read_size", [1 << 20, 4096, 1000, 77])
@pytest.mark.parametrize("write_size", [1 << 20, 4096, 999])
@pytest.mark.parametrize("precopy", [False, True], ids=["stop", "precopy"])
def test_087_whole_migration(group, vmm, destination, arm, read_size, write_size, precopy):
    contents = random.Random(read_size).randbytes(SIZE)
    group.memory[:] = contents
    configure(vmm, group)
    stream = save(vmm, read_size, precopy)
    target = destination.vmm()
    fds = arm(target)
    load(target, stream, write_size)
    target.set_state(RUNNING)
    check_configured(target, destination)
    assert destination.memory[:] == contents
    assert target.read(BAR2, SIZE - 16, 16) == contents[-16:]
    # The id and the peers are those of the new group.
    assert target.register(vu.IV_POSITION) == destination.id
    destination.expect_doorbells(target)
    destination.expect_interrupts(fds)
    # And the source may go on if its VMM decides so.
    vmm.set_state(RUNNING)
    check_configured(vmm, group)


def test_087_byte_by_byte(vmm, destination):
    """Both ends; not the memory, which would take long."""
    stream = save(vmm)
    target = destination.vmm()
    target.set_state(RESUMING)
    for at in range(1000):
        target.mig_write(stream[at : at + 1])
    target.mig_write(stream[1000:])
    target.set_state(RUNNING)
    assert target.state() == RUNNING


def test_087_rings_that_were_kept_come_along(group, vmm, destination, arm):
    """There was no eventfd for it at the source, so nobody has seen it."""
    group.ring_and_wait(2)
    target = destination.vmm()
    fds = arm(target)
    migrate(vmm, target)
    wire.wait_rings(fds[2])
    target.info()
    assert fds.rings() == [0] * 4


def test_rings_while_the_source_is_stopped_are_not_lost(group, vmm, destination, arm):
    """
    They are in the state that is saved, or in the device that was stopped and goes on. So are those of a vector
    whose eventfd the device leaves to the VMM, which has not read it.
    """
    fds = arm(vmm)
    vmm.assign(vu.MSIX, 2, group.at_device[2])
    vmm.set_state(STOP)
    for vector in (1, 2):
        wire.ring(group.at_device[vector])
    target = destination.vmm()
    others = arm(target)
    migrate(vmm, target)
    wire.wait_rings(others[1])
    wire.wait_rings(others[2])
    vmm.set_state(RUNNING)
    wire.wait_rings(fds[1])


def test_087_intx(shared, arm):
    """The level is part of what the registers say: it fires at the destination."""
    arguments = ("--revision", "0", "--msi", "off", "--size", "1")
    source, destination = shared(*arguments, size=MIB), shared(*arguments, "--role", "master", size=MIB)
    vmm, target = source.vmm(), destination.vmm()
    vmm.set_register(INTR_MASK, 1)
    wire.ring(source.at_device[0])
    wire.wait_until(lambda: vmm.config(6, 2) & 8, "the level is high")
    stream = save(vmm)
    [pin] = arm(target, 1, vu.INTX)
    load(target, stream)
    assert wire.rings(pin) == 0, "it does not run yet"
    target.set_state(RUNNING)
    wire.wait_rings(pin)
    assert target.register(INTR_STATUS) == 1


def test_a_larger_memory(own_group):
    """In messages of 1 MiB; 8 MiB are enough to need several."""
    source = own_group("--master", "on", device_first=True, size=8 * MIB)
    destination = own_group("--master", "on", device_first=True, size=8 * MIB)
    contents = random.Random(8).randbytes(8 * MIB)
    source.memory[:] = contents
    migrate(source.vmm(), destination.vmm())
    assert destination.memory[:] == contents


def test_plain_device(plain, device, room):
    """Without server; master by option."""
    source = plain("--master", "on")
    with open(room.file("memory"), "r+b") as file:
        file.write(b"plain memory")
    vmm = source.vmm()
    vmm.set_register(INTR_MASK, 3)
    with open(room.file("other"), "wb") as file:
        file.truncate(SIZE)
    target = device("--file", room.file("other"), "--master", "on", path=room.file("device2")).vmm()
    migrate(vmm, target)
    assert target.register(INTR_MASK) == 3
    with open(room.file("other"), "rb") as file:
        assert file.read(12) == b"plain memory"


def test_086_what_is_in_the_stream(group, vmm):
    """In this order, numbers big-endian, config space and table as on the bus."""
    configure(vmm, group)
    group.memory[:4] = b"mine"
    stream = save(vmm)
    magic, version, state_length, memory_length = struct.unpack_from(">8sIIQ", stream)
    assert (magic, version, memory_length) == (b"ivshmig\0", 1, SIZE)
    assert len(stream) == 24 + state_length + SIZE
    assert stream[24 + state_length :] == group.memory[:]
    state = stream[24 : 24 + state_length]
    assert state[:8] == b"ivshmem\0"
    header = struct.unpack_from(">IIIIIIQ", state, 8)
    # version, length, revision, kind (server and MSI-X), vectors, nothing, size of the memory
    assert header == (0, state_length, 1, 3, group.vectors, 0, SIZE)
    config, at = state[40 : 40 + 256], 40 + 256
    assert config[:4] == bytes.fromhex("f41a1011")
    assert struct.unpack_from("<H", config, 4)[0] == 0x406
    for vector in range(group.vectors):
        assert struct.unpack_from("<QII", state, at) == (0xFEE00000 | vector << 12, 0x4000 + vector, 0)
        at += 16
    assert state[at : at + 1] == b"\0", "pending bits"
    assert struct.unpack_from(">II", state, at + 1) == (0x22, 0x11), "IntrStatus and IntrMask"
    assert len(state) == at + 9


# ---- streams that are wrong ----------------------------------------------------------------------------


@pytest.fixture
def stream(group, vmm):
    """That of the device itself, which is as before."""
    stream = save(vmm)
    vmm.reset()
    return stream


def refuse_stream(group, vmm, stream):
    """It is refused while it is written or at the end of it; nothing but the memory was changed."""
    group.memory[:] = bytes(group.size)
    configure(vmm, group)
    vmm.set_state(RESUMING)
    written = True
    for at in range(0, len(stream), 4096):
        try:
            vmm.mig_write(stream[at : at + 4096])
        except vu.Refused:
            written = False
            assert vmm.refused(*vu.mig_write(b"x")), "after that, no more is taken"
            break
    assert vmm.refused(*vu.set_state(RUNNING))
    assert vmm.state() == STATE_ERROR
    check_configured(vmm, group)
    vmm.reset()
    assert vmm.state() == RUNNING
    return written


@pytest.mark.parametrize("length", [1, 7, 8, 23, 24, 25, 100, 500, 4096, -4096, -1])
def test_088_truncated(group, vmm, stream, length):
    assert refuse_stream(group, vmm, stream[:length]), "what came was right"


def test_088_longer(group, vmm, stream):
    """One byte too many is no stream of this device, also if the rest of it was and came before."""
    assert not refuse_stream(group, vmm, stream + b"x")
    assert not refuse_stream(group, vmm, stream + stream)
    load(vmm, stream)
    assert vmm.refused(*vu.mig_write(b"x"))
    assert vmm.refused(*vu.set_state(RUNNING))
    assert vmm.state() == STATE_ERROR


def test_088_garbage(group, vmm):
    generator = random.Random(88)
    for length in (8, 24, 1000, 100000):
        refuse_stream(group, vmm, generator.randbytes(length))
        refuse_stream(group, vmm, bytes(length))
        refuse_stream(group, vmm, b"\xff" * length)


def test_088_each_byte_of_what_must_fit(group, vmm, stream):
    """Of the stream's header and of the header of the state in it: every bit of them says something."""
    for at, bit in itertools.product(range(24 + 40), (0, 5)):
        wrong = bytearray(stream)
        wrong[at] ^= 1 << bit
        assert not refuse_stream(group, vmm, bytes(wrong)), f"bit {bit} of byte {at}"
        assert group.memory[:] == bytes(SIZE), "no byte of the memory of another device"


@pytest.mark.parametrize(
    "arguments, options",
    [
        (("--master", "on"), {"vectors": 2}),
        (("--master", "on"), {"size": 128 * KIB}),
        (("--master", "on"), {"size": 32 * KIB}),
        (("--revision", "0", "--size", "1"), {"size": MIB}),
    ],
    ids=["vectors", "larger", "smaller", "revision"],
)
def test_088_from_another_kind_of_device(shared, group, vmm, arguments, options):
    stream = save(shared(*arguments, device_first=True, **options).vmm())
    assert not refuse_stream(group, vmm, stream)
    assert group.memory[:] == bytes(SIZE)


def test_refusals_are_told(own_group):
    """With the reason, once each, and for the user to understand."""
    group = own_group("--master", "on", device_first=True)
    vmm = group.vmm()
    stream = save(vmm)
    vmm.reset()
    other = bytearray(stream)
    other[16:24] = struct.pack(">Q", 128 * KIB)
    refuse_stream(group, vmm, bytes(other))
    assert str(128 * KIB) in group.device.stderr and str(SIZE) in group.device.stderr


def test_migration_before_the_memory_came(device_at_fake):
    """Revision 0: there is nothing to migrate yet."""
    process, connection = device_at_fake("--revision", "0", "--size", "1")
    vmm = process.expect_ready().vmm()
    assert vmm.refused(*vu.set_state(STOP_COPY))
    assert vmm.refused(*vu.set_state(RESUMING))
    memory = wire.memory_fd(MIB)
    connection.greeting(3, memory)
    wire.wait_until(lambda: vmm.register(vu.IV_POSITION) == 3, "the memory came")
    os.close(memory)
    assert len(save(vmm)) > MIB
    process.finish()


def test_a_client_that_goes_in_the_middle(group):
    """Nothing of the stream stays behind."""
    for state in (STOP_COPY, RESUMING):
        for _ in range(20):
            vmm = group.vmm()
            vmm.set_state(state)
            if state == STOP_COPY:
                vmm.mig_read(100)
            else:
                vmm.mig_write(b"ivshmig\0")
            group.device.forget_vmms()

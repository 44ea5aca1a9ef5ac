# SPDX-License-Identifier: BSD-2-Clause
"""vfio-user: a device's state and memory carried to another device, and streams that are wrong."""

import os
import random
import struct

import pytest

import ivshmem_wire as wire
import vfio_user as vu
from vfio_user import BAR2, INTR_MASK, INTR_STATUS, MSIX
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
    save,
)


@pytest.fixture
def master(shared):
    """A group whose device has id 0 and is the master."""
    return shared("--master", "on", device_first=True)


@pytest.fixture
def vmm(master):
    return master.vmm()


# ---- from one device to another ------------------------------------------------------------------------


@pytest.fixture
def destination(shared):
    """Another group, with its own server and memory."""
    return shared("--master", "auto", device_first=True)


@pytest.mark.parametrize("read_size", [1 << 20, 4096, 1000, 77])
@pytest.mark.parametrize("write_size", [1 << 20, 4096, 999])
@pytest.mark.parametrize("precopy", [False, True], ids=["stop", "precopy"])
def test_087_whole_migration(master, vmm, destination, eventfds, read_size, write_size, precopy):
    contents = random.Random(read_size).randbytes(SIZE)
    master.memory[:] = contents
    configure(vmm, master)
    stream = save(vmm, read_size, precopy)
    target = destination.vmm()
    fds = eventfds(4)
    target.assign(MSIX, 0, *fds)
    load(target, stream, write_size)
    target.set_state(RUNNING)
    check_configured(target, destination)
    assert destination.memory[:] == contents
    assert target.read(BAR2, SIZE - 16, 16) == contents[-16:]
    # The id and the peers are those of the new group.
    assert target.register(vu.IV_POSITION) == destination.id
    target.ring(destination.peer_id, 2)
    assert wire.rings(destination.at_peer[2]) == 1
    wire.ring(destination.at_device[3])
    wire.wait_rings(fds[3])
    # And the source may go on if its VMM decides so.
    vmm.set_state(RUNNING)
    check_configured(vmm, master)


def test_087_byte_by_byte(master, vmm, destination):
    """Both ends; not the memory, which would take long."""
    stream = save(vmm)
    target = destination.vmm()
    target.set_state(RESUMING)
    for at in range(1000):
        target.mig_write(stream[at : at + 1])
    target.mig_write(stream[1000:])
    target.set_state(RUNNING)
    assert target.state() == RUNNING


def test_087_rings_that_were_kept_come_along(master, vmm, destination, eventfds):
    """There was no eventfd for it at the source, so nobody has seen it."""
    wire.ring(master.at_device[2])
    wire.wait_until(lambda: not wire.readable(master.at_device[2], 0), "the device takes the ring")
    stream = save(vmm)
    target = destination.vmm()
    fds = eventfds(4)
    target.assign(MSIX, 0, *fds)
    load(target, stream)
    target.set_state(RUNNING)
    wire.wait_rings(fds[2])
    target.info()
    assert [wire.rings(fd) for fd in fds] == [0] * 4


def test_rings_while_the_source_is_stopped_are_not_lost(master, vmm, destination, eventfds):
    """They are in the state that is saved, or in the device that was stopped and goes on."""
    fds = eventfds(4)
    vmm.assign(MSIX, 0, *fds)
    vmm.set_state(STOP)
    wire.ring(master.at_device[1])
    stream = save(vmm)
    target = destination.vmm()
    others = eventfds(4)
    target.assign(MSIX, 0, *others)
    load(target, stream)
    target.set_state(RUNNING)
    wire.wait_rings(others[1])
    vmm.set_state(RUNNING)
    wire.wait_rings(fds[1])


def test_087_intx(shared, eventfds):
    """The level is part of what the registers say: it fires at the destination."""
    arguments = ("--revision", "0", "--msi", "off", "--size", "1")
    source, destination = shared(*arguments, size=MIB), shared(*arguments, "--role", "master", size=MIB)
    vmm, target = source.vmm(), destination.vmm()
    vmm.set_register(INTR_MASK, 1)
    wire.ring(source.at_device[0])
    wire.wait_until(lambda: vmm.config(6, 2) & 8, "the level is high")
    stream = save(vmm)
    [pin] = eventfds(1)
    target.assign(vu.INTX, 0, pin)
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
    vmm, target = source.vmm(), destination.vmm()
    load(target, save(vmm))
    target.set_state(RUNNING)
    assert destination.memory[:] == contents


def test_plain_device(plain, device, room, closing):
    """Without server; master by option."""
    source = plain("--master", "on")
    with open(room.file("memory"), "r+b") as file:
        file.write(b"plain memory")
    vmm = source.vmm()
    vmm.set_register(INTR_MASK, 3)
    stream = save(vmm)
    with open(room.file("other"), "wb") as file:
        file.truncate(SIZE)
    target = device("--file", room.file("other"), "--master", "on", path=room.file("device2")).vmm()
    load(target, stream)
    target.set_state(RUNNING)
    assert target.register(INTR_MASK) == 3
    with open(room.file("other"), "rb") as file:
        assert file.read(12) == b"plain memory"


def test_086_what_is_in_the_stream(master, vmm):
    """In this order, numbers big-endian, config space and table as on the bus."""
    configure(vmm, master)
    master.memory[:4] = b"mine"
    stream = save(vmm)
    magic, version, state_length, memory_length = struct.unpack_from(">8sIIQ", stream)
    assert (magic, version, memory_length) == (b"ivshmig\0", 1, SIZE)
    assert len(stream) == 24 + state_length + SIZE
    assert stream[24 + state_length :] == master.memory[:]
    state = stream[24 : 24 + state_length]
    assert state[:8] == b"ivshmem\0"
    header = struct.unpack_from(">IIIIIIQ", state, 8)
    # version, length, revision, kind (server and MSI-X), vectors, nothing, size of the memory
    assert header == (0, state_length, 1, 3, master.vectors, 0, SIZE)
    config, at = state[40 : 40 + 256], 40 + 256
    assert config[:4] == bytes.fromhex("f41a1011")
    assert struct.unpack_from("<H", config, 4)[0] == 0x406
    for vector in range(master.vectors):
        assert struct.unpack_from("<QII", state, at) == (0xFEE00000 | vector << 12, 0x4000 + vector, 0)
        at += 16
    assert state[at : at + 1] == b"\0", "pending bits"
    assert struct.unpack_from(">II", state, at + 1) == (0x22, 0x11), "IntrStatus and IntrMask"
    assert len(state) == at + 9


# ---- streams that are wrong ----------------------------------------------------------------------------


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
            assert vmm.mig_write_refused(b"x"), "after that, no more is taken"
            break
    assert vmm.set_state_refused(RUNNING)
    assert vmm.state() == STATE_ERROR
    check_configured(vmm, group)
    vmm.reset()
    assert vmm.state() == RUNNING
    return written


@pytest.mark.parametrize("length", [1, 7, 8, 23, 24, 25, 100, 500, 4096, -4096, -1])
def test_088_truncated(master, vmm, length):
    stream = save(vmm)
    vmm.reset()
    assert refuse_stream(master, vmm, stream[:length]), "what came was right"


def test_088_longer(master, vmm):
    stream = save(vmm)
    vmm.reset()
    assert not refuse_stream(master, vmm, stream + b"x")
    assert not refuse_stream(master, vmm, stream + stream)


def test_088_longer_after_it_was_complete(master, vmm):
    """One byte too many is no stream of this device, also if the rest of it was."""
    stream = save(vmm)
    vmm.reset()
    load(vmm, stream)
    assert vmm.mig_write_refused(b"x")
    assert vmm.set_state_refused(RUNNING)
    assert vmm.state() == STATE_ERROR


def test_088_garbage(master, vmm):
    generator = random.Random(88)
    for length in (8, 24, 1000, 100000):
        refuse_stream(master, vmm, generator.randbytes(length))
        refuse_stream(master, vmm, bytes(length))
        refuse_stream(master, vmm, b"\xff" * length)


def test_088_each_byte_of_what_must_fit(master, vmm):
    """Of the stream's header and of the header of the state in it: every bit of them says something."""
    stream = save(vmm)
    vmm.reset()
    for at in range(24 + 40):
        wrong = bytearray(stream)
        wrong[at] ^= 1 << at % 8
        assert not refuse_stream(master, vmm, bytes(wrong)), f"byte {at}"
        assert master.memory[:] == bytes(SIZE), "no byte of the memory of another device"


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
def test_088_from_another_kind_of_device(shared, master, vmm, arguments, options):
    stream = save(shared(*arguments, device_first=True, **options).vmm())
    assert not refuse_stream(master, vmm, stream)
    assert master.memory[:] == bytes(SIZE)


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


def test_migration_before_the_memory_came(device, fake, room, closing):
    """Revision 0: there is nothing to migrate yet."""
    process = device("--server", fake.path, "--revision", "0", "--size", "1", ready=False)
    connection = fake.accept()
    process.expect_ready()
    vmm = process.vmm()
    assert vmm.set_state_refused(STOP_COPY)
    assert vmm.set_state_refused(RESUMING)
    memory = wire.memory_fd(MIB)
    connection.send(wire.VERSION)
    connection.send(3)
    connection.send(wire.MEMORY, memory)
    wire.wait_until(lambda: vmm.register(vu.IV_POSITION) == 3, "the memory came")
    os.close(memory)
    assert len(save(vmm)) > MIB
    vmm.close()
    process.vmms.clear()


def test_a_client_that_goes_in_the_middle(master):
    """Nothing of the stream stays behind."""
    for state in (STOP_COPY, RESUMING):
        for _ in range(20):
            vmm = master.vmm()
            vmm.set_state(state)
            if state == STOP_COPY:
                vmm.mig_read(100)
            else:
                vmm.mig_write(b"ivshmig\0")
            master.device.forget_vmms()

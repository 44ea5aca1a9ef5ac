# SPDX-License-Identifier: BSD-2-Clause
"""A member of the group shrinks the memory, which only the server can rule out, by sealing it."""

import errno
import os

import pytest

import ivshmem_wire as wire
import vfio_user as vu
from vfio_user import BAR2
from vfio_user_fixtures import SIZE, VECTORS

STOP, RUNNING, STOP_COPY, RESUMING = 1, 2, 3, 4


@pytest.fixture
def shrunk(plain, room):
    """A device on a file of which half is gone, and its VMM."""
    device = plain()
    vmm = device.vmm()
    vmm.write(BAR2, 0, b"kept")
    os.truncate(room.file("memory"), SIZE // 2)
    return device, vmm


def test_accesses_fail(shrunk, room):
    """What is gone reads as all ones and takes no writes; the rest works, and so do registers."""
    device, vmm = shrunk
    for size in (1, 2, 4, 8):
        assert vmm.read(BAR2, SIZE - size, size) == b"\xff" * size
        vmm.write(BAR2, SIZE - size, b"\1" * size)
    assert vmm.read(BAR2, SIZE // 2 - 8, 16) == bytes(8) + b"\xff" * 8, "over the edge"
    assert vmm.read(BAR2, 0, SIZE)[SIZE // 2 :] == b"\xff" * (SIZE // 2)
    vmm.write(BAR2, 0, b"over the edge" * (SIZE // 13))
    assert vmm.write_multi((BAR2, SIZE - 8, b"12345678"), (BAR2, 16, b"x")) == 2
    assert vmm.read(BAR2, 16, 1) == b"x"
    assert vmm.register(vu.IV_POSITION) == 0
    # And it is back as soon as somebody makes it longer again.
    os.truncate(room.file("memory"), SIZE)
    assert vmm.read(BAR2, SIZE - 4, 4) == bytes(4)
    device.finish()
    assert device.stderr.count("\n") == 1, device.stderr
    assert "has shrunk the shared memory, from 64 KiB to 32 KiB" in device.stderr


def test_migration_fails(plain, room):
    """It is refused, in both directions, and the device lives."""
    device = plain("--master", "on")
    vmm = device.vmm()
    os.truncate(room.file("memory"), SIZE // 2)
    vmm.set_state(STOP_COPY)
    assert vmm.refused(*vu.mig_read(1 << 20)) == errno.EFAULT
    vmm.set_state(STOP)
    # A stream of a device whose memory is there.
    os.truncate(room.file("memory"), SIZE)
    vmm.set_state(STOP_COPY)
    stream = vmm.mig_read(1 << 20)
    vmm.set_state(STOP)
    os.truncate(room.file("memory"), SIZE // 2)
    vmm.set_state(RESUMING)
    assert vmm.refused(*vu.mig_write(stream)) == errno.EFAULT
    vmm.reset()
    assert vmm.state() == RUNNING
    assert vmm.read(BAR2, 0, 4) == bytes(4)
    device.finish()


def test_warning_before_it_happens(device_at_fake, device, server, room):
    """A server's memory that is not sealed is told of; one that is sealed is not."""
    process, connection = device_at_fake()
    fd = wire.memory_fd(SIZE, seals=False)
    connection.greeting(3, fd)
    os.close(fd)
    process.expect_ready()
    process.expect(r"ivshmem-device: .*the server's memory is not sealed.*", stream="stderr")
    process.finish()
    srv = server("-l", str(SIZE), path=room.file("real"), vectors=VECTORS)
    quiet = device("--server", srv.path, "--vectors", str(VECTORS), path=room.file("quiet"))
    quiet.finish()
    assert quiet.stderr == ""

# SPDX-License-Identifier: BSD-2-Clause
"""ivshmem-device whose server's policy gives it the memory for reading only."""

import os

import pytest

import ivshmem_wire as wire
from vfio_user import BAR2, MAPPABLE, READABLE, WRITABLE

MIB = 1 << 20


@pytest.fixture
def reader(server, device):
    """start(revision): a device that may only read, and a peer that may write."""

    def start(revision, *arguments):
        if os.geteuid() != 0:
            pytest.skip("only root can be several users")
        srv = server("--socket-mode", "0666", "--read-only-user", "root", "-l", str(MIB), *arguments)
        os.seteuid(12345)
        try:
            writer = wire.RawClient(srv.path)
        finally:
            os.seteuid(0)
        size = ("--size", "1M") if revision == "0" else ()
        process = device("--server", srv.path, "--vectors", "1", "--revision", revision, *size)
        return process, writer.greet()

    return start


@pytest.mark.parametrize("revision", ["0", "1"])
def test_the_guest_reads_and_what_it_writes_is_dropped(reader, revision):
    process, writer = reader(revision)
    vmm = process.vmm()
    wire.wait_until(lambda: vmm.region_info(BAR2).flags != READABLE | WRITABLE, "the memory is there")
    info = vmm.region_info(BAR2)
    assert (info.size, info.flags, info.fd) == (MIB, READABLE, None)
    assert not info.flags & MAPPABLE
    os.pwrite(writer.memory, b"seen", 4096)
    assert vmm.read(BAR2, 4096, 4) == b"seen"
    for size in 1, 2, 4, 8, 100:
        vmm.write(BAR2, 4096, b"n" * size)
    assert vmm.read(BAR2, 4096, 4) == b"seen"
    assert os.pread(writer.memory, 4, 4096) == b"seen"
    process.expect(r"ivshmem-device: the guest wrote to the shared memory, which it may only read.*", "stderr")
    assert process.stderr.count("may only read") == 1
    # Everything else is as always.
    vmm.ring(0, 0)
    vmm.ring(1, 0)
    assert process.running()
    writer.close()

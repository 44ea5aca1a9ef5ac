# SPDX-License-Identifier: BSD-2-Clause
"""vfio-user: migration's features, states and data, as in the kernel's VFIO (version 2)."""

import errno
import struct

import pytest

import ivshmem_wire as wire
import vfio_user as vu
from vfio_user import GET, MIG_DEVICE_STATE, MIGRATION, PROBE, SET
from vfio_user_fixtures import MIB, SIZE, VECTORS
from vfio_user_migration import (
    PRE_COPY,
    PRE_COPY_P2P,
    RESUMING,
    RUNNING,
    RUNNING_P2P,
    SAVING,
    STATE_ERROR,
    STATES,
    STOP,
    STOP_COPY,
    bring,
    load,
    read_to_end,
    save,
)


@pytest.fixture
def group(master):
    return master


# ---- features ------------------------------------------------------------------------------------------


def test_feature_migration(vmm):
    """STOP_COPY and PRE_COPY, exactly."""
    assert vmm.feature(GET | MIGRATION, argsz=16) == struct.pack("=Q", 1 | 4)
    assert vmm.feature(GET | MIGRATION, argsz=4096) == struct.pack("=Q", 1 | 4)


@pytest.mark.parametrize(
    "flags",
    [
        PROBE | GET | MIGRATION,
        PROBE | MIGRATION,
        PROBE | MIG_DEVICE_STATE,
        PROBE | GET | MIG_DEVICE_STATE,
        PROBE | SET | MIG_DEVICE_STATE,
        PROBE | GET | SET | MIG_DEVICE_STATE,
    ],
    ids=hex,
)
def test_probe_echoes(vmm, flags):
    for data in (b"", bytes(8)):
        command, request = vu.feature(flags, data)
        assert vmm.call(command, request) == request
    assert vmm.state() == RUNNING


@pytest.mark.parametrize(
    "flags, argsz, data",
    [
        (GET | MIGRATION, 15, b""),
        (GET | MIGRATION, 0, b""),
        (GET | MIGRATION, 7, b""),
        (GET | MIG_DEVICE_STATE, 15, b""),
        (SET | MIG_DEVICE_STATE, 15, struct.pack("=II", STOP, 0)),
        (SET | MIG_DEVICE_STATE, 8, struct.pack("=II", STOP, 0)),
        (SET | MIG_DEVICE_STATE, 16, struct.pack("=I", STOP)),
        (SET | MIG_DEVICE_STATE, 16, b""),
        (PROBE | GET | MIGRATION, 7, b""),
        (SET | MIGRATION, 16, bytes(8)),
        (PROBE | SET | MIGRATION, 16, bytes(8)),
        (GET | SET | MIG_DEVICE_STATE, 16, bytes(8)),
        (MIGRATION, 16, bytes(8)),
        (MIG_DEVICE_STATE, 16, bytes(8)),
        (GET | MIGRATION | 0x80000, 16, bytes(8)),
        (GET | MIGRATION | 1 << 31, 16, bytes(8)),
    ],
    ids=lambda value: f"{value:#x}" if isinstance(value, int) else str(len(value)),
)
def test_feature_wrong(vmm, flags, argsz, data):
    assert vmm.refused(*vu.feature(flags, data, argsz)) == errno.EINVAL
    assert vmm.state() == RUNNING


@pytest.mark.parametrize("number", [0, 3, 4, 5, 6, 7, 8, 0xFFFF])
@pytest.mark.parametrize("operation", [GET, SET, PROBE | GET], ids=["get", "set", "probe"])
def test_no_such_feature(vmm, number, operation):
    """Among them the logging of DMA, of which there is none."""
    error = vmm.refused(*vu.feature(operation | number, bytes(16)))
    assert error in (errno.EINVAL, errno.ENOTTY, errno.ENOTSUP)


def test_084_085_only_the_master(shared):
    """Its features are not there, and nothing else of it works."""
    for arguments in ([], ["--master", "off"], ["--master", "auto"], [*OLD, "--role", "peer"]):
        vmm = shared(*arguments, size=MIB).vmm()
        for flags in (GET | MIGRATION, PROBE | GET | MIGRATION, GET | MIG_DEVICE_STATE):
            assert vmm.refused(*vu.feature(flags, bytes(8)))
        assert vmm.refused(*vu.set_state(STOP_COPY))
        assert vmm.refused(*vu.set_state(RESUMING))
        assert vmm.refused(*vu.mig_read(8)) == errno.EINVAL
        assert vmm.refused(*vu.mig_write(b"x")) == errno.EINVAL


OLD = ("--revision", "0", "--size", "1")


@pytest.mark.parametrize("arguments", [OLD, (*OLD, "--role", "master"), ("--master", "auto")], ids=" ".join)
def test_084_085_masters(shared, arguments):
    vmm = shared(*arguments, device_first=True, size=MIB).vmm()
    assert vmm.feature(GET | MIGRATION, argsz=16) == struct.pack("=Q", 5)


# ---- states --------------------------------------------------------------------------------------------


NO_STATES = (STATE_ERROR, RUNNING_P2P, PRE_COPY_P2P, 8, 100, 0x7FFFFFFF, 0xFFFFFFFF)


@pytest.mark.parametrize("start", (STATE_ERROR, *STATES))
@pytest.mark.parametrize("end", (*STATES, *NO_STATES))
def test_every_pair_of_states(vmm, start, end):
    """A reset leads out of every state, and nothing else out of an error."""
    bring(vmm, start)
    if start == STATE_ERROR or end in NO_STATES or (start, end) == (STOP_COPY, PRE_COPY):
        assert vmm.refused(*vu.set_state(end)) == errno.EINVAL
        assert vmm.state() == start
    elif start == RESUMING and end != RESUMING:
        # Nothing was written, so there is nothing to resume.
        assert vmm.refused(*vu.set_state(end)) != 0
        assert vmm.state() == STATE_ERROR
    else:
        vmm.set_state(end)
        assert vmm.state() == end
    vmm.reset()
    assert vmm.state() == RUNNING
    assert vmm.register(vu.IV_POSITION) == 0


@pytest.mark.parametrize("end", [state for state in STATES if state != RESUMING])
def test_every_state_after_resuming(vmm, end):
    stream = save(vmm)
    bring(vmm, RUNNING)
    load(vmm, stream)
    vmm.set_state(end)
    assert vmm.state() == end


@pytest.mark.parametrize("state", (STATE_ERROR, *STATES))
def test_next_vmm_finds_it_running(group, state):
    bring(group.vmm(), state)
    group.device.forget_vmms()
    assert group.vmm().state() == RUNNING


@pytest.mark.parametrize("state", [STOP, STOP_COPY])
def test_a_stopped_device_interrupts_nobody(group, vmm, arm, state):
    fds = arm(vmm)
    vmm.set_state(state)
    for fd in group.at_device:
        wire.ring(fd)
    group.wait_taken()
    vmm.state()
    assert fds.rings() == [0] * VECTORS
    vmm.set_state(RUNNING)
    for fd in fds:
        wire.wait_rings(fd)


def test_precopy_goes_on_running(group, vmm, arm):
    fds = arm(vmm)
    vmm.set_state(PRE_COPY)
    group.expect_interrupts(fds)
    group.expect_doorbells(vmm)


# ---- data ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", (STATE_ERROR, *STATES))
def test_data_in_right_and_wrong_states(vmm, state):
    bring(vmm, state)
    if state in SAVING:
        vmm.mig_read(4)
    else:
        assert vmm.refused(*vu.mig_read(4)) == errno.EINVAL
    if state == RESUMING:
        vmm.mig_write(b"ivsh")
    else:
        assert vmm.refused(*vu.mig_write(b"ivsh")) == errno.EINVAL
    assert vmm.state() == state


@pytest.mark.parametrize(
    "argsz, size", [(0, 4), (8, 1), (11, 4), (8 + MIB, MIB + 1), (0xFFFFFFFF, MIB + 1), (8, 0xFFFFFFFF), (7, 0)]
)
def test_read_wrong(vmm, argsz, size):
    vmm.set_state(STOP_COPY)
    assert vmm.refused(*vu.mig_read(size, argsz)) == errno.EINVAL
    assert vmm.state() == STOP_COPY
    assert vmm.mig_read(8) == b"ivshmig\0", "nothing was skipped"


@pytest.mark.parametrize(
    "argsz, size, data",
    [(0, 4, b"ivsh"), (11, 4, b"ivsh"), (12, 4, b"ivs"), (12, 4, b"ivshm"), (12, 3, b"ivsh"), (8, 0xFFFFFFFF, b"")],
)
def test_write_wrong(vmm, argsz, size, data):
    vmm.set_state(RESUMING)
    assert vmm.refused(*vu.mig_write(data, size, argsz)) == errno.EINVAL
    assert vmm.state() == RESUMING
    vmm.mig_write(b"ivshmig\0")


@pytest.mark.parametrize(
    "state, command, payload",
    [(STOP_COPY, *vu.mig_read(4)), (RESUMING, *vu.mig_write(b"ivsh")), (RUNNING, *vu.set_state(STOP))],
    ids=["read", "write", "state"],
)
def test_each_shorter_length(vmm, state, command, payload):
    vmm.set_state(state)
    for length in range(len(payload)):
        assert vmm.refused(command, payload[:length]) == errno.EINVAL
        assert vmm.state() == state


def test_no_more_than_the_client_takes(group):
    """libvfio-user's test negotiates 4 bytes."""
    vmm = group.vmm(vu.version_payload({"capabilities": {"max_data_xfer_size": 4}}))
    vmm.set_state(STOP_COPY)
    assert vmm.refused(*vu.mig_read(5)) == errno.EINVAL
    assert vmm.mig_read(4) == b"ivsh"


def test_read_nothing(vmm):
    vmm.set_state(STOP_COPY)
    assert vmm.mig_read(0) == b""
    assert vmm.mig_read(8) == b"ivshmig\0"


def test_end_of_stream_stays_the_end(vmm):
    stream = save(vmm)
    assert len(stream) > SIZE
    for size in (1, 4096):
        assert vmm.mig_read(size) == b""
    vmm.set_state(STOP)
    vmm.set_state(STOP_COPY)
    assert read_to_end(vmm, MIB) == stream, "the same again"


def test_precopy_and_stop_copy_are_one_stream(vmm):
    stream = save(vmm, precopy=True)
    bring(vmm, RUNNING)
    assert save(vmm) == stream

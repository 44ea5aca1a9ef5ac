# SPDX-License-Identifier: BSD-2-Clause
"""vfio-user: migration's features, states and data, as in the kernel's VFIO (version 2)."""

import errno
import struct

import pytest

import ivshmem_wire as wire
import vfio_user as vu
from vfio_user import FEATURE, GET, MIG_DEVICE_STATE, MIGRATION, MSIX, PROBE, SET
from vfio_user_fixtures import MIB, SIZE
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
    path,
    read_to_end,
    save,
)


@pytest.fixture
def master(shared):
    """A group whose device has id 0 and is the master."""
    return shared("--master", "on", device_first=True)


@pytest.fixture
def vmm(master):
    return master.vmm()


# ---- features ------------------------------------------------------------------------------------------


def test_feature_migration(vmm):
    """STOP_COPY and PRE_COPY, exactly."""
    assert vmm.feature(GET | MIGRATION, argsz=16) == struct.pack("=Q", 1 | 4)
    assert vmm.feature(GET | MIGRATION, argsz=4096) == struct.pack("=Q", 1 | 4)


def test_feature_state(vmm):
    data = vmm.feature(GET | MIG_DEVICE_STATE, argsz=16)
    assert len(data) == 8
    assert struct.unpack_from("=I", data)[0] == RUNNING


def test_reply_sizes(vmm):
    request = struct.pack("=II", 16, GET | MIGRATION)
    assert vmm.exchange(FEATURE, request).size == 16 + 16
    request = struct.pack("=IIII", 16, SET | MIG_DEVICE_STATE, STOP, 0)
    assert vmm.exchange(FEATURE, request).size == 16 + 16
    vmm.set_state(STOP_COPY)
    assert vmm.exchange(vu.MIG_READ, struct.pack("=II", 8 + 10, 10)).size == 24 + 10
    vmm.set_state(RESUMING)
    assert vmm.exchange(vu.MIG_WRITE, struct.pack("=IIB", 8 + 1, 1, ord("i"))).size == 16


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
        request = struct.pack("=II", 8 + len(data), flags) + data
        assert vmm.call(FEATURE, request) == request
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
    assert vmm.refused(FEATURE, struct.pack("=II", argsz, flags) + data) == errno.EINVAL
    assert vmm.state() == RUNNING


@pytest.mark.parametrize("number", [0, 3, 4, 5, 6, 7, 8, 0xFFFF])
@pytest.mark.parametrize("operation", [GET, SET, PROBE | GET], ids=["get", "set", "probe"])
def test_no_such_feature(vmm, number, operation):
    """Among them the logging of DMA, of which there is none."""
    error = vmm.refused(FEATURE, struct.pack("=IIQQ", 24, operation | number, 0, 0))
    assert error in (errno.EINVAL, errno.ENOTTY, errno.ENOTSUP)


@pytest.mark.parametrize("length", [0, 4, 7])
def test_feature_too_short(vmm, length):
    request = struct.pack("=II", 16, GET | MIGRATION)[:length]
    assert vmm.refused(FEATURE, request) == errno.EINVAL


def test_084_085_only_the_master(shared):
    """Its features are not there, and nothing else of it works."""
    for arguments in ([], ["--master", "off"], ["--master", "auto"]):
        vmm = shared(*arguments).vmm()
        for flags in (GET | MIGRATION, PROBE | GET | MIGRATION, GET | MIG_DEVICE_STATE):
            assert vmm.refused(FEATURE, struct.pack("=IIQ", 16, flags, 0))
        assert vmm.set_state_refused(STOP_COPY)
        assert vmm.set_state_refused(RESUMING)
        assert vmm.refused(vu.MIG_READ, struct.pack("=II", 16, 8)) == errno.EINVAL
        assert vmm.mig_write_refused(b"x") == errno.EINVAL


def test_084_role_of_revision_0(shared):
    revision_0 = ["--revision", "0", "--size", "1"]
    peer = shared(*revision_0, "--role", "peer", size=MIB).vmm()
    assert peer.refused(FEATURE, struct.pack("=IIQ", 16, GET | MIGRATION, 0))
    for arguments in ([], ["--role", "master"]):
        vmm = shared(*revision_0, *arguments, size=MIB).vmm()
        assert vmm.feature(GET | MIGRATION, argsz=16) == struct.pack("=Q", 5)


def test_085_auto(shared):
    vmm = shared("--master", "auto", device_first=True).vmm()
    assert vmm.feature(GET | MIGRATION, argsz=16) == struct.pack("=Q", 5)


# ---- states --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", STATES)
@pytest.mark.parametrize("end", STATES)
def test_every_pair_of_states(vmm, start, end):
    bring(vmm, start)
    way = path(start, end)
    if way is None:
        assert vmm.set_state_refused(end) == errno.EINVAL
        assert vmm.state() == start
    elif start == RESUMING and end != RESUMING:
        # Nothing was written, so there is nothing to resume.
        assert vmm.set_state_refused(end) != 0
        assert vmm.state() == STATE_ERROR
    else:
        vmm.set_state(end)
        assert vmm.state() == end


@pytest.mark.parametrize("end", [state for state in STATES if state != RESUMING])
def test_every_state_after_resuming(vmm, end):
    stream = save(vmm)
    bring(vmm, RUNNING)
    load(vmm, stream)
    assert path(RESUMING, end)
    vmm.set_state(end)
    assert vmm.state() == end


@pytest.mark.parametrize("state", (STATE_ERROR, *STATES))
@pytest.mark.parametrize("wanted", [STATE_ERROR, RUNNING_P2P, PRE_COPY_P2P, 8, 100, 0x7FFFFFFF, 0xFFFFFFFF])
def test_bad_states(vmm, state, wanted):
    bring(vmm, state)
    assert vmm.set_state_refused(wanted) == errno.EINVAL
    assert vmm.state() == state


@pytest.mark.parametrize("wanted", STATES)
def test_only_reset_leads_out_of_error(vmm, wanted):
    bring(vmm, STATE_ERROR)
    assert vmm.set_state_refused(wanted) == errno.EINVAL
    assert vmm.state() == STATE_ERROR
    vmm.reset()
    assert vmm.state() == RUNNING


@pytest.mark.parametrize("state", STATES)
def test_reset_from_everywhere(vmm, state):
    bring(vmm, state)
    vmm.reset()
    assert vmm.state() == RUNNING
    assert vmm.register(vu.IV_POSITION) == 0


@pytest.mark.parametrize("state", (STATE_ERROR, *STATES))
def test_next_vmm_finds_it_running(master, vmm, state):
    bring(vmm, state)
    master.device.forget_vmms()
    assert master.vmm().state() == RUNNING


@pytest.mark.parametrize("state", [STOP, STOP_COPY])
def test_a_stopped_device_interrupts_nobody(master, vmm, eventfds, state):
    fds = eventfds(4)
    vmm.assign(MSIX, 0, *fds)
    vmm.set_state(state)
    for fd in master.at_device:
        wire.ring(fd)
    wire.wait_until(lambda: not any(wire.readable(fd, 0) for fd in master.at_device[:1]), "rings are taken")
    vmm.state()
    assert [wire.rings(fd) for fd in fds] == [0] * 4
    vmm.set_state(RUNNING)
    for fd in fds:
        wire.wait_rings(fd)


def test_precopy_goes_on_running(master, vmm, eventfds):
    fds = eventfds(1)
    vmm.assign(MSIX, 0, *fds)
    vmm.set_state(PRE_COPY)
    wire.ring(master.at_device[0])
    wire.wait_rings(fds[0])
    vmm.ring(master.peer_id, 1)
    assert wire.rings(master.at_peer[1]) == 1


# ---- data ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", (STATE_ERROR, *STATES))
def test_data_in_right_and_wrong_states(vmm, state):
    bring(vmm, state)
    if state in SAVING:
        vmm.mig_read(4)
    else:
        assert vmm.refused(vu.MIG_READ, struct.pack("=II", 12, 4)) == errno.EINVAL
    if state == RESUMING:
        vmm.mig_write(b"ivsh")
    else:
        assert vmm.mig_write_refused(b"ivsh") == errno.EINVAL
    assert vmm.state() == state


@pytest.mark.parametrize(
    "argsz, size", [(0, 4), (8, 1), (11, 4), (8 + MIB, MIB + 1), (0xFFFFFFFF, MIB + 1), (8, 0xFFFFFFFF), (7, 0)]
)
def test_read_wrong(vmm, argsz, size):
    vmm.set_state(STOP_COPY)
    before = vmm.state()
    assert vmm.refused(vu.MIG_READ, struct.pack("=II", argsz, size)) == errno.EINVAL
    assert vmm.state() == before
    assert vmm.mig_read(8) == b"ivshmig\0", "nothing was skipped"


@pytest.mark.parametrize(
    "argsz, size, data",
    [(0, 4, b"ivsh"), (11, 4, b"ivsh"), (12, 4, b"ivs"), (12, 4, b"ivshm"), (12, 3, b"ivsh"), (8, 0xFFFFFFFF, b"")],
)
def test_write_wrong(vmm, argsz, size, data):
    vmm.set_state(RESUMING)
    assert vmm.refused(vu.MIG_WRITE, struct.pack("=II", argsz, size) + data) == errno.EINVAL
    assert vmm.state() == RESUMING
    vmm.mig_write(b"ivshmig\0")


@pytest.mark.parametrize("length", [0, 4, 7])
@pytest.mark.parametrize("command, state", [(vu.MIG_READ, STOP_COPY), (vu.MIG_WRITE, RESUMING)])
def test_too_short(vmm, command, state, length):
    vmm.set_state(state)
    assert vmm.refused(command, struct.pack("=II", 12, 4)[:length]) == errno.EINVAL


def test_no_more_than_the_client_takes(master):
    """libvfio-user's test negotiates 4 bytes."""
    vmm = master.vmm(vu.version_payload({"capabilities": {"max_data_xfer_size": 4}}))
    vmm.set_state(STOP_COPY)
    assert vmm.refused(vu.MIG_READ, struct.pack("=II", 13, 5)) == errno.EINVAL
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

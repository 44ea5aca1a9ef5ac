# SPDX-License-Identifier: BSD-2-Clause
"""The states of VFIO's migration and the ways between them, and whole streams saved and loaded."""

import collections

from vfio_user import BAR1, INTR_MASK, INTR_STATUS

STATE_ERROR, STOP, RUNNING, STOP_COPY, RESUMING, RUNNING_P2P, PRE_COPY, PRE_COPY_P2P = range(8)
STATES = (STOP, RUNNING, STOP_COPY, RESUMING, PRE_COPY)

# The arcs that a device with STOP_COPY and PRE_COPY has.
ARCS = {
    RUNNING: (STOP, PRE_COPY),
    STOP: (RUNNING, STOP_COPY, RESUMING),
    STOP_COPY: (STOP,),
    RESUMING: (STOP,),
    PRE_COPY: (RUNNING, STOP_COPY),
}
SAVING = (STOP_COPY, PRE_COPY)


def path(start, end):
    """The shortest one whose interior saves nothing, or None. STOP_COPY to PRE_COPY is forbidden as such."""
    if (start, end) == (STOP_COPY, PRE_COPY):
        return None
    queue = collections.deque([(start,)])
    while queue:
        way = queue.popleft()
        if way[-1] == end:
            return way
        if way[-1] in SAVING and len(way) > 1:
            continue
        queue.extend(way + (after,) for after in ARCS[way[-1]] if after not in way)
    return None


def bring(vmm, state):
    """To a state in which nothing of another test is left."""
    vmm.reset()
    assert vmm.state() == RUNNING
    if state == STATE_ERROR:
        bring(vmm, RESUMING)
        assert vmm.set_state_refused(STOP)
    elif state != RUNNING:
        vmm.set_state(state)
    assert vmm.state() == state


def save(vmm, chunk=1 << 20, precopy=False):
    """The whole stream of a device, which is stopped by it."""
    stream = bytearray()
    if precopy:
        vmm.set_state(PRE_COPY)
        stream += read_to_end(vmm, chunk)
    vmm.set_state(STOP_COPY)
    stream += read_to_end(vmm, chunk)
    return bytes(stream)


def read_to_end(vmm, chunk):
    stream = bytearray()
    while True:
        data = vmm.mig_read(chunk)
        stream += data
        if len(data) < chunk:
            return stream


def load(vmm, stream, chunk=1 << 20):
    vmm.set_state(RESUMING)
    for at in range(0, len(stream), chunk):
        vmm.mig_write(stream[at : at + chunk])


def configure(vmm, group):
    """A device that is in use."""
    vmm.set_config(4, 2, 0x406)
    vmm.set_config(0x10, 4, 0xFEB00000)
    vmm.set_config(0x3C, 1, 11)
    vmm.set_config(0x42, 2, 0x8000)
    for vector in range(group.vectors):
        vmm.write_number(BAR1, 16 * vector, 8, 0xFEE00000 | vector << 12)
        vmm.write_number(BAR1, 16 * vector + 8, 8, 0x4000 + vector)
    vmm.set_register(INTR_MASK, 0x11)
    vmm.set_register(INTR_STATUS, 0x22)


def check_configured(vmm, group):
    assert vmm.config(4, 2) == 0x406
    assert vmm.config(0x10) == 0xFEB00000
    assert vmm.config(0x3C, 1) == 11
    assert vmm.config(0x42, 2) == 0x8000 | group.vectors - 1
    for vector in range(group.vectors):
        assert vmm.read_number(BAR1, 16 * vector, 8) == 0xFEE00000 | vector << 12
        assert vmm.read_number(BAR1, 16 * vector + 8, 8) == 0x4000 + vector
    assert vmm.register(INTR_MASK) == 0x11
    assert vmm.register(INTR_STATUS) == 0x22

# SPDX-License-Identifier: BSD-2-Clause
"""The states of VFIO's migration, whole streams saved and loaded, and a device in use."""

from vfio_user import BAR1, INTR_MASK, INTR_STATUS, IV_POSITION, set_state

STATE_ERROR, STOP, RUNNING, STOP_COPY, RESUMING, RUNNING_P2P, PRE_COPY, PRE_COPY_P2P = range(8)
STATES = (STOP, RUNNING, STOP_COPY, RESUMING, PRE_COPY)

SAVING = (STOP_COPY, PRE_COPY)


def bring(vmm, state):
    """To a state in which nothing of another test is left."""
    vmm.reset()
    assert vmm.state() == RUNNING
    if state == STATE_ERROR:
        bring(vmm, RESUMING)
        assert vmm.refused(*set_state(STOP))
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


def migrate(vmm, target):
    """All of it, and the target runs."""
    load(target, save(vmm))
    target.set_state(RUNNING)


def entries(group):
    """Of the MSI-X table, all of them unmasked: the address, and the data with the control word."""
    return [(0xFEE00000 | vector << 12, 0x4000 + vector) for vector in range(group.vectors)]


def configure(vmm, group):
    """A device that is in use."""
    vmm.set_config(4, 2, 0x406)
    vmm.set_config(0x10, 4, 0xFEB00000)
    vmm.set_config(0x3C, 1, 11)
    vmm.set_config(0x42, 2, 0x8000)
    for vector, (address, rest) in enumerate(entries(group)):
        vmm.write_number(BAR1, 16 * vector, 8, address)
        vmm.write_number(BAR1, 16 * vector + 8, 8, rest)
    vmm.set_register(INTR_MASK, 0x11)
    vmm.set_register(INTR_STATUS, 0x22)


def check_table(vmm, expected):
    for vector, entry in enumerate(expected):
        assert (vmm.read_number(BAR1, 16 * vector, 8), vmm.read_number(BAR1, 16 * vector + 8, 8)) == entry


def check_configured(vmm, group):
    assert vmm.config(4, 2) == 0x406
    assert vmm.config(0x10) == 0xFEB00000
    assert vmm.config(0x3C, 1) == 11
    assert vmm.config(0x42, 2) == 0x8000 | group.vectors - 1
    check_table(vmm, entries(group))
    assert vmm.register(INTR_MASK) == 0x11
    assert vmm.register(INTR_STATUS) == 0x22


def check_power_on(vmm, group):
    """Of what configure() has done, nothing is left."""
    assert [vmm.config(at) for at in (4, 0x10, 0x3C)] == [0x00100000, 0, 0]
    assert vmm.config(0x42, 2) == group.vectors - 1
    check_table(vmm, [(0, 1 << 32)] * group.vectors)
    assert [vmm.register(at) for at in (INTR_MASK, INTR_STATUS, IV_POSITION)] == [0, 0, group.id]

# SPDX-License-Identifier: BSD-2-Clause
"""A VMM that floods the device with what is dear, wants no reply, and never stops."""

import time

import pytest

import ivshmem_wire as wire
from vfio_user_fixtures import vmm_process

MANY = 2048

FLOOD = """
import socket
try:
    vmm.sock.setsockopt(socket.SOL_SOCKET, 32, 8 << 20)  # SO_SNDBUFFORCE, with the rights to it
except OSError:
    pass
data = vu.message(vu.RESET, flags=vu.NO_REPLY) * 4000
try:
    while True:
        vmm.sock.send(data)
except OSError:
    pass
"""


@pytest.fixture
def flooded(own_group):
    """A group whose device has as many vectors as there can be, and a VMM that resets it without end."""
    group = own_group("--vectors", str(MANY), vectors=MANY)
    with vmm_process(group.device.path, FLOOD):
        # Until the socket has taken all that it can take.
        time.sleep(0.3)
        yield group


def test_sigterm(flooded):
    """The end does not wait for what has not been handled yet, either."""
    began = time.monotonic()
    flooded.device.finish()
    assert time.monotonic() - began < 5


def test_rings_are_taken(flooded):
    """The loop has its turn between any two requests."""
    for vector in range(0, MANY, 100):
        wire.ring(flooded.at_device[vector])
        wire.wait_until(lambda vector=vector: not wire.readable(flooded.at_device[vector], 0), "it is taken")

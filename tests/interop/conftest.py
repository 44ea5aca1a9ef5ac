# SPDX-License-Identifier: BSD-2-Clause

import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support"))

import pytest

import ivshmem_fixtures
import ivshmem_wire as wire
from ivshmem_fixtures import cli, closing, fake, limit, processes, room, server  # noqa: F401


from qemu_device import Qemu


def pytest_configure(config):
    ivshmem_fixtures.configure(config)


@pytest.fixture
def program():
    """The QEMU that qemu() starts; None: the machine's own."""
    return None


@pytest.fixture
def qemu(room, processes, program):
    """qemu(server, vectors=..., guest=...): a QEMU attached to it, which must survive the test unless it has ended."""
    started = []

    def start(srv, vectors=None, ready=True, path=None, **options):
        name, vectors = f"vm{len(started)}", srv.vectors if vectors is None else vectors
        machine = Qemu(room, path or srv.path, vectors, ready=False, name=name, program=program, **options)
        started.append(machine)
        processes.append(machine)
        return machine.ready() if ready else machine

    yield start
    for machine in started:
        if machine.process.poll() is None and "qmp" in machine.streams and wire.process_state(machine.pid) != "T":
            machine.alive()

# SPDX-License-Identifier: BSD-2-Clause
"""Real Linux guests for the tests: KVM where it works, else TCG, which is slower but the same."""

import os
import sys

import pytest

sys.dont_write_bytecode = True
TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(TESTS, "support"))
sys.path.insert(0, os.path.join(os.path.dirname(TESTS), "scripts"))

KERNEL = os.environ.get("IVSHMEM_KERNEL", "")
DEBUG = KERNEL == "debug"
if DEBUG:
    os.environ.setdefault("TEST_TIMEOUT_FACTOR", "5")

import ivshmem_fixtures
import ivshmem_wire as wire
import vm
from ivshmem_fixtures import cli, closing, limit, processes, room, server  # noqa: F401
from vfio_user_fixtures import device, plain  # noqa: F401


def pytest_configure(config):
    ivshmem_fixtures.configure(config)
    config.addinivalue_line("markers", "under_kvm: also run where Linux guests have KVM only in an emulated machine")
    config.addinivalue_line("markers", "debug_kernel: only there with IVSHMEM_KERNEL=debug")


def pytest_collection_modifyitems(items):
    if not DEBUG:
        items[:] = [item for item in items if not item.get_closest_marker("debug_kernel")]


@pytest.fixture(scope="session")
def image():
    """
    IVSHMEM_KERNEL in the environment: with another kernel than the usual one, as scripts/kernels.py has them, or with
    the one that finds faults of our driver, which is "debug" (docs/testing.md).
    """
    cache, tool = os.path.join(wire.BUILD, "guest"), wire.program("ivshmem-static")
    return vm.build_debug_image(cache, tool) if DEBUG else vm.build_image(cache, tool, kernel=KERNEL or vm.USUAL)


@pytest.fixture(scope="session")
def accel(image):
    return vm.choose_accel(image, image.cache, os.environ.get("IVSHMEM_ACCEL", "auto"))


@pytest.fixture
def boot(room, image, accel):
    """
    boot(script, ...): a guest that runs the script; with `server` it has an ivshmem-doorbell with as many
    vectors as the server has, with `device` that one over vfio-user, and with vfio_user=True it may get one
    later. It is stopped at the end of the test.
    """
    guests = []

    def start(script, *, server=None, device=None, vfio_user=False, bus=None, devices=(), **options):
        devices = list(devices)
        if server is not None:
            devices += vm.ivshmem_doorbell(server.path, server.vectors, bus=bus)
        if device is not None:
            devices += vm.vfio_user(device.path, bus=bus)
        if device is not None or vfio_user:
            options = {"iommu": "caching", "qemu": vm.qemu_with_vfio_user(), **options}
        name = options.pop("name", f"guest-{len(guests)}")
        guest = vm.Guest(image, accel, room.path, name=name, script=script, devices=devices, **options)
        guests.append(guest)
        return guest.start()

    yield start
    for guest in guests:
        guest.stop()


class Group:
    def __init__(self, server, cli, vectors):
        self.server = server("-l", "4M", vectors=vectors)
        self.vectors = vectors
        self.cli = cli
        self.monitor = cli("monitor")
        self.monitor.expect("attached as peer 0 .*")

    def run(self, *arguments):
        command = self.cli(*arguments)
        assert command.wait() == 0, command.describe()
        return command.output["stdout"]


@pytest.fixture
def group(request, server, cli):
    return Group(server, cli, getattr(request, "param", 4))


@pytest.fixture
def member(request, group, device):
    """Our device in the group, peer 1; its parameter is more arguments."""
    arguments = getattr(request, "param", ())
    member = device("--server", group.server.path, "--vectors", str(group.vectors), *arguments)
    group.monitor.expect("peer 1 joined .*")
    return member

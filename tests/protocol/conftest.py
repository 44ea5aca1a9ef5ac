# SPDX-License-Identifier: BSD-2-Clause

import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support"))

import ivshmem_fixtures
from ivshmem_fixtures import cli, closing, fake, limit, processes, room, server, start  # noqa: F401
from vfio_user_fixtures import (  # noqa: F401
    device,
    device_at_fake,
    eventfds,
    group,
    intx_group,
    own_group,
    plain,
    pool,
    shared,
    vmm,
)


def pytest_configure(config):
    ivshmem_fixtures.configure(config)

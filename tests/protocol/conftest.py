# SPDX-License-Identifier: BSD-2-Clause

import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support"))

import ivshmem_fixtures
from ivshmem_channels import file_target, receiver, shm_target, target, tool  # noqa: F401
from ivshmem_cli import attached, memory_of, run, run_plain, shell, terminal  # noqa: F401
from ivshmem_fixtures import (  # noqa: F401
    cli,
    closing,
    daemon,
    fake,
    launch,
    limit,
    processes,
    refused,
    room,
    server,
    start,
)
from vfio_user_fixtures import (  # noqa: F401
    arm,
    device,
    device_at_fake,
    eventfds,
    given_away,
    group,
    intx_group,
    master,
    memory,
    old_group,
    own_group,
    plain,
    pool,
    shared,
    vmm,
)


def pytest_configure(config):
    ivshmem_fixtures.configure(config)

# SPDX-License-Identifier: BSD-2-Clause
"""A server whose processes are killed, and no client notices."""

import os
import random
import signal
import threading

import pytest

import ivshmem_wire as wire
from fake_supervisor import FakeSupervisor
from ivshmem_wire import expect_rings
from kept_group import Group, Play, eventfd_id, group, supervisor  # noqa: F401
from observer import Observer

WENT_ON = r"ivshmem-server: peers that stayed connected: \d+"


def kill_worker(group):
    """And wait for the next one."""
    before = group.worker()
    os.kill(before, signal.SIGKILL)
    wire.wait_until(lambda: group.workers() not in ([], [before]), "there is another worker")


def test_nobody_notices(group):
    group = group(vectors=3)
    first, second = group.client(), group.client()
    first.follow_until_knows([0, 1])
    os.pwrite(first.memory, b"before", 0)
    for client in (first, second):
        client.log.clear()
    for turn in range(10):
        kill_worker(group)
        expect_rings(first, second)
        third = group.client()
        assert third.id == 2 + turn
        for client in (first, second):
            client.follow_until_knows([0, 1, third.id])
            assert client.log == [third.id] * 3, "and nothing else"
            expect_rings(client, third)
        assert os.pread(third.memory, 6, 0) == b"before"
        third.close()
        for client in (first, second):
            client.follow_until_knows([0, 1])
            client.log.clear()

# SPDX-License-Identifier: BSD-2-Clause
"""For the tests of the command line tool that need memory with channels: targets of each sort, and who uses them."""

import json

import pytest

from ivshmem_cli import OK


def make_memory(path, size):
    with open(path, "wb") as file:
        file.truncate(size)


@pytest.fixture
def file_target(room):
    """Memory without a server."""
    path = room.file("memory")
    make_memory(path, 4 << 20)
    return "file:" + path


@pytest.fixture
def shm_target(room):
    name = room.shm_name()
    make_memory(f"/dev/shm/{name}", 4 << 20)
    return "shm:" + name


@pytest.fixture(params=["unix", "without interrupts", "file", "shm"])
def target(request, room):
    """A target of each sort, with memory for channels."""
    if request.param in ("file", "shm"):
        return request.getfixturevalue(request.param + "_target")
    request.getfixturevalue("server")("-l", "4M", "-n", "0" if request.param == "without interrupts" else "1")
    return "unix:" + room.socket


@pytest.fixture
def tool(launch):
    """tool(target, *arguments, ...)"""
    return lambda target, *arguments, **options: launch("ivshmem", "--target", target, *arguments, **options)


@pytest.fixture
def receiver(tool):
    """recv that listens."""

    def receiver(target, name, *arguments, **options):
        process = tool(target, "recv", name, *arguments, **options)
        process.expect(f"ivshmem: listening under '{name}'", "stderr")
        return process

    return receiver


def listing(tool, target):
    process = tool(target, "channels", "--json")
    assert process.wait() == OK, process.describe()
    return json.loads(process.stdout)


def ends(process, status, *words):
    assert process.wait() == status, process.describe()
    for word in words:
        assert word in process.stderr, process.describe()

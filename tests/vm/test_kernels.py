# SPDX-License-Identifier: BSD-2-Clause
"""scripts/kernels.py, as far as that takes neither a guest nor a network."""

import os
import re
import subprocess
import sys

import pytest

import ivshmem_wire as wire
import vm

KERNELS = os.path.join(wire.ROOT, "scripts", "kernels.py")


def run(*arguments, **options):
    return subprocess.run([sys.executable, KERNELS, *arguments], text=True, capture_output=True, timeout=60, check=False, **options)


def test_help_names_each_kernel_and_where_it_is_from():
    answer = run("--help")
    assert answer.returncode == 0
    for name, kernel in vm.KERNELS.items():
        assert re.search(rf"^ +{re.escape(name)} +of Debian {kernel.release}\b", answer.stdout, re.MULTILINE), answer.stdout
    assert answer.stdout.count("as in every test run") == 1


def test_a_kernel_that_there_is_not_is_a_usage_error():
    answer = run("6.1", "4.19")
    assert answer.returncode == 2
    assert "there is no kernel '4.19'; there are: 5.10, " in answer.stderr


def test_the_same_in_the_environment(tmp_path):
    with pytest.raises(vm.ImageError, match="guests cannot have the kernel '4.19'; there are: 5.10, "):
        vm.build_image(tmp_path / "guest", wire.program("ivshmem-static"), kernel="4.19")


def test_a_kernel_that_cannot_be_had_is_a_failure_and_the_next_is_tried(tmp_path):
    answer = run("--build", str(tmp_path), "newest", "5.10", env={**os.environ, "PATH": ""})
    assert answer.returncode == 1
    assert answer.stderr.count("no apt-get on this machine") == 2, answer.stderr
    assert re.findall(r"^FAIL +(\S+) +\? +packages.sh failed", answer.stdout, re.MULTILINE) == ["newest", "5.10"], answer.stdout

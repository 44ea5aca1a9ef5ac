# SPDX-License-Identifier: BSD-2-Clause
"""
Barriers that only other processors need: a test on x86 passes without them, so the code for ARM is looked at.
"""

import os
import time

from check.report import FAILED, PASSED, Result
from check.run import run

# function -> the instruction that it must have. The shared memory may be device memory, which is in the outer domain.
BARRIERS = {
    "ivshmem_read": "dmb\toshld",
    "ivshmem_write": "dsb\tsy",
    "ivshmem_ring": "dsb\tsy",
}


def look(library, function, barrier):
    command = ["aarch64-linux-gnu-objdump", "-d", "--no-show-raw-insn", f"--disassemble={function}", library]
    status, output = run(command, timeout=60)
    if status != 0 or f"<{function}>:" not in output:
        return Result(function, FAILED, f"{library} cannot be looked at:\n{output}")
    if barrier not in output:
        return Result(function, FAILED, f"without the barrier '{barrier}':\n{output}")
    return Result(function, PASSED)


def check(report, build):
    started = time.monotonic()
    library = os.path.join(build.path, "lib", "libivshmem.so")
    results = [look(library, function, barrier) for function, barrier in BARRIERS.items()]
    report.add("build", f"barriers, {build.name}", time.monotonic() - started, results)

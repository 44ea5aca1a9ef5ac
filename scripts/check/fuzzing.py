# SPDX-License-Identifier: BSD-2-Clause
"""A few seconds of real fuzzing: proves that the targets work with libFuzzer, and now and then finds something."""

import glob
import os
import tempfile
import time

from check import builds
from check.builds import ROOT
from check.report import FAILED, PASSED, Result
from check.run import in_parallel, run

SECONDS = 4


def corpora():
    """(target, folder) of each."""
    return sorted((os.path.basename(path), path) for path in glob.glob(os.path.join(ROOT, "tests", "fuzz", "*", "corpus", "*")))


def fuzz(report, target, corpus):
    started = time.monotonic()
    program = os.path.join(builds.FUZZING.path, "tests", "fuzz", f"fuzz-{target}")
    with tempfile.TemporaryDirectory(prefix="ivshmem-fuzz-") as scratch:
        command = [program, f"-max_total_time={SECONDS}", "-timeout=20", f"-artifact_prefix={scratch}/", scratch, corpus]
        status, output = run(command, timeout=120, env=builds.FUZZING.env)
        detail = "" if status == 0 else f"{inputs(scratch)}\n{output}\nexit status {status}"
    result = Result(f"{target}, {SECONDS} s of fuzzing", FAILED if detail else PASSED, detail)
    report.add("fuzz", f"{target} (fuzzing)", time.monotonic() - started, [result])


def inputs(folder):
    """The input that did it, so that it can become a file of the corpus."""
    lines = []
    for name in sorted(os.listdir(folder)):
        if name.startswith(("crash-", "leak-", "timeout-", "oom-")):
            with open(os.path.join(folder, name), "rb") as file:
                lines.append(f"{name}, in hexadecimal: {file.read().hex()}")
    return "\n".join(lines)


def run_layer(report):
    if not builds.FUZZING.make(report, [f"tests/fuzz/fuzz-{target}" for target, _ in corpora()]):
        return
    in_parallel(2, lambda job: fuzz(report, *job), corpora())

# SPDX-License-Identifier: BSD-2-Clause
"""Folders of pytest."""

import glob
import os
import shlex
import tempfile
import time
import xml.etree.ElementTree as ElementTree

from check.builds import ROOT
from check.report import FAILED, PASSED, SKIPPED, Result, fail_skipped
from check.kvm import run_in
from check.run import in_parallel, run
from vm import PYTHON

XML_FOLLOWS = "what follows is the results"


def run_layer(report, layer, build, timeout, skips_fail, jobs):
    """Runs the files of a layer, `jobs` at a time, because most of their time is waiting. Large ones, which take long, come first."""
    files = glob.glob(os.path.join(ROOT, "tests", layer, "**", "test_*.py"), recursive=True)
    files.sort(key=os.path.getsize, reverse=True)
    if not files:
        report.add(layer, build.name, 0, [Result("tests", FAILED, f"there are no tests in tests/{layer}")])

    def one(file):
        started = time.monotonic()
        results = run_file(file, build, timeout)
        if skips_fail:
            fail_skipped(results)
        name = os.path.basename(file).removesuffix(".py")
        report.add(layer, f"{name} ({build.name})", time.monotonic() - started, results)

    in_parallel(jobs, one, files)


def run_file(file, build, timeout):
    with tempfile.TemporaryDirectory(prefix="ivshmem-test-") as scratch:
        xml = os.path.join(scratch, "results.xml")
        command = [PYTHON, "-B", "-m", "pytest", file, "-q", "-p", "no:cacheprovider", "--tb=short", f"--junitxml={xml}"]
        env = {**build.env, "IVSHMEM_BUILD": build.path}
        status, output = run(command, timeout=timeout, cwd=ROOT, env=env)
        results = parse(ElementTree.parse(xml)) if os.path.exists(xml) else []
    if status is None:
        results.append(Result("pytest", FAILED, f"{output}\nit took longer than {timeout} s"))
    elif not results or (status != 0 and not any(r.outcome == FAILED for r in results)):
        results.append(Result("pytest", FAILED, f"{output}\nexit status {status}"))
    return results


def run_under_kvm(report, layer, build, machine, timeout):
    """Those of tests/vm that are marked so, in a machine that emulates KVM; one that dies is started once more."""
    started = time.monotonic()
    folder = os.path.join(ROOT, "tests", "vm")
    command = [PYTHON, "-B", "-m", "pytest", folder, "-q", "-p", "no:cacheprovider", "--tb=short", "-m", "under_kvm",
               "--junitxml=/tmp/results.xml"]
    script = f"{shlex.join(command)}; status=$?; echo; echo {XML_FOLLOWS}; cat /tmp/results.xml; exit $status"
    env = {"IVSHMEM_BUILD": build.path, "IVSHMEM_ACCEL": "kvm"}
    status, output = run_in(machine, ["sh", "-c", script], timeout=timeout, cwd=ROOT, env=env, say=print)
    output, _, xml = output.partition(f"\n{XML_FOLLOWS}\n")
    results = parse(ElementTree.fromstring(xml)) if xml.startswith("<?xml") else []
    if not results or (status != 0 and not any(r.outcome == FAILED for r in results)):
        results.append(Result("pytest", FAILED, f"{output}\nexit status {status}"))
    fail_skipped(results)
    report.add(layer, f"{build.name}, in the machine", time.monotonic() - started, results)


def parse(root):
    results = []
    for case in root.iter("testcase"):
        name = f"{case.get('classname', '').rpartition('.')[2]}: {case.get('name')}"
        outcome, detail = PASSED, ""
        for child in case:
            if child.tag in ("failure", "error"):
                outcome = FAILED
                detail += f"{child.text or child.get('message') or ''}\n"
            elif child.tag == "skipped":
                outcome = SKIPPED
                detail = child.get("message") or ""
        # A test whose clean-up fails has two entries: it is one test, and it failed.
        if results and results[-1].name == name:
            previous = results.pop()
            outcome = FAILED if FAILED in (outcome, previous.outcome) else outcome
            detail = previous.detail + detail
        results.append(Result(name, outcome, detail))
    return results

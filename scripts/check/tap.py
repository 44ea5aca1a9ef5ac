# SPDX-License-Identifier: BSD-2-Clause
"""Test programs that speak TAP."""

import re
import time

from check.report import FAILED, PASSED, SKIPPED, Result, fail_skipped
from check.run import in_parallel, run

RESULT = re.compile(r"(not )?ok (\d+)(?: - (.*?))?(?: # SKIP ?(.*))?$")
PLAN = re.compile(r"1\.\.(\d+)")


def parse(output):
    """The results of a program's output, and what is wrong with the output itself (or None)."""
    results, planned = [], None
    for line in output.splitlines():
        match = RESULT.match(line)
        if match:
            failed, number, name, reason = match.groups()
            if int(number) != len(results) + 1:
                return results, f"test {number} comes where test {len(results) + 1} should"
            outcome = FAILED if failed else PASSED if reason is None else SKIPPED
            results.append(Result(name or f"test {number}", outcome, reason or ""))
        elif PLAN.fullmatch(line):
            planned = int(PLAN.fullmatch(line)[1])
        elif line.startswith("#") and results and results[-1].outcome == FAILED:
            results[-1].detail += line[1:].removeprefix(" ") + "\n"
    if planned is None:
        return results, "it printed no plan"
    if planned != len(results):
        return results, f"{planned} tests were planned, but {len(results)} have a result"
    return results, None


def run_program(test, env):
    status, output = run(test["cmd"], timeout=test["timeout"], cwd=test["workdir"], env={**env, **test["env"]})
    if test["protocol"] != "tap":
        outcome = PASSED if status == 0 else FAILED
        return [Result(test["name"], outcome, "" if status == 0 else f"{output}\nexit status {status}")]
    results, wrong = parse(output)
    if status is None:
        wrong = f"it took longer than {test['timeout']} s"
    elif wrong is None and (status != 0) != any(r.outcome == FAILED for r in results):
        wrong = f"exit status {status} does not fit its results"
    if wrong:
        results.append(Result(f"the program {test['name']}", FAILED, f"{output}\n{wrong}"))
    return results


def run_layer(report, layer, builds, jobs, skips_fail=False):
    """The programs of a meson suite, from all builds."""

    def one(build_and_test):
        build, test = build_and_test
        started = time.monotonic()
        results = run_program(test, build.env)
        if skips_fail:
            fail_skipped(results)
        report.add(layer, f"{test['name']} ({build.name})", time.monotonic() - started, results)

    work = []
    for build in builds:
        tests = [test for test in build.tests() if any(s.endswith(":" + layer) for s in test["suite"])]
        if not tests:
            report.add(layer, build.name, 0, [Result("tests", FAILED, f"meson knows no suite '{layer}'")])
        work += [(build, test) for test in tests]
    in_parallel(jobs, one, work)

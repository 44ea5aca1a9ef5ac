# SPDX-License-Identifier: BSD-2-Clause
"""Test programs that speak TAP."""

import re
import time

from check.report import FAILED, PASSED, SKIPPED, Result, fail_skipped
from check.kvm import needs_kvm, run_in
from check.run import in_parallel

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


def run_program(test, env, machine, say):
    status, output = run_in(
        machine, test["cmd"], timeout=test["timeout"], cwd=test["workdir"], env={**env, **test["env"]}, say=say
    )
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


def is_of(test, suite):
    return any(s.endswith(":" + suite) for s in test["suite"])


def run_layer(report, layer, builds, jobs, kvm, never_skipped=lambda test: False):
    """The programs of a meson suite, from all builds."""
    machine = None

    def one(build_and_test):
        build, test = build_and_test
        started = time.monotonic()
        in_machine = machine if needs_kvm(test) else None
        results = run_program(test, build.env, in_machine, kvm.say)
        if never_skipped(test):
            fail_skipped(results)
        where = ", in the machine" if in_machine else ""
        report.add(layer, f"{test['name']} ({build.name}{where})", time.monotonic() - started, results)

    work = []
    for build in builds:
        tests = [test for test in build.tests() if is_of(test, layer)]
        if not tests:
            report.add(layer, build.name, 0, [Result("tests", FAILED, f"meson knows no suite '{layer}'")])
        work += [(build, test) for test in tests]
    if any(needs_kvm(test) for _, test in work):
        machine = kvm.programs(builds)
    in_parallel(jobs, one, work)

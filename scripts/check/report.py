# SPDX-License-Identifier: BSD-2-Clause
"""Results: collected while they come, one line per group at once, details and totals at the end."""

import dataclasses
import sys
import threading
import time

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"

# Of a failing test's output, so many lines are shown from its beginning and from its end.
FIRST_LINES, LAST_LINES = 20, 40
LINE_WIDTH = 400


@dataclasses.dataclass
class Result:
    name: str
    outcome: str
    detail: str = ""  # why it failed or was skipped


def fail_skipped(results):
    """Where nothing may be skipped."""
    for result in results:
        if result.outcome == SKIPPED:
            result.outcome = FAILED
            result.detail = f"skipped, which is a failure in CI: {result.detail}"


class Report:
    def __init__(self, verbose):
        self.verbose = verbose
        self.groups = []  # (title, results)
        self.lock = threading.Lock()
        self.started = time.monotonic()

    def add(self, layer, what, seconds, results):
        """A group of tests is done: programs, a folder of pytest, one check."""
        title = f"{layer}: {what}"
        counts = [sum(r.outcome == outcome for r in results) for outcome in (PASSED, FAILED, SKIPPED)]
        words = [f"{n} {outcome}" for n, outcome in zip(counts, (PASSED, FAILED, SKIPPED)) if n]
        with self.lock:
            self.groups.append((title, results))
            print(f"{'FAIL' if counts[1] else 'ok':5} {title:48} {seconds:6.1f} s  {', '.join(words)}")
            if self.verbose:
                for result in results:
                    print(f"        {result.outcome:8} {result.name}")
            sys.stdout.flush()

    def say(self, text):
        """Something to know that is no result."""
        with self.lock:
            print(f"      {text}", flush=True)

    def all(self, outcome):
        return [(title, r) for title, results in self.groups for r in results if r.outcome == outcome]

    def finish(self):
        """Prints what is left to say; returns the exit status."""
        failed, skipped, passed = (self.all(outcome) for outcome in (FAILED, SKIPPED, PASSED))
        if skipped:
            print("\nSkipped:")
            for reason, names in group_by_reason(skipped):
                print(f"  {names}: {reason}")
        if failed:
            print("\nFailed:")
        for title, result in failed:
            print(f"\n--- {title}: {result.name}")
            for line in shorten(result.detail.rstrip().splitlines()):
                print(f"    {line[:LINE_WIDTH]}")
        minutes, seconds = divmod(int(time.monotonic() - self.started), 60)
        print(f"\n{minutes} min {seconds} s")
        if not failed and not passed:
            print("Nothing was tested.")
        print(summary(len(passed), len(failed), len(skipped)))
        return 1 if failed or not passed else 0


def shorten(lines):
    left_out = len(lines) - FIRST_LINES - LAST_LINES
    if left_out <= 1:
        return lines
    return [*lines[:FIRST_LINES], f"... {left_out} lines ...", *lines[-LAST_LINES:]]


def group_by_reason(skipped):
    """The same test is mostly skipped in several builds, and several tests for one reason."""
    reasons = {}
    for title, result in skipped:
        reason = (result.detail.strip().splitlines() or ["no reason given"])[0]
        names = reasons.setdefault(reason, [])
        name = f"{title}: {result.name}"
        if name not in names:
            names.append(name)
    for reason, names in reasons.items():
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        yield reason, shown


def summary(passed, failed, skipped):
    line = f"{passed} passed, {failed} failed"
    return line + (f", {skipped} skipped" if skipped else "")

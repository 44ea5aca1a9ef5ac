#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Measures whether somebody who looks at a group disturbs it: see docs/performance.md for what and how.

`ivshmem bench` runs again and again: alone, while `ivshmem top` looks ten times a second, and while `ivshmem record` does.
Results go to build/bench/top.json.
"""

import json
import os
import pty
import resource
import statistics
import subprocess
import threading
import time

from machine import Machine
from program import parser_of, results_of, run, show
from sides import Sides
from tables import machine_text, number, table

TARGETS = ("ivshmem-server", "ivshmem")
INTERVAL = "0.1"
# Each once early and once late in a turn.
TURN = (None, "top", "record", "record", "top", None)

SECONDS = 0.2

# What bench counts within SECONDS, and how it is described. A count has all that comes between, which a median would hide.
WORKS = {
    ("queue", 64, "one way"): ("records", "a record of 64 bytes through a queue"),
    ("queue", 8, "there and back"): ("round_trips", "8 bytes there and back through a queue, spinning"),
    ("queue", 8, "there and back, asleep"): ("round_trips", "the same, both sides sleep"),
}


class Looker:
    """A top or a record that looks until the end of the block; None: nobody does."""

    def __init__(self, sides, tool, kind):
        self.process = self.reader = None
        self.start = time.monotonic()
        self.share = 0.0  # of a CPU, from its start to its end
        if kind == "record":
            self.process = sides.start([*tool, "record", "/dev/null", "--interval", INTERVAL], stderr=subprocess.DEVNULL)
        elif kind == "top":
            screen, terminal = pty.openpty()
            self.process = subprocess.Popen([*tool, "top", "--interval", INTERVAL], stdin=terminal, stdout=terminal,
                                            env=os.environ | {"TERM": "xterm", "LINES": "40", "COLUMNS": "120"})
            sides.processes.append(self.process)
            os.close(terminal)
            self.reader = threading.Thread(target=self.read, args=(screen,))
            self.reader.start()

    @staticmethod
    def read(screen):
        try:
            while os.read(screen, 65536):
                pass
        except OSError:  # the program has ended
            pass
        os.close(screen)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if not self.process:
            return
        looked = self.process.poll() is None
        self.process.terminate()
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.process.wait()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        self.share = seconds / (time.monotonic() - self.start)
        if self.reader:
            self.reader.join()
        if not looked:
            raise RuntimeError(f"the one that looks ended by itself, with status {self.process.returncode}")


def measure(options, sides, server, kind):
    """How long each work takes while `kind` looks, in ns; and the share of a CPU that looking takes."""
    tool = [os.path.join(options.build, "ivshmem"), "--target", "unix:" + server]
    looker = Looker(sides, tool, kind)
    with looker:
        output = subprocess.run([*tool, "bench", "--json", "--seconds", str(SECONDS)], stdout=subprocess.PIPE, check=True, timeout=300)
    found = {"share": looker.share}
    for line in output.stdout.splitlines():
        result = json.loads(line)
        work = WORKS.get((result["kind"], result["length"], result["what"]))
        if work:
            found[work[1]] = SECONDS * 1e9 / result[work[0]]
    return found


def measure_all(options):
    turns = []
    with Sides(options.build) as sides:
        server = sides.server("server", 2, memory="64M")
        for _ in range(2 if options.quick else 15):
            turns.append([measure(options, sides, server, kind) for kind in TURN])
    return {"machine": Machine().facts(), "turns": turns}


def ratios(turns, name):
    """How much longer it takes while each looks; and, as what the measurement is good for, the second time alone to the first."""
    found = {"top": [], "record": [], "alone": []}
    for turn in turns:
        values = [block[name] for block in turn]
        alone = values[0] + values[5]
        found["top"].append((values[1] + values[4]) / alone)
        found["record"].append((values[2] + values[3]) / alone)
        found["alone"].append(values[5] / values[0])
    return [f"{statistics.median(found[key]):.3f}" for key in ("top", "record", "alone")]


def text(results):
    turns = results["turns"]
    rows = []
    for _, name in WORKS.values():
        alone = statistics.median(block[name] for turn in turns for block in (turn[0], turn[5]))
        rows.append([name, number(alone), *ratios(turns, name)])
    head = ["what", "alone, ns", "with top / alone", "with record / alone", "alone, second / first"]
    shares = [statistics.median(turn[i]["share"] for turn in turns) for i in (1, 2)]
    return (f"{machine_text(results['machine'])}; medians of {len(turns)} turns. Of one CPU, top took {shares[0]:.1%} and record "
            f"{shares[1]:.1%}, with their start.\n\n" + table(head, rows))


def main():
    options = parser_of("Measure whether looking disturbs; results in build/bench/top.json.", "fewer turns").parse_args()
    path = os.path.join(options.build, "bench", "top.json")
    show(options, "top.py", text(results_of(options, path, TARGETS, lambda: measure_all(options))))
    return 0


if __name__ == "__main__":
    run(main)

#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Measures what the flight recorder costs: see docs/performance.md for what and how.

bench/trace does the same in blocks of some milliseconds, with the recorder on and off in turns. That of ivshmem-device is
switched from outside, in the memory of the process. Results go to build/bench/trace.json.
"""

import json
import os
import statistics
import struct
import subprocess

from machine import Machine
from program import parser_of, results_of, run, show
from sides import Sides
from tables import machine_text, number, table

GOAL = 1.01
TARGETS = ("ivshmem-server", "ivshmem-device", "bench/trace")
MAGIC = b"ivshmem trace 1\0"
ALIGNMENT = 128  # of an anchor: src/trace/layout.h

# What is measured: operations in a block, how it is described, and how many events it has.
WORKS = {
    "mark": (200_000, "a mark of the application", "1"),
    "queue": (640_000, "a record of 64 bytes through a queue", "none"),
    "round": (4000, "8 bytes there and back through a queue, spinning", "none"),
    "poll": (320, "the same, both sides sleep", "6"),
    "ring": (320, "a ring there and back, both sides sleep", "4"),
    "access": (320, "a read of a register of ivshmem-device", "none"),
    "doorbell": (320, "a ring through ivshmem-device", "1"),
}


def anchor_of(pid):
    """Where the recorder of a process is."""
    with open(f"/proc/{pid}/maps", encoding="ascii") as maps, open(f"/proc/{pid}/mem", "rb") as memory:
        for line in maps:
            addresses, permissions, *rest = line.split()
            if permissions != "rw-p" or len(rest) < 4:
                continue
            start, end = (int(address, 16) for address in addresses.split("-"))
            memory.seek(start)
            data = memory.read(end - start)
            for at in range(0, len(data), ALIGNMENT):
                if data.startswith(MAGIC, at) and struct.unpack_from("=I", data, at + 16)[0] == 64:
                    return start + at
    raise RuntimeError(f"process {pid} has no trace")


def measure(options, machine, work):
    """[off, on, on, off] of each turn, in ns."""
    count = WORKS[work][0]
    turns = 10 if options.quick else 100
    cpus = [machine.driver_cpu, machine.server_cpu] if machine.driver_cpu is not None else [-1, -1]
    with Sides(options.build) as sides:
        server = sides.server("server", 1, memory="4G", cpu=machine.server_cpu)
        words = [server, count, turns, *cpus]
        if work in ("access", "doorbell"):
            peer = sides.idle_peer(server)
            words[0] = sides.device(server, 0, 1, cpu=machine.server_cpu)
            device = sides.processes[-1].pid
            words += [peer, device, anchor_of(device)]
        else:
            words[0] = "unix:" + server
        program = os.path.join(options.build, "bench", "trace")
        output = subprocess.run([program, work, *map(str, words)], stdout=subprocess.PIPE, check=True, timeout=300).stdout
        return json.loads(output)


def measure_all(options):
    machine = Machine()
    works = {work: [] for work in WORKS}
    # All of them in turns, because the speed of the machine changes from minute to minute.
    for _ in range(1 if options.quick else 5):
        for work, turns in works.items():
            turns.extend(measure(options, machine, work))
    return {"machine": machine.facts(), "works": works}


def ratios(turns):
    """Recorder on to off; and, as what the measurement itself is good for, off to off and on to on."""
    with_it = [(on + again) / (off + last) for off, on, again, last in turns]
    without = [value for off, on, again, last in turns for value in (last / off, again / on)]
    return statistics.median(with_it), statistics.median(without)


def cell(value):
    return f"{value:.3f}"


def text(results):
    rows = []
    for work, turns in results["works"].items():
        off = statistics.median(value for turn in turns for value in (turn[0], turn[3]))
        on = statistics.median(value for turn in turns for value in (turn[1], turn[2]))
        ratio, nothing = ratios(turns)
        goal = "" if work == "mark" else "yes" if ratio <= GOAL else "**no**"
        rows.append([WORKS[work][1], WORKS[work][2], number(off), number(on), cell(ratio), cell(nothing), goal])
    n = len(next(iter(results["works"].values())))
    head = ["what", "events", "off, ns", "on, ns", "on / off", "second / first", f"at most {GOAL}"]
    return f"{machine_text(results['machine'])}; medians of {n} turns.\n\n" + table(head, rows)


def main():
    options = parser_of("Measure the flight recorder; results in build/bench/trace.json.", "fewer turns").parse_args()
    path = os.path.join(options.build, "bench", "trace.json")
    show(options, "trace.py", text(results_of(options, path, TARGETS, lambda: measure_all(options))))
    return 0


if __name__ == "__main__":
    run(main)

#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Measures the doorbell of virtual machines: see docs/performance.md for what and how.

Two guests under KVM ring each other, by the kernel alone, by the library in the VMM, by ivshmem-device with and
without ioeventfds, and by QEMU's own device; one guest has thousands of doorbells; one copies through BAR2. All of it
in turns, in one run of bench/doorbell/doorbell. Results go to build/bench/doorbell.json.
"""

import fcntl
import json
import os
import statistics
import subprocess

from doorbell_plot import draw
from doorbell_sides import DoorbellSides, qemu_version
from machine import Machine
from program import parser_of, results_of, run, show
from tables import PERFORMANCE, machine_text, number, spread, table

PLOT = os.path.join(os.path.dirname(PERFORMANCE), "doorbell.svg")
COUNTS = (1, 100, 1000, 4000)
NEEDED_FILES = 20000  # descriptors, for all of COUNTS
KVM_GET_API_VERSION, KVM_API_VERSION = 0xAE00, 12
TARGETS = ("ivshmem-server", "ivshmem-device", "bench/doorbell/doorbell", "bench/doorbell/rom.bin")
PAIRS = {
    "bare": "the kernel alone",
    "embedded": "the library, in the VMM",
    "remote": "ivshmem-device, ioeventfds",
    "trapped": "ivshmem-device, each ring a message",
    "qemu": "ivshmem-doorbell of {qemu}",
}
WAYS = {"embedded": "the library", "remote": "ivshmem-device"}
KINDS = {"ring": "ring", "trip": "round trip"}


def why_not():
    """Why nothing can be measured here, or None."""
    try:
        with open("/dev/kvm", "r+b", buffering=0) as kvm:
            version = fcntl.ioctl(kvm, KVM_GET_API_VERSION)
    except OSError as error:
        return f"/dev/kvm: {error.strerror}"
    return None if version == KVM_API_VERSION else "/dev/kvm is of another kind"


# ---- measuring ---------------------------------------------------------------------------------------------------


def measure(options, machine):
    with DoorbellSides(options.build, machine) as sides:
        words = [os.path.join(options.build, "bench", "doorbell", "doorbell"), "--rounds",
                 "12" if options.quick else "100"]
        if machine.driver_cpu is not None:
            words += ["--cpus", f"{machine.server_cpu},{machine.driver_cpu}"]
        words += ["--bare", "--embedded", sides.group("embedded")]
        words += ["--remote", sides.devices(sides.group("remote"))]
        words += ["--trapped", sides.devices(sides.group("trapped"))]
        qemu = None
        try:
            words += ["--qemu", sides.qemus(sides.group("qemu"))]
        except RuntimeError as error:
            qemu = str(error)
        counts = COUNTS if machine.facts()["max_files"] >= NEEDED_FILES else [n for n in COUNTS if n <= 1000]
        for count in counts:
            vectors = min(count, 100)
            words += ["--doorbells", f"{count},{sides.server(f'many-{count}', vectors)}"]
            server = sides.server(f"remote-many-{count}", vectors)
            device = sides.beside(server, 0, vectors, "--doorbell-bar=on")
            words += ["--remote-doorbells", f"{count},{server},{device}"]
        output = subprocess.run(words, stdout=subprocess.PIPE, check=True, timeout=600).stdout
        return {"machine": machine.facts(), "qemu": qemu or qemu_version(), "qemu_failed": qemu is not None,
                "rounds": json.loads(output)}


# ---- what was found ----------------------------------------------------------------------------------------------


def pair_times(results, pair, kind):
    return [one["pairs"][pair][kind] for one in results["rounds"]]


def pair_ratios(results, pair, other, kind):
    return [one["pairs"][pair][kind] / one["pairs"][other][kind] for one in results["rounds"]]


def scale_rows(results, way):
    """(doorbells, times of the register, times of the word) of each round, fewest first."""
    first = results["rounds"][0]["scales"]
    for i in sorted((i for i, one in enumerate(first) if one["way"] == way), key=lambda i: first[i]["doorbells"]):
        scales = [one["scales"][i] for one in results["rounds"]]
        yield first[i]["doorbells"], [one["register"] for one in scales], [one["word"] for one in scales]


def scale_growth(results, way, column):
    """The cost with the most doorbells to that with the fewest."""
    rows = list(scale_rows(results, way))
    return [most / fewest for most, fewest in zip(rows[-1][column], rows[0][column])]


def copy_rows(results):
    """(who copies, bytes, times within own memory, ratios into BAR2, ratios out of it)"""
    for i, first in enumerate(results["rounds"][0]["copies"]):
        copies = [one["copies"][i] for one in results["rounds"]]
        yield (first["by"], first["bytes"], [one["own"] for one in copies],
               [one["own"] / one["into"] for one in copies], [one["own"] / one["out_of"] for one in copies])


# ---- tables ------------------------------------------------------------------------------------------------------


def goals(results):
    """(what, ratios, limit, whether it is the least)"""
    rows = []
    for kind, name in KINDS.items():
        rows.append((f"{name}: library / kernel alone", pair_ratios(results, "embedded", "bare", kind), 1.03, False))
    for kind, name in KINDS.items():
        rows.append((f"{name}: ivshmem-device / kernel alone", pair_ratios(results, "remote", "bare", kind), 1.05,
                     False))
    if not results["qemu_failed"]:
        for kind, name in KINDS.items():
            rows.append((f"{name}: {results['qemu']} / library", pair_ratios(results, "qemu", "embedded", kind), 1.0,
                         True))
    for way, name in WAYS.items():
        most = list(scale_rows(results, way))[-1][0]
        rows.append((f"ring by word, {name}: {most} doorbells / {COUNTS[0]}", scale_growth(results, way, 2), 1.2,
                     False))
    for by, size, _, into, out_of in copy_rows(results):
        if by == "guest":
            rows.append((f"a guest copies {size >> 10} KiB: speed into BAR2 / own memory", into, 0.98, True))
            rows.append((f"a guest copies {size >> 10} KiB: speed out of BAR2 / own memory", out_of, 0.98, True))
    return rows


def goals_table(results):
    rows = []
    for what, ratios, limit, least in goals(results):
        middle = round(statistics.median(ratios), 2)
        reached = middle >= limit if least else middle <= limit
        rows.append([what, f"at {'least' if least else 'most'} {limit}", spread(ratios),
                     "yes" if reached else "**no**"])
    return table(["ratio", "goal", "measured", "reached"], rows)


def pairs_table(results):
    rows = []
    for pair, name in PAIRS.items():
        if pair == "qemu" and results["qemu_failed"]:
            continue
        row = [name.format(qemu=results["qemu"])]
        for kind in KINDS:
            row.append(spread(pair_times(results, pair, kind), 1000))
            row.append("" if pair == "bare" else spread(pair_ratios(results, pair, "bare", kind)))
        rows.append(row)
    text = table(["doorbell by", "a ring, us", "/ kernel alone", "a round trip, us", "/ kernel alone"], rows)
    if results["qemu_failed"]:
        text += f"\n\nQEMU's own device was not measured: {results['qemu']}."
    return text


def scales_table(results):
    columns = {way: list(scale_rows(results, way)) for way in WAYS}
    rows = []
    for i, (doorbells, *_) in enumerate(columns["embedded"]):
        row = [str(doorbells)]
        for way in WAYS:
            _, register, word = columns[way][i]
            row += [spread(register, 1000), spread(word, 1000)]
        rows.append(row)
    head = ["doorbells of others"]
    for name in WAYS.values():
        head += [f"{name}: register, us", "word, us"]
    return table(head, rows)


def copies_table(results):
    rows = []
    for by, size, own, into, out_of in copy_rows(results):
        speed = [size / time for time in own]  # bytes per nanosecond
        unit = "GB/s" if statistics.median(speed) >= 1 else "MB/s"
        rows.append([by, f"{size >> 10} KiB", f"{spread(speed, 1 if unit == 'GB/s' else 0.001)} {unit}", spread(into),
                     spread(out_of)])
    return table(["by", "copy of", "within own memory", "into BAR2 / own", "out of BAR2 / own"], rows)


def text(results):
    rounds = len(results["rounds"])
    where = "on a CPU each" if results["machine"]["pinned"] else "on one CPU"
    return "\n\n".join([
        f"{machine_text(results['machine'])}; the guests {where}; {rounds} interleaved rounds. Medians of the rounds, "
        "with the quartiles in parentheses; ratios are formed within a round.",
        "### Goals", goals_table(results),
        "### Two guests", pairs_table(results),
        "### Thousands of doorbells", scales_table(results),
        "![A ring of the doorbell added last](doorbell.svg)",
        "### Copies", copies_table(results)])


def plot(results):
    lines = []
    for way, name in WAYS.items():
        rows = list(scale_rows(results, way))
        for column, what in ((1, "register"), (2, "word")):
            points = [(row[0], [time / 1000 for time in row[column]]) for row in rows]
            lines.append((f"{what}, {name}", what, way, points))
    trapped = statistics.median(pair_times(results, "trapped", "ring")) / 1000
    return draw(lines, (f"each ring a message: {number(trapped)} us", trapped))


def main():
    options = parser_of("Measure the doorbell under KVM; results in build/bench/doorbell.json.", "fewer rounds",
                        "write the last run into docs/performance.md and docs/doorbell.svg").parse_args()
    reason = None if options.update_docs else why_not()
    if reason:
        print(f"bench: the doorbell is skipped: {reason}")
        return 0
    path = os.path.join(options.build, "bench", "doorbell.json")
    results = results_of(options, path, TARGETS, lambda: measure(options, Machine()))
    show(options, "doorbell.py", text(results))
    if options.update_docs:
        with open(PLOT, "w", encoding="utf-8") as file:
            file.write(plot(results))
    return 0


if __name__ == "__main__":
    run(main)

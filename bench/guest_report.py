# SPDX-License-Identifier: BSD-2-Clause
"""What bench/guest.py found, as tables."""

import statistics

from tables import machine_text, number, spread, table

KINDS = {"qemu": "QEMU's ivshmem-doorbell", "ours": "ivshmem-device"}
RINGS = {  # (way, task): in words. The first one is what the others are compared with.
    ("vfio", "ring by register"): "vfio: a store to the register",
    ("sysfs", "ring by register"): "sysfs, `resource0`: a store to the register",
    ("sysfs", "ring by library"): "sysfs: `ivshmem_ring()`",
    ("driver", "ring by call"): "our driver: a call for each ring",
    ("driver", "ring of 16 by call"): "our driver: a call for 16 rings",
    ("driver", "ring by word"): "our driver: a store to the mapped word",
    ("driver", "ring by library"): "our driver: `ivshmem_ring()`",
}
WAKES = {
    ("vfio", "wake of an eventfd"): "vfio: an eventfd",
    ("driver", "wake of an eventfd"): "our driver: an eventfd",
    ("driver", "wake of the node"): "our driver: its node",
}
MAPPINGS = {"driver": "our driver", "vfio": "vfio", "sysfs": "sysfs, `resource2`", "sysfs-wc": "sysfs, `resource2_wc`"}
COPIES = ("64 KiB into", "64 KiB out of", "4 MiB into", "4 MiB out of")


def times_of(results, device, task):
    """Of each round; none if the device cannot do it."""
    key = f"{device}: {task}"
    return [one[key] for one in results["rounds"] if key in one]


def ratios(times, others):
    return [time / other for time, other in zip(times, others)]


def costs_table(results, rows, head, kinds=KINDS):
    """Times in us of each kind of device, beside the first row of the same kind."""
    reference, *_ = rows
    lines = []
    for (way, task), name in rows.items():
        line = [name]
        for kind in kinds:
            times = times_of(results, f"{kind}.{way}", task)
            beside = times_of(results, f"{kind}.{reference[0]}", reference[1])
            is_reference = (way, task) == reference
            line += [spread(times, 1000), "" if is_reference or not times else spread(ratios(times, beside))]
        lines.append(line)
    columns = [head]
    for kind in kinds:
        columns += [f"{KINDS[kind]}, us", "/ vfio"]
    return table(columns, lines)


def copies_table(results):
    own = {task: times_of(results, "own", task) for task in COPIES}
    lines = []
    for kind, kind_name in KINDS.items():
        for way, name in MAPPINGS.items():
            device = f"{kind}.{way}"
            lines.append([kind_name, name, results["types"][device],
                          *(spread(ratios(own[task], times_of(results, device, task))) for task in COPIES)])
    return table(["device", "mapped by", "in the page table", *COPIES], lines)


def own_speed(results):
    """Of copies within private memory: (64 KiB, 4 MiB) as text."""
    speeds = [1 / statistics.median(times_of(results, "own", task)) for task in ("64 KiB into", "4 MiB into")]
    return " and ".join(f"{number(speed)} GB/s" for speed in speeds)


EMULATED = """\
**The processor of this machine is emulated.** Guests have KVM in a machine that QEMU's TCG emulates, because the KVM of this
host boots no stock kernel. So times say nothing about a real processor, and of ratios only the large ones say something. TCG
knows no types of memory: uncached and write-combining memory is as fast there as any other. With KVM on an AMD processor it is
not, because the guest's wish counts; on an Intel processor it mostly is, because KVM overrides the wish (docs/linux.md). The
table of copies therefore only shows that each mapping leads to the memory itself and no access to the VMM."""
REAL = """\
Guests have the KVM of this machine. With AMD processors, what the guest's page table says of the memory counts; with Intel
processors, KVM mostly caches the memory whatever the guest says (docs/linux.md)."""


def text(results):
    return "\n\n".join([
        f"{machine_text(results['machine'])}; {len(results['rounds'])} interleaved rounds. Medians of the rounds' medians, with "
        "the quartiles in parentheses; ratios are formed within a round.",
        EMULATED if results["emulated"] else REAL,
        "### What a ring costs", costs_table(results, RINGS, "ring by"),
        f"### Copies, as speed / speed within private memory ({own_speed(results)})", copies_table(results),
        "### From the host's ring to the answer of a program that slept in `poll()`",
        costs_table(results, WAKES, "woken by", ["ours"])])

#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Measures what an access of the guest costs over vfio-user: see docs/performance.md for what and how.

bench/vfio_user is the VMM: it reads a register of ivshmem-device and rings a peer through it, in turns with a
process that answers messages of the same sizes and does nothing else. Then bench/guest does the same in
Linux guests, one with ivshmem-device and one with QEMU's own device. Results go to build/bench/vfio-user.json.
"""

import contextlib
import json
import os
import statistics
import subprocess

from guest_access import ERRORS, GuestAccess, vm
from machine import Machine
from program import parser_of, results_of, run, show
from sides import Sides
from tables import machine_text, spread, table

GOAL = 1.15
SPIN_US = 200
TARGETS = ("ivshmem-server", "ivshmem-device", "ivshmem-static", "bench/vfio_user", "bench/guest/guest_access")
CASES = {  # case: (what the VMM does, what it is compared with)
    "read": ("reads IVPosition", "bare_read"),
    "ring": ("rings a peer", "bare_ring"),
    "ring beside": ("rings a peer", "bare_eventfd"),
}
GUESTS = {"QEMU's ivshmem-doorbell": None, "ivshmem-device": 0, f"ivshmem-device --spin {SPIN_US}": SPIN_US}
GUEST_ROUNDS = 25
GUEST_TASKS = {"read": "read of a register", "ring": "ring by register"}


@contextlib.contextmanager
def group(build, machine, spin_us):
    """A server, an idle peer to be rung, and a device: these processes, the server's socket, the peer's id, the device's socket."""
    with Sides(build) as sides:
        server = sides.server("server", 1, memory="1M", cpu=machine.server_cpu)
        peer = sides.idle_peer(server)
        yield sides, server, peer, sides.device(server, 0, 1, "--spin", spin_us, cpu=machine.server_cpu)


def measure(options, machine, spin_us):
    with group(options.build, machine, spin_us) as (_, _, peer, device):
        words = [os.path.join(options.build, "bench", "vfio_user"), "--socket", device, "--peer", peer,
                 "--spin", spin_us, "--rounds", 5 if options.quick else 25, "--count", 1000 if options.quick else 4000]
        if machine.driver_cpu is not None:
            words += ["--cpu", machine.driver_cpu, "--bare-cpu", machine.server_cpu]
        output = subprocess.run([str(word) for word in words], stdout=subprocess.PIPE, check=True, timeout=300).stdout
        return json.loads(output)


def measure_guest(options, machine, access, spin_us):
    """The same from Linux in a QEMU; spin_us None: with QEMU's own device."""
    with group(options.build, machine, spin_us or 0) as (sides, server, peer, device):
        devices = vm.ivshmem_doorbell(server, 1) if spin_us is None else vm.vfio_user(device)
        with access.guest(sides, ["device=sysfs"], devices, ["--rounds", GUEST_ROUNDS, "--reads", "--rings", peer],
                          iommu=None) as guest:
            json.loads(guest.expect("^{.*}$", 180)[0])
            rounds = [json.loads(guest.expect("^{.*}$")[0]) for _ in range(GUEST_ROUNDS)]
            guest.wait_end(60)
    times = {name: statistics.median(one[f"device: {task}"] for one in rounds) for name, task in GUEST_TASKS.items()}
    return {**times, "accel": access.accel.name}


def guests_text(results):
    rows = [[name, f"{one['read'] / 1000:.1f}", f"{one['ring'] / 1000:.1f}"] for name, one in results["guests"].items()]
    accel = next(iter(results["guests"].values()))["accel"].upper()
    return (f"From a Linux guest under {accel} in QEMU 11.1, one run each, on CPUs that everything shares:\n\n"
            + table(["device", "read, us", "ring, us"], rows))


def rows_of(results):
    """(mode, case, ratios, bare times, device times)"""
    for mode, rounds in results["modes"].items():
        for case, (_, beside) in CASES.items():
            name = case.split()[0]
            yield (mode, case, [one[name] / one[beside] for one in rounds], [one[beside] for one in rounds],
                   [one[name] for one in rounds])


def text(results):
    rows = []
    for mode, case, ratios, bare, ours in rows_of(results):
        against = "the same, writing an eventfd before it answers" if "beside" in case else "bare socket ping-pong"
        reached = "" if "beside" in case else "yes" if statistics.median(ratios) <= GOAL else "**no**"
        rows.append([mode, CASES[case][0], against, spread(bare, 1000), spread(ours, 1000), spread(ratios), reached])
    head = ["both sides", "the VMM", "beside", "bare, us", "device, us", "ratio", f"at most {GOAL}"]
    return (f"{machine_text(results['machine'])}; VMM and device on a CPU each; {results['rounds']} interleaved rounds. "
            f"Medians of the rounds' medians, with the quartiles in parentheses.\n\n" + table(head, rows)
            + ("\n\n" + guests_text(results) if "guests" in results else ""))


def measure_all(options):
    machine = Machine()
    modes = {"sleep": measure(options, machine, 0), f"spin {SPIN_US} us": measure(options, machine, SPIN_US)}
    results = {"machine": machine.facts(), "rounds": len(modes["sleep"]), "modes": modes}
    if not options.quick:
        access = GuestAccess(options.build)
        results["guests"] = {name: measure_guest(options, machine, access, spin_us) for name, spin_us in GUESTS.items()}
    return results


def main():
    options = parser_of("Measure accesses over vfio-user; results in build/bench/vfio-user.json.",
                        "fewer rounds, and no guests").parse_args()
    path = os.path.join(options.build, "bench", "vfio-user.json")
    results = results_of(options, path, TARGETS, lambda: measure_all(options))
    show(options, "vfio_user.py", text(results))
    return 0


if __name__ == "__main__":
    run(main, *ERRORS)

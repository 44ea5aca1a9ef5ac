#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Measures what the ways to use a device cost a program in a Linux guest: see docs/performance.md for what and how.

One guest under KVM has several devices of QEMU's and of ours, each for one of the ways: our driver, vfio, sysfs.
bench/guest measures them in turns. Where this machine's KVM boots no stock kernel, all of it happens in a machine that
QEMU emulates, which has a KVM. Results go to build/bench/guest.json.
"""

import argparse
import json
import os
import subprocess
import sys

from guest_access import ERRORS, GuestAccess, vm
from guest_report import KINDS, text
from machine import Machine
from program import parser_of, results_of, run, show
from sides import Sides
from tables import ROOT

TARGETS = ("ivshmem", "ivshmem-static", "ivshmem-server", "ivshmem-device", "bench/guest/guest_access")
WAYS = ("driver", "vfio", "sysfs", "sysfs-wc")
VECTORS = 2
CALLER = 100  # the id of the host's program that rings and is answered
BOOT_LIMIT = 120
MACHINE_MEMORY, MACHINE_LIMIT = 3072, 3600  # MiB, seconds
ROUNDS, SAMPLE_MS, TRIPS = 15, 20, 20


# ---- measuring ---------------------------------------------------------------------------------------------------


def name_of(kind, way):
    return f"{kind}.{way}"


def devices_of(sides, server):
    """What QEMU is told of the devices, kind by kind. They get their slots in this order."""
    for way in WAYS:
        yield from vm.ivshmem_doorbell(server, VECTORS, name=name_of("qemu", way))
    for way in WAYS:
        socket = sides.device(server, way, VECTORS, "--doorbell-bar=on")
        yield from vm.vfio_user(socket, name=name_of("ours", way))


def bells_of(devices):
    """
    (what is measured, the peer, its vector) of what a program in the guest can be woken by. QEMU's own device is not among them:
    under KVM it wakes nobody who uses vfio and does not fill its MSI-X table first (docs/vmms.md), as guest_access does not.
    """
    for way in ("driver", "vfio"):
        yield f"{name_of('ours', way)}: wake of an eventfd", devices[name_of("ours", way)]["peer"], 0
    yield f"{name_of('ours', 'driver')}: wake of the node", devices[name_of("ours", "driver")]["peer"], 1


def run_tool(build, caller, *words):
    """`ivshmem` of the host, in the caller's place; what it says in JSON."""
    words = [os.path.join(build, "ivshmem"), "--target", f"unix:{caller}", "--json", "--quiet", *words]
    return json.loads(subprocess.run(words, stdout=subprocess.PIPE, check=True, timeout=600).stdout)


def round_trip(build, caller, peer, vector):
    """Nanoseconds from the host's ring of a program that sleeps until its answer has woken the host's program."""
    answer = run_tool(build, caller, "ping", f"{peer}:{vector}", "--count", str(TRIPS), "--interval", "0.005", "--timeout", "60")
    return answer["median_us"] * 1000


def measure_rounds(access, options, say):
    with Sides(options.build) as sides:
        caller = sides.path("caller")
        server = sides.server("server", VECTORS, "--member", f"{CALLER}={caller}")
        # Devices that come later are told of the caller from the start if it was here once.
        run_tool(options.build, caller, "info")
        rounds = 3 if options.quick else ROUNDS
        ways = [f"{name_of(kind, way)}={way}" for kind in KINDS for way in WAYS]
        words = ["--rounds", rounds, "--sample", 5 if options.quick else SAMPLE_MS, "--rings", sides.idle_peer(server),
                 "--copies", "--answer", CALLER, "own=own"]
        devices = [*devices_of(sides, server)]
        with access.guest(sides, ways, devices, words, iommu="caching") as guest:
            devices = json.loads(guest.expect("^{.*}$", BOOT_LIMIT)[0])
            say(f"the guest has {len(devices) - 1} devices")
            bells = [*bells_of(devices)]
            results = []
            for number in range(rounds):
                times = json.loads(guest.expect("^{.*}$", BOOT_LIMIT)[0])
                for what, peer, vector in bells if number % 2 == 0 else reversed(bells):
                    times[what] = round_trip(options.build, caller, peer, vector)
                results.append(times)
                say(f"round {number + 1} of {rounds}")
                guest.send("\n")
            guest.wait_end()
    return {"types": {name: one["type"] for name, one in devices.items()}, "rounds": results}


def measure_here(options, say):
    access = GuestAccess(options.build, "kvm", driver=True)
    return {"machine": Machine().facts(), "emulated": options.inside, **measure_rounds(access, options, say)}


def measure_in_machine(options, image):
    """The same by this program in a machine that has a KVM. It has no network and no compiler, so that all is made here."""
    vm.build_driver(image, say)
    build = os.path.abspath(options.build)
    files = [*vm.guest_files(), os.path.join(ROOT, "bench"), *(os.path.join(build, name) for name in ("guest", *TARGETS))]
    words = [vm.PYTHON, "-B", os.path.join(ROOT, "bench", "guest.py"), "--inside", "--build", build]
    if options.quick:
        words.append("--quick")
    with vm.KvmMachine(image, files, memory=MACHINE_MEMORY, say=say) as machine:
        status, output = machine.run(words, timeout=MACHINE_LIMIT)
    if status != 0:
        raise RuntimeError(f"it did not work in the machine:\n{output}")
    return json.loads(output.splitlines()[-1])


def say(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


def say_from_inside(text):
    with open(vm.SAY, "w", encoding="utf-8") as file:
        file.write(f"{text}\n")


def measure(options):
    image = vm.build_image(os.path.join(options.build, "guest"), os.path.join(options.build, "ivshmem-static"), say)
    accel = vm.choose_accel(image, image.cache)
    say(f"Linux guests of this machine have {accel}")
    return measure_here(options, say) if accel.name == "kvm" else measure_in_machine(options, image)


def main():
    parser = parser_of("Measure the ways to use a device in a Linux guest; results in build/bench/guest.json.",
                       "fewer and shorter rounds")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)  # in the machine that is emulated
    options = parser.parse_args()
    if options.inside:
        print(json.dumps(measure_here(options, say_from_inside)))
        return 0
    results = results_of(options, os.path.join(options.build, "bench", "guest.json"), TARGETS, lambda: measure(options))
    show(options, "guest.py", text(results))
    return 0


if __name__ == "__main__":
    run(main, *ERRORS)

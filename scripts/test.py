#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""
Builds everything and runs every test: what `make test` and CI do. The last line of the output is
"N passed, N failed", or "N passed, N failed, N skipped"; the exit status is 0 only if nothing failed.
"""

import argparse
import os
import signal
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import vm
from check import abi, barriers, builds, fuzzing, python_tests, style, tap
from check.kvm import Kvm, needs_kvm
from check.report import FAILED, Report, Result
from check.run import run

# name: what it is. In the order in which they run: what is quick and what others stand on comes first.
LAYERS = {
    "build": "compiles with gcc, for 32 bits, too, and with clang and sanitizers, warnings being errors; the ABI is as promised",
    "style": "clang-format, clang-tidy, shellcheck, codespell, who includes whom",
    "harness": "the test harness catches what it promises to catch",
    "platform": "the kernel facts that the code relies on",
    "unit": "each module by itself",
    "threads": "those of unit that have threads, with the thread sanitizer",
    "portable": "those of unit and model that need little of the kernel, for 32 bits and, in QEMU, for 64-bit ARM",
    "model": "random sequences against naive models",
    "fuzz": "the corpus of each fuzz target, and a few seconds of fuzzing",
    "protocol": "server, client and command line, byte by byte over the socket",
    "interop": "with real QEMUs attached",
    "vmm": "KVM guests that ring each other, through the library and through ivshmem-device",
    "vm": "inside real Linux guests",
    "kvm": "some of those under KVM, if vm did not have it: in a machine that emulates what KVM needs",
}
# So many tests run at a time: most of them wait most of the time. Searches, which end when their time is over, and Linux guests
# compute.
JOBS, COMPUTING_JOBS = 4, 2
COMPUTING = ("portable", "model", "fuzz", "vm")

PROGRAM_LAYERS = ("harness", "platform", "unit", "portable", "model", "fuzz", "vmm")

# Without what they need these prove nothing, which CI must not overlook.
NEVER_SKIPPED_IN_CI = ("vmm", "vm")

# Far beyond what they need: so that a test that hangs all the same ends.
PYTHON_TIMEOUT = {"protocol": 900, "interop": 900, "vm": 900, "kvm": 120}


def arguments():
    lines = [f"  {name:10} {what}" for name, what in LAYERS.items()]
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="layers:\n" + "\n".join(lines),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("layers", nargs="*", metavar="LAYER", help="only these; default: all")
    parser.add_argument("-v", "--verbose", action="store_true", help="one line per test")
    result = parser.parse_args()
    for layer in result.layers:
        if layer not in LAYERS:
            parser.error(f"there is no layer '{layer}'; there are: {', '.join(LAYERS)}")
    return result


def needed_builds(layers):
    needed = []
    if {"build", "threads", "vm", "kvm", *PROGRAM_LAYERS} & layers:
        needed.append(builds.PLAIN)
    if {"build", "style", "protocol", "interop", *PROGRAM_LAYERS} & layers:
        needed.append(builds.SANITIZED)
    return needed


def run_layer(report, layer, made, kvm):
    in_ci = os.environ.get("CI", "") not in ("", "0", "false")
    skips_fail = in_ci and layer in NEVER_SKIPPED_IN_CI
    build = builds.PLAIN if layer in ("vm", "kvm") else builds.SANITIZED
    jobs = COMPUTING_JOBS if layer in COMPUTING else JOBS
    if layer == "style":
        style.run_layer(report)
    elif layer == "portable" and not made:
        report.say("nothing is compiled for other processors: that takes x86-64, and a plain build that works")
    elif layer == "threads":
        run_with_thread_sanitizer(report, layer, kvm)
    elif layer in PROGRAM_LAYERS:
        tap.run_layer(report, layer, made, jobs, kvm, lambda test: in_ci and needs_kvm(test))
        if layer == "fuzz":
            fuzzing.run_layer(report)
    elif layer in PYTHON_TIMEOUT and build not in made:
        report.add(layer, build.name, 0, [Result("tests", FAILED, "the build did not work")])
    elif layer == "kvm":
        run_linux_under_kvm(report, layer, build, kvm)
    elif layer in PYTHON_TIMEOUT:
        if layer == "vm":
            builds.share_guest_images()
        python_tests.run_layer(report, layer, build, PYTHON_TIMEOUT[layer], skips_fail, jobs)


def program_targets(suite):
    """What ninja calls the test programs of a suite."""
    programs = [test["cmd"][0] for test in builds.PLAIN.tests() if tap.is_of(test, suite)]
    return [os.path.relpath(program, builds.PLAIN.path) for program in programs]


def run_with_thread_sanitizer(report, layer, kvm):
    if builds.THREADS.make(report, program_targets(layer)):
        tap.run_layer(report, layer, [builds.THREADS], JOBS, kvm)


def run_linux_under_kvm(report, layer, build, kvm):
    builds.share_guest_images()
    cache = os.path.join(builds.PLAIN.path, "guest")
    image = vm.build_image(cache, os.path.join(build.path, "ivshmem-static"), report.say)
    accel = vm.choose_accel(image, cache)
    if accel.name == "kvm" and kvm.reason is None:
        report.say("Linux guests run under this machine's own KVM; the layer vm has done that")
        return
    # There is no network in it, so what its tests fetch must be there.
    tests = os.path.join(builds.ROOT, "tests")
    vm.build_driver(image, report.say)  # the machine has no compiler
    fetch = [python_tests.PYTHON, "-B", os.path.join(tests, "vm", "lspci.py"), cache]
    status, output = run(fetch, timeout=300, env={"PYTHONPATH": os.path.join(tests, "support")})
    if status != 0:
        report.add(layer, "lspci", 0, [Result("fetching lspci for the guests", FAILED, output)])
    report.say("Linux guests under KVM run in a machine that emulates it; guests of this machine have " + str(accel))
    python_tests.run_under_kvm(report, layer, build, kvm.linux(), PYTHON_TIMEOUT[layer])


def main():
    args = arguments()
    layers = set(args.layers) or set(LAYERS)
    report = Report(args.verbose)
    kvm = Kvm(report.say)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.default_int_handler)
    try:
        made = [build for build in needed_builds(layers) if build.make(report)]
        foreign = []
        if "build" in layers:
            builds.GUEST_ONLY.make(report)
            builds.WITHOUT_KVM.make(report)
        if {"build", "portable"} & layers and os.uname().machine == "x86_64" and builds.PLAIN in made:
            targets = ["libraries", *program_targets("portable")]
            foreign = [build for build in (builds.NARROW, builds.ARM64) if build.make(report, targets)]
            if "build" in layers:
                abi.check(report, builds.PLAIN)
            if "build" in layers and builds.ARM64 in foreign:
                barriers.check(report, builds.ARM64)
        for layer in LAYERS:
            if layer in layers:
                run_layer(report, layer, foreign if layer == "portable" else made, kvm)
    except KeyboardInterrupt:
        report.add("run", "interrupted", 0, [Result("the run", FAILED, "it was interrupted")])
    finally:
        kvm.stop()
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())

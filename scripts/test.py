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

from check import builds, fuzzing, python_tests, style, tap
from check.report import FAILED, Report, Result

JOBS = 2

# name: what it is. In the order in which they run: what is quick and what others stand on comes first.
LAYERS = {
    "build": "compiles with gcc, for 32 bits, too, and with clang and sanitizers, warnings being errors",
    "style": "clang-format, clang-tidy, shellcheck, codespell, who includes whom",
    "harness": "the test harness catches what it promises to catch",
    "platform": "the kernel facts that the code relies on",
    "unit": "each module by itself",
    "model": "random sequences against naive models",
    "fuzz": "the corpus of each fuzz target, and a few seconds of fuzzing",
    "protocol": "server, client and command line, byte by byte over the socket",
    "interop": "with real QEMUs attached",
    "vmm": "KVM guests that ring each other, through the library and through ivshmem-device",
    "vm": "inside real Linux guests",
}
PROGRAM_LAYERS = ("harness", "platform", "unit", "model", "fuzz", "vmm")

# Without what they need these prove nothing, which CI must not overlook.
NEVER_SKIPPED_IN_CI = ("vmm", "vm")

# Far beyond what they need: so that a test that hangs all the same ends.
PYTHON_TIMEOUT = {"protocol": 900, "interop": 900, "vm": 900}


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
    if {"build", "vm", *PROGRAM_LAYERS} & layers:
        needed.append(builds.PLAIN)
    if {"build", "style", "protocol", "interop", *PROGRAM_LAYERS} & layers:
        needed.append(builds.SANITIZED)
    return needed


def run_layer(report, layer, made):
    in_ci = os.environ.get("CI", "") not in ("", "0", "false")
    skips_fail = in_ci and layer in NEVER_SKIPPED_IN_CI
    build = builds.PLAIN if layer == "vm" else builds.SANITIZED
    if layer == "style":
        style.run_layer(report)
    elif layer in PROGRAM_LAYERS:
        # Two processors of two guests are two busy threads.
        tap.run_layer(report, layer, made, 1 if layer == "vmm" else JOBS, skips_fail)
        if layer == "fuzz":
            fuzzing.run_layer(report)
    elif layer in PYTHON_TIMEOUT and build not in made:
        report.add(layer, build.name, 0, [Result("tests", FAILED, "the build did not work")])
    elif layer in PYTHON_TIMEOUT:
        if layer == "vm":
            builds.share_guest_images()
        python_tests.run_layer(report, layer, build, PYTHON_TIMEOUT[layer], skips_fail)


def main():
    args = arguments()
    layers = set(args.layers) or set(LAYERS)
    report = Report(args.verbose)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.default_int_handler)
    try:
        made = [build for build in needed_builds(layers) if build.make(report)]
        if "build" in layers and os.uname().machine == "x86_64":
            builds.NARROW.make(report, ["libraries"])
        for layer in LAYERS:
            if layer in layers:
                run_layer(report, layer, made)
    except KeyboardInterrupt:
        report.add("run", "interrupted", 0, [Result("the run", FAILED, "it was interrupted")])
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())

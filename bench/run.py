#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Runs the benchmarks, one after the other. Each is a program of its own, with options of its own.

    bench/run.py                        all of them
    bench/run.py --quick                the small cases only
    bench/run.py server --against PATH  one of them, with its options
"""

import os
import subprocess
import sys

BENCHES = {
    "server": "server.py",  # joins, leaves and churn against the kernel's floor
    "channels": "channels.py",  # messages and streams against the processor, the kernel and other libraries
    "copy": "copy.py",  # ivshmem copy against cp, and against scp to a guest
    "vfio-user": "vfio_user.py",  # accesses of the guest against a bare socket
    "doorbell": "doorbell.py",  # rings between guests under KVM against the kernel alone
    "trace": "trace.py",  # the flight recorder, on and off
    "top": "top.py",  # with and without somebody who looks
    "guest": "guest.py",  # our driver, vfio and sysfs in a Linux guest
}


def main():
    words = sys.argv[1:]
    if words and words[0] in ("-h", "--help"):
        print(__doc__ + "\nbenchmarks: " + ", ".join(BENCHES) + "; NAME --help tells the options of one")
        return 0
    names = [words.pop(0)] if words and not words[0].startswith("-") else list(BENCHES)
    if names[0] not in BENCHES:
        print(f"bench: there is no '{names[0]}'; there are {', '.join(BENCHES)}", file=sys.stderr)
        return 2
    status = 0
    for name in names:
        program = os.path.join(os.path.dirname(os.path.abspath(__file__)), BENCHES[name])
        status = subprocess.run(["/usr/bin/python3", program, *words], check=False).returncode or status
    return status


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)

#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""
soak.py BUILD [ARGUMENT...]

What a server goes through in months, within half an hour: the tests of tests/interop/test_soak.py and tests/vm/test_restarts.py
in full length. Prints what each of them saw, which docs/reliability.md shows. Arguments are for pytest, such as -k machines.
"""

import json
import os
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def line(result):
    name = result.pop("name")
    return f"{name:40} " + ", ".join(f"{key.replace('_', ' ')} {value:,}" for key, value in result.items())


def main(build, *arguments):
    with tempfile.NamedTemporaryFile() as results:
        environment = os.environ | {"IVSHMEM_TEST_LONG": "1", "IVSHMEM_SOAK_RESULTS": results.name}
        status = 0
        for test in ("test_soak", "test_restarts"):
            command = [os.path.join(ROOT, "scripts", "one.py"), build, test, "-v", *arguments]
            status = max(status, subprocess.run(command, check=False, env=environment).returncode)
        for each in results.read().decode().splitlines():
            print(line(json.loads(each)))
    return status


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__.strip())
    sys.exit(main(*sys.argv[1:]))

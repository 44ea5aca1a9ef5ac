#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""
one.py BUILD NAME [ARGUMENT...]

Runs one test, or those of one name, from a build that is there: a program (roster, vmm-intx) or a file of Python tests (test_cli_info).
Arguments are for it: names of tests of a program, options such as -k of pytest.
"""

import glob
import json
import os
import subprocess
import sys

PYTEST = ["/usr/bin/python3", "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def programs(build):
    """(name, command) of each; a module's unit test, its model and its corpus may have the same name."""
    answer = subprocess.run(["meson", "introspect", "--tests", build], check=True, capture_output=True, text=True)
    return [(test["name"], test["cmd"]) for test in json.loads(answer.stdout)]


def python_files():
    paths = glob.glob(os.path.join(ROOT, "tests", "**", "test_*.py"), recursive=True)
    return [(os.path.basename(path)[:-3], [*PYTEST, path]) for path in paths]


def main(build, name="", *arguments):
    known = programs(build) + python_files()
    commands = [command for known_name, command in known if known_name == name]
    if not commands:
        print(f"one.py: there is no test '{name}'; there are:", *sorted({name for name, _ in known}), file=sys.stderr)
        return 2
    os.environ["IVSHMEM_BUILD"] = os.path.abspath(build)
    return max(subprocess.run([*command, *arguments], check=False).returncode for command in commands)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__.strip())
    sys.exit(main(*sys.argv[1:]))

# SPDX-License-Identifier: BSD-2-Clause
"""What the benchmarks have in common as programs: their options, the file of their results, and how they end."""

import argparse
import json
import os
import signal
import subprocess
import sys

from machine import build_programs
from tables import ROOT, update_docs


def parser_of(description, quick, update="write the tables of the last run into docs/performance.md"):
    """A parser of the options that all of them have; `quick` and `update` are what --quick and --update-docs do."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help=quick)
    parser.add_argument("--build", metavar="DIR", default=os.path.join(ROOT, "build"), help="default: build")
    parser.add_argument("--no-build", action="store_true", help="take the programs as they are")
    parser.add_argument("--update-docs", action="store_true", help=f"measure nothing, {update}")
    return parser


def last_results(path):
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except FileNotFoundError:
        sys.exit(f"bench: {path} is not there: measure first")


def results_of(options, path, targets, measure):
    """Builds the targets and puts what `measure` finds into the file; or takes what the last run put there."""
    if options.update_docs:
        return last_results(path)
    if not options.no_build:
        build_programs(options.build, *targets)
    results = measure()
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        json.dump(results, file, indent=1)
        file.write("\n")
    return results


def show(options, program, markdown):
    """Prints what `program`, a file of bench/, found, and puts it into docs/performance.md if that is wanted."""
    print(markdown)
    if options.update_docs:
        update_docs(program, markdown)


def run(main, *errors):
    """Runs `main` as a program. The usual errors, and these, are told in a sentence."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
    except (RuntimeError, OSError, subprocess.SubprocessError, *errors) as error:
        sys.exit(f"bench: {error}")

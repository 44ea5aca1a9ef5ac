#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Carries out the recipes of docs/recipes, with real guests: each command of a page, and what it shows is what comes."""

import argparse
import pathlib
import sys
import time

sys.dont_write_bytecode = True

from recipe import RECIPES, PageError, RecipeError, run_recipe  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parent.parent


def say(line):
    print(line, flush=True)


def try_recipe(name, arguments):
    """Whether it passed."""
    started = time.monotonic()
    say(f'\n---- {name}')
    try:
        run_recipe(name, RECIPES[name], arguments.build, arguments.accel, say)
    except (RecipeError, PageError) as problem:
        say(f'{problem}\n{name}: failed')
        return False
    say(f'{name}: passed, {time.monotonic() - started:.0f} s')
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--build', type=pathlib.Path, default=ROOT / 'build', metavar='DIR',
                        help='the build folder (default: %(default)s)')
    parser.add_argument('--accel', choices=('auto', 'kvm', 'tcg'), default='auto', help='for the guests (default: %(default)s)')
    parser.add_argument('names', nargs='*', metavar='NAME', help=f'default: all, which are {", ".join(RECIPES)}')
    arguments = parser.parse_args()
    for name in arguments.names:
        if name not in RECIPES:
            parser.error(f'there is no recipe \'{name}\'; there are: {", ".join(RECIPES)}')
    results = [try_recipe(name, arguments) for name in arguments.names or RECIPES]
    say(f'\n{results.count(True)} passed, {results.count(False)} failed')
    return 0 if all(results) else 1


if __name__ == '__main__':
    sys.exit(main())

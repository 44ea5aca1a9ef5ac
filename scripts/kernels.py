#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""
Builds ivshmem.ko for the kernels that Debian packages, and runs the tests of the driver in guests with them. Kernels
are fetched once, into the build folder, and nothing is installed. The exit status is 0 if everything passed under each.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree

sys.dont_write_bytecode = True

import vm  # noqa: E402
from check import python_tests  # noqa: E402
from check.report import FAILED, PASSED  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parent.parent
TESTS = ROOT / 'tests' / 'vm' / 'test_driver.py'


def arguments():
    lines = [f'  {name:12} of Debian {kernel.release}{", as in every test run" if name == vm.USUAL else ""}'
             for name, kernel in vm.KERNELS.items()]
    parser = argparse.ArgumentParser(description=__doc__, epilog='kernels:\n' + '\n'.join(lines),
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--build', type=pathlib.Path, default=ROOT / 'build', metavar='DIR',
                        help='the build folder (default: %(default)s)')
    parser.add_argument('-k', metavar='EXPRESSION', help='only those tests, as for pytest')
    parser.add_argument('kernels', nargs='*', metavar='KERNEL', help='only these; default: all')
    result = parser.parse_args()
    for kernel in result.kernels:
        if kernel not in vm.KERNELS:
            parser.error(f'there is no kernel \'{kernel}\'; there are: {", ".join(vm.KERNELS)}')
    return result


def run_tests(build, kernel, expression):
    """(whether they passed, in words)"""
    with tempfile.TemporaryDirectory(prefix='ivshmem-test-') as scratch:
        xml = pathlib.Path(scratch) / 'results.xml'
        command = [python_tests.PYTHON, '-B', '-m', 'pytest', '-q', '-p', 'no:cacheprovider', '--tb=short', f'--junitxml={xml}',
                   *(['-k', expression] if expression else []), TESTS]
        status = subprocess.run(command, check=False, cwd=ROOT,
                                env={**os.environ, 'IVSHMEM_BUILD': str(build), 'IVSHMEM_KERNEL': kernel}).returncode
        results = python_tests.parse(ElementTree.parse(xml)) if xml.exists() else []
    counts = {outcome: sum(result.outcome == outcome for result in results) for outcome in (PASSED, FAILED)}
    words = [f'{count} {outcome}' for outcome, count in counts.items() if count]
    return status == 0 and counts[PASSED] == len(results), ', '.join(words) or 'no test was run'


def try_kernel(build, name, expression):
    """(whether all is well, the kernel's whole name, how it went)"""
    release = '?'
    try:
        image = vm.build_image(build / 'guest', build / 'ivshmem-static', kernel=name)
        release = image.release
        vm.build_driver(image)
    except vm.ImageError as error:
        print(f'kernels.py: {error}', file=sys.stderr)
        return False, release, str(error).splitlines()[0]
    started = time.monotonic()
    passed, words = run_tests(build, name, expression)
    minutes, seconds = divmod(int(time.monotonic() - started), 60)
    return passed, release, f'{words} in {minutes} min {seconds} s'


def main():
    wanted = arguments()
    build = wanted.build.resolve()
    rows = []
    for name in wanted.kernels or vm.KERNELS:
        print(f'--- {name}', flush=True)
        rows.append((name, *try_kernel(build, name, wanted.k)))
    print()
    for name, passed, release, words in rows:
        print(f'{"ok" if passed else "FAIL":5} {name:12} {release:28} {words}')
    return 0 if all(row[1] for row in rows) else 1


if __name__ == '__main__':
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)

#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Linux guests and this machine share memory through ivshmem-server.

First act: three guests and this machine interrupt each other. Guests A and B have the device that is part of
QEMU, guest C has ours, which ivshmem-device serves over vfio-user. An ordinary user of guest A has the device through
our driver, the others are root and have it through vfio. What each party does stands in host.commands,
guest-a.commands and so on; guest.sh and peer.sh are what runs in the guests around that.

Second act: this machine copies a folder into a guest and starts a web server in it, which this machine and another
guest read, all of it through the shared memory; the same is measured through a network card.

Exit status 0 means that every interrupt arrived and every byte was right.
"""

import argparse
import fcntl
import json
import os
import pathlib
import signal
import subprocess
import sys

sys.dont_write_bytecode = True

from stage import ROOT, DemoFailed  # noqa: E402

import vm  # noqa: E402
from first_act import FirstAct  # noqa: E402
from second_act import SecondAct  # noqa: E402
from transcript import Transcript  # noqa: E402


def parse_options():
    parser = argparse.ArgumentParser(
        prog='make run ARGS="..."', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog='Examples:\n  make run\n  make run ARGS=--console\n  make run ARGS="--accel tcg --pings 1000"')
    parser.add_argument('--console', action='store_true',
                        help='after the first act keep the guests up: with the console of guest A in this terminal, '
                        'and one command to type in another terminal for those of the others')
    parser.add_argument('--accel', choices=('auto', 'kvm', 'tcg'), default='auto',
                        help='auto tries whether KVM can boot the guests, and takes TCG if not')
    parser.add_argument('--pings', type=int, default=200, metavar='N',
                        help='round trips to measure for each pair (default: %(default)s)')
    parser.add_argument('--timeout', type=int, default=120, metavar='SECONDS',
                        help='how long each act may take (default: %(default)s)')
    parser.add_argument('--json', type=pathlib.Path, metavar='FILE', help='write the result there, too')
    parser.add_argument('--build', type=pathlib.Path, default=ROOT / 'build', metavar='DIR',
                        help='where the programs are (default: %(default)s)')
    parser.add_argument('--run-dir', type=pathlib.Path, metavar='DIR',
                        help='where consoles and logs go (default: BUILD/run)')
    options = parser.parse_args()
    if options.pings < 1 or options.timeout < 1:
        parser.error('--pings and --timeout want a number above 0')
    options.build = options.build.resolve()
    options.run_dir = (options.run_dir or options.build / 'run').resolve()
    return options


def carry_out(act):
    """Plays one act. Whether all was well."""
    try:
        with vm.ScratchDir() as act.scratch:
            try:
                act.run()
                act.show()
                if act.options.console and not act.problems:
                    act.praise()
                    act.play()
            finally:
                act.stop()
    except (DemoFailed, vm.GuestError, vm.ImageError, vm.QemuError, OSError,
            subprocess.SubprocessError) as failure:
        act.problems.append(str(failure))
    if not act.options.console and not act.problems:
        act.praise()
    for problem in act.problems:
        act.out.bad(f'FAILED: {problem}')
    if act.problems:
        act.report()
    return not act.problems


def play(options, log):
    transcript = Transcript(log)
    first = FirstAct(options, transcript)
    well = carry_out(first)
    result = first.result()
    if well and not options.console:
        second = SecondAct(options, transcript, first)
        well = carry_out(second)
        result['second_act'] = second.result()
        result['ok'] = well
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + '\n', encoding='utf-8')
    return 0 if well else 1


def main():
    options = parse_options()
    # Every way to be ended runs the finally clauses; for kill -9 there are the kernel and ScratchDir.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    options.run_dir.mkdir(parents=True, exist_ok=True)
    with open(options.run_dir / 'transcript', 'a+', encoding='utf-8') as log:
        try:
            fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit(f'it is running already, with its logs in {options.run_dir}; --run-dir chooses another')
        log.truncate(0)
        try:
            return play(options, log)
        except KeyboardInterrupt:
            print('\nended as asked; the guests and the server are gone')
            return 130


if __name__ == '__main__':
    sys.exit(main())

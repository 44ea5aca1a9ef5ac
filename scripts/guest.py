#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Prepares and inspects the Linux guests that the demo and the tests boot."""

import argparse
import pathlib
import sys

sys.dont_write_bytecode = True

import vm  # noqa: E402
from check import builds, kvm  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parent.parent


def enter_kvm_machine(arguments):
    paths = [*kvm.linux_files(), *kvm.program_files([builds.PLAIN]), *arguments.file]
    image = vm.build_image(ROOT / 'build' / 'guest', pathlib.Path(builds.PLAIN.path) / 'ivshmem-static')
    with vm.ScratchDir() as scratch, vm.KvmMachine(image, paths, memory=kvm.LINUX_MEMORY) as machine:
        if arguments.words:
            status, output = machine.run(arguments.words, timeout=arguments.limit)
            print(output, end='')
            if status is None:
                sys.exit(f'guest.py: not done within {arguments.limit} s')
            return status
        console = f'{scratch.path}/console'
        machine.console(console)
        with vm.connect_console(console) as connection:
            vm.attach_console(connection)
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--build', type=pathlib.Path, default=ROOT / 'build', metavar='DIR',
                        help='the build folder (default: %(default)s)')
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')
    commands.add_parser('image', help='fetch what guests boot, unless it is there')
    commands.add_parser('arm64-driver', help='compile our Linux driver for 64-bit ARM, for the guests\' version of the kernel; '
                                             'a warning is an error, also of sparse if that is installed')
    commands.add_parser('debug-kernel', help='build the kernel that finds faults of our driver, unless it is there')
    commands.add_parser('accel', help='say whether guests run under KVM or TCG, and why')
    run = commands.add_parser('run', help='boot a guest, run a command in it, print what it prints')
    run.add_argument('--accel', choices=('auto', 'kvm', 'tcg'), default='auto')
    run.add_argument('--no-iommu', dest='iommu', action='store_const', const=None, default='remapping',
                     help='a guest without vIOMMU')
    run.add_argument('--socket', help='give it an ivshmem-doorbell attached to this ivshmem server')
    run.add_argument('--vectors', type=int, default=4, help='of the ivshmem-doorbell (default: %(default)s)')
    run.add_argument('--limit', type=float, default=120, help='seconds it may take (default: %(default)s)')
    run.add_argument('script', help='for sh in the guest')
    machine = commands.add_parser('kvm', help='run a command in the emulated machine with KVM that the tests use, or '
                                              'a shell, with what make test has built')
    machine.add_argument('--file', action='append', default=[], metavar='PATH',
                         help='what it shall have besides, under the path it has here; also a folder')
    machine.add_argument('--limit', type=int, default=600, help='seconds the command may take (default: %(default)s)')
    machine.add_argument('words', nargs='*', metavar='COMMAND', help='default: a shell on its console; ^] leaves')
    console = commands.add_parser('console', help='connect this terminal to a guest\'s console; ^] leaves')
    console.add_argument('socket', help='of the console, as demo/run.py --console names it')
    arguments = parser.parse_args()
    if arguments.command == 'console':
        try:
            with vm.connect_console(arguments.socket) as connection:
                vm.attach_console(connection)
        except OSError as problem:
            sys.exit(f'guest.py: {arguments.socket}: {problem.strerror}')
        return 0

    if arguments.command == 'kvm':
        return enter_kvm_machine(arguments)

    cache = arguments.build / 'guest'
    tool = arguments.build / 'ivshmem-static'
    image = vm.build_debug_image(cache, tool) if arguments.command == 'debug-kernel' else vm.build_image(cache, tool)
    if arguments.command == 'accel':
        print(vm.choose_accel(image, cache))
    elif arguments.command == 'arm64-driver':
        print(vm.build_driver_for_arm64(image))
    elif arguments.command == 'run':
        devices = vm.ivshmem_doorbell(arguments.socket, arguments.vectors) if arguments.socket else ()
        accel = vm.choose_accel(image, cache, arguments.accel)
        with vm.ScratchDir() as scratch, vm.Guest(image, accel, scratch.path, script=arguments.script,
                                                  devices=devices, iommu=arguments.iommu) as guest:
            status, lines = guest.wait_script(arguments.limit)
            print(*lines, sep='\n')
            guest.wait_end()
        return status
    else:
        print(f'{image.kernel} ({image.release})')
    return 0


if __name__ == '__main__':
    try:
        sys.exit(main())
    except (vm.ImageError, vm.GuestError, vm.KvmMachineError, vm.QemuError) as problem:
        sys.exit(f'guest.py: {problem}')

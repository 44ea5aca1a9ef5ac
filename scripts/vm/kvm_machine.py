# SPDX-License-Identifier: BSD-2-Clause
"""
A machine with a real /dev/kvm, for hosts that have none: QEMU's TCG emulates AMD's virtualisation with nested
paging, and the kernel that our guests boot has the module for it.

Programs of this host run in it under the paths that they have here, with the libraries that they have here. It has
a file system in its memory: what is written there is gone with it.

It has one processor. With two, TCG runs each in a thread of its own, and loses interrupts: one in ten of the runs of
resets_while_rings_come (tests/vmm/test_state.c) stood still, and none with both in one thread, which takes three
times as long, nor with one.

The runtime of the thread sanitizer wants SSE 4.2, which qemu64 does not have.

QEMU 7.2 is too old for this: it now and then leaves one processor of such a machine stuck with interrupts off, and
guests with `kernel-irqchip=split` stand still in it. So it is the QEMU that has vfio-user as well.
"""

import functools
import os
import pathlib
import re
import shlex
import subprocess
from concurrent.futures import ThreadPoolExecutor

from .accel import Accel
from .child import ScratchDir
from .guest import QEMU, Guest, GuestError
from .qemu import qemu_with_vfio_user

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PYTHON = '/usr/bin/python3'
LOADER = '/lib64/ld-linux-x86-64.so.2'

# A round trip takes some 20 times as long as with a processor that can do it. tests/harness and the Python tests
# multiply their time limits, and tests that repeat something thousands of times divide the number.
ENVIRONMENT = {'TEST_TIMEOUT_FACTOR': '10', 'TEST_COUNT_DIVISOR': '20', 'PATH': '/usr/bin:/bin', 'HOME': '/tmp'}

BOOT_LIMIT = 120
# It says every few seconds that it is alive. One that is silent for so long stands still, and does not recover.
SILENCE = 60

SET_UP = r'''
while read -r module; do
	insmod "/modules/$module" 2>/dev/null # one of them is not for this processor
done </modules/order-kvm
if ! [ -c /dev/kvm ]; then
	dmesg | grep -i -e kvm -e svm
	exit 1
fi
mkdir -p /dev/shm /root
mount -t tmpfs shm /dev/shm
ln -s /proc/self/fd /dev/fd
ip link set lo up
'''
# A file in the machine: a command that is still running writes a line there which somebody is to see now.
SAY = '/tmp/say'
# One line is one command. Its output is marked, for it may contain anything.
SERVE = r'''
while sleep 5; do echo @alive; done &
mkfifo SAY
while read -r text; do echo "@say $text"; done <>SAY &
while read -r line; do
	eval "$line" >/tmp/.output 2>&1 </dev/null
	status=$?
	sed 's/^/|/' /tmp/.output
	printf '\n@done %d\n' $status
done
'''.replace('SAY', SAY)


class KvmMachineError(Exception):
    """The machine cannot be had, or it died."""


@functools.cache
def _libraries(program):
    """What the dynamic loader brings in for a program, and the loader itself. ldd asks it, too, but takes ten times as long."""
    answer = subprocess.run([LOADER, '--list', program], check=False, text=True, capture_output=True)
    return tuple(re.findall(r'(?:=> |^\s+)(/\S+) \(0x', answer.stdout, re.MULTILINE))


def files_of(paths):
    """path in the machine -> content, of these files, of all in these folders, and of all their libraries."""
    wanted, files = [os.path.abspath(path) for path in paths], {}
    while wanted:
        path = pathlib.Path(wanted.pop())
        name = str(path)[1:]
        if name in files or path.name == '__pycache__':
            continue
        if path.is_dir():
            wanted += path.iterdir()
        elif path.is_file():
            files[name] = path.read_bytes()
            if files[name].startswith(b'\x7fELF'):
                wanted += _libraries(str(path))
    return files


# The standard library, and whatever these modules import from elsewhere.
PYTHON_FILES = '''
import importlib, os, sys, sysconfig
for name in sys.argv[1:]:
    importlib.import_module(name)
library = sysconfig.get_path("stdlib")
print(library)
for module in list(sys.modules.values()):
    path = getattr(module, "__file__", None)
    if path and not path.startswith(library + "/"):
        print(os.path.dirname(path) if path.endswith("/__init__.py") else path)
'''


def guest_files(*modules):
    """What a program in Python needs to start Linux guests: Python, with these modules, and QEMU, both of them. Not images."""
    yield from (PYTHON, '/bin/bash', f'/usr/bin/{QEMU}')
    yield from subprocess.run([PYTHON, '-B', '-c', PYTHON_FILES, *modules], check=True, text=True,
                              stdout=subprocess.PIPE).stdout.splitlines()
    yield from ('/usr/share/qemu', '/usr/share/seabios', '/usr/lib/ipxe/qemu')
    yield from (ROOT / name for name in ('scripts', 'driver', 'build/qemu'))


class KvmMachine:
    """
    Starts with the first command, and anew after a command that it did not survive.

    paths       what must be in it: files, and folders with all that is in them
    say         is told when it starts, and what its commands write to SAY
    """

    def __init__(self, image, paths, *, memory=2048, say=None):
        self._image = image
        self._paths = list(paths)
        self._memory = memory
        self._say = say or (lambda text: None)
        self._scratch = None
        self._guest = None
        # The kernel ends QEMU with the thread that started it, so this is always the same one.
        self._thread = ThreadPoolExecutor(1)

    def _boot(self, script, console=None):
        self._scratch = ScratchDir()
        self._guest = Guest(
            self._image, Accel('tcg', ''), self._scratch.path, name='kvm-machine', script=SET_UP + script,
            files=files_of(self._paths), iommu=None, memory=self._memory, console=console,
            cpu='qemu64,+svm,+npt,+ssse3,+sse4.1,+sse4.2,+popcnt', cpus=1,
            qemu=qemu_with_vfio_user(self._say)).start()

    def _send(self, line):
        """Returns the exit status and the output."""
        output = []
        self._guest.send(line + '\n', BOOT_LIMIT)
        while True:
            said = self._guest.expect('^(@alive$|@done|@say|[|])', SILENCE).string
            if said.startswith('@done'):
                return int(said.split()[1]), ''.join(output)
            if said.startswith('|'):
                output.append(said[1:] + '\n')
            if said.startswith('@say '):
                self._say(said.removeprefix('@say '))

    def run(self, command, *, timeout, cwd=None, env=None):
        """
        Runs one command, for whichever thread. Returns (exit status, output with errors in between); a status of
        None means that it took longer than `timeout` seconds.
        """
        return self._thread.submit(self._run, command, timeout, cwd, env).result()

    def _run(self, command, timeout, cwd, env):
        settings = [f'{name}={value}' for name, value in {**ENVIRONMENT, **(env or {})}.items()]
        words = ['timeout', '-k', '5', str(timeout), 'env', *settings, *map(os.fspath, command)]
        line = f'cd {shlex.quote(os.fspath(cwd or "/"))} && {shlex.join(words)}'
        if '\n' in line:
            raise ValueError('a command for the machine is one line')
        if self._guest is None:
            self._say('starting a machine with KVM: QEMU emulates AMD\'s virtualisation')
            self._boot(SERVE)
        try:
            status, output = self._send(line)
        except GuestError as problem:
            self._end()
            raise KvmMachineError(str(problem)) from problem
        return (None if status in (124, 137, 143) else status), output

    def console(self, path):
        """Boots it with a shell on its console, a UNIX socket at `path`, and returns the guest."""
        self._thread.submit(self._boot, '', path).result()
        return self._guest

    def _end(self):
        if self._guest:
            self._guest.stop()
            self._guest = None
            self._scratch.remove()

    def stop(self):
        """Also while it runs a command, which then raises KvmMachineError."""
        guest = self._guest
        if guest:
            guest.process.kill()
        self._thread.submit(self._end).result()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

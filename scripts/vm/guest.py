# SPDX-License-Identifier: BSD-2-Clause
"""One guest: a QEMU process, a script that runs in it, and the line-by-line conversation with that script."""

import collections
import json
import os
import pathlib
import re
import select
import shlex
import socket
import subprocess
import time

from .child import start_child, stop_child

QEMU = 'qemu-system-x86_64'
IOMMU = {'remapping': 'intremap=on', 'caching': 'intremap=on,caching-mode=on', 'plain': 'intremap=off'}

WARNINGS = 5  # the kernel's loglevel for those and what is worse

# What the limits below are multiplied with, where guests are slow.
FACTOR = int(os.environ.get('TEST_TIMEOUT_FACTOR', '1'))


class GuestError(Exception):
    """Something the guest should have done did not happen."""


def ivshmem_doorbell(socket_path, vectors, name='ivshmem', bus=None):
    """The arguments that give a guest QEMU's own ivshmem-doorbell, attached to a server's socket."""
    path = os.path.abspath(socket_path).replace(',', ',,')
    place = f',bus={bus}' if bus else ''
    return ['-chardev', f'socket,id={name}-server,path={path}',
            '-device', f'ivshmem-doorbell,id={name},chardev={name}-server,vectors={vectors}{place}']


def vfio_user(socket_path, name='ivshmem', bus=None, **properties):
    """The arguments that give a guest the device that an ivshmem-device serves; see vfio_user_device()."""
    return ['-device', json.dumps(vfio_user_device(socket_path, name, bus, **properties))]


def vfio_user_device(socket_path, name='ivshmem', bus=None, **properties):
    """The same for monitor('device_add', **...). It cannot be written in the older name=value form."""
    device = {'driver': 'vfio-user-pci', 'id': name,
              'socket': {'type': 'unix', 'path': os.path.abspath(socket_path)}, **properties}
    if bus:
        device['bus'] = bus
    return device


class Guest:
    """Boots when started, runs `script` (sh) with the second serial port as its input and output, powers off.

    In `directory` this leaves NAME.console (the first serial port: the kernel's words) and NAME.qemu
    (QEMU's own).

    qemu        the program; vfio_user() needs the one of qemu_with_vfio_user()
    devices     more QEMU arguments, see ivshmem_doorbell() and vfio_user()
    iommu       'remapping': a vIOMMU that can remap interrupts, which vfio-pci in the guest needs;
                'caching': one that also tells its mappings to vfio and vfio-user devices, without which QEMU
                does not let them be behind a vIOMMU;
                'plain': one that cannot remap; None: no vIOMMU
    files       more files for the guest: path -> content, executable
    reboots     a reboot of the guest is one, instead of the end
    kernel_options  more for the command line of its kernel
    memory      in MB; default: what the image wants
    cpu, cpus   QEMU's -cpu and -smp
    console     a path: the console becomes a UNIX socket there, and the guest goes on with a shell on it
                after the script
    """

    def __init__(self, image, accel, directory, *, name='guest', script='', files=None, qemu=QEMU, devices=(),
                 iommu='remapping', memory=None, reboots=False, console=None, kernel_options='', cpu=None, cpus=1):
        self.name = name  # in messages
        self.directory = pathlib.Path(directory).resolve()
        self.console_path = self.directory / f'{name}.console'
        self.qemu_path = self.directory / f'{name}.qemu'
        self._initramfs = self.directory / f'{name}.initramfs'
        self.status = None  # of the script
        self.stopped_by_us = False
        self.process = None
        self.events = []  # of QEMU
        self._lines = collections.deque()
        self._recent = collections.deque(maxlen=15)  # for failure messages
        self._started = False
        self._partial = b''
        self._qmp_partial = b''
        self._qmp_greeted = False
        self._image = image
        self._files = {'guest/run': '#!/bin/sh\n' + script, **(files or {})}
        self._qemu = str(qemu)
        processor = ['-cpu', cpu or ('host' if accel.name == 'kvm' else 'qemu64'), '-smp', str(cpus)]
        self._command = self._qemu_command(accel, processor, iommu, memory or image.memory, devices, reboots, console,
                                           kernel_options)

    def _qemu_command(self, accel, processor, iommu, memory, devices, reboots, console, kernel_options):
        machine, loglevel = 'q35,usb=off', self._image.loglevel
        if accel.name == 'kvm':
            machine += ',kernel-irqchip=split'  # remapping of interrupts is done by QEMU
            # Each letter on the console takes some exits. With all that a kernel says, these are half of its boot.
            loglevel = min(loglevel, WARNINGS)
        append = f'console=ttyS0 loglevel={loglevel} panic=-1 mitigations=off no_timer_check cryptomgr.notests ' \
            f'guest_name={self.name} {kernel_options}'
        command = [self._qemu, '-name', self.name, '-nodefaults', '-no-user-config', '-display', 'none',
                   '-machine', machine, '-accel', accel.name, *processor, '-m', str(memory)]
        if not reboots:
            command += ['-no-reboot']
        if iommu:
            command += ['-device', f'intel-iommu,{IOMMU[iommu]}']
            append += ' intel_iommu=on'
        command += devices

        log = str(self.console_path).replace(',', ',,')
        if console:
            append += ' guest_console=1'
            place = os.path.abspath(console).replace(',', ',,')
            command += ['-chardev', f'socket,id=console,path={place},server=on,wait=off,logfile={log}']
        else:
            command += ['-chardev', f'file,id=console,path={log}']
        return command + ['-kernel', str(self._image.kernel), '-append', append]

    # Starting and ending

    def start(self):
        self._initramfs.write_bytes(self._image.initramfs(self._files))
        self._channel, channel = socket.socketpair()
        self._qmp, qmp = socket.socketpair()
        command = self._command + [
            '-initrd', str(self._initramfs),
            '-chardev', f'socket,id=channel,fd={channel.fileno()}',
            '-chardev', f'socket,id=qmp,fd={qmp.fileno()}', '-mon', 'chardev=qmp,mode=control',
            '-serial', 'chardev:console', '-serial', 'chardev:channel']
        with channel, qmp, open(self.qemu_path, 'wb') as output:
            output.write(f'{shlex.join(command)}\n'.encode())
            output.flush()
            self.process = start_child(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                                       cwd=self.directory, pass_fds=(channel.fileno(), qmp.fileno()))
        self._channel.setblocking(False)
        return self

    def stop(self):
        """Ends the guest whatever it does. Returns QEMU's exit status."""
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.stopped_by_us = True
        status = stop_child(self.process)
        self._channel.close()
        self._qmp.close()
        self._initramfs.unlink(missing_ok=True)
        return status

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    # The conversation with the script

    def fileno(self):
        """Readable when lines() has something new or the guest has ended."""
        return self._channel.fileno()

    def lines(self):
        """The lines that the script has printed since the last call, without waiting; None at the end."""
        if self._receive() or self._lines:
            lines = list(self._lines)
            self._lines.clear()
            return lines
        return None

    def _receive(self):
        try:
            data = self._channel.recv(65536)
        except BlockingIOError:
            return True
        except ConnectionError:
            data = b''
        if not data:
            return False
        *lines, self._partial = (self._partial + data).split(b'\n')
        for line in lines:
            line = line.decode(errors='replace').rstrip('\r')
            if line.startswith('@exit '):
                self.status = int(line.split()[1])
            elif line == '@start':
                self._started = True
            else:
                self._lines.append(line)
                self._recent.append(line)
        return True

    def _wait(self, done, limit, what):
        """Receives until done() returns something, and returns that."""
        deadline = time.monotonic() + limit * FACTOR
        alive = True
        while True:
            answer = done()
            if answer is not None:
                return answer
            if not alive:
                raise GuestError(f'{self.name} ended before {what}\n{self.report()}')
            rest = deadline - time.monotonic()
            if rest <= 0:
                raise GuestError(f'{self.name}: nothing for {limit} s while waiting for {what}\n'
                                 f'{self.report()}')
            select.select([self._channel], [], [], rest)
            alive = self._receive()

    def expect(self, pattern, limit=60):
        """Waits for a line that matches, skipping others. Returns the match."""
        def look():
            while self._lines:
                match = re.search(pattern, self._lines.popleft())
                if match:
                    return match
            return None

        return self._wait(look, limit, f'a line that matches "{pattern}"')

    def send(self, text, limit=120):
        """Types to the script, which has to be running: what comes before that gets lost in the boot."""
        self._wait(lambda: self._started or None, limit, 'the start of its script')
        self._channel.setblocking(True)
        self._channel.sendall(text.encode())
        self._channel.setblocking(False)

    def wait_script(self, limit=60):
        """Waits for the end of the script. Returns (its exit status, the lines not yet looked at)."""
        self._wait(lambda: self.status, limit, 'the end of its script')
        lines = list(self._lines)
        self._lines.clear()
        return self.status, lines

    def wait_end(self, limit=60):
        """Waits until the guest has powered off. Returns QEMU's exit status."""
        deadline = time.monotonic() + limit * FACTOR
        while self._receive():
            rest = deadline - time.monotonic()
            if rest <= 0:
                raise GuestError(f'{self.name} did not power off within {limit} s\n{self.report()}')
            select.select([self._channel], [], [], rest)
        return self.process.wait(limit * FACTOR)

    # QEMU's monitor

    def _qmp_message(self, deadline):
        while b'\n' not in self._qmp_partial:
            self._qmp.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                data = self._qmp.recv(65536)
            except TimeoutError:
                raise GuestError(f'{self.name}: the QEMU monitor said nothing in time') from None
            if not data:
                raise GuestError(f'{self.name}: QEMU ended\n{self.report()}')
            self._qmp_partial += data
        line, self._qmp_partial = self._qmp_partial.split(b'\n', 1)
        return json.loads(line)

    def monitor(self, command, limit=30, **arguments):
        """Runs a QMP command and returns its result. Events that come meanwhile go to `events`."""
        deadline = time.monotonic() + limit * FACTOR
        if not self._qmp_greeted:
            self._qmp_greeted = True
            self._qmp_message(deadline)  # the greeting
            self.monitor('qmp_capabilities', limit)
        request = {'execute': command, 'arguments': arguments}
        self._qmp.sendall(json.dumps(request).encode() + b'\n')
        while True:
            message = self._qmp_message(deadline)
            if 'return' in message:
                return message['return']
            if 'error' in message:
                raise GuestError(f'{self.name}: {command}: {message["error"]["desc"]}')
            self.events.append(message)

    def wait_event(self, name, limit=30):
        """Waits for an event of QEMU and returns it. Needs an earlier monitor() call."""
        deadline = time.monotonic() + limit * FACTOR
        while True:
            for event in self.events:
                if event['event'] == name:
                    self.events.remove(event)
                    return event
            self.events.append(self._qmp_message(deadline))

    # For failure messages

    def console_output(self):
        return _text(self.console_path)

    def qemu_output(self):
        """What QEMU said, without the first line, which is its command."""
        return _text(self.qemu_path).partition('\n')[2]

    def report(self, tail=15):
        """The ends of what the script, the guest's kernel and QEMU said."""
        parts = []
        status = self.process.poll() if self.process else None
        if status is not None:
            parts.append(f'QEMU ended with {f"signal {-status}" if status < 0 else f"exit status {status}"}')
        for title, lines in (('script', list(self._recent)), ('console', self.console_output().splitlines()),
                             ('QEMU', self.qemu_output().splitlines())):
            lines = lines[-tail:]
            if lines:
                parts.append(f'the last lines of the {title} of {self.name}:')
                parts += ['  ' + line for line in lines]
        return '\n'.join(parts) or f'the console of {self.name} is empty'


def _text(path):
    try:
        return path.read_bytes().decode(errors='replace').replace('\r', '')
    except FileNotFoundError:
        return ''

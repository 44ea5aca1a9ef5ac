# SPDX-License-Identifier: BSD-2-Clause
"""
The second act: what people use. This machine copies a folder into guest A and starts a web server there; guest B, and
this machine, read its pages through the shared memory. In the end the same is measured through a network card.
"""

import hashlib
import http.client
import os
import pathlib
import re
import secrets
import shlex
import socket
import statistics
import time

import vm
from stage import ROOT, DemoFailed, Stage

MEMORY = '64M'
FILE_SIZE = 32 << 20
FILE = 'numbers'
REQUESTS = 40  # small ones that are timed
ROUNDS = 3     # of fetching the file

PAGE = '<h1>Hello from guest A</h1> <p>Through {} of shared memory, without a network. ({})</p>\n'


def free_port():
    """A port that QEMU can have. It has no way to choose one itself and say so."""
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def fetch(port, path):
    """(the page, seconds)."""
    begin = time.perf_counter()
    connection = http.client.HTTPConnection('127.0.0.1', port, timeout=60)
    try:
        connection.request('GET', path)
        answer = connection.getresponse()
        body = answer.read()
    finally:
        connection.close()
    if answer.status != 200:
        raise DemoFailed(f'the web server of guest A answered {answer.status} for {path}')
    return body, time.perf_counter() - begin


class SecondAct(Stage):
    def __init__(self, options, transcript, first):
        super().__init__(options, transcript)
        self.first = first  # what it has made: the guests' image and so on
        self.heard = {}  # name -> lines
        self.ended_guests = set()
        self.over = False
        self.numbers = {}

    # Listening

    def hear_line(self, source, line):
        self.heard.setdefault(source.name, []).append(line)
        if not line.startswith('@'):
            self.out.line(source.name, re.sub('^ivshmem(-[a-z]+)?: ', '', line))

    def hear_end(self, source):
        super().hear_end(source)
        if source in self.guests.values():
            self.ended_guests.add(source.name)

    def ended_too_early(self):
        return None if self.over else next(iter(self.ended_guests), None)

    def heard_from(self, name, pattern):
        """The match in the line that matches, or None."""
        return next(filter(None, (re.search(pattern, line) for line in self.heard.get(name, ()))), None)

    def until_heard(self, name, pattern):
        self.until(lambda: self.heard_from(name, pattern), f'{name} to say "{pattern}"')
        return self.heard_from(name, pattern)

    # What happens

    def command(self, *words):
        """Our tool, with the group as its target."""
        return [self.options.build / 'ivshmem', '--target', f'unix:{self.socket}', *words]

    def run_on_host(self, *words):
        """As somebody would type it. Its output is part of what is shown."""
        self.out.line('host', f'$ ivshmem {shlex.join(words)}')
        program = self.start_program('host', self.command(*words))
        program.may_end = True
        self.until(lambda: program.ended, f'"ivshmem {words[0]}" to end')
        if status := program.process.wait():
            raise DemoFailed(f'"ivshmem {words[0]}" ended with {status}')

    def start_server(self):
        self.socket = os.path.join(self.scratch.path, 'second.sock')
        self.start_program('server', [self.options.build / 'ivshmem-server', '-F', '-S', self.socket, '-n', '4', '-l', MEMORY])
        self.until_heard('server', 'listening on')

    def start_guest(self, name, script, devices=(), **options):
        file_name = 'second-' + name.replace(' ', '-').lower()
        image = self.first.image
        guest = vm.Guest(
            image, self.first.accel, self.options.run_dir, name=file_name, iommu=None,
            script=(ROOT / 'demo' / script).read_text(encoding='utf-8'),
            files={'modules/ivshmem.ko': self.first.driver},
            devices=[*vm.ivshmem_doorbell(self.socket, 4), *devices], **options)
        guest.start()
        guest.name = name
        self.guests[name] = guest
        self.watch(guest)

    def start_guests(self):
        self.port = free_port()
        self.start_guest('guest A', 'second-act-a.sh', [
            '-netdev', f'user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{self.port}-:80', '-device', 'virtio-net-pci,netdev=net'],
            kernel_options='ivshmem.agent=exec,copy-in')
        self.start_guest('guest B', 'second-act-b.sh')
        self.until_heard('guest A', "listening under 'agent'")
        self.until_heard('guest A', "listening under 'web'")
        self.until_heard('guest B', "forwarding .* to 'web'")

    def make_site(self):
        site = pathlib.Path(self.scratch.path) / 'site'
        site.mkdir()
        self.page = PAGE.format(MEMORY, secrets.token_hex(4))
        (site / 'index.html').write_text(self.page, encoding='utf-8')
        (site / FILE).write_bytes(os.urandom(FILE_SIZE))
        for page in sorted((ROOT / 'docs').glob('*.md')):
            (site / page.name).write_bytes(page.read_bytes())
        return site

    def run(self):
        self.started = time.monotonic()
        self.deadline = self.started + self.options.timeout
        self.out.say()
        self.out.say('second act: unmodified programs through the shared memory')
        self.start_server()
        self.start_guests()
        site = self.make_site()
        file_hash = hashlib.sha256((site / FILE).read_bytes()).hexdigest()

        begin = time.perf_counter()
        self.run_on_host('copy', str(site), 'agent:/tmp')
        copied = time.perf_counter() - begin
        self.run_on_host('exec', 'agent', '--', 'sh', '-c', 'cd /tmp/site && du -sh . && httpd -p 80 -h .')
        self.guests['guest B'].send(f'{FILE}\n')
        page = self.until_heard('guest B', r'^@page (\w+)')[1]
        found = self.until_heard('guest B', r'^@file (\w+)')[1]
        if page != hashlib.sha256(self.page.encode()).hexdigest() or found != file_hash:
            self.problems.append('guest B read other pages than this machine copied into guest A')

        port = free_port()
        self.out.line('host', f'$ ivshmem forward tcp:127.0.0.1:{port} web &')
        self.start_program('host', self.command('forward', f'tcp:127.0.0.1:{port}', 'web'))
        self.until_heard('host', "forwarding .* to 'web'")
        body, _ = fetch(port, '/')
        self.out.line('host', f'http://127.0.0.1:{port}/ reads:')
        self.out.line('host', body.decode(errors='replace').rstrip())
        if body.decode(errors='replace') != self.page:
            self.problems.append('this machine read another page than it copied into guest A')
        self.measure({'shared memory': port, 'virtio-net': self.port}, file_hash)
        self.numbers['copied'] = sum(file.stat().st_size for file in site.iterdir()) / copied
        self.end()
        self.seconds = time.monotonic() - self.started

    def measure(self, ways, file_hash):
        """The same requests each way, in turn, so that what disturbs one disturbs the other."""
        times = {way: ([], []) for way in ways}
        for _ in range(REQUESTS):
            for way, port in ways.items():
                times[way][0].append(fetch(port, '/')[1])
        for _ in range(ROUNDS):
            for way, port in ways.items():
                body, seconds = fetch(port, f'/{FILE}')
                times[way][1].append(seconds)
                if hashlib.sha256(body).hexdigest() != file_hash:
                    self.problems.append(f'this machine read another file through {way} than it copied into guest A')
        for way, (small, big) in times.items():
            self.numbers[way] = {'request_us': statistics.median(small) * 1e6, 'rate': FILE_SIZE / statistics.median(big)}

    def end(self):
        self.over = True
        for program in self.programs:
            program.may_end = True
        for guest in self.guests.values():
            guest.send('\n')
        self.until(lambda: len(self.ended_guests) == len(self.guests), 'the guests to power off')

    # Telling

    def show(self):
        ours, theirs = self.numbers['shared memory'], self.numbers['virtio-net']
        mib = 1 << 20
        self.out.say()
        self.out.table([
            ('from this machine to the web server of guest A', 'shared memory', 'virtio-net, user mode', 'ratio'),
            ('median of a small request in us', f'{ours["request_us"]:.0f}', f'{theirs["request_us"]:.0f}',
             f'{theirs["request_us"] / ours["request_us"]:.1f}'),
            (f'a file of {FILE_SIZE // mib} MiB in MiB/s', f'{ours["rate"] / mib:.0f}', f'{theirs["rate"] / mib:.0f}',
             f'{ours["rate"] / theirs["rate"]:.1f}')])
        self.out.say(f'  the folder was copied with {self.numbers["copied"] / mib:.0f} MiB/s, from start to end of the command')
        if not os.path.exists('/dev/vhost-vsock'):
            self.out.say('  vsock: this machine has none (no /dev/vhost-vsock)')
        self.out.say()

    def praise(self):
        self.out.good(f'Every byte was right, in {self.seconds:.0f} s.')

    def result(self):
        return {'ok': not self.problems, 'problems': self.problems, 'seconds': self.seconds and round(self.seconds, 3),
                'numbers': self.numbers}

# SPDX-License-Identifier: BSD-2-Clause
"""The first act: three guests and this machine interrupt each other and look into each other's memory."""

import collections
import hashlib
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import time

import vm
from script import Script, find_causes
from stage import ROOT, DemoFailed, Stage

GUESTS = ('guest A', 'guest B', 'guest C')
WITH_DRIVER = 'guest A'  # has our driver and no virtual IOMMU, which vfio needs in the others
VECTORS = 5  # one for each peer to be rung by, and one to measure round trips on
MEMORY = 4 << 20
BLOCK_SIZE = 64 << 10
# Offsets in the shared memory. Between the blocks there is room, so that none can hide what another did.
TEXTS = {'host': 0x1000, 'guest A': 0x2000, 'guest B': 0x3000, 'guest C': 0x4000}
BLOCKS = {'host': 0x20000, 'guest A': 0x40000, 'guest B': 0x60000, 'guest C': 0x80000}


def _short(name):
    """As in the scripts: HOST, A, B, C."""
    return name.removeprefix('guest ').upper()


class Party:
    """One peer: what must happen to it, and what did."""

    def __init__(self, name):
        self.name = name
        self.device = None
        self.where = None
        self.id = None
        self.user = None
        self.back_end = None
        self.script = None
        self.lines = []
        self.received = {}     # vector -> interrupts, as our tool counted
        self.msix = {}         # vector -> interrupts, as the guest's kernel counted
        self.round_trips = []  # (peer, count, median in microseconds)
        self.block = None      # the digest of what it wrote
        self.blocks_read = {}  # offset -> digest
        self.unsaid = collections.deque()  # lines that were not shown yet
        self.done = False
        self.ended = False

    def take(self, line):
        """Understands a line. Returns whether it is also for people."""
        if match := re.match(r'@wrote (\w+)', line):
            self.block = match[1]
        elif match := re.match(r'@read (\w+) (\w+)', line):
            self.blocks_read[int(match[1], 0)] = match[2]
        elif match := re.match(r'@msix (\d+) (\d+)', line):
            self.msix[int(match[1])] = int(match[2])
        elif match := re.match(r'@user (\d+)', line):
            self.user = int(match[1])
        elif match := re.match(r'@info (.*)', line):
            info = json.loads(match[1])
            self.id = info['id']
            self.back_end = info['backend']
            self.where += f', {self.back_end}, user {self.user}'
        elif match := re.match(r'vector (\d+) received (\d+)', line):
            self.received[int(match[1])] = int(match[2])
        elif line == '@end':
            self.done = True
        else:
            self.lines.append(line)
            if match := re.match(r'peer (\d+) vector \d+: (\d+) round trips.* median ([\d.]+) us', line):
                self.round_trips.append((int(match[1]), int(match[2]), float(match[3])))
            # What a wait is told, the script says in its own words. After the script there is nobody else to.
            return self.done or not re.match(r'(interrupt )?vector \d+ count \d+$', line)
        return False


class FirstAct(Stage):
    def __init__(self, options, transcript):
        super().__init__(options, transcript)
        self.parties = {}
        self.host = None
        self.device = None
        self.ready = set()  # of the programs that others connect to
        self.causes = {}
        self.said = set()
        self.joined = []
        self.left = []
        self.accel = None
        self.image = None
        self.socket = None
        self.qemu = None
        self.driver = None

    # Listening to everybody

    def hear_end(self, source):
        self.parties.get(source.name, source).ended = True

    def ended_too_early(self):
        for party in self.parties.values():
            guest = self.guests.get(party.name)
            if not party.done and (party.ended or (guest and guest.status is not None)):
                return party.name
        return None

    def hear_line(self, source, line):
        party = self.parties.get(source.name)
        if party is None:
            if line.startswith('ready: ') or 'listening on' in line:
                self.ready.add(source)
            self.out.line(source.name, re.sub('^ivshmem-[a-z]+: ', '', line))
            return
        if party.take(line):
            party.unsaid.append(line)
            self.show_lines()
        if source is self.host:
            if match := re.match(r'attached as peer (\d+)', line):
                party.id = int(match[1])
            elif match := re.match(r'peer (\d+) joined', line):
                self.joined.append(int(match[1]))
            elif match := re.match(r'peer (\d+) left', line):
                self.left.append(int(match[1]))

    def show_lines(self, everything=False):
        """Shows what is not waiting for something else to be shown first."""
        shown = True
        while shown:
            shown = False
            for party in self.parties.values():
                while party.unsaid:
                    saying = (party.name, party.unsaid[0])
                    if not everything and not self.said.issuperset(self.causes.get(saying, ())):
                        break
                    self.said.add(saying)
                    self.out.line(*saying)
                    party.unsaid.popleft()
                    shown = True

    # The parts of the demo

    def names(self):
        """What the dollar names in the scripts stand for. The server gives ids in the order of coming."""
        nonce = secrets.token_hex(4)
        names = {'LIMIT': self.options.timeout, 'PINGS': self.options.pings}
        for number, party in enumerate(('host', *GUESTS)):
            short = _short(party)
            names[short] = self.parties['host'].id + number
            names[f'TEXT_{short}'] = hex(TEXTS[party])
            who = f'the {party}' if party == 'host' else party
            names[f'{short}_SAYS'] = f'Hello all, this is {who} writing into your memory ({nonce}-{number}).'
        return names

    def start_server(self):
        self.socket = os.path.join(self.scratch.path, 'server.sock')
        command = [self.options.build / 'ivshmem-server', '-F', '-S', self.socket,
                   '-n', str(VECTORS), '-l', str(MEMORY)]
        server = self.start_program('server', command)
        self.until(lambda: server in self.ready, 'the server to listen')

    def start_host(self):
        party = self.parties['host'] = Party('host')
        party.device = 'socket of the server'
        party.where = 'this machine'
        command = [self.options.build / 'ivshmem', '--target', f'unix:{self.socket}', 'shell', '--exit-on-error']
        self.host = self.start_program('host', command, signal.SIGKILL)
        self.host.may_end = True  # not before it is done, as all parties
        self.until(lambda: party.id is not None, 'the host to be attached')

    def start_device(self):
        """The device of guest C, a process of its own. Returns what QEMU is to be told."""
        path = os.path.join(self.scratch.path, 'device.sock')
        command = [self.options.build / 'ivshmem-device', '--socket', path, '--server', self.socket,
                   '--vectors', str(VECTORS)]
        self.device = self.start_program('device', command)
        self.until(lambda: self.device in self.ready, 'the device to be ready for its QEMU')
        return vm.vfio_user(path)

    def start_guest(self, name, image, names):
        party = self.parties[name]
        party.where = f'Linux {image.release}'
        if name == 'guest C':
            devices, iommu, qemu = self.start_device(), 'caching', self.qemu
            party.device = 'ivshmem-device, vfio-user-pci of QEMU '
        else:
            devices, qemu = vm.ivshmem_doorbell(self.socket, VECTORS), vm.QEMU
            iommu = None if name == WITH_DRIVER else 'remapping'
            party.device = 'ivshmem-doorbell of QEMU '
        file_name = name.replace(' ', '-').lower()
        others = ' '.join(hex(offset) for other, offset in BLOCKS.items() if other != name)
        settings = f'MY_BLOCK={BLOCKS[name]:#x}\nOTHER_BLOCKS="{others}"\nBLOCK_SIZE={BLOCK_SIZE}\n'
        console = os.path.join(self.scratch.path, file_name) if self.options.console else None
        files = {'guest/settings': settings, 'guest/commands': party.script.text(),
                 'guest/peer': (ROOT / 'demo/peer.sh').read_bytes(),
                 'guest/welcome': f'\nThis is {name}. Try: ivshmem --help\n'}
        if name == WITH_DRIVER:
            files['modules/ivshmem.ko'] = self.driver
        guest = vm.Guest(
            image, self.accel, self.options.run_dir, name=file_name,
            script=(ROOT / 'demo/guest.sh').read_text(encoding='utf-8'), files=files,
            qemu=qemu, devices=devices, iommu=iommu, console=console)
        guest.start()
        version = guest.monitor('query-version')['qemu']
        party.device += f'{version["major"]}.{version["minor"]}'
        guest.name = name
        self.guests[name] = guest
        self.watch(guest)
        number = len(self.guests)
        self.until(lambda: len(self.joined) >= number, f'the QEMU of {name} to attach to the server')
        expected = names[_short(name)]
        if self.joined[-1] != expected:
            raise DemoFailed(f'{name} is peer {self.joined[-1]}, but {expected} was to be expected')

    def write_scripts(self, names):
        host = self.parties['host']
        self.parties |= {name: Party(name) for name in GUESTS}
        block = secrets.token_hex(BLOCK_SIZE // 2)
        host.block = hashlib.sha256(block.encode()).hexdigest()
        step = 2048
        writes = [f'write {BLOCKS["host"] + at:#x} {block[at:at + step]}' for at in range(0, BLOCK_SIZE, step)]
        for party in self.parties.values():
            path = ROOT / 'demo' / f'{party.name.replace(" ", "-").lower()}.commands'
            party.script = Script(path, names, writes if party is host else ())
        self.causes = find_causes({names[_short(party.name)]: (party.name, party.script)
                                   for party in self.parties.values()})

    def read_blocks(self):
        """Another process on this machine looks at what the guests left in the memory."""
        for name in self.guests:
            command = [self.options.build / 'ivshmem', '--target', f'unix:{self.socket}', 'read',
                       hex(BLOCKS[name]), str(BLOCK_SIZE)]
            data = subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=30).stdout
            self.parties['host'].blocks_read[BLOCKS[name]] = hashlib.sha256(data).hexdigest()

    def run(self):
        cache = self.options.build / 'guest'
        image = self.image = vm.build_image(cache, self.options.build / 'ivshmem-static', self.out.say)
        self.driver = vm.build_driver(image, self.out.say)
        self.accel = vm.choose_accel(image, cache, self.options.accel)
        self.qemu = vm.qemu_with_vfio_user(self.out.say)
        self.out.say(f'three guests, Linux {image.release}, under {self.accel}')
        self.start_server()
        self.start_host()
        names = self.names()
        self.write_scripts(names)
        for name in GUESTS:
            self.start_guest(name, image, names)
        self.host.type(self.parties['host'].script.text() + 'say @end\n')
        self.until(lambda: all(party.done for party in self.parties.values()),
                   'everybody to be through with their commands')
        self.until(lambda: all(guest.status is not None for guest in self.guests.values()),
                   'the guests to look at the memory once more')
        if not self.options.console:
            self.until(lambda: len(self.left) >= 2 and all(self.parties[name].ended for name in self.guests),
                       'the guests to power off')
            # The device of guest C would wait for its next QEMU.
            self.device.may_end = True
            self.device.process.terminate()
            self.until(lambda: len(self.left) >= 3, 'the device to leave the group')
            self.host.process.stdin.close()
            self.until(lambda: self.parties['host'].ended, 'the host to end')
        self.read_blocks()
        self.check(names)
        self.seconds = time.monotonic() - self.started

    # Judging

    def due(self):
        """peer id -> vector -> how many interrupts must have arrived."""
        due = collections.defaultdict(lambda: dict.fromkeys(range(VECTORS), 0))
        for party in self.parties.values():
            for (peer, vector), count in party.script.rings().items():
                due[peer][vector] += count
        return due

    def check(self, names):
        def problem(text):
            self.problems.append(text)

        due = self.due()
        for party in self.parties.values():
            counts = [('our tool', party.received)]
            if party.name in self.guests:
                counts.append(('the kernel', party.msix))
                if self.guests[party.name].status != 0:
                    problem(f'the commands of {party.name} failed')
                if (party.back_end == 'kernel') != (party.name == WITH_DRIVER):
                    problem(f'{party.name} uses its device through {party.back_end}')
                if party.id != names[_short(party.name)]:
                    problem(f'{party.name} takes itself for peer {party.id}')
            for vector, expected in due[party.id].items():
                for who, count in counts:
                    if count.get(vector, 0) != expected:
                        problem(f'{party.name}: {who} counted {count.get(vector, 0)} interrupts on '
                                f'vector {vector} instead of {expected}')
            for name, other in self.parties.items():
                if other is not party and party.blocks_read.get(BLOCKS[name]) != other.block:
                    problem(f'{party.name} found other bytes in the memory than {name} wrote')
                if other is not party and names[f'{_short(name)}_SAYS'] not in party.lines:
                    problem(f'{party.name} did not read the text that {name} wrote')

    def trips(self):
        """(party, party) -> median in microseconds, in both directions."""
        names = {party.id: party.name for party in self.parties.values()}
        trips = {}
        for party in self.parties.values():
            for peer, _, median in party.round_trips:
                trips[party.name, names[peer]] = trips[names[peer], party.name] = median
        return trips

    def show(self):
        due = self.due()
        rows = [('peer', 'id', 'where', 'device', 'sent', 'received')]
        for party in self.parties.values():
            rows.append((party.name, str(party.id), party.where, party.device,
                         str(sum(party.script.rings().values())),
                         f'{sum(party.received.values())} of {sum(due[party.id].values())}'))
        self.out.say()
        self.out.table(rows)
        trips = self.trips()
        rows = [('median round trip in us', *self.parties)]
        for name in self.parties:
            rows.append((name, *(f'{trips[name, other]:.0f}' if (name, other) in trips else ''
                                 for other in self.parties)))
        self.out.say()
        self.out.table(rows)
        self.out.say()

    def praise(self):
        self.out.good('Every interrupt arrived, by the count of the guests\' kernels too, '
                      f'and every byte was right, in {self.seconds:.0f} s.')

    def result(self):
        due = self.due() if len(self.parties) > 1 else {}  # else it failed before there were any scripts
        return {
            'ok': not self.problems,
            'problems': self.problems,
            'accel': self.accel and self.accel.name,
            'accel_reason': self.accel and self.accel.reason,
            'seconds': self.seconds and round(self.seconds, 3),
            'peers': [{
                'name': party.name, 'id': party.id, 'where': party.where, 'device': party.device,
                'back_end': party.back_end, 'user': party.user,
                'sent': sum(party.script.rings().values()) if party.script else None,
                'due': due.get(party.id), 'received': party.received, 'msix': party.msix,
                'block': party.block, 'blocks_read': party.blocks_read,
                'round_trips': [{'peer': peer, 'count': count, 'median_us': median}
                                for peer, count, median in party.round_trips],
            } for party in self.parties.values()],
        }

    # Playing

    def play(self):
        places = {name: os.path.join(self.scratch.path, name.replace(' ', '-').lower())
                  for name in self.guests}
        self.out.say('The guests stay up. The console of a guest, in another terminal:')
        for name, path in places.items():
            self.out.say(f'  {name}: {ROOT}/scripts/guest.py console {path}')
        self.out.say('And this machine, as one more peer:')
        self.out.say(f'  {self.options.build}/ivshmem --target unix:{self.socket} shell')
        self.deadline = float('inf')
        if not sys.stdin.isatty():
            self.out.say('^C ends it all.')
            self.until(lambda: all(self.parties[name].ended for name in self.guests), '')
            return
        self.out.say('Here is the console of guest A. ^] ends it all.')
        others = {key.fd: (lambda source: lambda: self.hear(source))(key.fileobj)
                  for key in self.selector.get_map().values()}
        with vm.connect_console(places['guest A']) as console:
            if not vm.attach_console(console, others):
                self.out.say('guest A has ended')

    # The end

    def stop(self):
        super().stop()
        self.show_lines(everything=True)

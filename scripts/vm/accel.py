# SPDX-License-Identifier: BSD-2-Clause
"""KVM if it can really boot the guests' kernel here, else TCG, with the reason."""

import fcntl
import json
import os
import pathlib
import tempfile
from typing import NamedTuple

from .guest import Guest, GuestError

# A guest that starts and ends at once takes 1 to 2 seconds under KVM and 2 to 3 under TCG. A KVM that needs
# longer than this is of no use even if it works.
PROBE_LIMIT = 8


class Accel(NamedTuple):
    name: str
    reason: str

    def __str__(self):
        return f'{self.name.upper()} ({self.reason})'


def _try_kvm(image):
    """None if KVM boots the kernel, else why not."""
    with tempfile.TemporaryDirectory() as folder:
        guest = Guest(image, Accel('kvm', ''), folder, script='exit 0')
        try:
            with guest:
                guest.wait_script(PROBE_LIMIT)
        except GuestError:
            if guest.stopped_by_us:
                return f'a stock kernel does not boot under it within {PROBE_LIMIT} s'
            said = guest.qemu_output().strip().splitlines() or ['no words']
            told = next((line for line in said if 'error' in line), said[-1])
            return f'a stock kernel does not boot under it, QEMU ends with "{told}"'
        return None


def _probe(image, cache):
    if not os.path.exists('/dev/kvm'):
        return Accel('tcg', 'this machine has no /dev/kvm')
    if not os.access('/dev/kvm', os.R_OK | os.W_OK):
        return Accel('tcg', 'no permission to use /dev/kvm; being in the group kvm would help')

    key = pathlib.Path('/proc/sys/kernel/random/boot_id').read_text(encoding='ascii').strip() + \
        f' {image.release}'
    answer = pathlib.Path(cache) / 'kvm.json'
    # One process tries, and others that want to know at the same time wait for it.
    with open(answer.with_suffix('.lock'), 'w', encoding='ascii') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            known = json.loads(answer.read_text())
            if known['key'] == key:
                return Accel(known['name'], known['reason'])
        except (OSError, ValueError, KeyError):
            pass
        problem = _try_kvm(image)
        accel = Accel('tcg', f'/dev/kvm is there, but {problem}') if problem else Accel('kvm', 'tried, works')
        new = answer.with_suffix('.new')
        new.write_text(json.dumps({'key': key, 'name': accel.name, 'reason': accel.reason}) + '\n')
        new.rename(answer)
        return accel


def choose_accel(image, cache, wish='auto'):
    """Tries KVM once per boot of this machine; the answer is kept in `cache`."""
    if wish != 'auto':
        return Accel(wish, 'as told')
    return _probe(image, cache)

# SPDX-License-Identifier: BSD-2-Clause
"""
A kernel that tells what a driver does wrong (debug.config), built from the source that Debian packages. It is much
slower than the usual one and wants more memory, so only the tests of our driver are for it.
"""

import fcntl
import functools
import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import time

from .guest import WARNINGS
from .image import HERE, PACKAGES, Image, ImageError, run
from .kernels import KERNELS

SOURCE = 'linux-source-6.1'
CONFIG = HERE / 'debug.config'
PROGRESS = 30  # seconds between the words about it
FILES = 1150  # so many are compiled, roughly


class DebugImage(Image):
    memory = 768  # of which an eighth is KASAN's
    loglevel = WARNINGS  # and not each object that is released

    @property
    def tree(self):
        return self.cache / SOURCE


def _version():
    """Of the source that apt has, such as 6.1.192-3; empty on another Debian, where what was fetched once stays."""
    answer = subprocess.run(['apt-cache', 'policy', SOURCE], check=False, text=True, capture_output=True,
                            env={**os.environ, 'LC_ALL': 'C'})
    found = re.search(r'Candidate: ([^(\s]+)', answer.stdout)
    return found[1] if found else ''


def _unpack(cache, version, say):
    """The source, and busybox, in `cache`."""
    unpacked = cache / 'unpacked'
    if unpacked.exists() and unpacked.read_text() == version:
        return
    unpacked.unlink(missing_ok=True)
    shutil.rmtree(cache / SOURCE, ignore_errors=True)
    say(f'fetching the source of the kernel, once: {SOURCE} {version}')
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        folder = pathlib.Path(folder)
        run([PACKAGES, '--unpack-only', SOURCE, folder, KERNELS['6.1'].release, SOURCE, 'busybox-static'])
        run(['tar', '-C', cache, '-xf', folder / f'usr/src/{SOURCE}.tar.xz'])
        (folder / 'bin/busybox').rename(cache / 'busybox')
    unpacked.write_text(version)


def _make(log, tree, *targets, progress=lambda n: None):
    """progress() is told now and then how many files were compiled."""
    compiled, told = 0, time.monotonic()
    with subprocess.Popen(['nice', 'make', '-C', tree, f'-j{os.cpu_count()}', 'CC=gcc', *targets], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as make:
        for line in make.stdout:
            log.write(line)
            compiled += line.startswith('  CC ')
            if time.monotonic() - told >= PROGRESS:
                told = time.monotonic()
                progress(compiled)
    if make.returncode != 0:
        log.flush()
        raise ImageError(f'the kernel does not build, see {log.name}')


def _configure(log, tree):
    _make(log, tree, 'tinyconfig')
    config = tree / '.config'
    # The last line about an option holds.
    config.write_text(config.read_text() + CONFIG.read_text())
    _make(log, tree, 'olddefconfig')
    have = set(config.read_text().splitlines())
    missing = [line for line in CONFIG.read_text().splitlines() if 'CONFIG_' in line and line not in have]
    if missing:
        raise ImageError(f'this kernel cannot be configured as {CONFIG.name} wants: {", ".join(missing)}')


def _build_parts(cache, version, say):
    run([PACKAGES, 'kernel'])
    _unpack(cache, version, say)
    tree = cache / SOURCE
    say('building a kernel that finds faults, once; two processors take ten minutes for it')
    with open(cache / 'build.log', 'w', buffering=1, encoding='utf-8') as log:
        _configure(log, tree)
        _make(log, tree, 'bzImage', 'modules', progress=lambda n: say(f'  {n} files of {FILES} or so'))

    parts = cache / 'parts'
    (parts / 'modules').mkdir(parents=True)
    shutil.copy(tree / 'arch/x86/boot/bzImage', parts / 'vmlinuz')
    shutil.copy(cache / 'busybox', parts / 'busybox')
    (parts / 'modules/order').touch()  # what init needs is built in
    shutil.copy(tree / 'include/config/kernel.release', parts / 'release')


def build_debug_image(cache, tool, say=functools.partial(print, flush=True)):
    """Like build_image(). A build that was interrupted goes on; another version or configuration is built anew."""
    cache = pathlib.Path(f'{cache}-debug').resolve()
    cache.mkdir(parents=True, exist_ok=True)
    with open(cache / 'lock', 'w', encoding='ascii') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        version = _version()
        key = f'{version} {hashlib.sha256(CONFIG.read_bytes()).hexdigest()}\n'
        complete = cache / 'complete'
        if not complete.exists() or complete.read_text() != key:
            complete.unlink(missing_ok=True)
            for old in 'parts', 'driver':
                shutil.rmtree(cache / old, ignore_errors=True)
            _build_parts(cache, version, say)
            complete.write_text(key)
        return DebugImage(cache / 'parts', tool, KERNELS['6.1'])

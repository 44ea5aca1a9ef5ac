# SPDX-License-Identifier: BSD-2-Clause
"""Our Linux driver, built for a guest's kernel from what Debian packages for that; nothing is installed."""

import fcntl
import functools
import hashlib
import os
import pathlib
import shutil
import subprocess
import tempfile

from .image import PACKAGES, ImageError, run

SOURCES = pathlib.Path(__file__).resolve().parent.parent.parent / 'driver' / 'linux'


def _header_packages(release):
    """The headers of a kernel such as 6.1.0-56-cloud-amd64, and what their build needs: compilers are the machine's own."""
    # The kernel came by apt-cache, too.
    answer = subprocess.run(['apt-cache', 'depends', f'linux-headers-{release}'], check=False, text=True, capture_output=True,
                            env={**os.environ, 'LC_ALL': 'C'}).stdout
    needed = [line.split()[-1] for line in answer.splitlines() if 'Depends: linux-' in line]
    if not needed:
        raise ImageError(f'apt has no headers for the kernel {release}, which the guests boot; if there is a newer one, '
                         'remove build/guest, and both are fetched anew')
    wanted = ('linux-headers-', 'linux-kbuild-', 'linux-compiler-')
    return [f'linux-headers-{release}', *(name for name in needed if name.startswith(wanted))]


def _fetch_headers(headers, release, say):
    """Headers that can be built against."""
    tree = headers / 'usr/src' / f'linux-headers-{release}'
    if (headers / 'complete').exists():
        return tree
    shutil.rmtree(headers, ignore_errors=True)
    headers.mkdir(parents=True)
    say(f'fetching the headers of the guests\' kernel, once: linux-headers-{release}')
    with tempfile.TemporaryDirectory(dir=headers) as packages:
        run([PACKAGES, '--download', packages, *_header_packages(release)])
        for package in pathlib.Path(packages).glob('*.deb'):
            run(['dpkg', '-x', package, headers])
    # The one absolute path in them.
    makefile = tree / 'Makefile'
    makefile.write_text(makefile.read_text().replace('/usr/src/', f'{headers}/usr/src/'))
    (headers / 'complete').touch()
    return tree


def _sources():
    return sorted(path for path in SOURCES.rglob('*') if path.suffix in ('.c', '.h') and not path.name.endswith('.mod.c')) + \
        [SOURCES / 'Kbuild']


def build_driver(image, say=functools.partial(print, flush=True)):
    """The bytes of ivshmem.ko for the kernel of `image`. It is built once for each version of the sources."""
    folder = image.cache / 'driver' / image.release
    folder.mkdir(parents=True, exist_ok=True)
    sources = {path.relative_to(SOURCES): path.read_bytes() for path in _sources()}
    digest = hashlib.sha256(repr(sorted(sources.items())).encode()).hexdigest()[:16]
    module = folder / f'{digest}.ko'
    with open(folder / 'lock', 'w', encoding='ascii') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not module.exists():
            tree = _fetch_headers(image.cache.parent / 'headers' / image.release, image.release, say)
            with tempfile.TemporaryDirectory(dir=folder) as build:
                for path, data in sources.items():
                    (pathlib.Path(build) / path).parent.mkdir(parents=True, exist_ok=True)
                    (pathlib.Path(build) / path).write_bytes(data)
                # The kernel was built by a compiler that the machine need not have in this very version.
                answer = subprocess.run(['make', '-C', tree, f'M={build}', 'CC=gcc', 'CONFIG_DEBUG_INFO_BTF_MODULES=', 'modules'],
                                        check=False, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
                if answer.returncode != 0 or 'warning' in answer.stdout.lower().replace('warning: the compiler differs', ''):
                    raise ImageError(f'the driver does not build without warnings for {image.release}:\n{answer.stdout}')
                for old in folder.glob('*.ko'):
                    old.unlink()
                (pathlib.Path(build) / 'ivshmem.ko').rename(module)
        return module.read_bytes()

# SPDX-License-Identifier: BSD-2-Clause
"""Our Linux driver, built for a guest's kernel from what Debian packages for that; nothing is installed."""

import fcntl
import functools
import hashlib
import pathlib
import re
import shlex
import shutil
import subprocess
import tempfile

from .image import PACKAGES, ImageError, run

SOURCES = pathlib.Path(__file__).resolve().parent.parent.parent / 'driver' / 'linux'


# Headers are three packages or four. Kbuild's programs want a C library that may be newer than this machine's.
NEEDED = 'linux-(headers|kbuild|compiler)-.*|libc6|libelf1.*|zlib1g|libzstd1'

# The kernel was built by a compiler, and told options, that this machine's need not have in this very version; and no module
# needs the BTF, for which pahole would have to be there.
MAKE = ['make', 'CC=gcc', 'CONFIG_CC_HAS_MIN_FUNCTION_ALIGNMENT=', 'CONFIG_DEBUG_INFO_BTF_MODULES=']
OTHER_TOOLS = re.compile('warning: (the compiler|pahole version) differs')


def _start_with_own_libraries(headers):
    """Kbuild's programs with which this machine's loader and libraries may be too old."""
    libraries = [headers / 'lib/x86_64-linux-gnu', headers / 'usr/lib/x86_64-linux-gnu']
    loader = next(path for folder in libraries if (path := folder / 'ld-linux-x86-64.so.2').exists())
    start = shlex.join([str(loader), '--library-path', ':'.join(map(str, libraries))])
    for program in list(headers.glob('usr/lib/linux-kbuild-*/**/*.real-*')):
        moved = program.rename(f'{program}.program')
        program.write_text(f'#!/bin/sh\nexec {start} {shlex.quote(str(moved))} "$@"\n')
        program.chmod(0o755)


def _fetch_headers(headers, image, say):
    """Headers that can be built against."""
    tree = headers / 'usr/src' / f'linux-headers-{image.release}'
    if (headers / 'complete').exists():
        return tree
    shutil.rmtree(headers, ignore_errors=True)
    headers.mkdir(parents=True)
    package = f'linux-headers-{image.release}'
    say(f'fetching the headers of the guests\' kernel, once: {package}')
    try:
        run([PACKAGES, '--unpack-only', NEEDED, headers, image.debian, package])
    except ImageError as error:
        raise ImageError(f'no headers for the kernel {image.release}, which the guests boot, see above; if apt has none but for '
                         f'a newer one, remove {image.cache}, and both are fetched anew') from error
    _point_to(headers, tree)
    _start_with_own_libraries(headers)
    (headers / 'complete').touch()
    return tree


def _point_to(headers, tree):
    """The one absolute path in the headers of a kernel leads to what all kernels of the version have."""
    makefile = tree / 'Makefile'
    makefile.write_text(makefile.read_text().replace('/usr/src/', f'{headers}/usr/src/'))


def _sources():
    """path -> bytes"""
    paths = sorted(path for path in SOURCES.rglob('*') if path.suffix in ('.c', '.h') and not path.name.endswith('.mod.c'))
    return {path.relative_to(SOURCES): path.read_bytes() for path in [*paths, SOURCES / 'Kbuild']}


def _compile(sources, make, tree, folder):
    """Makes ivshmem.ko in the folder. A warning is an error."""
    for path, data in sources.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    answer = subprocess.run([*make, '-C', tree, f'M={folder}', 'modules'],
                            check=False, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if answer.returncode != 0 or 'warning' in OTHER_TOOLS.sub('', answer.stdout.lower()):
        raise ImageError(f'the driver does not build without warnings for {tree.name}:\n{answer.stdout}')


def build_driver(image, say=functools.partial(print, flush=True)):
    """The bytes of ivshmem.ko for the kernel of `image`. It is built once for each version of the sources."""
    folder = image.cache / 'driver' / image.release
    folder.mkdir(parents=True, exist_ok=True)
    sources = _sources()
    digest = hashlib.sha256(repr(sorted(sources.items())).encode()).hexdigest()[:16]
    module = folder / f'{digest}.ko'
    with open(folder / 'lock', 'w', encoding='ascii') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not module.exists():
            tree = image.tree or _fetch_headers(image.cache.parent / 'headers' / image.release, image, say)
            with tempfile.TemporaryDirectory(dir=folder) as build:
                _compile(sources, MAKE, tree, pathlib.Path(build))
                for old in folder.glob('*.ko'):
                    old.unlink()
                (pathlib.Path(build) / 'ivshmem.ko').rename(module)
        return module.read_bytes()


# gcc's cross compiler cannot be installed beside gcc-multilib. So the kernel's build is told that the kernel was built by clang.
MAKE_ARM64 = ['make', 'ARCH=arm64', 'CC=clang --target=aarch64-linux-gnu', 'CROSS_COMPILE=aarch64-linux-gnu-', 'CONFIG_CC_IS_GCC=',
              'CONFIG_GCC_VERSION=0', 'CONFIG_CC_IS_CLANG=y', 'CONFIG_CLANG_VERSION=140000',
              'CONFIG_CC_HAS_AUTO_VAR_INIT_ZERO_ENABLER=y', 'CONFIG_CC_IMPLICIT_FALLTHROUGH=-Wimplicit-fallthrough',
              'CONFIG_DEBUG_INFO_BTF_MODULES=']


def build_driver_for_arm64(image, say=functools.partial(print, flush=True)):
    """
    Makes ivshmem.ko for the same version of the kernel on 64-bit ARM, and returns its path. What all kernels of a version have,
    also the programs that build modules, comes from the guests' headers.
    """
    release = image.release.replace('amd64', 'arm64')
    headers = image.cache.parent / 'headers' / release
    shared = image.cache.parent / 'headers' / image.release
    tree = headers / 'usr/src' / f'linux-headers-{release}'
    _fetch_headers(shared, image, say)
    if not (headers / 'complete').exists():
        shutil.rmtree(headers, ignore_errors=True)
        headers.mkdir()
        say(f'fetching linux-headers-{release}, once')
        run([PACKAGES, '--unpack-foreign', 'arm64', headers, f'linux-headers-{release}'])
        (headers / 'usr/lib').symlink_to(shared / 'usr/lib')
        _point_to(shared, tree)
        (headers / 'complete').touch()
    folder = image.cache / 'driver' / release
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    sparse = ['C=1', 'CF=-D__CHECK_ENDIAN__'] if shutil.which('sparse') else []
    _compile(_sources(), [*MAKE_ARM64, *sparse], tree, folder)
    return folder / 'ivshmem.ko'

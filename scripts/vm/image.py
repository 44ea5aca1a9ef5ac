# SPDX-License-Identifier: BSD-2-Clause
"""The guests' kernel and initramfs, made from Debian packages and our static tool, kept in one folder."""

import fcntl
import functools
import lzma
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

from . import cpio
from .kernels import KERNELS, USUAL

HERE = pathlib.Path(__file__).resolve().parent
PACKAGES = HERE.parent / 'packages.sh'
# Which modules each kind of guest loads, with all that they depend on: what its init loads, what makes it a host, and what shows
# QEMU's fw_cfg.
MODULES = {'order': ('vfio-pci', 'vfio_iommu_type1', 'uio_pci_generic'), 'order-kvm': ('kvm-amd', 'kvm-intel'),
           'order-fw-cfg': ('qemu_fw_cfg',)}


class ImageError(Exception):
    pass


def run(command):
    try:
        subprocess.run(command, check=True)
    except OSError as error:
        raise ImageError(f'cannot run {command[0]}: {error.strerror}') from error
    except subprocess.CalledProcessError as error:
        raise ImageError(f'{pathlib.Path(command[0]).name} failed, see above') from error


def _module_name(path):
    return path.name.split('.')[0].replace('-', '_')


def _module_bytes(path):
    data = path.read_bytes()
    if path.suffix == '.xz':
        return lzma.decompress(data)
    if path.suffix != '.ko':
        raise ImageError(f'{path.name}: a compression this script does not know')
    return data


def _modules_in_order(folder, names):
    """name -> bytes of these modules and all they depend on, each after what it depends on."""
    files = {_module_name(path): path for path in folder.rglob('*.ko*')}
    order = {}

    def add(name):
        name = name.replace('-', '_')
        if name in order or name not in files:  # not a file: built into the kernel
            return
        data = _module_bytes(files[name])
        depends = re.search(rb'\0depends=([^\0]*)\0', data)
        for needed in depends[1].decode().split(',') if depends else ():
            add(needed)
        order[name] = data

    for name in names:
        if name.replace('-', '_') not in files:
            raise ImageError(f'the kernel package has no module {name}')
        add(name)
    return order


def _has_modules(parts):
    try:
        return all({f'{name.replace("-", "_")}.ko' for name in names} <= set((parts / 'modules' / file).read_text().split())
                   for file, names in MODULES.items())
    except OSError:
        return False


def _find(root, *patterns):
    """What the packages have in one place or another, as releases of Debian differ."""
    for pattern in patterns:
        for path in root.glob(pattern):
            return path
    raise ImageError(f'the packages have no {patterns[0]}')


def _fetch_parts(cache, say, kernel):
    """Puts kernel, modules and busybox into cache/parts, once. Nothing is installed on this machine."""
    parts = cache / 'parts'
    if _has_modules(parts):
        return parts
    shutil.rmtree(parts, ignore_errors=True)  # of a time when other modules were wanted
    machine = os.uname().machine
    if machine != 'x86_64':
        raise ImageError(f'the guests are x86-64 machines and run our tool; this machine is {machine}')

    with tempfile.TemporaryDirectory(dir=cache) as folder:
        root = pathlib.Path(folder) / 'root'
        root.mkdir()
        package = f'linux-image-{kernel.flavour}'
        say(f'fetching the guests\' kernel and shell, once: {package} of {kernel.release}, busybox-static')
        run([PACKAGES, '--unpack-only', 'linux-(image|binary|modules)-.*', root, kernel.release, package, 'busybox-static'])

        new = pathlib.Path(folder) / 'parts'
        (new / 'modules').mkdir(parents=True)
        modules = _find(root, 'lib/modules/*/kernel', 'usr/lib/modules/*/kernel').parent
        _find(root, 'boot/vmlinuz-*', 'usr/lib/modules/*/vmlinuz*').rename(new / 'vmlinuz')
        _find(root, 'bin/busybox', 'usr/bin/busybox').rename(new / 'busybox')
        for file, names in MODULES.items():
            order = _modules_in_order(modules, names)
            for name, data in order.items():
                (new / 'modules' / f'{name}.ko').write_bytes(data)
            (new / 'modules' / file).write_text(''.join(f'{name}.ko\n' for name in order))
        (new / 'release').write_text(modules.name + '\n')
        new.rename(parts)
    return parts


def _base_files(parts, tool):
    try:
        yield 'bin/ivshmem', pathlib.Path(tool).read_bytes(), 0o755
    except OSError as error:
        raise ImageError(f'cannot read {tool}: {error.strerror}; build first') from error
    yield 'init', (HERE / 'init').read_bytes(), 0o755
    yield 'bin/busybox', (parts / 'busybox').read_bytes(), 0o755
    for script in ('bind-vfio', 'load-driver'):
        yield f'bin/{script}', (HERE / script).read_bytes(), 0o755
    for module in sorted((parts / 'modules').iterdir()):
        yield f'modules/{module.name}', module.read_bytes(), 0o644


class Image:
    """What a guest boots. The initramfs is put together anew for each guest, which takes milliseconds."""

    memory = 256  # MB that a guest wants
    loglevel = 7  # of what the kernel says, so much is on the console
    tree = None  # what modules are built against, if it is no package

    def __init__(self, parts, tool, kernel):
        self.kernel = parts / 'vmlinuz'
        self.cache = parts.parent
        self.release = (parts / 'release').read_text().strip()
        self.debian = kernel.release
        self._files = list(_base_files(parts, tool))

    def initramfs(self, files):
        """`files` are more files for this guest: path -> str or bytes, all executable."""
        archive = cpio.Archive()
        for folder in ('proc', 'sys', 'dev', 'bin'):
            archive.folder(folder)
        # The kernel opens it for init before anybody can mount a /dev.
        archive.character_device('dev/console', 5, 1)
        for path, data, mode in self._files:
            archive.file(path, data, mode)
        for path, data in files.items():
            archive.file(path, data.encode() if isinstance(data, str) else data, 0o755)
        return archive.finish()


def build_image(cache, tool, say=functools.partial(print, flush=True), kernel=USUAL):
    """
    Makes what guests boot, with what must be fetched kept in `cache`. `tool` is the static ivshmem, and `kernel` one
    of KERNELS; an unusual one has a cache of its own.
    """
    if kernel not in KERNELS:
        raise ImageError(f'guests cannot have the kernel \'{kernel}\'; there are: {", ".join(KERNELS)}')
    cache = pathlib.Path(cache if kernel == USUAL else f'{cache}-{kernel}').resolve()
    cache.mkdir(parents=True, exist_ok=True)
    with open(cache / 'lock', 'w', encoding='ascii') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return Image(_fetch_parts(cache, say, KERNELS[kernel]), tool, KERNELS[kernel])

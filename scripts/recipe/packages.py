# SPDX-License-Identifier: BSD-2-Clause
"""What the guests of recipes have besides our own: Debian packages, unpacked, as a part of an initramfs."""

import fcntl
import fnmatch
import hashlib
import pathlib
import shutil
import stat
import subprocess

from vm import cpio

SCRIPT = pathlib.Path(__file__).resolve().parent.parent / 'packages.sh'
RELEASE = 'bookworm'

# What programs do not need to run here.
DROPPED = ('usr/share/doc/*', 'usr/share/man/*', 'usr/share/info/*', 'usr/share/locale/*', 'usr/share/lintian/*',
           'usr/share/bug/*', 'usr/share/i18n/*', 'usr/share/perl*', 'usr/lib/*/perl*', 'usr/lib/*/gconv/*', 'usr/lib/systemd/*',
           'lib/systemd/*', 'usr/share/bash-completion/*')


class Tree:
    """
    `packages`, and of what they depend on those whose names match `needs`, unpacked below `folder`, once; without the files
    that match one of `drops`.
    """

    def __init__(self, folder, packages, needs, drops):
        self.packages, self.needs, self.drops = packages, needs, (*DROPPED, *drops)
        digest = hashlib.sha256(repr((RELEASE, packages, needs, self.drops)).encode()).hexdigest()[:12]
        self.folder = pathlib.Path(folder).resolve()
        self.root = self.folder / digest
        self.archive = self.folder / f'{digest}.cpio'

    def fetch(self, say):
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / 'lock', 'w', encoding='ascii') as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not self.archive.exists():
                self._make(say)
        return self

    def _make(self, say):
        for old in self.folder.iterdir():
            if old.is_dir():
                shutil.rmtree(old)
            elif old.name != 'lock':
                old.unlink()
        say(f'fetching Debian packages, once: {" ".join(self.packages)}')
        self.root.mkdir()
        subprocess.run([SCRIPT, '--unpack-only', self.needs, self.root, RELEASE, *self.packages], check=True)
        new = self.archive.with_suffix('.new')
        new.write_bytes(self._pack())
        new.rename(self.archive)

    def _pack(self):
        archive = cpio.Archive()
        for path in sorted(self.root.rglob('*')):
            name = str(path.relative_to(self.root))
            if any(fnmatch.fnmatch(name, pattern) for pattern in self.drops):
                continue
            status = path.lstat()
            if path.is_symlink():
                archive.link(name, str(path.readlink()))
            elif path.is_dir():
                archive.folder(name)
            elif stat.S_ISREG(status.st_mode):
                archive.file(name, path.read_bytes(), stat.S_IMODE(status.st_mode))
        return archive.finish()

    def programs(self):
        """The folders of its programs, for those that the host uses."""
        return [str(self.root / folder) for folder in ('usr/bin', 'usr/sbin', 'bin')]


class ImageWithTree:
    """An image whose guests have a tree, too."""

    def __init__(self, image, tree):
        self._image, self._tree = image, tree

    def __getattr__(self, name):
        return getattr(self._image, name)

    def initramfs(self, files):
        # The kernel unpacks one archive after the other. The files of this guest come last.
        return self._image.initramfs({}) + self._tree.archive.read_bytes() + _files(files)


def _files(files):
    archive = cpio.Archive()
    for path, data in files.items():
        archive.file(path, data.encode() if isinstance(data, str) else data, 0o755)
    return archive.finish()

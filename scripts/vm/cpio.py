# SPDX-License-Identifier: BSD-2-Clause
"""Writes cpio archives in the "newc" format, the one the kernel unpacks as initramfs.

Writing it here needs neither the cpio program nor root for the device node, and archives can simply be
appended to each other: the kernel unpacks one after the other.
"""

import stat


class Archive:
    def __init__(self):
        self.parts = []
        self.inode = 0
        self.folders = set()

    def _entry(self, path, mode, data=b'', device=(0, 0)):
        self.inode += 1
        name = path.encode() + b'\0'
        fields = (self.inode, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(name), 0)
        head = b'070701' + b''.join(b'%08x' % field for field in fields) + name
        self.parts += [head, b'\0' * (-len(head) % 4), data, b'\0' * (-len(data) % 4)]

    def _parents(self, path):
        parts = path.split('/')[:-1]
        for count in range(1, len(parts) + 1):
            self.folder('/'.join(parts[:count]))

    def folder(self, path):
        if path not in self.folders:
            self._parents(path)
            self.folders.add(path)
            self._entry(path, stat.S_IFDIR | 0o755)

    def file(self, path, data, mode=0o644):
        self._parents(path)
        self._entry(path, stat.S_IFREG | mode, data)

    def link(self, path, target):
        self._parents(path)
        self._entry(path, stat.S_IFLNK | 0o777, target.encode())

    def character_device(self, path, major, minor):
        self._parents(path)
        self._entry(path, stat.S_IFCHR | 0o600, device=(major, minor))

    def finish(self):
        self._entry('TRAILER!!!', 0)
        blob = b''.join(self.parts)
        return blob + b'\0' * (-len(blob) % 512)

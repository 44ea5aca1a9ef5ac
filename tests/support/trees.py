# SPDX-License-Identifier: BSD-2-Clause
"""For the tests of ivshmem copy: trees of all kinds of files, and whether two are the same."""

import os
import stat

TIME_NS = 981173106_789012345
DEEP = 30


def write(path, data):
    with open(path, "wb") as file:
        file.write(data)


def read(path):
    with open(path, "rb") as file:
        return file.read()


def make_tree(path):
    """All kinds of things, with odd names, modes and times."""
    deep = os.path.join(path, *["folder"] * DEEP)
    os.makedirs(deep)
    os.mkdir(os.path.join(path, "empty"))
    os.mkdir(os.path.join(path, "closed"))
    write(os.path.join(deep, "deep"), b"deep")
    write(os.path.join(path, "nothing"), b"")
    write(os.path.join(path, "big"), os.urandom(3_000_001))
    write(os.path.join(path, "closed", "secret"), b"secret")
    write(os.path.join(os.fsencode(path), b"odd\n\x01\"\xff\\'$ name"), b"odd")
    write(os.path.join(path, "x" * 255), b"long")
    write(os.path.join(path, "zeros"), bytes(100_000))
    with open(os.path.join(path, "holes"), "wb") as file:
        for offset in (5_000_000, 20_000_000, 20_100_000):
            file.seek(offset)
            file.write(os.urandom(10_000))
        file.truncate(64 << 20)
    os.symlink("folder/folder", os.path.join(path, "link"))
    os.symlink("/nowhere/at all", os.path.join(path, "empty", "dangling"))
    os.chmod(os.path.join(path, "big"), 0o751)
    os.chmod(os.path.join(path, "closed", "secret"), 0o400)
    os.chmod(os.path.join(path, "closed"), 0o500)
    for folder, folders, files in os.walk(path, topdown=False):
        for name in folders + files:
            os.utime(os.path.join(folder, name), ns=(0, TIME_NS + len(name)), follow_symlinks=False)
    os.utime(path, ns=(0, TIME_NS))


def listing(path):
    """What is at each path of a tree."""
    path = os.fsencode(path)
    found = {}
    for folder, folders, files in os.walk(path):
        for name in [b"."] + folders + files:
            at = os.path.join(folder, name)
            state = os.lstat(at)
            what = None
            if stat.S_ISLNK(state.st_mode):
                what = os.readlink(at)
            elif stat.S_ISREG(state.st_mode):
                what = read(at)
            found[os.path.relpath(at, path)] = (stat.S_IFMT(state.st_mode), state.st_mode & 0o777, state.st_mtime_ns, what)
    return found


def check_same(a, b):
    """Content, kinds, modes, times, links."""
    first, second = listing(a), listing(b)
    assert first.keys() == second.keys()
    for name, what in first.items():
        assert what == second[name], name

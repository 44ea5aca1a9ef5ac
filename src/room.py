#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""
room.py SOURCE_ROOT ROOM FOLDER|HEADER...

Makes ROOM, a folder with links to what a part of the project may include and to nothing else, so that another include
does not compile. A folder src/wire is wire/ in it, and include/ivshmem/abi.h is ivshmem/abi.h.
"""

import os
import shutil
import sys


def main(root, room, *wanted):
    shutil.rmtree(room, ignore_errors=True)
    for name in wanted:
        link = os.path.join(room, *name.split('/')[1:])
        os.makedirs(os.path.dirname(link), exist_ok=True)
        os.symlink(os.path.join(root, name), link)


if __name__ == '__main__':
    main(*sys.argv[1:])

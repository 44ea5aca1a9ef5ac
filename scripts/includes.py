#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""
Prints which folder of src/, lib/ and tools/ includes headers of which other one, and how many times; and circles of
files inside a folder: a.c includes b.h, and b.c includes a.h.
"""

import collections
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', re.MULTILINE)


def sources():
    """path from the root -> the headers it includes"""
    found = {}
    for top in ("src", "tools"):
        for folder, _, names in os.walk(os.path.join(ROOT, top)):
            for name in names:
                if name.endswith((".c", ".h")):
                    path = os.path.join(folder, name)
                    with open(path, encoding="utf-8") as file:
                        found[os.path.relpath(path, ROOT)] = INCLUDE.findall(file.read())
    return found


def resolve(header, includer, known):
    """The file that is meant, or the public header, or None if it is of the C library."""
    if header.startswith("ivshmem/") and os.path.exists(os.path.join(ROOT, "include", header)):
        return "include/" + header
    for path in (f"{os.path.dirname(includer)}/{header}", f"src/{header}", f"tools/{header}"):
        if path in known:
            return path
    return None


def main():
    known = sources()
    folders, units = collections.Counter(), collections.defaultdict(set)
    for path, headers in known.items():
        for header in headers:
            target = resolve(header, path, known)
            if target is None:
                continue
            here, there = os.path.dirname(path), os.path.dirname(target)
            if here != there:
                folders[here, target if there == "include/ivshmem" else there] += 1
            elif os.path.splitext(path)[0] != os.path.splitext(target)[0]:
                units[os.path.splitext(path)[0]].add(os.path.splitext(target)[0])
    for here in sorted({here for here, _ in folders}):
        print(here)
        for (includer, there), n in sorted(folders.items()):
            if includer == here:
                print(f"    {there:28} {n}")
    circles = sorted({tuple(sorted((a, b))) for a in units for b in units[a] if a in units.get(b, ())})
    print(f"{len(circles)} circles of two files inside a folder" + "".join(f"\n    {a} - {b}" for a, b in circles))
    return 0


if __name__ == "__main__":
    sys.exit(main())

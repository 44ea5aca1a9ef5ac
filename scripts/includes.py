#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""
Prints which folder of src/ and tools/ includes headers of which other one, and how many times; and circles of files
inside a folder, however long: a.c includes b.h, b.c includes c.h, and c.h includes a.h.
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


def graph():
    """(includer, included) -> times, of folders; file without its ending -> those of its folder that it includes."""
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
    return folders, units


def circles(units):
    """The sets of files of which each leads to all the others."""
    def reached(start):
        seen, waiting = set(), [start]
        while waiting:
            for unit in units.get(waiting.pop(), ()):
                if unit not in seen:
                    seen.add(unit)
                    waiting.append(unit)
        return seen

    leads_to = {unit: reached(unit) for unit in list(units)}
    return sorted({tuple(sorted(other for other in there if unit in leads_to.get(other, ())))
                   for unit, there in leads_to.items() if unit in there})


def main():
    folders, units = graph()
    for here in sorted({here for here, _ in folders}):
        print(here)
        for (includer, there), n in sorted(folders.items()):
            if includer == here:
                print(f"    {there:28} {n}")
    found = circles(units)
    print(f"{len(found)} circles of files inside a folder" + "".join("\n    " + " - ".join(circle) for circle in found))
    return 0


if __name__ == "__main__":
    sys.exit(main())

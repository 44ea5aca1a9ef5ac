# SPDX-License-Identifier: BSD-2-Clause
"""lspci for guests: that of a fixed release of Debian, so that its words are the same everywhere."""

import fcntl
import os
import pathlib
import re
import shutil
import subprocess
import sys

import ivshmem_wire as wire

RELEASE = "trixie"
PACKAGES = pathlib.Path(wire.ROOT) / "scripts" / "packages.sh"
GOLDEN = pathlib.Path(__file__).resolve().parent / "golden"
LIBRARIES = "usr/lib/x86_64-linux-gnu"
STARTER = """#!/bin/sh
exec /lspci/ld.so --library-path /lspci /lspci/lspci "$@"
"""


def _needed(root, program):
    """The libraries that the program is linked to, by name, without running anything but its loader."""
    folder = root / LIBRARIES
    answer = subprocess.run([folder / "ld-linux-x86-64.so.2", "--library-path", folder, "--list", program],
                            check=True, stdout=subprocess.PIPE, text=True).stdout
    return [name for name in re.findall(r"^\s*([^/\s]+) => ", answer, re.MULTILINE)]


def fetch(cache):
    """Unpacked, once. Nothing is installed on this machine."""
    cache = pathlib.Path(cache)
    cache.mkdir(parents=True, exist_ok=True)
    root = cache / "pciutils"
    with open(cache / "pciutils.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not root.is_dir():
            new = cache / "pciutils.new"
            shutil.rmtree(new, ignore_errors=True)
            new.mkdir()
            subprocess.run([PACKAGES, "--unpack", new, RELEASE, "pciutils"], check=True)
            new.rename(root)
    return root


def files(cache):
    """For a guest: path -> content."""
    root = fetch(cache)
    program = root / "usr/bin/lspci"
    libraries = root / LIBRARIES
    result = {
        "bin/lspci": STARTER,
        "lspci/lspci": program.read_bytes(),
        "lspci/ld.so": (libraries / "ld-linux-x86-64.so.2").read_bytes(),
        "usr/share/misc/pci.ids": (root / "usr/share/misc/pci.ids").read_bytes(),
    }
    for name in _needed(root, program):
        result[f"lspci/{name}"] = (libraries / name).read_bytes()
    return result


def settled(text):
    """Without what the firmware and the kernel choose: addresses, IOMMU group, slots."""
    text = re.sub(r"^[0-9a-f:.]+ ", "SLOT ", text)
    text = re.sub(r"(Memory at )[0-9a-f]+", r"\1ADDRESS", text)
    text = re.sub(r"(IOMMU group: )\d+", r"\1N", text)
    return re.sub(r"(routed to IRQ )\d+", r"\1N", text)


def assert_golden(name, text, **words):
    """What some devices have and others do not is in the file by name: words[name] is what it is here."""
    path = GOLDEN / f"lspci-{name}.txt"
    text = settled(text).rstrip("\n") + "\n"
    for placeholder, word in words.items():
        text = text.replace(word, placeholder)
    if os.environ.get("IVSHMEM_WRITE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


if __name__ == "__main__":  # fetches it into the folder of the guests' parts
    fetch(pathlib.Path(sys.argv[1]))

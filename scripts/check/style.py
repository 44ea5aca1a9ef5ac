# SPDX-License-Identifier: BSD-2-Clause
"""Checks of the text of the tree: each of them is one test."""

import json
import os
import re
import time

from check import builds
from check.builds import ROOT
from check.report import FAILED, PASSED, Result
from check.run import in_parallel, run

# Who may include headers of whom (docs/architecture.md), besides the C library.
NUMBERS = {"ivshmem/abi.h", "ivshmem/common.h"}
MAY_INCLUDE = {
    "src/base": set(),
    "src/loop": {"src/base"},
    "src/region": {"src/base"},
    "src/wire": {"src/base", *NUMBERS},
    "src/device": {"src/base", *NUMBERS, "ivshmem/device.h"},
    "src/client": {"src/base", "src/loop", "src/region", "src/wire", *NUMBERS, "ivshmem/client.h"},
    "src/member": {"src/base", "src/loop", "src/region", "src/wire", "src/client", *NUMBERS, "ivshmem/device.h"},
    "src/vfio_user": {"src/base", "src/loop", "src/device", "src/member", *NUMBERS, "ivshmem/device.h"},
    "src/kvm": {
        "src/base", "src/loop", "src/device", "src/member", *NUMBERS, "ivshmem/device.h", "ivshmem/kvm.h",
    },
    "src/server": {"src/base", "src/loop", "src/region", "src/wire", *NUMBERS},
    "include/ivshmem": {*NUMBERS, "ivshmem/device.h"},
    # The tool uses the library as everybody does.
    "tools/ivshmem": {"src/base", *NUMBERS, "ivshmem/client.h"},
}
PUBLIC_HEADERS_MAY_INCLUDE = {"stdbool.h", "stddef.h", "stdint.h"}

# What only programs may do. The name must stand alone and be called.
ONLY_FOR_TOOLS = re.compile(
    r"(?<![\w.>])(_?exit|_Exit|quick_exit|abort|assert|printf|puts|putchar|perror|warn|warnx|err|errx|getenv"
    r"|getopt|getopt_long|syslog|signal|sigaction)\s*\(|(?<!\w)(stdout|stderr|argv)(?!\w)"
)
# Words cut short on purpose, in tests of command lines; a macro of manual pages; a Rust library.
NO_TYPOS = "hel,te,nd,crate"

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.MULTILINE)
COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
STRING = re.compile(r'"(?:[^"\\\n]|\\.)*"')


def tracked_files():
    """What is, or is about to be, committed."""
    status, output = run(["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"], timeout=60)
    if status == 0:
        names = output.split("\0")
    else:  # an unpacked archive
        names = []
        for folder, folders, files in os.walk(ROOT):
            folders[:] = [f for f in folders if not f.startswith(".") and not f.startswith("build") and f != "__pycache__"]
            names += [os.path.relpath(os.path.join(folder, name), ROOT) for name in files]
    return sorted(n for n in set(names) if n and os.path.isfile(os.path.join(ROOT, n)))


def read(name):
    with open(os.path.join(ROOT, name), encoding="utf-8", errors="replace") as file:
        return file.read()


def c_files(*folders):
    prefixes = tuple(folder + "/" for folder in folders)
    return [n for n in tracked_files() if n.endswith((".c", ".h")) and (not folders or n.startswith(prefixes))]


def compiled_files(*folders):
    try:
        with open(os.path.join(builds.SANITIZED.path, "compile_commands.json"), encoding="utf-8") as file:
            commands = json.load(file)
    except OSError:
        return []
    paths = {os.path.normpath(os.path.join(entry["directory"], entry["file"])) for entry in commands}
    names = sorted(os.path.relpath(path, ROOT) for path in paths)
    return [n for n in names if n.endswith(".c") and n.startswith(tuple(folder + "/" for folder in folders))]


def command(words, files, timeout=300):
    """A program that complains with its exit status."""
    if not files:
        return "there are no files to check"
    status, output = run([*words, *files], timeout=timeout, cwd=ROOT)
    if status is None:
        return f"{output}\nit took longer than {timeout} s"
    return f"{output}\nexit status {status}" if status != 0 else None


# ---- the checks: each returns None, or what is wrong -----------------------------------------------


def clang_format():
    return command(["clang-format", "--dry-run", "-Werror"], c_files())


def clang_tidy():
    """Whatever .clang-tidy asks for, on the programs and libraries, with two processes."""
    files = compiled_files("src", "tools")
    if not files:
        return "meson did not tell how to compile"

    def one(name):
        words = ["clang-tidy", "--quiet", "-p", builds.SANITIZED.path, "--warnings-as-errors=*", name]
        status, output = run(words, timeout=300, cwd=ROOT)
        # Each complaint with its line of code, without the pages of notes on how to get there.
        complaints = re.findall(r"^\S+: (?:error|warning): .*\n.*\n.*$", output, re.MULTILINE)
        return None if status == 0 else "\n".join(complaints) or output

    return "\n".join(filter(None, in_parallel(2, one, files))) or None


def shell_scripts():
    def is_shell(name):
        with open(os.path.join(ROOT, name), "rb") as file:
            return re.match(rb"#! ?\S*/(ba|da)?sh\b", file.readline()) is not None

    return command(["shellcheck"], [n for n in tracked_files() if is_shell(n)])


def spelling():
    files = [n for n in tracked_files() if not n.startswith(("tests/fuzz/corpus/", ".git"))]
    return command(["codespell", "--quiet-level=2", f"--ignore-words-list={NO_TYPOS}"], files)


def no_parent_includes():
    wrong = [
        f'{name}: #include "{header}"'
        for name in c_files()
        for _, header in INCLUDE.findall(read(name))
        if ".." in header.split("/")
    ]
    return "\n".join(wrong) or None


def licence_lines():
    """Every file that can have one says on top under what licence it is."""
    wrong = []
    for name in tracked_files():
        if not name.endswith((".c", ".h", ".py", ".sh", "meson.build")):
            continue
        if "SPDX-License-Identifier: " not in "\n".join(read(name).split("\n")[:3]):
            wrong.append(f"{name}: no SPDX-License-Identifier in the first three lines")
    return "\n".join(wrong) or None


def owners_of_headers():
    return {os.path.basename(n): os.path.dirname(n) for n in c_files("src") if n.endswith(".h")}


def dependencies():
    owners, wrong = owners_of_headers(), []
    for name in c_files("src", "include", "tools"):
        folder = os.path.dirname(name)
        allowed = MAY_INCLUDE.get(folder)
        if allowed is None:
            if not folder.startswith("tools/"):
                wrong.append(f"{name}: who may include what in {folder} is not written down in scripts/check/style.py")
            continue
        for kind, header in INCLUDE.findall(read(name)):
            if header.startswith("ivshmem/"):
                fine = header in allowed
            elif kind == '"':
                fine = os.path.exists(os.path.join(ROOT, folder, header))
            elif folder == "include/ivshmem":
                fine = header in PUBLIC_HEADERS_MAY_INCLUDE
            else:
                owner = owners.get(header, folder)
                fine = owner == folder or owner in allowed
            if not fine:
                wrong.append(f"{name}: may not include <{header}>")
    return "\n".join(wrong) or None


# It handles SIGBUS as long as it has to, and gives the program its handler back (guard.h says why).
GUARD = "src/region/guard.c"


def libraries_keep_quiet():
    """Nothing below tools/ ends the process, prints, or looks at its arguments or environment."""
    wrong = []
    for name in c_files("src"):
        text = COMMENT.sub(lambda m: re.sub(r"[^\n]", " ", m[0]), read(name))
        text = STRING.sub('""', text)
        for match in ONLY_FOR_TOOLS.finditer(text):
            if name == GUARD and (match[1] or match[2]) in ("signal", "sigaction"):
                continue
            line = text.count("\n", 0, match.start()) + 1
            wrong.append(f"{name}:{line}: {(match[1] or match[2])} is for programs only")
    return "\n".join(wrong) or None


CHECKS = {
    "clang-format": clang_format,
    "clang-tidy": clang_tidy,
    "shellcheck": shell_scripts,
    "codespell": spelling,
    "no include from a parent folder": no_parent_includes,
    "licence on top of each file": licence_lines,
    "who may include whom": dependencies,
    "libraries do not exit or print": libraries_keep_quiet,
}


def run_layer(report):
    for name, check in CHECKS.items():
        started = time.monotonic()
        wrong = check()
        result = Result(name, FAILED if wrong else PASSED, wrong or "")
        report.add("style", name, time.monotonic() - started, [result])

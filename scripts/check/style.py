# SPDX-License-Identifier: BSD-2-Clause
"""Checks of the text of the tree: each of them is one test."""

import json
import os
import re
import shlex
import tempfile
import time
from fnmatch import fnmatch

import includes
from check import builds
from check.builds import ROOT
from check.report import FAILED, PASSED, Result
from check.run import in_parallel, run

# A header for outsiders includes only these, and others for outsiders.
PUBLIC_HEADERS_MAY_INCLUDE = {"stdbool.h", "stddef.h", "stdint.h", "ivshmem/abi.h", "ivshmem/common.h", "ivshmem/device.h"}

# What only programs may do. The name must stand alone and be called.
ONLY_FOR_TOOLS = re.compile(
    r"(?<![\w.>])(_?exit|_Exit|quick_exit|abort|assert|printf|puts|putchar|perror|warn|warnx|err|errx|getenv"
    r"|getopt|getopt_long|syslog|signal|sigaction)\s*\(|(?<!\w)(stdout|stderr|argv)(?!\w)"
)
# Words cut short on purpose, in tests of command lines; a macro of manual pages; a Rust library; names of the kernel.
NO_TYPOS = "hel,te,nd,crate,filp,iput"

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
    files = [n for n in tracked_files() if not n.startswith(".git") and not fnmatch(n, "tests/fuzz/*/corpus/*")]
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


def public_headers():
    wrong = [
        f"{name}: may not include <{header}>"
        for name in c_files("include")
        for _, header in INCLUDE.findall(read(name))
        if header not in PUBLIC_HEADERS_MAY_INCLUDE
    ]
    return "\n".join(wrong) or None


def finds(compile_command, header):
    """Whether a file that includes this header, compiled as that one was, finds it."""
    with tempfile.NamedTemporaryFile("w", suffix=".c") as source:
        source.write(f"#include <{header}>\n")
        source.flush()
        words = shlex.split(compile_command["command"])
        words = [word for word in words if word != compile_command["file"]]
        status, output = run([*words, "-fsyntax-only", source.name], timeout=60, cwd=compile_command["directory"])
    return status == 0 or not re.search(f"{header}.{{0,20}}(No such file|file not found)", output)


def wrong_includes():
    """Each folder of src/ compiles with headers of those that src/meson.build says, and with no others."""
    with open(os.path.join(builds.SANITIZED.path, "compile_commands.json"), encoding="utf-8") as file:
        commands = {os.path.relpath(os.path.join(c["directory"], c["file"]), ROOT): c for c in json.load(file)}
    some_header = {os.path.dirname(name).removeprefix("src/"): name.removeprefix("src/") for name in c_files("src") if name.endswith(".h")}
    some_source = {os.path.dirname(name).removeprefix("src/"): name for name in commands if name.startswith("src/")}
    table = re.search(r"^knows = \{(.*?)^\}", read("src/meson.build"), re.MULTILINE | re.DOTALL)[1]
    rows = re.findall(r"'(\w+)': \[(.*?)\]", table)
    wrong = [f"src/meson.build: src/{name} has no row in the table" for name in some_header.keys() - dict(rows).keys()]
    for folder, others in rows:
        knows = {folder, *re.findall(r"'src/(\w+)'", others)}
        for other, header in some_header.items():
            if finds(commands[some_source[folder]], header) != (other in knows):
                wrong.append(f"src/{folder}: <{header}> is " + ("not found" if other in knows else "found, but should not be"))
    if len(some_source) < 5:
        wrong.append("meson did not tell how to compile")
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


def no_circles():
    """A reader can begin with any file, and knows where it ends."""
    found = includes.circles(includes.graph()[1])
    return "\n".join("a circle of files: " + " - ".join(circle) for circle in found) or None


# Where else the version of meson.build stands, because other tools read it there.
VERSIONS = {
    "driver/linux/Kbuild": r"-DIVSHMEM_VERSION='\"(.*?)\"'",
    "driver/linux/dkms.conf": r'^PACKAGE_VERSION="(.*)"$',
    "packaging/debian/changelog": r"\Aivshmem \((.*?)\)",
}


def one_version():
    version = re.search(r"^  version: '(.*)',$", read("meson.build"), re.MULTILINE)[1]
    wrong = []
    for name, pattern in VERSIONS.items():
        found = re.search(pattern, read(name), re.MULTILINE)
        if found is None or found[1] != version:
            wrong.append(f"{name}: the version is {found and found[1]} instead of {version}, as meson.build has it")
    return "\n".join(wrong) or None


CHECKS = {
    "clang-format": clang_format,
    "clang-tidy": clang_tidy,
    "shellcheck": shell_scripts,
    "codespell": spelling,
    "no include from a parent folder": no_parent_includes,
    "licence on top of each file": licence_lines,
    "public headers need little": public_headers,
    "a wrong include does not compile": wrong_includes,
    "no circles of files": no_circles,
    "libraries do not exit or print": libraries_keep_quiet,
    "the same version everywhere": one_version,
}


def run_layer(report):
    for name, check in CHECKS.items():
        started = time.monotonic()
        wrong = check()
        result = Result(name, FAILED if wrong else PASSED, wrong or "")
        report.add("style", name, time.monotonic() - started, [result])

#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""
The manual pages tell the truth: each has the options of its program's --help with the same letters and arguments, and
no others, command by command; each is installed; mandoc finds nothing wrong. Speaks TAP.

usage: check.py BUILD-FOLDER
"""

import glob
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

MAN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "man")

# How an option stands in a help text: "  -h, --help" or "      --size SIZE".
HELP_OPTION = re.compile(r"^  (?:-(\w), |    )--([\w-]+)(?: (\S+))?", re.MULTILINE)
# A command of the help of `ivshmem`.
HELP_COMMAND = re.compile(r"^  (\w+) .* {2,}\S", re.MULTILINE)

# What mandoc says about the machine instead of the page: that the other pages are not installed.
NOT_OF_THE_PAGE = re.compile(r"referenced manual not found|outdated mandoc\.db")

results = []


def check(name, wrong):
    """`wrong` is a text, empty if nothing is."""
    results.append(not wrong)
    print(f'{"not ok" if wrong else "ok"} {len(results)} - {name}')
    for line in wrong.splitlines():
        print(f"# {line}")


def run(*command):
    return subprocess.run(command, text=True, timeout=60, stdin=subprocess.DEVNULL, capture_output=True, check=False)


def help_options(*command):
    result = run(*command, "--help")
    if result.returncode != 0:
        raise OSError(f"{command} --help: exit status {result.returncode}\n{result.stderr}")
    return set(HELP_OPTION.findall(result.stdout)), result.stdout


def page_sections(page):
    """The options of each section and subsection of a page, by the first word of its heading."""
    sections, options = {}, set()
    for line in page.split("\n"):
        words = line.replace('"', "").split()
        if words[:1] in ([".Sh"], [".Ss"]):
            options = sections.setdefault(words[1], set())
        elif words[:2] == [".It", "Fl"]:
            options.add(item_option(words[2:]))
    return sections


def item_option(words):
    """`h , Fl -help`, `-size Ar SIZE`, `-msi Cm on | off`"""
    letter = ""
    if words[1:3] == [",", "Fl"]:
        letter, words = words[0], words[3:]
    return letter, words[0].removeprefix("-"), "".join(w for w in words[1:] if w not in ("Ar", "Cm", "Ns"))


def missing(options, there, where):
    return "".join(
        f"{where}: --{name}{' ' if value else ''}{value}{f' (-{letter})' if letter else ''}\n"
        for letter, name, value in sorted(options - there)
    )


def compare(by_help, by_page):
    return missing(by_help, by_page, "not in the page") + missing(by_page, by_help, "not in --help")


def check_program(program, page):
    sections = page_sections(page)
    options, text = help_options(program)
    commands = HELP_COMMAND.findall(text.split("\nCommands:\n")[1].split('\n"')[0]) if "\nCommands:\n" in text else []
    wrong = ""
    for command in commands:
        if command in sections:
            more = compare(help_options(program, command)[0], sections.pop(command))
        else:
            more = "not in the page"
        wrong += "".join(f"{command}: {line}\n" for line in more.splitlines())
    of_page = set().union(*sections.values())
    if not options or not of_page:
        wrong += "no options were found at all\n"
    return wrong + compare(options, of_page)


def check_keys(build):
    """The page of a file's keys says which options are none, and the program agrees."""
    with open(os.path.join(MAN, "ivshmem-region.5"), encoding="utf-8") as file:
        page = file.read()
    listed = page.split("are no keys:")[1].split(".Pp")[0]
    not_keys = set(re.findall(r"^\.Ql ([\w-]+)", listed, re.MULTILINE))
    options = {name for _, name, _ in help_options(os.path.join(build, "ivshmem-server"))[0]}
    wrong = "".join(f"no option, but said to be no key: {name}\n" for name in sorted(not_keys - options))
    for name in sorted(options):
        with tempfile.TemporaryDirectory() as folder:
            with open(os.path.join(folder, "r.ini"), "w", encoding="utf-8") as file:
                file.write(f"[region]\n{name} = ?\n")
            words = run(os.path.join(build, "ivshmem-server"), "--regions", folder, "--check").stderr
        if ("cannot be set for a region" in words) != (name in not_keys) or "unknown key" in words:
            wrong += f"{name}: {words}"
    return wrong


def check_installed(build, names):
    installed = json.loads(run("meson", "introspect", "--installed", build).stdout)
    there = {os.path.basename(path) for path in installed.values() if "/man/" in path}
    return "".join(f"{name} is not installed\n" for name in names if name not in there)


def lint(path):
    words = run("mandoc", "-T", "lint", "-W", "style", path)
    lines = (words.stdout + words.stderr).splitlines()
    return "\n".join(line for line in lines if not NOT_OF_THE_PAGE.search(line))


def main(build):
    pages = sorted(glob.glob(os.path.join(MAN, "*.[15]")))
    names = [os.path.basename(path) for path in pages]
    check("there are pages", "" if pages else f"none in {MAN}")
    for path, name in zip(pages, names):
        with open(path, encoding="utf-8") as file:
            page = file.read()
        try:
            if name.endswith(".1"):
                wrong = check_program(os.path.join(build, name.removesuffix(".1")), page)
            else:
                wrong = check_keys(build)
        except (OSError, subprocess.TimeoutExpired) as error:
            wrong = str(error)
        check(f"{name} has the options of the program", wrong)
        if shutil.which("mandoc"):
            check(f"{name} is well-formed", lint(path))
        else:
            results.append(True)
            print(f"ok {len(results)} - {name} is well-formed # SKIP there is no mandoc")
    check("they are installed", check_installed(build, names))
    print(f"1..{len(results)}")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

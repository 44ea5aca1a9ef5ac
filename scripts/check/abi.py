# SPDX-License-Identifier: BSD-2-Clause
"""
What a program relies on that was compiled before: the functions that a library exports, and the layout of its public
structs. lib/NAME.abi has them for x86-64, as they were promised, and is compared with what is built. In scripts/,
"python3 -m check.abi BUILD" writes it anew from a build.
"""

import difflib
import os
import re
import subprocess
import sys
import tempfile
import time

from check.builds import ROOT
from check.report import FAILED, PASSED, Result

LIBRARIES = {
    "libivshmem": ("abi.h", "common.h", "client.h", "channel.h", "trace.h"),
    "libivshmem-device": ("common.h", "device.h", "kvm.h", "trace.h"),
}

REMEDY = """{name} is not what lib/{name}.abi says, so that programs may break which were compiled before.
A struct with a struct_size may grow at its end, and a new function goes into a new node of the map: all else needs a
new soname. If it is as it should be, write the listing anew: (cd scripts; python3 -m check.abi {build})
"""


def output(*command, **more):
    return subprocess.run(command, check=True, text=True, timeout=60, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          **more).stdout


def exported(library):
    """Names with the node of the map that they are in: "ivshmem_attach@@IVSHMEM_0"."""
    lines = output("nm", "--dynamic", "--defined-only", library).splitlines()
    return sorted(name for _, kind, name in map(str.split, lines) if kind != "A")


# ---- what the compiler says of types -----------------------------------------------------------------


class Die:
    """An entry of the debug information."""

    def __init__(self, tag):
        self.tag = tag.removeprefix("DW_TAG_")
        self.children = []
        self.name = self.type = self.size = None
        self.count = self.value = 0

    def attribute(self, name, value):
        """Of "(data1) 8", or "(strp) (offset: 0x8): code", only the end matters: readelf's versions differ in the rest."""
        value = re.sub(r"^(\([^)]*\)[: ]*)*", "", value)
        if name == "name":
            self.name = value
        elif name == "type":
            self.type = int(re.search(r"<0x(\w+)>", value)[1], 16)
        elif name == "byte_size":
            self.size = int(value, 0)
        elif name == "upper_bound":
            self.count = int(value, 0) + 1
        elif name in ("data_member_location", "const_value"):
            self.value = int(value, 0)


class Types:
    def __init__(self, dump):
        """From the words of readelf."""
        self.dies = {}
        parents = {}
        die = None
        for line in dump.splitlines():
            if found := re.match(r"\s*<(\w+)><(\w+)>: Abbrev Number: \d+ \((\w+)\)", line):
                depth, place, tag = int(found[1], 16), int(found[2], 16), found[3]
                die = self.dies[place] = parents[depth] = Die(tag)
                if depth > 0:
                    parents[depth - 1].children.append(die)
            elif die and (found := re.match(r"\s*<\w+>\s+DW_AT_(\w+)\s*: (.*?)\s*$", line)):
                die.attribute(found[1], found[2].split("\t")[0])

    def named(self, *tags):
        dies = [die for die in self.dies.values() if die.tag in tags and (die.name or "").startswith("ivshmem_")]
        return sorted(dies, key=lambda die: die.name)

    def size(self, die):
        if die.tag == "array_type":
            return die.children[0].count * self.size(self.dies[die.type])
        return die.size if die.size is not None else self.size(self.dies[die.type])

    def words(self, place, inner=""):
        """A type in the words of C; `inner` is what stands where a name would."""
        if place is None:
            return f"void {inner}".rstrip()
        die = self.dies[place]
        if die.tag == "pointer_type":
            to = self.dies[die.type].tag if die.type else ""
            return self.words(die.type, f"(*{inner})" if to in ("subroutine_type", "array_type") else f"*{inner}")
        if die.tag == "const_type":
            is_pointer = die.type and self.dies[die.type].tag == "pointer_type"
            return self.words(die.type, f"const {inner}") if is_pointer else f"const {self.words(die.type, inner)}"
        if die.tag == "array_type":
            return self.words(die.type, f"{inner}[{die.children[0].count}]")
        if die.tag == "subroutine_type":
            arguments = ", ".join(self.words(argument.type) for argument in die.children) or "void"
            return self.words(die.type, f"{inner}({arguments})")
        keyword = {"structure_type": "struct ", "union_type": "union ", "enumeration_type": "enum "}.get(die.tag, "")
        return f"{keyword}{die.name} {inner}".rstrip()


def types_of(headers, functions):
    """Those of the headers. Functions appear as variables that point to them."""
    source = [f"#include <ivshmem/{header}>" for header in headers]
    source += [f"__typeof__({name}) *{name}_;" for name in functions]
    with tempfile.TemporaryDirectory() as folder:
        compiled = os.path.join(folder, "abi.o")
        output("gcc", "-g", "-fno-eliminate-unused-debug-types", "-I", os.path.join(ROOT, "include"), "-c", "-o", compiled,
               "-x", "c", "-", input="\n".join(source) + "\n")
        return Types(output("readelf", "--wide", "--debug-dump=info", compiled))


# ---- the listing ---------------------------------------------------------------------------------------


def listing(build, name):
    symbols = exported(os.path.join(build, "lib", name + ".so"))
    nodes = dict(symbol.split("@@") for symbol in symbols)
    types = types_of(LIBRARIES[name], nodes)
    lines = [f"# {name} on x86-64, in the words of scripts/check/abi.py", "", "# functions, by nodes of the map"]
    for variable in types.named("variable"):
        symbol = variable.name.removesuffix("_")
        lines.append(f"{nodes[symbol]}\t{types.words(types.dies[variable.type].type, symbol)}")
    lines += ["", "# structs: offset, size and name of each member"]
    for struct in types.named("structure_type", "union_type"):
        if struct.size is None:
            continue  # only the library knows it
        lines.append(f"{struct.tag.removesuffix('ure_type')} {struct.name}\t{struct.size}")
        for member in struct.children:
            size = types.size(types.dies[member.type])
            lines.append(f"\t{member.value}\t{size}\t{types.words(member.type, member.name)}")
    lines += ["", "# enums"]
    for enum in types.named("enumeration_type"):
        lines.append(f"enum {enum.name}\t{enum.size}")
        lines += [f"\t{enumerator.value}\t{enumerator.name}" for enumerator in enum.children]
    return "\n".join(lines) + "\n"


def path_of(name):
    return os.path.join(ROOT, "lib", name + ".abi")


def compare(build, name):
    try:
        built = listing(build, name)
        with open(path_of(name), encoding="utf-8") as file:
            promised = file.read()
    except subprocess.CalledProcessError as error:
        return Result(name, FAILED, f"{error}\n{error.output}")
    except (OSError, subprocess.TimeoutExpired) as error:
        return Result(name, FAILED, str(error))
    if built == promised:
        return Result(name, PASSED)
    difference = difflib.unified_diff(promised.splitlines(), built.splitlines(), "promised", "built", lineterm="", n=1)
    return Result(name, FAILED, REMEDY.format(name=name, build=build) + "\n".join(difference))


def check(report, build):
    started = time.monotonic()
    results = [compare(build.path, name) for name in LIBRARIES]
    report.add("build", f"ABI, {build.name}", time.monotonic() - started, results)


def main(build):
    for name in LIBRARIES:
        text = listing(build, name)
        with open(path_of(name), "w", encoding="utf-8") as file:
            file.write(text)


if __name__ == "__main__":
    main(os.path.abspath(sys.argv[1]))

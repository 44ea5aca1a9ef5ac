# SPDX-License-Identifier: BSD-2-Clause
"""
A strict reader of OpenMetrics text, for gauges and counters: each line must be one that the format has, families do not
mix, and the last line is the end. What the older text format of Prometheus does not have is refused as well.
"""

import re

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
NUMBER = r"[+-]?(?:\d+(?:\.\d+)?)(?:e[+-]?\d+)?"
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(,|$)')
SAMPLE = re.compile(rf"({NAME})(?:\{{(.*)\}})? ({NUMBER})")
UNITS = ("seconds", "bytes")


class Family:
    def __init__(self):
        self.type = self.unit = self.help = None
        self.samples = {}  # by name and frozenset of labels


def parse_labels(text):
    labels, at = {}, 0
    while at < len(text):
        match = LABEL.match(text, at)
        assert match, f"no label: {text[at:]!r}"
        assert match.group(1) not in labels, f"twice: {match.group(1)}"
        labels[match.group(1)] = re.sub(r"\\(.)", lambda m: "\n" if m.group(1) == "n" else m.group(1), match.group(2))
        at = match.end()
        assert match.group(3) or at == len(text)
        assert not match.group(3) or at < len(text), "a comma at the end"
    return frozenset(labels.items())


def describe(families, current, kind, name, text):
    """A line that begins with #; the family that it is of, which may be a new one."""
    if name != current:
        assert name not in families, f"the family {name} is in two places"
        families[name] = Family()
    family = families[name]
    assert not family.samples, f"{kind} of {name} behind its samples"
    assert getattr(family, kind.lower()) is None, f"two {kind} of {name}"
    setattr(family, kind.lower(), text)
    if kind == "TYPE":
        assert text in ("gauge", "counter"), text
    if kind == "UNIT":
        assert name.endswith("_" + text) and text in UNITS, (name, text)
    return name


def take_sample(family, name, line):
    match = SAMPLE.fullmatch(line)
    assert match, f"no sample: {line!r}"
    expected = name + ("_total" if family.type == "counter" else "")
    assert match.group(1) == expected, f"{match.group(1)} in the family {name}"
    key = (expected, parse_labels(match.group(2) or ""))
    assert key not in family.samples, f"twice: {line}"
    family.samples[key] = float(match.group(3))
    assert family.samples[key] >= 0


def parse(text):
    """All families, by name."""
    assert text.endswith("\n# EOF\n"), text[-40:]
    families, current = {}, None
    for line in text.removesuffix("# EOF\n").removesuffix("\n").split("\n"):
        match = re.fullmatch(rf"# (TYPE|UNIT|HELP) ({NAME}) (.+)", line)
        if match:
            current = describe(families, current, *match.groups())
            continue
        assert current, line
        take_sample(families[current], current, line)
    for name, family in families.items():
        assert family.type and family.help and family.samples, name
        assert re.fullmatch(r"ivshmem_[a-z_]+", name), name
        assert not re.search(r"_(total|count|sum|bucket|created|info)$", name), name
        assert bool(family.unit) == name.endswith(UNITS), name
    return families

# SPDX-License-Identifier: BSD-2-Clause
"""What the benchmarks have in common: numbers as text, tables in Markdown, their place in docs/performance.md."""

import os
import re
import statistics

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PERFORMANCE = os.path.join(ROOT, "docs", "performance.md")


def quartiles(values):
    """Lower quartile, median, upper quartile."""
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def number(value):
    """Three significant digits, no exponent."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def spread(values, scale=1.0):
    """Median, and the quartiles if there is more than one value."""
    values = [value / scale for value in values if value is not None]
    if not values:
        return "-"
    low, middle, high = quartiles(values)
    if len(values) == 1:
        return number(middle)
    return f"{number(middle)} ({number(low)}-{number(high)})"


def span(values):
    """Lowest to highest of something that ought to be a constant."""
    values = sorted(values)
    if not values:
        return "-"
    return str(values[0]) if values[0] == values[-1] else f"{values[0]}-{values[-1]}"


def table(head, rows):
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]

    def line(cells):
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths)) + " |"

    return "\n".join([line(head), "|" + "|".join("-" * (width + 2) for width in widths) + "|", *map(line, rows)])


def machine_text(machine):
    return (f"{machine['date']}; {machine['cpu']}, {machine['cpus']} CPUs, {machine['memory_gib']} GiB, "
            f"Linux {machine['kernel']}")


def update_docs(program, markdown):
    """Puts what `program`, a file of bench/, found into its place in docs/performance.md."""
    begin, end = f"<!-- bench/{program} --update-docs writes from here ... -->", f"<!-- ... to here, {program} -->"
    with open(PERFORMANCE, encoding="utf-8") as file:
        old = file.read()
    pattern = re.escape(begin) + ".*?" + re.escape(end)
    new, count = re.subn(pattern, lambda _: f"{begin}\n\n{markdown}\n\n{end}", old, flags=re.DOTALL)
    if count != 1:
        raise SystemExit(f"bench: the markers of {program} are not in {PERFORMANCE}")
    with open(PERFORMANCE, "w", encoding="utf-8") as file:
        file.write(new)

# SPDX-License-Identifier: BSD-2-Clause
"""What a ring costs against how many doorbells there are, as an SVG."""

import math

from tables import number, quartiles

WIDTH, HEIGHT = 790, 430
LEFT, RIGHT, TOP, BOTTOM = 70, 220, 46, 56
COLOURS = {"register": "#c0392b", "word": "#1f6fb2"}
DASHES = {"embedded": "", "remote": "6 4"}
MIN_GAP = 16  # between two labels
MARGIN = 1.25  # around what is to be seen, as a factor


class Axes:
    """Both are logarithmic."""

    def __init__(self, xs, ys):
        self.xs = (min(xs), max(xs))
        self.ys = (min(ys) / MARGIN, max(ys) * MARGIN)

    def x(self, value):
        low, high = (math.log10(one) for one in self.xs)
        return LEFT + (math.log10(value) - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def y(self, value):
        low, high = (math.log10(one) for one in self.ys)
        return HEIGHT - BOTTOM - (math.log10(value) - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    def ticks(self):
        """1, 2, 5 times powers of ten."""
        low, high = self.ys
        for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1):
            for digit in (1, 2, 5):
                if low <= digit * 10**power <= high:
                    yield digit * 10**power


def escape(text):
    return text.replace("&", "&amp;").replace("<", "&lt;")


def words(x, y, text, colour="#333", anchor="start"):
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" text-anchor="{anchor}">{escape(text)}</text>'


def segment(x1, y1, x2, y2, colour, dash="", width=1.0):
    style = f' stroke-dasharray="{dash}"' if dash else ""
    return (f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" '
            f'stroke-width="{width}"{style}/>')


def frame(axes, xs):
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = []
    for tick in axes.ticks():
        parts.append(segment(LEFT, axes.y(tick), right, axes.y(tick), "#ddd"))
        parts.append(words(LEFT - 8, axes.y(tick) + 4, f"{tick:g}", anchor="end"))
    for x in xs:
        parts.append(segment(axes.x(x), bottom, axes.x(x), bottom + 5, "#333"))
        parts.append(words(axes.x(x), bottom + 20, str(x), anchor="middle"))
    parts.append(segment(LEFT, bottom, right, bottom, "#333"))
    parts.append(segment(LEFT, TOP, LEFT, bottom, "#333"))
    parts.append(words((LEFT + right) / 2, bottom + 42, "doorbells of other peers", anchor="middle"))
    parts.append(words(LEFT - 50, TOP - 22, "microseconds that one ring takes the guest; the doorbell added last"))
    return parts


def curve(axes, colour, dash, points):
    """Medians, with the quartiles as whiskers."""
    parts = []
    at = []
    for x, values in points:
        low, middle, high = quartiles(values)
        at.append((axes.x(x), axes.y(middle)))
        parts.append(segment(axes.x(x), axes.y(low), axes.x(x), axes.y(high), colour, width=1.5))
        parts.append(f'<circle cx="{axes.x(x):.1f}" cy="{axes.y(middle):.1f}" r="3.5" fill="{colour}"/>')
    style = f' stroke-dasharray="{dash}"' if dash else ""
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in at)
    parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"{style}/>')
    return parts


def draw(lines, level):
    """lines: (label, what, way, [(doorbells, microseconds of each round)]); level: (label, microseconds)."""
    xs = sorted({x for *_, points in lines for x, _ in points})
    medians = [quartiles(values)[1] for *_, points in lines for _, values in points]
    axes = Axes(xs, [*medians, level[1]])
    parts = frame(axes, xs)
    parts.append(segment(LEFT, axes.y(level[1]), WIDTH - RIGHT, axes.y(level[1]), "#777", "2 3", 1.5))
    parts.append(words(LEFT + 8, axes.y(level[1]) - 6, level[0], "#555"))
    labels = []
    for label, what, way, points in lines:
        parts += curve(axes, COLOURS[what], DASHES[way], points)
        last = quartiles(points[-1][1])[1]
        labels.append((axes.y(last), f"{label}: {number(last)}", COLOURS[what]))
    lowest = -math.inf
    for y, label, colour in sorted(labels):
        lowest = max(y + 4, lowest + MIN_GAP)
        parts.append(words(WIDTH - RIGHT + 10, lowest, label, colour))
    body = "\n".join(parts)
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" '
            f'font-family="sans-serif" font-size="12">\n<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>\n{body}\n'
            "</svg>\n")

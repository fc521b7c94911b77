"""A chart of lines over logarithmic axes as SVG, written by hand: nothing to install, readable anywhere."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 760, 420
LEFT, RIGHT, TOP, BOTTOM = 70, 190, 46, 50
COLOURS = ("#2563c9", "#c2410c", "#15803d", "#7c3aed", "#b91c1c", "#0e7490")

Line = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Axis:
    """Whole decades around ``values``, mapped to pixels from ``start`` to ``end``."""

    low: int
    high: int
    start: float
    end: float

    @classmethod
    def around(cls, values: Sequence[float], start: float, end: float) -> Axis:
        low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
        return cls(low, max(high, low + 1), start, end)

    def at(self, value: float) -> float:
        share = (math.log10(value) - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self) -> list[float]:
        return [10.0**power for power in range(self.low, self.high + 1)]


def loglog(title: str, across: str, up: str, lines: Mapping[str, Line]) -> str:
    """``lines``: name → points of (x, y), all above 0."""
    points = [point for line in lines.values() for point in line]
    x = Axis.around([each for each, _ in points], LEFT, WIDTH - RIGHT)
    y = Axis.around([each for _, each in points], HEIGHT - BOTTOM, TOP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
        f'height="{HEIGHT}" font-family="sans-serif" font-size="12" fill="#333">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        f'<text x="{LEFT}" y="24" font-size="15" font-weight="600">{escape(title)}</text>',
        *_grid(x, y),
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 12}" text-anchor="middle">'
        f"{escape(across)}</text>",
        f'<text transform="translate(18 {(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)" text-anchor="middle">'
        f"{escape(up)}</text>",
        *_lines(x, y, lines),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _grid(x: Axis, y: Axis) -> Iterator[str]:
    for tick in x.ticks():
        yield f'<path d="M{x.at(tick)} {y.start}V{y.end}" stroke="#ddd"/>'
        yield f'<text x="{x.at(tick)}" y="{y.start + 18}" text-anchor="middle">{tick:,.10g}</text>'
    for tick in y.ticks():
        yield f'<path d="M{x.start} {y.at(tick)}H{x.end}" stroke="#ddd"/>'
        yield f'<text x="{x.start - 8}" y="{y.at(tick) + 4}" text-anchor="end">{tick:,.10g}</text>'


def _lines(x: Axis, y: Axis, lines: Mapping[str, Line]) -> Iterator[str]:
    for number, (name, line) in enumerate(lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        drawn = " ".join(f"{x.at(across)},{y.at(up)}" for across, up in line)
        yield f'<polyline points="{drawn}" fill="none" stroke="{colour}" stroke-width="2"/>'
        for across, up in line:
            yield f'<circle cx="{x.at(across)}" cy="{y.at(up)}" r="3" fill="{colour}"/>'
        top = TOP + 10 + 20 * number
        yield f'<path d="M{x.end + 16} {top}h20" stroke="{colour}" stroke-width="2"/>'
        yield f'<text x="{x.end + 42}" y="{top + 4}">{escape(name)}</text>'

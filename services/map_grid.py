"""Where a region stands on the map: a cell of a grid, near where it lies on the globe, none on another."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from math import ceil

from coordinator.geo import region_point

COLUMNS = 12
SPAN = 2  # columns a region takes
A_ROW = COLUMNS // SPAN
ROOMY = 4  # regions in a row, where there is a choice
ROWS = 3  # of a small fleet, so that it looks like a map and not like a list


def places(regions: Iterable[str]) -> dict[str, tuple[int, int]]:
    """(column, row) for each region, from 1: north above south, west left of east.

    Those whose place nobody knows come last, in rows of their own.
    """
    known, unknown = [], []
    for name in sorted(regions):
        point = region_point(name)
        known.append((point, name)) if point else unknown.append(name)
    found: dict[str, tuple[int, int]] = {}
    row = 0
    for row, members in enumerate(_rows(known), start=1):
        found |= {name: (column, row) for name, column in _along(members, known).items()}
    for i, name in enumerate(unknown):
        found[name] = (1 + SPAN * (i % A_ROW), row + 1 + i // A_ROW)
    return found


Placed = tuple[tuple[float, float], str]


def _rows(known: list[Placed]) -> Iterable[list[Placed]]:
    """North to south, each row as full as the others."""
    southwards = sorted(known, key=lambda placed: (-placed[0][0], placed[1]))
    rows = min(len(known), max(ROWS, ceil(len(known) / ROOMY)))
    ends = [len(known) * i // rows for i in range(rows + 1)] if rows else []
    return (southwards[start:end] for start, end in pairwise(ends))


def _along(members: list[Placed], known: list[Placed]) -> dict[str, int]:
    """Columns of one row's regions: by longitude, then pushed apart until none covers another."""
    longitudes = [longitude for (_, longitude), _ in known]
    west, width = min(longitudes), max(longitudes) - min(longitudes)
    last = COLUMNS - SPAN
    eastwards = sorted(members, key=lambda placed: (placed[0][1], placed[1]))
    columns = [
        round(last * (longitude - west) / width) if width else last // 2 for (_, longitude), _ in eastwards
    ]
    for i in range(1, len(columns)):
        columns[i] = max(columns[i], columns[i - 1] + SPAN)
    for i in reversed(range(len(columns))):
        columns[i] = min(columns[i], last - SPAN * (len(columns) - 1 - i))
    return {name: 1 + column for (_, name), column in zip(eastwards, columns, strict=True)}

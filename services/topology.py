"""The fleet as a map: one cell a region, west to east, one shape a node, its kind in the shape."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from math import ceil, cos, pi, sin, sqrt

from django.db.models import Count

from coordinator.geo import region_point
from coordinator.values import NodeType
from nodes.status import with_status
from services.fleet import fleet_nodes

WIDTH = 720.0
CELL_H = 150.0
LABEL_H = 20.0
SHAPES_MAX = 300  # above this, a shape stands for several nodes
COLUMNS_MAX = 4
GOLDEN_ANGLE = pi * (3 - sqrt(5))  # leaves of a sunflower: even however many there are
SPREAD = 11.0


@dataclass(frozen=True, slots=True)
class Mark:
    """What one shape stands for. ``href`` is empty where that is more than one node."""

    region: str
    node_type: str
    status: str
    title: str
    href: str = ""


@dataclass(frozen=True, slots=True)
class Shape:
    mark: Mark
    x: float
    y: float
    size: float
    points: str  # of a polygon; empty for a circle


@dataclass(frozen=True, slots=True)
class Region:
    name: str
    x: float
    y: float
    nodes: int


@dataclass(frozen=True, slots=True)
class Map:
    shapes: list[Shape]
    regions: list[Region]
    nodes: int
    nodes_per_shape: int
    width: float
    height: float

    @property
    def legend(self) -> list[tuple[str, str]]:
        return LEGEND


def topology(now: datetime) -> Map:
    groups = list(
        with_status(fleet_nodes(), now)
        .order_by("region", "node_type", "status")
        .values_list("region", "node_type", "status")
        .annotate(Count("id"))
    )
    total = sum(number for *_, number in groups)
    per_shape = max(1, ceil(total / SHAPES_MAX))
    marks = _one_by_one(now) if per_shape == 1 else _several(groups, per_shape)
    counts: defaultdict[str, int] = defaultdict(int)
    for region, _, _, number in groups:
        counts[region] += number
    return lay_out(marks, counts, per_shape)


def _one_by_one(now: datetime) -> list[Mark]:
    nodes = with_status(fleet_nodes(), now).order_by("region", "node_type", "id")
    rows = nodes.values_list("id", "name", "region", "node_type", "status")[:SHAPES_MAX]
    return [
        Mark(region, node_type, status, f"{name}: {node_type.replace('_', ' ')}, {status}", f"/nodes/{node_id}")
        for node_id, name, region, node_type, status in rows
    ]


def _several(groups: Sequence[tuple[str, str, str, int]], per_shape: int) -> list[Mark]:
    return [
        Mark(region, node_type, status, f"{number:,} × {node_type.replace('_', ' ')}, {status}")
        for region, node_type, status, number in groups
        for _ in range(ceil(number / per_shape))
    ]


def lay_out(marks: Sequence[Mark], counts: dict[str, int], per_shape: int) -> Map:
    """Cells in rows, regions from west to east in them; within a cell the shapes spiral outwards."""
    names = sorted(counts, key=_longitude)
    columns = min(COLUMNS_MAX, max(1, len(names)))
    cell_w = WIDTH / columns
    regions, shapes = [], []
    for i, name in enumerate(names):
        x, y = (i % columns + 0.5) * cell_w, (i // columns + 0.5) * CELL_H
        regions.append(Region(name or "no region", x, y + CELL_H / 2 - LABEL_H / 2, counts[name]))
        here = [mark for mark in marks if mark.region == name]
        shapes += _cluster(here, x, y - LABEL_H / 2, min(cell_w, CELL_H - LABEL_H) / 2)
    return Map(shapes, regions, sum(counts.values()), per_shape, WIDTH, CELL_H * ceil(len(names) / columns))


def _longitude(region: str) -> float:
    point = region_point(region)
    return point[1] if point else 999.0


def _cluster(marks: Sequence[Mark], x: float, y: float, radius: float) -> list[Shape]:
    spread = min(SPREAD, (radius - 8) / sqrt(max(1, len(marks))))
    size = max(2.5, min(6.0, spread * 0.6))
    shapes = []
    for i, mark in enumerate(marks):
        distance, angle = spread * sqrt(i + 0.5), i * GOLDEN_ANGLE
        shapes.append(shape(mark, x + distance * cos(angle), y + distance * sin(angle), size))
    return shapes


# Corners of each kind's polygon around its centre, in units of the shape's size; a circle has none.
CORNERS: dict[str, list[tuple[float, float]]] = {
    NodeType.COMPUTE_NODE: [],
    NodeType.EDGE_DEVICE: [(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],
    NodeType.RELAY_NODE: [(0.0, -1.1), (1.1, 0.9), (-1.1, 0.9)],
    NodeType.MIXNODE: [(0.0, -1.25), (1.25, 0.0), (0.0, 1.25), (-1.25, 0.0)],
    NodeType.GATEWAY: [(-0.6, -1.1), (0.6, -1.1), (1.2, 0.0), (0.6, 1.1), (-0.6, 1.1), (-1.2, 0.0)],
}


def shape(mark: Mark, x: float, y: float, size: float) -> Shape:
    points = polygon(mark.node_type, x, y, size)
    return Shape(mark, round(x, 1), round(y, 1), round(size, 1), points)


def polygon(node_type: str, x: float, y: float, size: float) -> str:
    return " ".join(f"{x + size * dx:.1f},{y + size * dy:.1f}" for dx, dy in CORNERS[node_type])


LEGEND = [(node_type.value.replace("_", " "), polygon(node_type, 0, 0, 5.5)) for node_type in NodeType]

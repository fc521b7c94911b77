"""The fleet as a map: one cell a region, where it lies, one shape a node, its kind in the shape."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from math import ceil, cos, pi, sin, sqrt
from typing import TypeAlias

from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

from coordinator.geo import region_point
from coordinator.values import NodeType
from nodes.status import with_status
from services import fleet_groups
from services.fleet_groups import fleet_nodes
from services.map_grid import places

Group: TypeAlias = tuple[str, str, str, int]  # region, kind, status, number of nodes
NodeFact: TypeAlias = tuple[int, str, str, str, str]  # id, name, region, kind, status

REACH_MAX = 60.0  # how far a region's drawing goes from its middle, which is 0, 0
REACH_MIN = 22.0
SHAPES_MAX = 300  # above this, a shape stands for several nodes
SPREAD = 11.0
CORNER_REACH = 1.25  # of the pointiest kind
GOLDEN_ANGLE = pi * (3 - sqrt(5))  # leaves of a sunflower: even, however many there are

# Corners of each kind's polygon around its centre, in units of the shape's size; a circle has none.
CORNERS: dict[str, list[tuple[float, float]]] = {
    NodeType.COMPUTE_NODE: [],
    NodeType.EDGE_DEVICE: [(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],
    NodeType.RELAY_NODE: [(0.0, -1.1), (1.1, 0.9), (-1.1, 0.9)],
    NodeType.MIXNODE: [(0.0, -1.25), (1.25, 0.0), (0.0, 1.25), (-1.25, 0.0)],
    NodeType.GATEWAY: [(-0.6, -1.1), (0.6, -1.1), (1.2, 0.0), (0.6, 1.1), (-0.6, 1.1), (-1.2, 0.0)],
}


@dataclass(frozen=True, slots=True)
class Mark:
    """What one shape stands for. ``href`` is empty where that is more than one node."""

    region: str
    node_type: str
    status: str
    title: str
    href: str = ""

    @property
    def titled(self) -> str:
        return f"<title>{escape(self.title)}</title>"


@dataclass(frozen=True, slots=True)
class Shape:
    mark: Mark
    x: float
    y: float
    size: float
    points: str  # of a polygon; empty for a circle

    @property
    def svg(self) -> str:
        """Drawn here, since there are hundreds in a picture and a template takes ten times as long."""
        mark = self.mark
        if self.points:
            drawn = f'<polygon class="node {mark.status}" points="{self.points}">{mark.titled}</polygon>'
        else:
            place = f'cx="{self.x}" cy="{self.y}" r="{self.size}"'
            drawn = f'<circle class="node {mark.status}" {place}>{mark.titled}</circle>'
        return f'<a href="{mark.href}" aria-label="{escape(mark.title)}">{drawn}</a>' if mark.href else drawn

    @property
    def reach(self) -> float:
        return max(REACH_MIN, max(abs(self.x), abs(self.y)) + CORNER_REACH * self.size)


@dataclass(frozen=True, slots=True)
class Region:
    """``column`` and ``row`` are its cell where there is room for a map (see `services.map_grid`)."""

    name: str
    nodes: int
    shapes: list[Shape]
    column: int
    row: int

    @property
    def svg(self) -> SafeString:
        """Its shapes. All that is not ours in them are titles, which are escaped."""
        return mark_safe("\n".join(shape.svg for shape in self.shapes))


@dataclass(frozen=True, slots=True)
class Map:
    """``reach`` is how far the largest region goes from its middle; all are drawn to one scale."""

    regions: list[Region]
    nodes_per_shape: int
    reach: int

    @property
    def side(self) -> int:
        return 2 * self.reach

    @property
    def nodes(self) -> int:
        return sum(region.nodes for region in self.regions)

    @property
    def legend(self) -> list[tuple[str, str]]:
        return LEGEND


@dataclass(frozen=True, slots=True)
class Picture:
    """The fleet at one moment, as it is drawn and kept: how many nodes of each kind there are, and the nodes
    one by one while they are few enough to be drawn so."""

    groups: list[Group]
    nodes: list[NodeFact]


def take_picture(now: datetime, fleet: Sequence[fleet_groups.Group] | None = None) -> Picture:
    """``fleet``: its groups at the same moment, from who has looked already."""
    found = fleet_groups.groups(now) if fleet is None else fleet
    if sum(group.nodes for group in found) > SHAPES_MAX:
        return Picture([(group.region, group.node_type, group.status, group.nodes) for group in found], [])
    nodes = _one_by_one(now)
    counted = Counter((region, node_type, status) for _, _, region, node_type, status in nodes)
    return Picture([(*group, number) for group, number in sorted(counted.items())], nodes)


def topology(now: datetime, fleet: Sequence[fleet_groups.Group] | None = None) -> Map:
    return draw(take_picture(now, fleet))


def draw(picture: Picture) -> Map:
    counts: Counter[str] = Counter()
    for region, _, _, number in picture.groups:
        counts[region] += number
    if picture.nodes or not counts:
        return lay_out([_mark(*node) for node in picture.nodes], counts, 1)
    per_shape = ceil(counts.total() / SHAPES_MAX)
    return lay_out(_several(picture.groups, per_shape), counts, per_shape)


def lay_out(marks: Sequence[Mark], counts: Mapping[str, int], per_shape: int) -> Map:
    """Regions from west to east, each with its cell; within it the shapes spiral outwards from the middle."""
    by_region: defaultdict[str, list[Mark]] = defaultdict(list)
    for mark in marks:
        by_region[mark.region].append(mark)
    names = sorted(counts, key=lambda name: (_longitude(name), name))
    cells = places(names)
    regions = [Region(name, counts[name], _cluster(by_region[name]), *cells[name]) for name in names]
    reaches = [shape.reach for region in regions for shape in region.shapes]
    return Map(regions, per_shape, reach=ceil(max(reaches, default=REACH_MIN) + 1))


@lru_cache(maxsize=4096)
def polygon(node_type: str, x: float, y: float, size: float) -> str:
    """SVG points of a kind's shape; empty for the one that is a circle."""
    return " ".join(f"{x + size * dx:.1f},{y + size * dy:.1f}" for dx, dy in CORNERS[node_type])


LEGEND = [(node_type.value.replace("_", " "), polygon(node_type, 0, 0, 5.5)) for node_type in NodeType]


def _one_by_one(now: datetime) -> list[NodeFact]:
    nodes = with_status(fleet_nodes(), now).order_by("region", "node_type", "id")
    return list(nodes.values_list("id", "name", "region", "node_type", "status"))


def _mark(node_id: int, name: str, region: str, node_type: str, status: str) -> Mark:
    title = f"{name}: {node_type.replace('_', ' ')}, {status}"
    return Mark(region, node_type, status, title, f"/nodes/{node_id}")


def _several(groups: Sequence[Group], per_shape: int) -> list[Mark]:
    marks: list[Mark] = []
    for region, node_type, status, number in groups:
        mark = Mark(region, node_type, status, f"{number:,} × {node_type.replace('_', ' ')}, {status}")
        marks += [mark] * ceil(number / per_shape)
    return marks


def _longitude(region: str) -> float:
    point = region_point(region)
    return point[1] if point else 999.0


def _cluster(marks: Sequence[Mark]) -> list[Shape]:
    spread = min(SPREAD, (REACH_MAX - 8) / sqrt(max(1, len(marks))))
    size = round(max(2.5, min(6.0, spread * 0.6)), 1)
    shapes = []
    for i, mark in enumerate(marks):
        distance, angle = spread * sqrt(i + 0.5), i * GOLDEN_ANGLE
        x, y = round(distance * cos(angle), 1), round(distance * sin(angle), 1)
        shapes.append(Shape(mark, x, y, size, polygon(mark.node_type, x, y, size)))
    return shapes

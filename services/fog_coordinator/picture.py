"""A moment of the fleet as the page shows it: the map, the nodes by kind and status, the flow of work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from coordinator.values import NodeStatus, NodeType
from services.fog_coordinator.snapshots import View
from services.topology import Group, draw


@dataclass(frozen=True, slots=True)
class Table:
    """Nodes by kind and status; only what there is has a row or a column."""

    statuses: list[str]
    rows: list[tuple[str, list[int], int]]  # (kind, a number for each status, their sum)
    totals: list[int]


def shown(view: View) -> dict[str, Any]:
    return {"view": view, "map": draw(view.picture), "table": table_of(view.picture.groups)}


def table_of(groups: Sequence[Group]) -> Table:
    counts: Counter[tuple[str, str]] = Counter()
    for _, node_type, status, number in groups:
        counts[node_type, status] += number
    statuses = [each.value for each in NodeStatus if any(status == each for _, status in counts)]
    kinds = [each.value for each in NodeType if any(kind == each for kind, _ in counts)]
    rows = [(kind, [counts[kind, status] for status in statuses]) for kind in kinds]
    return Table(
        statuses,
        [(kind, numbers, sum(numbers)) for kind, numbers in rows],
        [sum(counts[kind, status] for kind in kinds) for status in statuses],
    )

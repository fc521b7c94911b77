"""The fleet in one look: nodes by region, type and status, with what they offer and what of that is free.

One query over all nodes, from which summary, map and API take what each shows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, QuerySet, Sum

from coordinator.values import Resources
from nodes.models import Node
from nodes.status import with_status

COLUMNS = ("cpu_millis", "memory_mb", "disk_mb", "gpu_count")
# Prefixed, since an annotation may not have the name of a column.
SUMS = {f"total_of_{column}": Sum(column) for column in COLUMNS} | {
    f"free_of_{column}": Sum(f"free_{column}") for column in COLUMNS
}


@dataclass(frozen=True, slots=True)
class Group:
    region: str
    node_type: str
    status: str
    nodes: int
    total: Resources
    free: Resources


def fleet_nodes() -> QuerySet[Node]:
    return Node.objects.filter(archived_at=None, approved_at__isnull=False)


def groups(now: datetime) -> list[Group]:
    """Ordered by region, type and status."""
    by = ("region", "node_type", "status")
    rows = with_status(fleet_nodes(), now).order_by(*by).values_list(*by).annotate(Count("id"), **SUMS)
    return [
        Group(region, node_type, status, nodes, _amount(*amounts[:4]), _amount(*amounts[4:]))
        for region, node_type, status, nodes, *amounts in rows
    ]


def _amount(cpu_millis: int, memory_mb: int, disk_mb: int, gpus: int) -> Resources:
    return Resources(cpu_millis=cpu_millis, memory_mb=memory_mb, disk_mb=disk_mb, gpus=gpus)


def counted(found: Sequence[Group], what: Callable[[Group], str]) -> Counter[str]:
    """How many nodes have each value of ``what``."""
    counts: Counter[str] = Counter()
    for group in found:
        counts[what(group)] += group.nodes
    return counts

"""The fleet at one moment, and how it got there."""

from __future__ import annotations

from collections import Counter

import numpy as np

from coordinator.fleet import Fleet
from coordinator.status import status_counts
from coordinator.values import NetworkTopology, Resources


def take_topology(fleet: Fleet, now: float, *, queued: int, running: int) -> NetworkTopology:
    table = fleet.table
    nodes = [table.stated(row) for row in table.row_of.values()]
    return NetworkTopology(
        taken_at=now,
        version=fleet.version,
        nodes_total=len(nodes),
        by_status=status_counts(table, now),
        by_type=Counter(node.node_type for node in nodes),
        by_region=Counter(node.region for node in nodes),
        total=_sum(fleet, "total"),
        free=_sum(fleet, "free"),
        queued=queued,
        running=running,
    )


def _sum(fleet: Fleet, side: str) -> Resources:
    columns = fleet.table.columns
    return Resources(
        cpu_millis=int(np.sum(getattr(columns, f"{side}_cpu_millis"), where=columns.present)),
        memory_mb=int(np.sum(getattr(columns, f"{side}_memory_mb"), where=columns.present)),
        disk_mb=int(np.sum(getattr(columns, f"{side}_disk_mb"), where=columns.present)),
        gpus=int(np.sum(getattr(columns, f"{side}_gpus"), where=columns.present)),
    )

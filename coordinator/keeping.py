"""Room for a large task: where small ones keep taking what becomes free, it would wait for ever.

While the first task in turn that nothing can take has waited for long, one node is kept free for it: no task
that comes after it in turn is placed there. Tasks before it are, so priority keeps its meaning.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from coordinator.columns import Mask, Rows
from coordinator.filters import ABSENT, FIRST_ROOM_CODE
from coordinator.fleet import Fleet
from coordinator.table import NodeTable
from coordinator.values import NodeId, Resources, Task


class Keeper:
    """Keeps at most one node of a fleet free, from `keep_for` until `lift`."""

    def __init__(self) -> None:
        self._node_id: NodeId | None = None
        self._last: tuple[object, NodeId] | None = None  # task and node: a node once chosen is stuck to

    def keep_for(self, fleet: Fleet, task: Task, now: float, patience_s: float) -> NodeId | None:
        """Nothing can take ``task``. If it has waited for ``patience_s``, keep a node that could, were it
        less busy; returns the node."""
        if self._node_id is not None or now - task.submitted_at < patience_s:
            return None
        before = self._last[1] if self._last is not None and self._last[0] == task.task_id else None
        node_id = _node_for(fleet, task, before)
        node = None if node_id is None else fleet.get(node_id)
        if node is None:
            return None
        fleet.upsert([replace(node, kept=True)])
        self._node_id, self._last = node.node_id, (task.task_id, node.node_id)
        return node.node_id

    def lift(self, fleet: Fleet) -> None:
        """Let every task be placed everywhere again."""
        if self._node_id is not None and (node := fleet.get(self._node_id)) is not None and node.kept:
            fleet.upsert([replace(node, kept=False)])
        self._node_id = None


def _node_for(fleet: Fleet, task: Task, before: NodeId | None) -> NodeId | None:
    """Of the nodes that lack only room and are large enough, ``before``, or the one with the least to do."""
    table = fleet.table
    codes = fleet.shape(fleet.strategies[task.strategy].asked(task).requirements).code_column
    rows = np.flatnonzero((codes >= FIRST_ROOM_CODE) & (codes != ABSENT))
    large: list[int] = rows[_large_enough(table, rows, task.needs)].tolist()
    if not large:
        return None
    known = table.row_of.get(before) if before is not None else None
    return table.ids[known if known in large else min(large, key=table.load_keys.__getitem__)]


def _large_enough(table: NodeTable, rows: Rows, needs: Resources) -> Mask:
    """Asked of all nodes again and again while tasks wait: by columns, or nobody else would get to work."""
    columns = table.columns
    mask: Mask = (
        (columns.total_cpu_millis[rows] >= needs.cpu_millis)
        & (columns.total_memory_mb[rows] >= needs.memory_mb)
        & (columns.total_disk_mb[rows] >= needs.disk_mb)
        & (columns.total_gpus[rows] >= needs.gpus)
    )
    return mask

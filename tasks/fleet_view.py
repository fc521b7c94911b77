"""The fleet as one process sees it, weighed as the parameters say.

A view of the rows. Nodes that somebody says have changed are read at once. Whatever else changed is found by
a cursor over ``changed_at``, with some seconds of overlap for what was committed late, and by a look at all.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from coordinator.fleet import Fleet
from coordinator.values import Resources
from fogpanel.rows import pieces, select
from nodes.models import Node
from nodes.routing_view import COLUMNS, as_fog_node
from tasks.weighing import weights

OVERLAP = timedelta(seconds=10)
RELOAD = timedelta(seconds=60)
READ_MOST = 500  # nodes read by one query
READ = (*COLUMNS, "changed_at", "archived_at", "approved_at")


class FleetView:
    def __init__(self, seed: int) -> None:
        self.fleet = Fleet(tie_seed=seed)
        self._changed_at: dict[int, datetime] = {}
        self._cursor: datetime | None = None
        self._looked_at_all: datetime | None = None

    def refresh(self, now: datetime) -> None:
        """Take in all that changed."""
        if self._looked_at_all is None or now - self._looked_at_all >= RELOAD:
            self._cursor, self._looked_at_all = None, now
        rows = (
            Node.objects.all()
            if self._cursor is None
            else Node.objects.filter(changed_at__gt=self._cursor - OVERLAP)
        )
        self._cursor = now
        self.fleet.weigh_by(weights())
        known = self._changed_at
        self.read(
            node_id
            for node_id, changed_at in rows.values_list("id", "changed_at")
            if known.get(node_id) != changed_at
        )

    def read(self, node_ids: Iterable[int]) -> None:
        """Take in these nodes as they are."""
        for some in pieces(sorted(node_ids), READ_MOST):
            changed = list(Node.objects.filter(id__in=some).order_by("id").only(*READ))
            self._changed_at.update((node.id, node.changed_at) for node in changed)
            self.fleet.remove(node.id for node in changed if not _takes_part(node))
            self.fleet.upsert(as_fog_node(node) for node in changed if _takes_part(node))

    def read_room(self, node_ids: Collection[int]) -> None:
        """Take in what is free of these nodes; other facts keep until the next look."""
        known = {node_id: node for node_id in node_ids if (node := self.fleet.get(node_id)) is not None}
        self.fleet.upsert(
            replace(known[node_id], free=Resources(cpu_millis=cpu, memory_mb=memory, disk_mb=disk, gpus=gpus))
            for node_id, cpu, memory, disk, gpus in select(_ROOM, ids=list(known))
        )


_ROOM = """
SELECT id, free_cpu_millis, free_memory_mb, free_disk_mb, free_gpu_count FROM nodes_node WHERE id IN {ids}
"""


def _takes_part(node: Node) -> bool:
    return node.archived_at is None and node.approved_at is not None

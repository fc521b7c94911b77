"""Drains: a node gets no more work and finishes what it has, until a deadline; then the rest moves.

A drain is two columns of its node: until when, and how much there was at its start. So it survives any
restart, and a sweep ends it. What the operator wanted stays (draining, maintenance) until told otherwise.
"""

from __future__ import annotations

from datetime import datetime

from django.db.models import Q

from fogpanel import audit, live
from fogpanel.wakes import wake
from nodes.gone import give_work_away
from nodes.locks import with_nodes
from nodes.models import Node

END_MOST = 100


def begin(node: Node, deadline: datetime, now: datetime) -> None:
    """Have ``node``, whose row the caller has locked, drained by ``deadline``, which may be now."""
    node.drain_deadline_at, node.drain_total = deadline, node.open_attempts
    Node.objects.filter(id=node.id).update(
        drain_deadline_at=deadline, drain_total=node.drain_total, changed_at=now
    )
    if _is_over(node, now):
        _end(node, now)


def end_due(now: datetime) -> list[int]:
    """End the drains of nodes that are free, or whose deadline has passed; returns their ids."""
    over = Q(open_attempts=0) | Q(drain_deadline_at__lte=now)
    ids = Node.objects.filter(over, drain_deadline_at__isnull=False).order_by("id")
    return [node_id for node_id in ids.values_list("id", flat=True)[:END_MOST] if _end_one(node_id, now)]


def _end_one(node_id: int, now: datetime) -> bool:
    def end() -> bool:
        node = Node.objects.get(id=node_id)
        if not _is_over(node, now):  # called off, or put off, since we looked
            return False
        _end(node, now)
        return True

    return with_nodes([node_id], end)


def _is_over(node: Node, now: datetime) -> bool:
    deadline = node.drain_deadline_at
    return deadline is not None and (node.open_attempts == 0 or deadline <= now)


def _end(node: Node, now: datetime) -> None:
    if node.open_attempts:
        give_work_away({node.id: "its node was drained"}, now, silent=False)
    Node.objects.filter(id=node.id).update(drain_deadline_at=None, changed_at=now)
    audit.record("node.drained", _told(node), subject=node)
    wake("node-changed", node.id)
    live.changed("nodes", "fleet", f"node:{node.id}")


def _told(node: Node) -> str:
    moved = node.open_attempts
    ended = max(0, node.drain_total - moved)
    if not node.drain_total and not moved:
        return f"{node.name} is drained: nothing ran there"
    return f"{node.name} is drained: {ended} of {node.drain_total} tasks ended there, {moved} moved"

"""Who locks what first, where several processes write at once (PostgreSQL).

Nodes come first, in the order of their keys; then attempts with their tasks, in the order of theirs. Rows
are locked as FOR NO KEY UPDATE, which lets others refer to them meanwhile: an order or an attempt that is
being stored must not wait for its node.
"""

from __future__ import annotations

from collections.abc import Iterable

from django.db import connection
from django.db.models import QuerySet

from nodes.models import Node


def locked_nodes() -> QuerySet[Node]:
    """Nodes, locked as they are read. More than one: ``.order_by("id")``."""
    return Node.objects.select_for_update(no_key=True)


def lock_nodes(node_ids: Iterable[int]) -> None:
    """Lock these nodes until the transaction ends. SQLite has one writer at a time and needs none of it."""
    if connection.features.has_select_for_update:
        rows = locked_nodes().filter(id__in=set(node_ids)).order_by("id")
        list(rows.values_list("id"))

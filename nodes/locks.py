"""Who locks what first, where several processes write at once (PostgreSQL).

Nodes come first, in the order of their keys; then tasks, in the order of theirs, and with a task all that
is open of it. Whoever has locked a task holds the nodes of its open attempts; which those are is certain
only then, so a transaction that turns out to need more nodes than it has begins anew with them. Rows are
locked as FOR NO KEY UPDATE, which lets others refer to them meanwhile: an order or an attempt that is being
stored must not wait for its node.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextvars import ContextVar
from typing import TypeVar

from django.db import connection, transaction
from django.db.models import QuerySet

from nodes.models import Node

Outcome = TypeVar("Outcome")

_held: ContextVar[frozenset[int] | None] = ContextVar("nodes_held", default=None)


class MoreNodes(Exception):
    """A transaction needs nodes that it has not locked. Caught by `with_nodes`."""

    def __init__(self, node_ids: frozenset[int]) -> None:
        super().__init__(f"nodes {sorted(node_ids)} have to be locked first")
        self.node_ids = node_ids


def with_nodes(node_ids: Iterable[int], work: Callable[[], Outcome]) -> Outcome:
    """Do ``work`` in a transaction that has locked these nodes; anew if it needs others as well (`need`)."""
    wanted = frozenset(node_ids)
    while True:
        try:
            with transaction.atomic():
                lock_nodes(wanted)
                before = _held.set(wanted)
                try:
                    return work()
                finally:
                    _held.reset(before)
        except MoreNodes as more:
            wanted |= more.node_ids


def need(node_ids: Iterable[int]) -> None:
    """Go on only with these nodes locked.

    Raises MoreNodes where they are not, for `with_nodes` to begin anew. Outside of it they are locked now,
    which may end in a deadlock where others write at the same time.
    """
    held = _held.get()
    if held is None:
        lock_nodes(node_ids)
    elif missing := frozenset(node_ids) - held:
        raise MoreNodes(missing)


def locked_nodes() -> QuerySet[Node]:
    """Nodes, locked as they are read. More than one: ``.order_by("id")``."""
    return Node.objects.select_for_update(no_key=True)


def lock_nodes(node_ids: Iterable[int]) -> None:
    """Lock these nodes until the transaction ends. SQLite has one writer at a time and needs none of it."""
    if connection.features.has_select_for_update:
        rows = locked_nodes().filter(id__in=set(node_ids)).order_by("id")
        list(rows.values_list("id"))

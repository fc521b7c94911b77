"""Events that agents cause, bounded for each node: whoever goes on and on does not bury the others.

Of one kind a node gets MOST entries in WINDOW. What is left out is counted, and the next entry, or one of
its own once the window is over, says how many those were.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import NamedTuple

from django.db import transaction
from django.db.models import Model

from fogpanel import audit
from fogpanel.models import Event
from fogpanel.templatetags.fog import duration
from nodes.locks import locked_nodes
from nodes.models import EventCount

MOST = 20
WINDOW = timedelta(minutes=10)
TOLD_MOST = 200


class Told(NamedTuple):
    node_id: int
    sentence: str
    subject: Model


@dataclass(frozen=True, slots=True)
class Count:
    """Entries since ``began_at`` that were stored and that were left out."""

    began_at: datetime
    stored: int = 0
    left_out: int = 0

    def is_over(self, now: datetime) -> bool:
        return now - self.began_at >= WINDOW

    def next(self, now: datetime) -> Count:
        """With one more, which is stored if ``stored`` grows, or a window begins."""
        if self.is_over(now):
            return Count(now, stored=1)
        if self.stored < MOST:
            return replace(self, stored=self.stored + 1)
        return replace(self, left_out=self.left_out + 1)


def record_each(kind: str, told: Sequence[Told], now: datetime, *, level: str = Event.Level.INFO) -> None:
    """As `audit.record_each`, in a transaction that has locked the nodes."""
    if not told:
        return
    counts = _counts(kind, {one.node_id for one in told})
    entries: list[tuple[str, Model]] = []
    for node_id, sentence, subject in told:
        before = counts.get(node_id, Count(now))
        counts[node_id] = after = before.next(now)
        if after.left_out <= before.left_out:
            entries.append((sentence + _left_out(before, after), subject))
    audit.record_each(kind, entries, level=level)
    _store(kind, counts)


def _left_out(before: Count, after: Count) -> str:
    """How the first entry of a window ends, where some of the one before were left out."""
    if after.began_at == before.began_at or not before.left_out:
        return ""
    return f" ({before.left_out:,} more like this were left out before)"


def _counts(kind: str, node_ids: Iterable[int]) -> dict[int, Count]:
    rows = EventCount.objects.filter(kind=kind, node_id__in=list(node_ids))
    return {node_id: Count(*rest) for node_id, *rest in rows.values_list("node_id", *COLUMNS)}


COLUMNS = ("began_at", "stored", "left_out")


def _store(kind: str, counts: dict[int, Count]) -> None:
    rows = [
        EventCount(
            kind=kind, node_id=node_id, began_at=one.began_at, stored=one.stored, left_out=one.left_out
        )
        for node_id, one in sorted(counts.items())
    ]
    EventCount.objects.bulk_create(
        rows, update_conflicts=True, unique_fields=["node", "kind"], update_fields=COLUMNS
    )


def tell_left_out(now: datetime) -> None:
    """Say how many were left out of windows that are over; forget those windows."""
    over = EventCount.objects.filter(began_at__lte=now - WINDOW)
    ids = list(over.order_by("node_id").values_list("node_id", flat=True)[:TOLD_MOST])
    if not ids:
        return
    with transaction.atomic():
        list(locked_nodes().filter(id__in=ids).order_by("id").only("id"))
        rows = list(over.filter(node_id__in=ids).select_related("node").order_by("id"))
        entries: list[tuple[str, Model]] = [(_told(row), row.node) for row in rows if row.left_out]
        audit.record_each("node.left-out", entries, level=Event.Level.WARNING)
        EventCount.objects.filter(id__in=[row.id for row in rows]).delete()


def _told(row: EventCount) -> str:
    number, within = row.left_out, duration(WINDOW.total_seconds())
    return f"{row.node.name} caused {number:,} more entries “{row.kind}” within {within}, which were left out"

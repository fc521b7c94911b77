"""Lists that show what changed in them: their topic's key names the rows, as "nodes:3.8.15".

A position in such a stream is a moment, in whole microseconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from django.db.models import Model

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
ROWS_MAX = 100

OVERLAP = timedelta(seconds=10)
"""How far back the first push reaches: it mends what changed between the page and its socket."""


def topic_of(name: str, rows: Iterable[Model]) -> str:
    """The topic of a list that shows these rows; empty for an empty list."""
    key = ".".join(str(row.pk) for row in rows)
    return f"{name}:{key}" if key else ""


def ids_in(key: str) -> list[int]:
    """The ids that a key names; what is not a number is left out."""
    return [int(part) for part in key.split(".")[:ROWS_MAX] if part.isdecimal() and len(part) < 19]


def position_of(at: datetime) -> int:
    return (at - EPOCH) // MICROSECOND


def since(position: int, now: datetime) -> datetime:
    """The moment after which changes are still to be shown; position 0 is a browser's first look."""
    return EPOCH + position * MICROSECOND if position else now - OVERLAP

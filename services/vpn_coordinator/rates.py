"""How fast a tunnel is, from the bytes that two statuses tell. Pure: no clock, no database."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

APART_LEAST = timedelta(seconds=1)
"""Statuses that follow each other sooner tell bursts, not a rate."""
APART_MOST = timedelta(minutes=5)
"""What lies longer back than this says nothing about now."""


@dataclass(frozen=True, slots=True)
class Count:
    """So many bytes had passed, both ways together, when that was told; and the rate known then."""

    at: datetime | None
    total: int
    bytes_per_s: float | None


def counted(before: Count, total: int, now: datetime) -> Count:
    """The next count. A total that shrank was begun anew: its agent was restarted."""
    if before.at is None or total < before.total:
        return Count(now, total, None)
    apart = now - before.at
    if apart < APART_LEAST:
        return before
    rate = (total - before.total) / apart.total_seconds() if apart <= APART_MOST else None
    return Count(now, total, rate)

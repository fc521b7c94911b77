"""How many snapshots are kept of how long ago. Pure.

All of the last hour, one each five minutes of the last day, one an hour of the last week, one each half
day of the last ninety days, none beyond: about a thousand, whatever happens.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

HOUR, DAY = timedelta(hours=1), timedelta(days=1)

# (up to this age, one in this time); the oldest of each such stretch stays.
RULE = (
    (HOUR, timedelta(0)),
    (DAY, timedelta(minutes=5)),
    (7 * DAY, HOUR),
    (90 * DAY, DAY / 2),
)


def surplus(snapshots: Iterable[tuple[int, datetime]], now: datetime) -> list[int]:
    """The ids of those to let go, of (id, time) from the oldest on. Asking twice changes nothing."""
    gone: list[int] = []
    kept: set[tuple[timedelta, int]] = set()
    for snapshot_id, at in snapshots:
        spacing = _spacing(now - at)
        if spacing == timedelta(0):
            continue
        stretch = (spacing, int(at.timestamp() // spacing.total_seconds())) if spacing else None
        if stretch is None or stretch in kept:
            gone.append(snapshot_id)
        else:
            kept.add(stretch)
    return gone


def _spacing(age: timedelta) -> timedelta | None:
    return next((spacing for up_to, spacing in RULE if age <= up_to), None)

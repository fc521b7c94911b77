"""What the privacy levels hide from whom, and what each costs, as measured (`settings.TASK_QUOTES`)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median

from django.db.models import F

from services.vpn_coordinator.admission import refusal
from services.vpn_coordinator.models import DEFAULT_HOPS, Carriage
from tasks.models import Reservation, Task
from tasks.privacy import Privacy
from tasks.quotes import Quote

OVER = timedelta(days=3)
LOOKED_AT = 500
"""Of each kind; the newest are enough."""
LARGE = 256 * 1024
"""Less content arrives within a few round trips, and tells of these rather than of bytes a second."""

HIDES = {
    Privacy.PUBLIC: (
        "Nothing from the panel: program, input and output are stored there in plain, and roles decide who "
        "sees them. The node sees all of it, too."
    ),
    Privacy.PRIVATE: (
        "Program, arguments, input and output, from the panel, its database and whoever watches connections: "
        "they are sealed between you and the node, which alone sees them in plain. The panel still knows "
        "whose task it is, its name and labels if you give it any, its node, driver and resources, all "
        "times, how it ended, and sizes to a power of two; who watches connections sees when how much "
        "goes to which node."
    ),
    Privacy.CONFIDENTIAL: (
        "What private hides, and that the order and its content come from the panel, from whoever watches "
        "the node’s connections: a gateway brings them over three hops, each of which knows only its "
        "neighbours. The gateway learns which node gets a sealed task and its size, not whose it is. The "
        "panel knows as much as of a private task, and the sealed result returns over the node’s own "
        "connection to it, where its time and size can be seen."
    ),
    Privacy.SECRET: (
        "Would hide even from who watches the whole network when something is sent at all, by delays and "
        "cover traffic. There is no mixnet yet, so nothing can be sent."
    ),
}
TRANSFERS = {
    Privacy.PUBLIC: 1,
    Privacy.PRIVATE: 1,
    Privacy.CONFIDENTIAL: 1 + DEFAULT_HOPS,
    Privacy.SECRET: 0,
}


@dataclass(frozen=True, slots=True)
class Begun:
    """A task of a level that was begun: how long after it was handed in, and after its order was given."""

    level: str
    after_s: float
    order_s: float | None
    size: int


def quotes(now: datetime) -> list[Quote]:
    """One for each level, the least private first. A task in the queue for long counts as it is."""
    begun = [*_public(now), *_sealed(now)]
    speeds = {Privacy.PRIVATE: _private_speed(begun), Privacy.CONFIDENTIAL: _carried_speed(now)}
    return [_quote(level, begun, speeds.get(level), now) for level in Privacy]


def _quote(level: Privacy, begun: Iterable[Begun], bytes_per_s: float | None, now: datetime) -> Quote:
    waits = [one.after_s for one in begun if one.level == level]
    return Quote(
        level=level,
        refusal=refusal(level, now),
        hides=HIDES[level],
        start_s=median(waits) if waits else None,
        samples=len(waits),
        transfers=TRANSFERS[level],
        bytes_per_s=bytes_per_s,
    )


def _public(now: datetime) -> list[Begun]:
    """Found by when they ended: what was begun lately and has not ended, no index finds among all tasks."""
    ended = Task.objects.filter(finished_at__gte=now - OVER, started_at__isnull=False)
    columns = ("privacy", "created_at", "started_at")
    newest = ended.order_by("-finished_at").values_list(*columns)[:LOOKED_AT]
    return [
        Begun(level, _seconds(created_at, started_at), None, 0)
        for level, created_at, started_at in newest
        if level == Privacy.PUBLIC
    ]


def _sealed(now: datetime) -> list[Begun]:
    """Those of both sealed levels among the newest reservations."""
    columns = ("created_at", "assigned_at", "started_at", "payload__size")
    used = Reservation.objects.filter(used_at__isnull=False, id=F("task__reservation")).order_by("-id")
    newest = used.values_list("privacy", *(f"task__{name}" for name in columns))[:LOOKED_AT]
    return [
        Begun(level, _seconds(created_at, started_at), _seconds(assigned_at, started_at), size)
        for level, created_at, assigned_at, started_at, size in newest
        if started_at is not None and started_at >= now - OVER
    ]


def _private_speed(begun: Iterable[Begun]) -> float | None:
    """From the order to the start, which is more than the way of the content: at least so fast is that."""
    large = [one for one in begun if one.level == Privacy.PRIVATE and one.size >= LARGE]
    return _middling([(one.size, one.order_s) for one in large if one.order_s])


def _carried_speed(now: datetime) -> float | None:
    """Through circuits, as gateways measured it."""
    carried = Carriage.objects.filter(created_at__gte=now - OVER).order_by("-created_at")
    newest = carried.values_list("ok", "size", "took_ms")[:LOOKED_AT]
    return _middling(
        [(size, took_ms / 1000) for ok, size, took_ms in newest if ok and size >= LARGE and took_ms]
    )


def _middling(measured: Sequence[tuple[int, float]]) -> float | None:
    """Bytes a second, of (bytes, seconds)."""
    return median(size / took_s for size, took_s in measured) if measured else None


def _seconds(earlier: datetime, later: datetime) -> float:
    return max(0.0, (later - earlier).total_seconds())

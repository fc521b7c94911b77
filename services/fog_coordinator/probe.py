"""The coordinator's probe: canaries through every strategy, and how late its sweeps are.

Each call does one step and returns at once: send the canaries, or look whether they are back. What it
needs to remember is in the canaries' own rows, so any worker can take the next step.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from fogpanel.jobs import registry
from fogpanel.models import JobState
from nodes.models import Node
from services.canaries import OWNERS
from services.fog_coordinator import canary
from services.fog_coordinator.rules import Canary, Measured, Sweep, judge
from services.record import Probed
from tasks.models import Decision

RATE_OVER_S = 60.0
PROBING = "services.jobs.probe_services"
"""The job that we are called by: when it was away, all were."""


def probe(now: datetime, last_result_at: datetime | None) -> Probed | None:
    nodes = Node.objects.filter(archived_at=None, approved_at__isnull=False).count()
    if not nodes:
        return judge(Measured(nodes=0, decisions_per_s=0.0, sweeps=sweeps(now), canaries=[]))
    canaries = canary.latest_round()
    if not canaries or (last_result_at and canaries[0].sent_at <= last_result_at):
        canary.send(now)
        return None
    if not complete(canaries, now):
        return None
    return judge(
        Measured(nodes=nodes, decisions_per_s=decisions_per_s(now), sweeps=sweeps(now), canaries=canaries)
    )


def complete(canaries: list[Canary], now: datetime) -> bool:
    late = now > canaries[0].sent_at + timedelta(seconds=canary.DEADLINE_S)
    return late or all(one.over for one in canaries)


def sweeps(now: datetime) -> list[Sweep]:
    """Every periodic job of this panel, the latest first. None is late while the panel itself was away."""
    rows = list(JobState.objects.values_list("name", "due_at", "error", "since"))
    back_at = next((since for name, *_, since in rows if name == PROBING and since), None)
    found = [
        Sweep(name, registry[name].every_s, _lag_s(due_at, back_at, now), error)
        for name, due_at, error, _ in rows
        if name in registry
    ]
    return sorted(found, key=lambda sweep: -sweep.lag_s)


def _lag_s(due_at: datetime, back_at: datetime | None, now: datetime) -> float:
    return max(0.0, (now - max(due_at, back_at or due_at)).total_seconds())


def decisions_per_s(now: datetime) -> float:
    """Decisions of the last minute, without those about canaries, per second.

    Decisions are numbered in the order they are made, so the first one of the minute is found by
    bisection of the primary key; there is no index on their time, and none is needed.
    """
    since = now - timedelta(seconds=RATE_OVER_S)
    newest = Decision.objects.order_by("-id").values_list("id", flat=True).first()
    if newest is None:
        return 0.0
    count = newest - _last_before(since, newest)
    about_canaries = Decision.objects.filter(
        task__owner__username__in=OWNERS, task__canary=True, decided_at__gte=since
    ).count()
    return max(0, count - about_canaries) / RATE_OVER_S


def _last_before(moment: datetime, newest: int) -> int:
    """The highest id at or below which every decision was made before ``moment``."""
    low, high = 0, newest
    while low < high:
        middle = (low + high + 1) // 2
        found = (
            Decision.objects.filter(id__lte=middle)
            .order_by("-id")
            .values_list("decided_at", flat=True)
            .first()
        )
        if found is None or found < moment:
            low = middle
        else:
            high = middle - 1
    return low

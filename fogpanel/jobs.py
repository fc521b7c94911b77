"""Periodic jobs: sweeps over rows that are safe to run twice, to lose, and to run late.

Single flight is a row: whoever moves ``JobState.due_at`` on has the run, so two beats, or a beat and a
late message, do no harm.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from celery import shared_task
from django.db.models import Case, F, Q, Value, When
from django.utils import timezone

from fogpanel.models import JobState
from fogpanel.parameters import store
from fogpanel.parameters.parameter import Parameter

log = structlog.get_logger(__name__)

GAP_INTERVALS = 3
"""A job that did not start for this many intervals was away, and says so to its next run."""


@dataclass(frozen=True)
class Run:
    """One run of a job. ``since``: when the present unbroken series of runs began."""

    now: datetime
    since: datetime
    previous: datetime | None


@dataclass(frozen=True)
class Job:
    name: str
    interval: float | Parameter
    queue: str

    @property
    def every_s(self) -> float:
        return store.current(self.interval)


registry: dict[str, Job] = {}


def job(*, every_s: float | Parameter, queue: str = "clock") -> Callable[[Callable[[Run], None]], Any]:
    """Make ``function(run)`` a periodic job, run at most once every ``every_s`` seconds by anyone.

    An interval that is a parameter may change while the panel runs.
    """

    def register(function: Callable[[Run], None]) -> Any:
        name = f"{function.__module__}.{function.__name__}"
        registry[name] = Job(name, every_s, queue)

        # ``run_now`` is the sweep itself, whether due or not, for tests and commands. Given as an option,
        # since setting it afterwards would finish Celery's app while Django is still being set up.
        @shared_task(name=name, run_now=staticmethod(function))  # type: ignore[call-overload, untyped-decorator]
        def attempt() -> None:
            run_if_due(name, store.current(every_s), function, timezone.now())

        return attempt

    return register


def run_if_due(name: str, every_s: float, function: Callable[[Run], None], now: datetime) -> bool:
    """Run ``function`` if the job is due and nobody else took the run; whether it ran."""
    run = claim(name, every_s, now)
    if run is None:
        return False
    error = ""
    try:
        function(run)
    except Exception as caught:
        error = f"{type(caught).__name__}: {caught}"
        log.exception("A job failed; it runs again when it is next due", job=name)
    JobState.objects.filter(name=name).update(finished_at=timezone.now(), error=error)
    return True


def claim(name: str, every_s: float, now: datetime) -> Run | None:
    """Take the run that is due, if one is: one row updated means that it is ours."""
    JobState.objects.get_or_create(name=name, defaults={"due_at": now})
    previous = JobState.objects.values_list("started_at", flat=True).get(name=name)
    # A little early is in time: beat's ticks and ours are not the same clock.
    soon = now + timedelta(seconds=every_s / 10)
    # Due further ahead than an interval: it was longer when that was written.
    is_due = Q(due_at__lte=soon) | Q(due_at__gt=soon + timedelta(seconds=every_s))
    due = JobState.objects.filter(is_due, name=name)
    broken = now - timedelta(seconds=GAP_INTERVALS * every_s + 1)
    mine = due.update(
        due_at=now + timedelta(seconds=every_s),
        started_at=now,
        since=Case(When(started_at__gt=broken, then=F("since")), default=Value(now)),
    )
    if not mine:
        return None
    state = JobState.objects.get(name=name)
    return Run(now=now, since=state.since or now, previous=previous)

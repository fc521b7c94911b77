"""Sweeps over tasks."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import transaction

from fogpanel import live
from fogpanel.jobs import Run, job
from nodes import outbox
from tasks.closing import LOST, Ending, close, open_attempts
from tasks.models import Attempt, Task
from tasks.orders import cancel_orders
from tasks.states import TaskState, sources

SWEEP_MOST = 500
REPORT_GRACE = timedelta(minutes=5)
"""How long after its time limit an attempt may stay without a report from its connected node."""


@job(every_s=5)
def expire_queued(run: Run) -> None:
    """Tasks that were to be placed by a certain time and were not have expired."""
    late = Task.objects.filter(state=TaskState.QUEUED, expires_at__lt=run.now)
    ids = list(late.values_list("id", flat=True)[:SWEEP_MOST])
    if ids:
        with transaction.atomic():
            Task.objects.filter(id__in=ids, state__in=sources(TaskState.EXPIRED)).update(
                state=TaskState.EXPIRED,
                finished_at=run.now,
                reason="No node could take it in time.",
                changed_at=run.now,
            )
            live.changed("tasks", "fleet", *(f"task:{task_id}" for task_id in ids))


@job(every_s=60)
def give_up_on_overdue(run: Run) -> None:
    """Attempts whose node lives but never reported their end are lost, whatever went wrong there."""
    give_up(run.now)


def give_up(now: datetime) -> list[int]:
    """The net under everything else: no attempt stays open for ever. Returns the attempts' ids."""
    old = Attempt.objects.filter(ended_at=None, created_at__lt=now - REPORT_GRACE, node__connected=True)
    overdue = [
        attempt.id
        for attempt in old.select_related("task")[:SWEEP_MOST]
        if (attempt.started_at or attempt.created_at)
        + timedelta(seconds=attempt.task.timeout_s)
        + REPORT_GRACE
        < now
    ]
    with transaction.atomic():
        attempts = open_attempts(id__in=overdue)
        sentence = "its node did not report its end in time"
        close(attempts, [Ending(attempt_id=a.id, outcome=LOST, sentence=sentence) for a in attempts], now)
        outbox.put(cancel_orders(((a.node_id, a.id) for a in attempts), "No report came in time."), now)
    return [attempt.id for attempt in attempts]

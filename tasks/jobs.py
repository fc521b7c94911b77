"""Sweeps over tasks."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Exists, OuterRef, Q

from fogpanel import live
from fogpanel.jobs import Run, job
from fogpanel.parameters.catalogue import SWEEP_S
from nodes.locks import with_nodes
from tasks import batches, doubt, resealing, retention
from tasks.closing import lock_free_tasks, nodes_of, open_attempts, stop
from tasks.models import Attempt, Task
from tasks.outcomes import LOST
from tasks.states import TaskState

SWEEP_MOST = 500
REPORT_GRACE = timedelta(minutes=5)
"""How long after its time limit an attempt may stay without a report from its connected node."""


@job(every_s=5)
def expire_queued(run: Run) -> None:
    """Tasks that were to be placed by a certain time and were not have expired."""
    # One that has an attempt in doubt was placed in time.
    in_doubt = Exists(Attempt.objects.filter(task_id=OuterRef("id"), ended_at=None))
    late = Task.objects.filter(~in_doubt, state=TaskState.QUEUED, expires_at__lt=run.now)
    ids = list(late.values_list("id", flat=True)[:SWEEP_MOST])
    if ids:
        with transaction.atomic():
            # Looked at once more now that they are locked: one was perhaps sealed for others meanwhile.
            ids = list(late.filter(id__in=lock_free_tasks(id__in=ids)).values_list("id", flat=True))
            unsealed = Q(id__in=ids, reseal_wanted_at__isnull=False)
            for tasks, reason in (
                (Task.objects.filter(unsealed), resealing.EXPIRED),
                (Task.objects.filter(~unsealed, id__in=ids), "No node could take it in time."),
            ):
                tasks.update(state=TaskState.EXPIRED, finished_at=run.now, reason=reason, changed_at=run.now)
            live.changed("tasks", "fleet", *(f"task:{task_id}" for task_id in ids))


@job(every_s=5)
def ask_for_resealing(run: Run) -> None:
    """Sealed tasks whose nodes are gone are to be sealed for others."""
    resealing.look_after(run.now)


@job(every_s=SWEEP_S)
def give_up_doubted(run: Run) -> None:
    """What has been in doubt for too long is lost."""
    doubt.give_up(run.now)


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

    def lose() -> list[int]:
        attempts = open_attempts(id__in=overdue)
        stop(attempts, LOST, "its node did not report its end in time", now)
        return [attempt.id for attempt in attempts]

    return with_nodes(nodes_of(id__in=overdue), lose)


@job(every_s=600, queue="work")
def forget_old_tasks(run: Run) -> None:
    """See `tasks.retention`, also for the three below."""
    retention.forget_tasks(run.now)


@job(every_s=600, queue="work")
def forget_old_output(run: Run) -> None:
    retention.forget_output(run.now, run.previous)


@job(every_s=600, queue="work")
def forget_old_explanations(run: Run) -> None:
    retention.forget_explanations(run.now)


@job(every_s=600, queue="work")
def forget_unused_reservations(run: Run) -> None:
    retention.forget_reservations(run.now)


@job(every_s=10)
def unpack_batches(run: Run) -> None:
    """Go on with batches whose storing was interrupted."""
    batches.unpack_interrupted(run.now)

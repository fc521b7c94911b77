"""Sweeps over tasks."""

from __future__ import annotations

from django.db import transaction

from fogpanel import live
from fogpanel.jobs import Run, job
from tasks.models import Task
from tasks.states import TaskState

SWEEP_MOST = 500


@job(every_s=5)
def expire_queued(run: Run) -> None:
    """Tasks that were to be placed by a certain time and were not have expired."""
    late = Task.objects.filter(state=TaskState.QUEUED, expires_at__lt=run.now)
    ids = list(late.values_list("id", flat=True)[:SWEEP_MOST])
    if ids:
        with transaction.atomic():
            Task.objects.filter(id__in=ids, state=TaskState.QUEUED).update(
                state=TaskState.EXPIRED,
                finished_at=run.now,
                reason="No node could take it in time.",
                changed_at=run.now,
            )
            live.changed("tasks", "fleet", *(f"task:{task_id}" for task_id in ids))

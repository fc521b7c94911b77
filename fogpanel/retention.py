"""Rows are not kept for ever. Each kind has its time, and goes in small batches, each of its own.

What one run leaves, the next takes; running twice at once does no harm.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TypeVar

from django.db.models import Model, QuerySet

from fogpanel.jobs import Run, job
from fogpanel.models import Event
from fogpanel.parameters.catalogue import KEEP_EVENTS_DAYS
from fogpanel.parameters.store import current

BATCH = 300  # rows a transaction
ROWS_MOST = 100_000  # a run

M = TypeVar("M", bound=Model)


def delete(old: QuerySet[M], most: int = ROWS_MOST) -> int:
    """Delete the first ``most`` of these rows, with what hangs on them; how many of them went."""
    keys = list(old.values_list("pk", flat=True)[:most])
    for start in range(0, len(keys), BATCH):
        old.model._default_manager.filter(pk__in=keys[start : start + BATCH]).delete()
    return len(keys)


@job(every_s=600, queue="work")
def forget_old_events(run: Run) -> None:
    forget_events(run.now)


def forget_events(now: datetime) -> int:
    kept = timedelta(days=current(KEEP_EVENTS_DAYS))
    return delete(Event.objects.filter(at__lt=now - kept).order_by("at"))

"""How long finished work is remembered: details go first, then the tasks, and with the last task its blobs.

Thinned with age: the node by node part of decisions goes first, then what succeeded tasks printed; what
failed ones printed, all attempts and decisions stay as long as their task. Canaries are not ours: their
probes forget them soon.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Exists, ManyToOneRel, OuterRef, QuerySet

from fogpanel.models import Event
from fogpanel.parameters.catalogue import KEEP_EXPLANATIONS_DAYS, KEEP_OUTPUT_DAYS, KEEP_TASKS_DAYS
from fogpanel.parameters.parameter import Parameter
from fogpanel.parameters.store import changed_since, current
from fogpanel.retention import BATCH, delete
from tasks.batches import blobs_of_packed
from tasks.models import Blob, BlobChunk, Decision, Explanation, LogChunk, Reservation, ResultChunk, Task
from tasks.states import FINAL, TaskState

ROUTINE = ("task.submitted", "task.moved")
"""Events that go with their task. What a person did to one is kept as long as other events."""

BATCHES_MOST = 200  # a run
EXPLANATIONS_BATCH = 20
LATE_USE = timedelta(hours=1)
"""So long it can still be said of a reservation that it has expired."""


def forget_tasks(now: datetime) -> int:
    """Delete tasks that ended long ago, and the blobs that nothing refers to any more; how many tasks."""
    ended = Task.objects.filter(state__in=FINAL, canary=False, finished_at__lt=now - _days(KEEP_TASKS_DAYS))
    gone = 0
    for _ in range(BATCHES_MOST):
        tasks = list(ended.order_by("finished_at").values_list("id", "payload_id", "stdin_id")[:BATCH])
        if not tasks:
            break
        delete_tasks(tasks)
        gone += len(tasks)
    return gone


def delete_tasks(tasks: Collection[tuple[int, str | None, str | None]]) -> None:
    """Delete these (task, payload, standard input), and the blobs that nothing refers to any more."""
    with transaction.atomic():
        ids = [task_id for task_id, _, _ in tasks]
        Event.objects.filter(subject_kind="task", subject_id__in=ids, kind__in=ROUTINE).delete()
        Task.objects.filter(id__in=ids).delete()
        _drop_unused({sha256 for _, *blobs in tasks for sha256 in blobs if sha256})


def _drop_unused(hashes: Collection[str]) -> None:
    """Delete those of these blobs that nothing refers to. Locked first: a submission may be about to."""
    rows = Blob.objects.select_for_update().filter(sha256__in=hashes).order_by("sha256")
    locked = set(rows.values_list("sha256", flat=True))
    # Read before the rows that refer to blobs: what is unpacked in between is seen there.
    locked -= blobs_of_packed()
    unreferenced(Blob.objects.filter(sha256__in=locked)).delete()


def unreferenced(blobs: QuerySet[Blob]) -> QuerySet[Blob]:
    """Without the blobs that any row points to, of whatever model, their own chunks aside."""
    for relation in Blob._meta.get_fields(include_hidden=True):
        if isinstance(relation, ManyToOneRel) and relation.related_model is not BlobChunk:
            rows = relation.field.model._default_manager.all()
            blobs = blobs.exclude(Exists(rows.filter(**{relation.field.attname: OuterRef("sha256")})))
    return blobs


def forget_output(now: datetime, previous: datetime | None) -> int:
    """Delete what succeeded tasks printed, of those that came of age since the ``previous`` run.

    What a run that was cut short has missed goes with its task.
    """
    kept = _days(KEEP_OUTPUT_DAYS)
    aged = Task.objects.filter(state=TaskState.SUCCEEDED, finished_at__lt=now - kept)
    if previous is not None and not changed_since(KEEP_OUTPUT_DAYS, previous):
        aged = aged.filter(finished_at__gte=previous - kept)
    return sum(
        delete(chunks.objects.filter(attempt__task_id__in=ids))
        for ids in _in_batches(aged)
        for chunks in (LogChunk, ResultChunk)
    )


def forget_reservations(now: datetime) -> int:
    """Delete those that nobody used in time."""
    return delete(Reservation.objects.filter(used_at=None, expires_at__lt=now - LATE_USE))


def _in_batches(tasks: QuerySet[Task]) -> Iterator[list[int]]:
    """Their ids, in the order in which they ended."""
    rows = tasks.order_by("finished_at", "id").values_list("finished_at", "id")
    batch = list(rows[:BATCH])
    while batch:
        yield [task_id for _, task_id in batch]
        ended_at, last = batch[-1]
        same_moment = list(rows.filter(finished_at=ended_at, id__gt=last)[:BATCH])
        batch = same_moment or list(rows.filter(finished_at__gt=ended_at)[:BATCH])


def forget_explanations(now: datetime) -> int:
    """Delete the node by node part of old decisions. A decision keeps its counts and its choice."""
    before = now - _days(KEEP_EXPLANATIONS_DAYS)
    gone = 0
    for _ in range(BATCHES_MOST):
        oldest = Explanation.objects.order_by("id").values_list("id", "created_at")[:EXPLANATIONS_BATCH]
        ids = [explanation_id for explanation_id, created_at in oldest if created_at < before]
        if not ids:
            break
        while decisions := list(
            Decision.objects.filter(explanation_id__in=ids).values_list("id", flat=True)[:BATCH]
        ):
            Decision.objects.filter(id__in=decisions).update(explanation=None)
        gone += len(ids)
        Explanation.objects.filter(id__in=ids).delete()
    return gone


def _days(parameter: Parameter) -> timedelta:
    return timedelta(days=current(parameter))

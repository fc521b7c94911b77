"""Sealed tasks whose nodes are all gone: their submitters are asked to seal them for others.

A task that waits for room on its nodes waits as any other. When none of them is there any more, or none that
its order can be carried to, it needs resealing; it goes on when that comes, or a node comes back, and else
expires.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Q, QuerySet

from coordinator.values import Availability
from fogpanel import audit, live
from fogpanel.parameters.catalogue import RESEAL_S
from fogpanel.parameters.store import current
from fogpanel.rows import pieces
from nodes.models import Node
from tasks.closing import lock_free_tasks
from tasks.fields import shown
from tasks.models import Task
from tasks.reach import within_reach
from tasks.states import TaskState

AWAY = timedelta(seconds=10)
"""So long a node may be without a connection before its tasks are to be sealed for others."""
ASKED_MOST = 500
"""So many tasks are written in one transaction."""
EXPIRED = "None of the nodes that it was sealed for could take it, and nobody sealed it for others in time."


def look_after(now: datetime) -> None:
    """Ask for resealing where it is due, and no more where it is not."""
    waiting = _waiting()
    if not waiting:
        return
    nodes = within_reach(number for _, number, _ in waiting)
    there = _there(frozenset().union(*set(nodes.values())), now)
    lacks = {each: there.isdisjoint(each) for each in set(nodes.values())}
    lacking = {task_id: number for task_id, number, _ in waiting if lacks[nodes[number]]}
    asked = {task_id for task_id, _, wanted_at in waiting if wanted_at is not None}
    for some in pieces(sorted(lacking.keys() - asked), ASKED_MOST):
        _ask({task_id: lacking[task_id] for task_id in some}, now)
    for some in pieces(sorted(asked - lacking.keys()), ASKED_MOST):
        _ask_no_more(some)


def forget_wish(task_ids: Collection[int]) -> None:
    """These need no resealing (any more), and do not expire for it. To be called with them locked."""
    Task.objects.filter(id__in=task_ids, reseal_wanted_at__isnull=False).update(
        reseal_wanted_at=None, expires_at=None
    )


def _waiting() -> list[tuple[int, int | None, datetime | None]]:
    """Those that are sealed: (id, reservation, since when it needs resealing). Probes look after theirs."""
    queued = Task.objects.filter(state=TaskState.QUEUED, reservation__isnull=False)
    theirs = queued.filter(canary=False, cancel_requested_at=None)
    return list(theirs.values_list("id", "reservation", "reseal_wanted_at"))


def _there(node_ids: Iterable[int], now: datetime) -> set[int]:
    """Those of these nodes that may still take work, or were there a moment ago."""
    fleet: QuerySet[Node] = Node.objects.filter(
        id__in=set(node_ids), archived_at=None, availability=Availability.SCHEDULABLE
    )
    present = fleet.filter(Q(connected=True) | Q(last_contact_at__gt=now - AWAY))
    return set(present.values_list("id", flat=True))


def _ask(sealed_by: Mapping[int, int | None], now: datetime) -> None:
    """Of tasks by the reservation whose nodes cannot take them. One that has another by now, or waits no
    more, needs nothing."""
    if not sealed_by:
        return
    with transaction.atomic():
        locked = Task.objects.filter(id__in=lock_free_tasks(id__in=list(sealed_by), state=TaskState.QUEUED))
        lacking = [task for task in locked if task.reservation == sealed_by[task.id]]
        free = [task.id for task in lacking]
        Task.objects.filter(id__in=free).update(
            reseal_wanted_at=now, expires_at=now + timedelta(seconds=current(RESEAL_S)), changed_at=now
        )
        for task in lacking:
            audit.record(
                "task.needs_resealing",
                f"{shown(task.name)} needs resealing: none of the nodes that it is sealed for can take it",
                subject=task,
                level="warning",
            )
        live.changed("tasks", *(f"task:{task_id}" for task_id in free))


def _ask_no_more(task_ids: Collection[int]) -> None:
    if not task_ids:
        return
    with transaction.atomic():
        free = lock_free_tasks(id__in=task_ids)
        forget_wish(free)
        live.changed("tasks", *(f"task:{task_id}" for task_id in free))

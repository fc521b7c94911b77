"""What each strategy would have done with the last tasks: asked on a page, answered by a worker.

The simulation is `coordinator.replay`; here is what it is given and how its answer is kept. ``result`` is
{"nodes", "tasks", "since", "until", "rows": [{"name", and the fields of Outcome}]}; the first row is what
really happened.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

import structlog
from django.contrib.auth.models import User
from django.db.models import Q, QuerySet
from django.utils import timezone

from coordinator.replay import Arrival, as_it_was, replay
from coordinator.values import RoutingStrategy
from fogpanel import live
from fogpanel.access import AnyUser
from nodes.models import Node
from nodes.routing_view import as_fog_node
from services.fog_coordinator.models import WhatIf
from tasks.models import Attempt, Task
from tasks.reach import sealed_for
from tasks.routing_view import as_routing_task
from tasks.weighing import weights

SHOWN = 5
KEPT = 50
WAITING_MOST = 5
DEAD_AFTER = timedelta(seconds=60)
"""A worker tells how far it is more often than that; one that does not was ended."""

log = structlog.get_logger(__name__)


def ask(user: AnyUser, tasks: int, now: datetime) -> bool:
    """Store the question; not when too many wait already. Old answers go."""
    if WhatIf.objects.filter(finished_at=None).count() >= WAITING_MOST:
        return False
    asker = user if isinstance(user, User) else None
    WhatIf.objects.create(asked_by=asker, asked_at=now, tasks=tasks)
    old = WhatIf.objects.exclude(finished_at=None).values_list("id", flat=True)[KEPT : 2 * KEPT]
    WhatIf.objects.filter(id__in=list(old)).delete()
    live.changed("whatif")
    return True


def newest() -> QuerySet[WhatIf]:
    return WhatIf.objects.select_related("asked_by")[:SHOWN]


def answer_next(now: datetime) -> bool:
    """Answer the oldest question that nobody is at; whether there was one."""
    free = Q(seen_at=None) | Q(seen_at__lt=now - DEAD_AFTER)
    run = WhatIf.objects.filter(free, finished_at=None).order_by("id").first()
    if run is None or not WhatIf.objects.filter(free, id=run.id, finished_at=None).update(seen_at=now):
        return False
    try:
        changes: dict[str, Any] = {"result": compare(run.tasks, lambda percent: _tell(run.id, percent))}
    except Exception as error:
        log.exception("A what-if failed", id=run.id)
        changes = {"error": f"{type(error).__name__}: {error}"[:300]}
    WhatIf.objects.filter(id=run.id).update(finished_at=timezone.now(), percent=100, **changes)
    live.changed("whatif")
    return True


def _tell(run_id: int, percent: int) -> None:
    WhatIf.objects.filter(id=run_id).update(percent=percent, seen_at=timezone.now())
    live.changed("whatif")


def compare(most: int, tell: Callable[[int], None]) -> dict[str, Any]:
    """The last ``most`` tasks that ran, as they went and as each strategy would have placed them."""
    nodes = [as_fog_node(node) for node in Node.objects.filter(archived_at=None).exclude(approved_at=None)]
    arrivals = arrivals_of(last_ran(most))
    rows = [{"name": "as it was", **asdict(as_it_was(nodes, arrivals))}]
    for number, strategy in enumerate(RoutingStrategy):

        def progress(placed: int, number: int = number) -> None:
            share = (number + placed / max(1, len(arrivals))) / len(RoutingStrategy)
            tell(min(99, round(100 * share)))

        outcome = replay(nodes, arrivals, strategy, random.Random(0), weights=weights(), progress=progress)
        rows.append({"name": str(strategy), **asdict(outcome)})
    came = [arrival.at for arrival in arrivals]
    return {
        "nodes": len(nodes),
        "tasks": len(arrivals),
        "since": min(came, default=None),
        "until": max(came, default=None),
        "rows": rows,
    }


def last_ran(most: int) -> list[Task]:
    """Tasks with a result that counts, those that ended last; canaries are left out."""
    ended = Task.objects.filter(canary=False, finished_at__isnull=False, accepted_attempt__isnull=False)
    return list(ended.select_related("accepted_attempt").order_by("-finished_at")[:most])


def arrivals_of(tasks: Iterable[Task]) -> list[Arrival]:
    ran = [(task, task.accepted_attempt) for task in tasks if task.accepted_attempt is not None]
    reserved = sealed_for(task.reservation for task, _ in ran)
    return [_arrival(task, attempt, reserved) for task, attempt in ran]


def _arrival(task: Task, attempt: Attempt, reserved: Mapping[int | None, frozenset[int]]) -> Arrival:
    came = task.created_at.timestamp()
    ended = attempt.ended_at or task.finished_at or attempt.created_at
    return Arrival(
        task=as_routing_task(task, came, reserved),
        at=came,
        waited_s=max(0.0, (attempt.created_at - task.created_at).total_seconds()),
        held_s=max(0.0, (ended - attempt.created_at).total_seconds()),
        ran_on=attempt.node_id,
    )

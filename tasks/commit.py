"""Making a plan true: capacity, attempts, orders and decisions in one transaction, or not at all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import reduce
from typing import Any

from django.db import connection, transaction
from django.db.models import F
from django.utils import timezone

from coordinator import values
from coordinator.values import Resources
from fogpanel import live
from nodes import outbox
from tasks.capacity import NOTHING, take
from tasks.models import Attempt, Decision, Explanation, Task
from tasks.orders import run_orders
from tasks.routing_view import needs_of
from tasks.states import TaskState, sources


def commit(placed: Sequence[values.Decision], clock: Callable[[], datetime] = timezone.now) -> set[int]:
    """Store these placements; returns the ids of the tasks that were really placed.

    The others lost: their task was placed or cancelled meanwhile by somebody else, or their node has
    no room (or no longer takes work).
    """
    with transaction.atomic():
        tasks = _lock_queued([decision.task_id for decision in placed])
        now = clock()  # after the lock, so that no reader's cursor has gone past it
        by_node: dict[int, list[Task]] = defaultdict(list)
        for decision in placed:
            if (task := tasks.get(int(decision.task_id))) is not None and decision.chosen is not None:
                by_node[int(decision.chosen)].append(task)
        won = [
            (node_id, task)
            for node_id in sorted(by_node)
            for task in _reserve(node_id, by_node[node_id], now)
        ]
        if won:
            _store(won, placed, now)
    return {task.id for _, task in won}


def _lock_queued(task_ids: Sequence[Any]) -> dict[int, Task]:
    queued = Task.objects.filter(
        id__in=task_ids, state__in=sources(TaskState.ASSIGNED), cancel_requested_at=None
    )
    if connection.features.has_select_for_update_skip_locked:
        queued = queued.select_for_update(skip_locked=True, of=("self",))
    return {task.id: task for task in queued.order_by("id")}


def _reserve(node_id: int, tasks: Sequence[Task], now: datetime) -> list[Task]:
    """Those of ``tasks`` that fit: all at once where possible, else one by one."""
    total: Resources = reduce(lambda sum, task: sum + needs_of(task), tasks, NOTHING)
    if take(node_id, total, len(tasks), now):
        return list(tasks)
    if len(tasks) == 1:
        return []
    return [task for task in tasks if take(node_id, needs_of(task), 1, now)]


def _store(won: Sequence[tuple[int, Task]], placed: Sequence[values.Decision], now: datetime) -> None:
    attempts = Attempt.objects.bulk_create(
        Attempt(task_id=task.id, node_id=node_id, number=task.attempts_made + 1, created_at=now)
        for node_id, task in won
    )
    tasks_of_node: dict[int, list[int]] = defaultdict(list)
    for node_id, task in won:
        tasks_of_node[node_id].append(task.id)
    for node_id, task_ids in tasks_of_node.items():
        Task.objects.filter(id__in=task_ids).update(
            state=TaskState.ASSIGNED,
            node_id=node_id,
            assigned_at=now,
            attempts_made=F("attempts_made") + 1,
            wait_reasons={},
            changed_at=now,
        )
    attempt_of = {attempt.task_id: attempt.id for attempt in attempts}
    store_decisions([decision for decision in placed if decision.task_id in attempt_of], attempt_of, now)
    outbox.put(run_orders(zip(attempts, (task for _, task in won), strict=True)), now)
    live.changed("tasks", "fleet", "nodes")
    live.changed(*(f"task:{task.id}" for _, task in won), *(f"node:{node_id}" for node_id in tasks_of_node))


def store_decisions(
    decisions: Sequence[values.Decision], attempt_of: Mapping[int, int], now: datetime
) -> None:
    """Write decisions down. Those of one shape share the explanation of the first that has one."""
    explanations = _store_explanations(decisions, now)
    Decision.objects.bulk_create(
        Decision(
            task_id=decision.task_id,
            attempt_id=attempt_of.get(int(decision.task_id)),
            strategy=decision.strategy,
            chosen_id=decision.chosen,
            considered=decision.considered,
            eligible=decision.eligible,
            rejected=dict(decision.rejected),
            others={str(strategy): node_id for strategy, node_id in decision.others.items()},
            explanation=explanations.get((decision.strategy, decision.shape)),
            decided_at=now,
            took_us=decision.took_us,
        )
        for decision in decisions
    )


def _store_explanations(
    decisions: Sequence[values.Decision], now: datetime
) -> dict[tuple[values.RoutingStrategy, str], Explanation]:
    explained: dict[tuple[values.RoutingStrategy, str], values.Decision] = {}
    for decision in decisions:
        if decision.candidates:
            explained.setdefault((decision.strategy, decision.shape), decision)
    rows = Explanation.objects.bulk_create(
        Explanation(
            rows=[_row(candidate) for candidate in decision.candidates],
            shape=decision.shape,
            fleet_version=decision.fleet_version,
            created_at=now,
        )
        for decision in explained.values()
    )
    return dict(zip(explained, rows, strict=True))


def _row(candidate: values.Candidate) -> dict[str, Any]:
    return {
        "node_id": candidate.node_id,
        "name": candidate.name,
        "region": candidate.region,
        "score": candidate.score,
        "parts": dict(candidate.parts),
        "reason": candidate.reason,
        "detail": candidate.detail,
    }

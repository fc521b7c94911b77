"""Making a plan true: capacity, attempts, orders and decisions in one transaction, or not at all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import reduce
from typing import Any

from django.db import transaction
from django.utils import timezone

from coordinator import values
from coordinator.values import Resources
from fogpanel import live
from fogpanel.rows import for_update, insert_each, insert_numbered, select, update_each
from nodes import outbox
from nodes.locks import lock_nodes
from tasks.capacity import NOTHING, take
from tasks.models import Attempt, Decision, Explanation, Task
from tasks.orders import Runnable, run_orders, runnable, wraps_of
from tasks.resealing import forget_wish
from tasks.routing_view import needs_of
from tasks.states import TaskState, sources


def commit(placed: Sequence[values.Decision], clock: Callable[[], datetime] = timezone.now) -> set[int]:
    """Store these placements, at most one of each task; returns the ids of the tasks that were really placed.

    The others lost: their task was placed, cancelled or sealed for others meanwhile, or their node has
    no room (or no longer takes work).
    """
    with transaction.atomic():
        lock_nodes(int(decision.chosen) for decision in placed if decision.chosen is not None)
        tasks = _lock_queued([decision.task_id for decision in placed])
        wraps = wraps_of(task.reservation for task in tasks.values())
        now = clock()  # after the lock, so that no reader's cursor has gone past it
        by_node: dict[int, list[Runnable]] = defaultdict(list)
        for decision in placed:
            if (task := tasks.get(int(decision.task_id))) is None or decision.chosen is None:
                continue
            node_id = int(decision.chosen)
            if task.reservation is None or (task.reservation, node_id) in wraps:
                by_node[node_id].append(task)
        won = [
            (node_id, task)
            for node_id in sorted(by_node)
            for task in _reserve(node_id, by_node[node_id], now)
        ]
        if won:
            _store(won, placed, now)
    return {task.id for _, task in won}


_QUEUED = f"""
SELECT {", ".join(Runnable._fields)} FROM tasks_task
WHERE id IN {{ids}} AND state IN {{states}} AND cancel_requested_at IS NULL ORDER BY id"""


def _lock_queued(task_ids: Sequence[Any]) -> dict[int, Runnable]:
    rows = select(
        _QUEUED + for_update(skip_locked=True),
        ids=[int(task_id) for task_id in task_ids],
        states=[state.value for state in sources(TaskState.ASSIGNED)],
    )
    return {task.id: task for task in map(runnable, rows)}


def _reserve(node_id: int, tasks: Sequence[Runnable], now: datetime) -> list[Runnable]:
    """Those of ``tasks`` that fit: all at once where possible, else one by one."""
    total: Resources = reduce(lambda sum, task: sum + needs_of(task), tasks, NOTHING)
    if take(node_id, total, len(tasks), now):
        return list(tasks)
    if len(tasks) == 1:
        return []
    return [task for task in tasks if take(node_id, needs_of(task), 1, now)]


def _store(won: Sequence[tuple[int, Runnable]], placed: Sequence[values.Decision], now: datetime) -> None:
    attempt_ids = insert_numbered(
        Attempt,
        ("task", "node", "number", "reservation", "created_at"),
        [(task.id, node_id, task.attempts_made + 1, task.reservation, now) for node_id, task in won],
    )
    update_each(
        Task,
        ("state", "node", "assigned_at", "attempts_made", "wait_reasons", "changed_at"),
        [
            (TaskState.ASSIGNED, node_id, now, task.attempts_made + 1, {}, now, task.id)
            for node_id, task in won
        ],
    )
    if sealed := [task.id for _, task in won if task.reservation is not None]:
        forget_wish(sealed)
    attempt_of = {task.id: attempt_id for attempt_id, (_, task) in zip(attempt_ids, won, strict=True)}
    store_decisions([decision for decision in placed if decision.task_id in attempt_of], attempt_of, now)
    outbox.put(run_orders(((node_id, attempt_of[task.id], task) for node_id, task in won), now), now)
    live.changed("tasks", "fleet", "nodes")
    live.changed(*(f"task:{task.id}" for _, task in won), *{f"node:{node_id}" for node_id, _ in won})


DECISION = (
    "task", "attempt", "strategy", "chosen", "considered", "eligible", "rejected", "others", "explanation",
    "decided_at", "took_us",
)  # fmt: skip


def store_decisions(
    decisions: Sequence[values.Decision], attempt_of: Mapping[int, int], now: datetime
) -> None:
    """Write decisions down. Those of one shape share the explanation of the first that has one."""
    explanations = _store_explanations(decisions, now)
    rows = [
        (
            decision.task_id,
            attempt_of.get(int(decision.task_id)),
            decision.strategy,
            decision.chosen,
            decision.considered,
            decision.eligible,
            dict(decision.rejected),
            {str(strategy): node_id for strategy, node_id in decision.others.items()},
            explanations.get((decision.strategy, decision.shape)),
            now,
            decision.took_us,
        )
        for decision in decisions
    ]
    insert_each(Decision, DECISION, rows)


def _store_explanations(
    decisions: Sequence[values.Decision], now: datetime
) -> dict[tuple[values.RoutingStrategy, str], int]:
    """The keys of new explanations, by strategy and shape."""
    explained: dict[tuple[values.RoutingStrategy, str], values.Decision] = {}
    for decision in decisions:
        if decision.candidates:
            explained.setdefault((decision.strategy, decision.shape), decision)
    rows = [
        ([_row(candidate) for candidate in decision.candidates], decision.shape, decision.fleet_version, now)
        for decision in explained.values()
    ]
    keys = insert_numbered(Explanation, ("rows", "shape", "fleet_version", "created_at"), rows)
    return dict(zip(explained, keys, strict=True))


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

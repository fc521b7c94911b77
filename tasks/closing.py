"""Ending attempts, for whatever reason: the one place that decides what becomes of their tasks.

Accepted, failed, lost, cancelled: every way out of an open attempt comes through `close`, within the
transaction of its cause. So capacity is returned exactly once, a task gets at most one accepted
result, and what is lost goes back to the queue.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from django.db.models import F, Value
from django.db.models.functions import Coalesce

from coordinator.values import Resources
from fogagent.messages import Outcome, Usage
from fogpanel import audit, live
from fogpanel.wakes import wake
from nodes import outbox
from tasks.capacity import NOTHING, give_back
from tasks.models import Attempt, Task
from tasks.orders import cancel_orders, subject
from tasks.routing_view import needs_of
from tasks.states import PLACED, TaskState, sources

LOST = "lost"  # its node went, or forgot it
MOVED = "moved"  # somebody wanted its node free; costs the task no try
SUPERSEDED = "superseded"  # another attempt's result was accepted

# The program's own doing: it would end the same way elsewhere. All else was the node's fault, and the
# task gets another attempt while some remain.
PROGRAM_ENDED = frozenset(
    {Outcome.EXIT_CODE, Outcome.TIMEOUT, Outcome.MEMORY, Outcome.FUEL, Outcome.TRAP, Outcome.INVALID}
)


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How one attempt ended. ``outcome`` is an Outcome, LOST, MOVED or SUPERSEDED."""

    attempt_id: int
    outcome: str
    sentence: str = ""
    exit_code: int | None = None
    usage: Usage | None = None
    truncated: bool = False


def open_attempts(**filters: Any) -> list[Attempt]:
    """Open attempts with their tasks, locked in the order of their keys where the database can."""
    rows = Attempt.objects.select_for_update(of=("self", "task")).select_related("task")
    return list(rows.filter(ended_at=None, **filters).order_by("id"))


def close(attempts: Sequence[Attempt], endings: Sequence[Ending], now: datetime) -> None:
    """End these open attempts (from `open_attempts`) and move their tasks on."""
    of_attempt = {attempt.id: attempt for attempt in attempts}
    pairs = [(of_attempt[ending.attempt_id], ending) for ending in endings]
    if not pairs:
        return
    for attempt, ending in pairs:
        _end_attempt(attempt, ending, now)
    _return_capacity([attempt for attempt, _ in pairs], now)
    outbox.withdraw([subject(attempt.id) for attempt, _ in pairs], now)
    for attempt, ending in pairs:
        _move_task_on(attempt, ending, now)
    wake("placer")
    live.changed("tasks", "fleet", "nodes")
    live.changed(*(f"{name}:{attempt.task_id}" for attempt, _ in pairs for name in ("task", "log")))
    live.changed(*{f"node:{attempt.node_id}" for attempt, _ in pairs})


def _end_attempt(attempt: Attempt, ending: Ending, now: datetime) -> None:
    attempt.ended_at, attempt.outcome = now, ending.outcome
    Attempt.objects.filter(id=attempt.id, ended_at=None).update(
        ended_at=now,
        outcome=ending.outcome,
        sentence=ending.sentence,
        exit_code=ending.exit_code,
        usage=msgspec.to_builtins(ending.usage) if ending.usage else None,
        truncated=ending.truncated,
    )


def _return_capacity(attempts: Sequence[Attempt], now: datetime) -> None:
    freed: dict[int, tuple[Resources, int]] = defaultdict(lambda: (NOTHING, 0))
    for attempt in attempts:
        needs, number = freed[attempt.node_id]
        freed[attempt.node_id] = needs + needs_of(attempt.task), number + 1
    give_back(freed, now)


def _move_task_on(attempt: Attempt, ending: Ending, now: datetime) -> None:
    task = attempt.task
    if ending.outcome == Outcome.SUCCEEDED:
        _finish(task, TaskState.SUCCEEDED, ending, now)
    elif ending.outcome in PROGRAM_ENDED:
        _finish(task, TaskState.FAILED, ending, now)
    elif ending.outcome != SUPERSEDED:
        _try_again(attempt, ending, now)


def _finish(task: Task, state: TaskState, ending: Ending, now: datetime) -> None:
    """Accept this attempt's end as the task's, unless another one's was accepted before."""
    accepted = Task.objects.filter(id=task.id, accepted_attempt=None, state__in=sources(state)).update(
        state=state,
        accepted_attempt_id=ending.attempt_id,
        # A short task's end overtakes the news of its start.
        started_at=Coalesce(F("started_at"), Value(now)),
        finished_at=now,
        exit_code=ending.exit_code,
        reason=audit.shorten(ending.sentence),
        changed_at=now,
    )
    if accepted:
        _supersede_others(task, now)


def _supersede_others(task: Task, now: datetime) -> None:
    others = open_attempts(task_id=task.id)
    if others:
        close(others, [Ending(attempt_id=other.id, outcome=SUPERSEDED) for other in others], now)
        sentence = "Another attempt's result was accepted."
        outbox.put(cancel_orders(((other.node_id, other.id) for other in others), sentence), now)


def _try_again(attempt: Attempt, ending: Ending, now: datetime) -> None:
    """Back to the queue while attempts remain; a task that was to be cancelled is cancelled."""
    task = Task.objects.get(id=attempt.task_id)
    if task.state not in PLACED or _has_open_attempt(task):
        return
    if task.cancel_requested_at is not None:
        _set_state(task, TaskState.CANCELLED, "cancelled on request", now, finished_at=now)
    elif _tries(task) >= task.max_attempts:
        reason = f"All {task.max_attempts} attempts were lost; the last: {ending.sentence or ending.outcome}"
        _set_state(task, TaskState.FAILED, reason, now, finished_at=now)
    else:
        _set_state(task, TaskState.QUEUED, "", now, started_at=None)
        if not task.canary:
            audit.record(
                "task.moved",
                f"{task.name} goes back to the queue: {ending.sentence or ending.outcome}",
                subject=task,
                level="warning",
            )


def _tries(task: Task) -> int:
    return Attempt.objects.filter(task_id=task.id).exclude(outcome=MOVED).count()


def _has_open_attempt(task: Task) -> bool:
    return Attempt.objects.filter(task_id=task.id, ended_at=None).exists()


def _set_state(task: Task, state: TaskState, reason: str, now: datetime, **columns: Any) -> None:
    Task.objects.filter(id=task.id, state__in=sources(state)).update(
        state=state, reason=audit.shorten(reason), changed_at=now, **columns
    )

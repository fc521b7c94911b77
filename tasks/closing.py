"""Ending attempts, for whatever reason: the one place that decides what becomes of their tasks.

Accepted, failed, lost, cancelled: every way out of an open attempt comes through `close`, within the
transaction of its cause. So capacity is returned exactly once, a task gets at most one accepted
result, and what is lost goes back to the queue. Many attempts cost a few statements, not a few each.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, TypeAlias

import msgspec
from django.db import connection

from coordinator.values import Resources
from fogagent.messages import Outcome, Usage
from fogpanel import audit, live
from fogpanel.rows import as_time, for_update, select, update_each
from fogpanel.wakes import wake
from nodes import behaviour, outbox
from nodes.locks import need
from tasks.capacity import NOTHING, give_back
from tasks.models import Attempt, Task
from tasks.orders import cancel_orders, subject
from tasks.outcomes import MOVED, OWN_FAULT, PROGRAM_ENDED, SUPERSEDED, UNDELIVERED
from tasks.routing_view import needs_of
from tasks.states import PLACED, TaskState, sources


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How one attempt ended. ``outcome`` is an Outcome, LOST, UNDELIVERED, MOVED or SUPERSEDED."""

    attempt_id: int
    outcome: str
    sentence: str = ""
    exit_code: int | None = None
    usage: Usage | None = None
    truncated: bool = False


class OpenAttempt(NamedTuple):
    """What ending an attempt takes: of itself, and of its task what it reserved and refers to."""

    id: int
    node_id: int
    task_id: int
    started_at: datetime | None
    doubted_at: datetime | None
    reservation: int | None
    cpu_millis: int
    memory_mb: int
    disk_mb: int
    gpu_count: int
    payload_id: str | None
    stdin_id: str | None


Pair: TypeAlias = tuple[OpenAttempt, Ending]

_OF_TASK = ("cpu_millis", "memory_mb", "disk_mb", "gpu_count", "payload_id", "stdin_id")

_OPEN = """
SELECT a.id, a.node_id, a.task_id, a.started_at, a.doubted_at, a.reservation,
    t.cpu_millis, t.memory_mb, t.disk_mb, t.gpu_count, t.payload_id, t.stdin_id
FROM tasks_attempt a JOIN tasks_task t ON t.id = a.task_id
WHERE a.ended_at IS NULL AND """


def open_attempts(**filters: Any) -> list[OpenAttempt]:
    """Open attempts, with their tasks locked."""
    rows = Attempt.objects.filter(ended_at=None, **filters).order_by("id")
    lock_tasks(rows.values_list("task_id", flat=True))
    columns = (
        "id",
        "node_id",
        "task_id",
        "started_at",
        "doubted_at",
        "reservation",
        *(f"task__{name}" for name in _OF_TASK),
    )
    return [OpenAttempt._make(row) for row in rows.values_list(*columns)]


def open_reported(reports: Collection[tuple[int, int]]) -> list[OpenAttempt]:
    """As `open_attempts`, for the attempts that reports name, each with the node that it comes from."""
    ids, node_ids = {attempt_id for attempt_id, _ in reports}, {node_id for _, node_id in reports}
    if connection.features.has_select_for_update:
        lock_tasks(task_id for (task_id,) in select(_TASKS_OF, ids=ids, node_ids=node_ids))
    found = _select_open("a.id IN {ids} ORDER BY a.id", ids)
    return [attempt for attempt in found if (attempt.id, attempt.node_id) in reports]


_TASKS_OF = """
SELECT task_id FROM tasks_attempt WHERE id IN {ids} AND node_id IN {node_ids} AND ended_at IS NULL
"""
_LOCK_TASKS = "SELECT id FROM tasks_task WHERE id IN {ids} ORDER BY id"
_NODES_OF = "SELECT DISTINCT node_id FROM tasks_attempt WHERE task_id IN {ids} AND ended_at IS NULL"


def lock_tasks(task_ids: Iterable[int]) -> None:
    """Lock tasks, and so all that is open of them: nobody touches an attempt without its task. The nodes of
    all that is open have to be locked before: ending one attempt may end the others (`nodes.locks`)."""
    if not connection.features.has_select_for_update:
        return
    ids = set(task_ids)
    select(_LOCK_TASKS + for_update(), ids=ids)
    need(node_id for (node_id,) in select(_NODES_OF, ids=ids))


def _select_open(condition: str, ids: Collection[int]) -> list[OpenAttempt]:
    found = map(OpenAttempt._make, select(_OPEN + condition, ids=list(ids)))
    return [
        attempt._replace(
            started_at=attempt.started_at and as_time(attempt.started_at),
            doubted_at=attempt.doubted_at and as_time(attempt.doubted_at),
        )
        for attempt in found
    ]


def lock_free_tasks(**filters: Any) -> list[int]:
    """Lock those of these tasks that nobody else has locked to move them on; their ids."""
    free = Task.objects.select_for_update(no_key=True, skip_locked=True).filter(**filters)
    return list(free.values_list("id", flat=True))


def nodes_of(**filters: Any) -> set[int]:
    """The nodes of open attempts, for whoever is about to end some (`nodes.locks.with_nodes`)."""
    return set(Attempt.objects.filter(ended_at=None, **filters).values_list("node_id", flat=True))


def close(attempts: Sequence[OpenAttempt], endings: Sequence[Ending], now: datetime) -> None:
    """End these open attempts (from `open_attempts`) and move their tasks on."""
    of_attempt = {attempt.id: attempt for attempt in attempts}
    pairs = [(of_attempt[ending.attempt_id], ending) for ending in endings]
    if not pairs:
        return
    _end_attempts(pairs, now)
    _return_capacity([attempt for attempt, _ in pairs], now)
    _note_work(pairs, now)
    outbox.withdraw([subject(attempt.id) for attempt, _ in pairs], now)
    _move_tasks_on(pairs, now)
    wake("freed", *{attempt.node_id for attempt, _ in pairs})
    live.changed("tasks", "fleet", "nodes")
    live.changed(*(f"{name}:{attempt.task_id}" for attempt, _ in pairs for name in ("task", "log")))
    live.changed(*{f"node:{attempt.node_id}" for attempt, _ in pairs})


def stop(attempts: Sequence[OpenAttempt], outcome: str, sentence: str, now: datetime) -> None:
    """End these attempts, all for one reason; should their nodes live, they are told to stop."""
    if attempts:
        close(attempts, [Ending(attempt_id=a.id, outcome=outcome, sentence=sentence) for a in attempts], now)
        outbox.put(cancel_orders(((a.node_id, a.id) for a in attempts), sentence), now)


def _end_attempts(pairs: Iterable[Pair], now: datetime) -> None:
    columns = ("ended_at", "outcome", "sentence", "exit_code", "usage", "truncated")
    rows = [
        (
            now,
            ending.outcome,
            ending.sentence,
            ending.exit_code,
            msgspec.to_builtins(ending.usage) if ending.usage else None,
            ending.truncated,
            attempt.id,
        )
        for attempt, ending in pairs
    ]
    ended = update_each(Attempt, columns, rows, where="ended_at IS NULL")
    assert ended == len(rows), f"{len(rows) - ended} attempts were not open any more"


def _return_capacity(attempts: Sequence[OpenAttempt], now: datetime) -> None:
    freed: dict[int, tuple[Resources, int]] = defaultdict(lambda: (NOTHING, 0))
    for attempt in attempts:
        needs, number = freed[attempt.node_id]
        freed[attempt.node_id] = needs + needs_of(attempt), number + 1
    give_back(freed, now)


def _note_work(pairs: Iterable[Pair], now: datetime) -> None:
    failed = {attempt.node_id for attempt, ending in pairs if ending.outcome in OWN_FAULT}
    succeeded = {attempt.node_id for attempt, ending in pairs if ending.outcome == Outcome.SUCCEEDED}
    behaviour.note_work(failed, succeeded, now)


def _move_tasks_on(pairs: Iterable[Pair], now: datetime) -> None:
    finished: dict[int, tuple[TaskState, OpenAttempt, Ending]] = {}
    tried: dict[int, Ending] = {}
    for attempt, ending in pairs:
        if ending.outcome == Outcome.SUCCEEDED:
            finished.setdefault(attempt.task_id, (TaskState.SUCCEEDED, attempt, ending))
        elif ending.outcome in PROGRAM_ENDED:
            finished.setdefault(attempt.task_id, (TaskState.FAILED, attempt, ending))
        elif ending.outcome != SUPERSEDED:
            tried[attempt.task_id] = ending
    _finish(finished, now)
    try_again({task_id: ending for task_id, ending in tried.items() if task_id not in finished}, now)


_MAY_FINISH = [state.value for state in sources(TaskState.SUCCEEDED) if state in sources(TaskState.FAILED)]
_UNFINISHED = """
SELECT id, node_id FROM tasks_task WHERE id IN {ids} AND accepted_attempt_id IS NULL AND state IN {states}
"""


def _finish(finished: dict[int, tuple[TaskState, OpenAttempt, Ending]], now: datetime) -> None:
    """Accept each of these ends as its task's, unless another attempt's was accepted before."""
    if not finished:
        return
    accepted = dict(select(_UNFINISHED, ids=list(finished), states=_MAY_FINISH))
    ended_on = {task_id: finished[task_id][1].node_id for task_id in accepted}
    # Mostly that is where it was sent last, and its index need not be written.
    elsewhere = [(node, task_id) for task_id, node in ended_on.items() if node != accepted[task_id]]
    update_each(Task, ("node",), elsewhere)
    columns = (
        "state", "accepted_attempt", "started_at", "finished_at", "exit_code", "reason", "changed_at",
    )  # fmt: skip
    rows = [
        (
            state,
            attempt.id,
            attempt.started_at or now,  # a short task's end overtakes the news of its start
            now,
            ending.exit_code,
            audit.shorten(ending.sentence),
            now,
            task_id,
        )
        for task_id, (state, attempt, ending) in finished.items()
        if task_id in accepted
    ]
    stored = update_each(Task, columns, rows, where="accepted_attempt_id IS NULL")
    assert stored == len(rows), "a task that is locked here was finished elsewhere"
    _supersede_others(set(accepted), now)


def _supersede_others(task_ids: set[int], now: datetime) -> None:
    others = _select_open("a.task_id IN {ids} ORDER BY a.id", task_ids)
    stop(others, SUPERSEDED, "another attempt's result was accepted", now)


def try_again(ended: dict[int, Ending], now: datetime) -> None:
    """These tasks lost an attempt: back to the queue while attempts remain, unless another one runs.

    What is in doubt does not count as running, but a task that has no attempts left waits for it. A
    task that was to be cancelled is cancelled.
    """
    if not ended:
        return
    still_open = Attempt.objects.filter(task_id__in=ended, ended_at=None)
    busy = set(still_open.filter(doubted_at=None).values_list("task_id", flat=True))
    in_doubt = set(still_open.exclude(doubted_at=None).values_list("task_id", flat=True))
    tries = _tries(ended)
    placed = Task.objects.filter(id__in=set(ended) - busy, state__in=PLACED)
    for task in placed.only("id", "name", "canary", "cancel_requested_at", "max_attempts").order_by("id"):
        if task.id not in in_doubt or tries[task.id] < task.max_attempts:
            _move_on(task, ended[task.id], tries[task.id], now)


def _tries(task_ids: Iterable[int]) -> Counter[int]:
    """How many tries these tasks have had.

    What was not brought costs a task none while it may still be sealed for others; once it was, all that was
    in vain under the seal before counts as one. So whoever seals it again and again comes to an end.
    """
    counted = Attempt.objects.filter(task_id__in=task_ids).exclude(outcome__in=(MOVED, SUPERSEDED))
    tries: Counter[int] = Counter()
    seals_in_vain: set[tuple[int, int | None]] = set()
    columns = ("task_id", "outcome", "task__canary", "reservation", "task__reservation")
    for task_id, outcome, canary, seal, present_seal in counted.values_list(*columns):
        if outcome != UNDELIVERED or canary:
            tries[task_id] += 1
        elif seal != present_seal:
            seals_in_vain.add((task_id, seal))
    tries.update(task_id for task_id, _ in seals_in_vain)
    return tries


def _move_on(task: Task, ending: Ending, tries: int, now: datetime) -> None:
    if task.cancel_requested_at is not None:
        _set_state(task, TaskState.CANCELLED, "cancelled on request", now, finished_at=now)
    elif tries >= task.max_attempts:
        reason = f"All {task.max_attempts} attempts were lost; the last: {ending.sentence or ending.outcome}"
        _set_state(task, TaskState.FAILED, reason, now, finished_at=now)
    else:
        _set_state(task, TaskState.QUEUED, "", now, started_at=None)
        wake("placer")
        if not task.canary:
            audit.record(
                "task.moved",
                f"{task.name} goes back to the queue: {ending.sentence or ending.outcome}",
                subject=task,
                level="warning",
            )


def _set_state(task: Task, state: TaskState, reason: str, now: datetime, **columns: Any) -> None:
    Task.objects.filter(id=task.id, state__in=sources(state)).update(
        state=state, reason=audit.shorten(reason), changed_at=now, **columns
    )

"""The life of a task, as one table. Conditional updates ask it from where a state can be reached."""

from __future__ import annotations

from enum import StrEnum


class TaskState(StrEnum):
    QUEUED = "queued"
    ASSIGNED = "assigned"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


_S = TaskState

TRANSITIONS: dict[TaskState, frozenset[TaskState]] = {
    # While a task waits for a replacement, the attempt in doubt may still come back, or end.
    _S.QUEUED: frozenset({_S.ASSIGNED, _S.RUNNING, _S.SUCCEEDED, _S.FAILED, _S.CANCELLED, _S.EXPIRED}),
    # A report can overtake the news that work began; a lost attempt goes back to the queue.
    _S.ASSIGNED: frozenset({_S.RUNNING, _S.QUEUED, _S.SUCCEEDED, _S.FAILED, _S.CANCELLED}),
    _S.RUNNING: frozenset({_S.QUEUED, _S.SUCCEEDED, _S.FAILED, _S.CANCELLED}),
    _S.SUCCEEDED: frozenset(),
    _S.FAILED: frozenset(),
    _S.CANCELLED: frozenset(),
    _S.EXPIRED: frozenset(),
}

FINAL = frozenset(state for state, after in TRANSITIONS.items() if not after)
OPEN = frozenset(TaskState) - FINAL
PLACED = frozenset({_S.ASSIGNED, _S.RUNNING})


def sources(target: TaskState) -> list[TaskState]:
    """The states from which a task may come to ``target``, for use in conditional updates."""
    return [state for state, after in TRANSITIONS.items() if target in after]

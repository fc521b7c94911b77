"""The life of one task as a line of steps with their real times."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from fogagent.messages import Outcome
from fogpanel.templatetags.fog import duration
from tasks.models import Attempt, Task
from tasks.outcomes import MOVED, SUPERSEDED
from tasks.states import FINAL, TaskState

TONE_OF_END = {
    TaskState.SUCCEEDED: "ok",
    TaskState.FAILED: "bad",
    TaskState.CANCELLED: "mute",
    TaskState.EXPIRED: "warn",
}


@dataclass(frozen=True, slots=True)
class Step:
    """``tone``: ok (behind us), busy (now), bad, warn, mute, or coming; ``note`` follows the time."""

    title: str
    tone: str
    at: datetime | None = None
    note: str = ""


def steps_of(task: Task, attempts: Iterable[Attempt]) -> list[Step]:
    """``attempts`` in the order in which they were made, with their nodes."""
    attempts = list(attempts)
    return [*_queued(task, attempts), *_tried(task, attempts), *_resealing(task), *_end(task, attempts)]


def _queued(task: Task, attempts: list[Attempt]) -> Iterator[Step]:
    first = attempts[0].created_at if attempts else task.finished_at
    if first:
        yield Step("Queued", "ok", task.created_at, _between(task.created_at, first))
    else:
        yield Step("Queued", _waiting_tone(task), task.created_at, "waiting for a node")


def _tried(task: Task, attempts: list[Attempt]) -> Iterator[Step]:
    for attempt in attempts:
        yield from _one_try(task, attempt)
    if attempts and task.state == TaskState.QUEUED:
        last = attempts[-1]
        since = last.ended_at or last.doubted_at
        note = f"after attempt {last.number} of {task.max_attempts}"
        yield Step("Queued again", _waiting_tone(task), since, note)


def _one_try(task: Task, attempt: Attempt) -> Iterator[Step]:
    node = attempt.node.name
    if attempt.doubted_at is not None and attempt.ended_at is None:
        yield Step(f"In doubt on {node}", "warn", attempt.doubted_at, attempt.sentence)
        return
    if attempt.started_at is None:
        if attempt.ended_at is None:
            yield Step(f"Assigned to {node}", "busy", attempt.created_at, _number(task, attempt))
        else:
            title = f"Assigned to {node}, {_outcome(attempt)}"
            yield Step(title, _tone(attempt), attempt.created_at, attempt.sentence)
        return
    yield Step(
        f"Assigned to {node}", "ok", attempt.created_at, _between(attempt.created_at, attempt.started_at)
    )
    if attempt.ended_at is None:
        yield Step(f"Running on {node}", "busy", attempt.started_at, _number(task, attempt))
        return
    took = _took(attempt, attempt.started_at, attempt.ended_at)
    if attempt.outcome == Outcome.SUCCEEDED:
        yield Step(f"Ran on {node}", "ok", attempt.started_at, took)
    else:
        title = f"Ran on {node}, {_outcome(attempt)}"
        yield Step(title, _tone(attempt), attempt.started_at, attempt.sentence or took)


def _took(attempt: Attempt, started_at: datetime, ended_at: datetime) -> str:
    """By the panel's clock; where start and end of a short run came at once, by its node's."""
    measured = (attempt.usage or {}).get("wall_s", 0.0)
    if ended_at <= started_at and measured:
        return duration(measured)
    return _between(started_at, ended_at)


def _resealing(task: Task) -> Iterator[Step]:
    if task.needs_resealing:
        yield Step("Needs resealing", "warn", task.reseal_wanted_at, "its nodes cannot take it")


def _waiting_tone(task: Task) -> str:
    return "ok" if task.needs_resealing else "busy"


def _end(task: Task, attempts: list[Attempt]) -> Iterator[Step]:
    state = TaskState(task.state)
    if state in FINAL:
        took = _between(task.created_at, task.finished_at) if task.finished_at else ""
        note = task.reason or (f"{took} in all" if took else "")
        yield Step(state.capitalize(), TONE_OF_END[state], task.finished_at, note)
    else:
        note = "cancelling" if task.cancel_requested_at else f"time limit {duration(task.timeout_s)}"
        yield Step("Result", "coming", None, note)


def _tone(attempt: Attempt) -> str:
    """Nothing went wrong where somebody wanted the node free, or another attempt was sooner."""
    return "mute" if attempt.outcome in (MOVED, SUPERSEDED) else "bad"


def _number(task: Task, attempt: Attempt) -> str:
    return f"attempt {attempt.number} of {task.max_attempts}"


def _outcome(attempt: Attempt) -> str:
    return attempt.outcome.replace("_", " ")


def _between(earlier: datetime, later: datetime) -> str:
    return duration(max(0.0, (later - earlier).total_seconds()))

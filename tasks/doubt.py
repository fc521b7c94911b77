"""Attempts in doubt: their node fell silent, and nobody knows whether it still works on them.

Such an attempt stays open, and what it reserved stays reserved, while its task waits for a replacement
elsewhere. Whichever of the two ends first counts. The doubt ends when the node comes back with the work
(`trust`) or without it, when it leaves for good, when the other result is accepted, or after GIVE_UP_S
(`give_up`). A task has at most one attempt in doubt, so at most one replacement at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from fogagent.messages import Outcome
from fogpanel import live
from fogpanel.parameters.catalogue import GIVE_UP_S
from fogpanel.parameters.store import current
from fogpanel.rows import update_each
from fogpanel.templatetags.fog import duration
from fogpanel.wakes import wake
from nodes.locks import with_nodes
from tasks.closing import Ending, OpenAttempt, nodes_of, open_attempts, stop, try_again
from tasks.models import Attempt, Task
from tasks.outcomes import LOST, MOVED, SUPERSEDED
from tasks.resealing import forget_wish
from tasks.states import TaskState

GIVE_UP_MOST = 200


def doubt(sentences: Mapping[int, str], now: datetime) -> None:
    """These nodes fell silent: what is open there goes on if they live, and is looked after elsewhere."""
    doubted = open_attempts(node_id__in=list(sentences), doubted_at=None)
    if not doubted:
        return
    _give_up_older_ones({attempt.task_id for attempt in doubted}, now)
    why = {attempt.id: sentences[attempt.node_id] for attempt in doubted}
    update_each(Attempt, ("doubted_at", "sentence"), [(now, why[a.id], a.id) for a in doubted])
    _end_what_was_cancelled(doubted, now)
    try_again({a.task_id: Ending(attempt_id=a.id, outcome=LOST, sentence=why[a.id]) for a in doubted}, now)
    _tell(doubted)


def _give_up_older_ones(task_ids: set[int], now: datetime) -> None:
    """The replacement fell silent, too: the first attempt has had its chance."""
    older = open_attempts(task_id__in=task_ids, doubted_at__isnull=False)
    stop(older, LOST, "its replacement had to be replaced as well", now)


def _end_what_was_cancelled(doubted: Sequence[OpenAttempt], now: datetime) -> None:
    """Nobody waits for these: there is nothing to replace."""
    cancelled = Task.objects.filter(id__in={a.task_id for a in doubted}, cancel_requested_at__isnull=False)
    unwanted = set(cancelled.values_list("id", flat=True))
    stop([a for a in doubted if a.task_id in unwanted], Outcome.CANCELLED, "cancelled on request", now)


def trust(attempts: Iterable[OpenAttempt], now: datetime) -> None:
    """Their node is back and still works on these. It goes on, beside a replacement if there is one."""
    back = [attempt for attempt in attempts if attempt.doubted_at is not None]
    if not back:
        return
    Attempt.objects.filter(id__in=[a.id for a in back]).update(doubted_at=None, sentence="")
    _end_replacements_beside(back, now)
    for attempt in back:
        Task.objects.filter(id=attempt.task_id, state=TaskState.QUEUED).update(
            state=TaskState.RUNNING if attempt.started_at else TaskState.ASSIGNED,
            node_id=attempt.node_id,
            started_at=attempt.started_at,
            wait_reasons={},
            changed_at=now,
        )
    forget_wish([attempt.task_id for attempt in back])
    _tell(back)


def _end_replacements_beside(back: Sequence[OpenAttempt], now: datetime) -> None:
    """A node that came back may have been given the same task again before it said what it has."""
    of_task = {attempt.task_id: attempt for attempt in back}
    twice = [
        other
        for other in open_attempts(task_id__in=of_task)
        if other.id != of_task[other.task_id].id and other.node_id == of_task[other.task_id].node_id
    ]
    stop(twice, SUPERSEDED, "the same node still works on an earlier attempt", now)


def end_undelivered(attempts: Sequence[OpenAttempt], now: datetime) -> None:
    """Their node is back and never got the order to run them: they are not started so late."""
    stop(attempts, MOVED, "its node fell silent before the order had reached it", now)


def give_up(now: datetime) -> list[int]:
    """End what has been in doubt for too long, some at a time; returns the attempts' ids."""
    patience_s = current(GIVE_UP_S)
    since = now - timedelta(seconds=patience_s)
    overdue = Attempt.objects.filter(ended_at=None, doubted_at__lt=since).order_by("id")
    ids = list(overdue.values_list("id", flat=True)[:GIVE_UP_MOST])
    if not ids:
        return []
    sentence = f"its node fell silent and did not come back within {duration(patience_s)}"

    def lose() -> list[int]:
        attempts = open_attempts(id__in=ids, doubted_at__lt=since)
        stop(attempts, LOST, sentence, now)
        return [attempt.id for attempt in attempts]

    return with_nodes(nodes_of(id__in=ids), lose)


def _tell(attempts: Iterable[OpenAttempt]) -> None:
    wake("placer")
    live.changed("tasks", "fleet", *(f"task:{attempt.task_id}" for attempt in attempts))

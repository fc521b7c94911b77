"""Why tasks wait, written down: once when it changes, and from then on as a count.

A shape that stays in the queue is planned again in every pass of the placer, mostly with the same
outcome. What its tasks say of themselves (`wait_reasons`) follows the numbers of nodes. The decision is
one row for as long as nodes fall at the same filters, with how often and until when that was found.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeAlias

from django.db import transaction
from django.db.models import F

from coordinator import values
from fogpanel import live
from tasks.closing import lock_free_tasks
from tasks.commit import store_decisions
from tasks.models import Decision, Task
from tasks.queue_view import ShapeKey
from tasks.states import TaskState

REASONS_EVERY = timedelta(seconds=1)  # how often the reasons of one shape's waiting are written
REPEATS_EVERY = timedelta(seconds=10)  # how often it is written that they stayed the same
SHAPES_MOST = 10_000

Explain: TypeAlias = Callable[[], values.Decision]
PAUSED = "placing is paused"
NO_WAY = "no gateway is there to carry it"


@dataclass(slots=True)
class _Wait:
    """What was written of one shape last, and how often the same was found since."""

    reasons: Mapping[str, int]
    written_at: datetime
    task_id: int
    decision_id: int
    counted_at: datetime
    looked_at: datetime  # at the tasks that wait, whether each was told why
    repeats: int = 0

    def count(self, now: datetime) -> None:
        self.repeats += 1
        if now - self.counted_at >= REPEATS_EVERY:
            self.write_count(now)

    def write_count(self, now: datetime) -> None:
        if not self.repeats:
            return
        with transaction.atomic():
            Decision.objects.filter(id=self.decision_id).update(count=F("count") + self.repeats, last_at=now)
            live.changed(f"task:{self.task_id}")
        self.repeats, self.counted_at = 0, now


class Waits:
    """What one placer wrote. To forget it costs a look at the rows and nothing else."""

    def __init__(self) -> None:
        self._waits: dict[ShapeKey, _Wait] = {}

    def note(
        self,
        key: ShapeKey,
        decision: values.Decision,
        waiting: Sequence[int],
        now: datetime,
        *,
        explain: Explain,
    ) -> bool:
        """``decision`` found no node for the first of ``waiting``, the tasks of this shape.

        Mostly it is only counted. ``explain`` makes it once more with all that its row tells. False: they
        were told a moment ago, and not again.
        """
        reasons = dict(decision.rejected)
        wait = self._waits.get(key)
        if wait is not None and now - wait.looked_at < REASONS_EVERY:
            wait.repeats += 1  # what waits no longer than this needs no reasons
            return False
        settled = wait is not None and (wait.reasons == reasons or now - wait.written_at < REASONS_EVERY)
        tell_tasks(waiting, reasons, now, only_untold=settled)
        if wait is None or _is_another(wait, decision, now, settled):
            self._begin(key, decision, now, explain)
            return True
        wait.looked_at = now
        if not settled:
            wait.reasons, wait.written_at = reasons, now
        wait.count(now)
        return True

    def hold_back(self, waiting: Sequence[int], nodes: int, now: datetime) -> None:
        """Nothing is to be placed, so these wait for that reason and no other, whatever the nodes have."""
        self._waits.clear()
        tell_tasks(waiting, {PAUSED: nodes}, now)

    def _begin(self, key: ShapeKey, decision: values.Decision, now: datetime, explain: Explain) -> None:
        before = self._waits.pop(key, None)
        if before is not None:
            before.write_count(now)
        if len(self._waits) >= SHAPES_MOST:
            self._waits.clear()
        resumed = _resumed(decision) if before is None else None
        self._waits[key] = _Wait(
            reasons=dict(decision.rejected),
            written_at=now,
            task_id=int(decision.task_id),
            decision_id=resumed or _store(explain(), now),
            counted_at=now,
            looked_at=now,
            repeats=1 if resumed else 0,
        )


def _is_another(wait: _Wait, decision: values.Decision, now: datetime, settled: bool) -> bool:
    """Whether this is more than what was written once more: nodes fall elsewhere, or another task is the
    first of its shape now. In a queue that moves fast not each of those gets a row."""
    if not settled and set(wait.reasons) != set(decision.rejected):
        return True
    return wait.task_id != decision.task_id and now - wait.counted_at >= REPEATS_EVERY


def tell_tasks(
    waiting: Sequence[int], reasons: Mapping[str, int], now: datetime, *, only_untold: bool = False
) -> None:
    """Those of these that wait, and were not told so before, wait for these reasons."""
    rows = Task.objects.filter(id__in=waiting, state=TaskState.QUEUED).exclude(wait_reasons=reasons)
    if only_untold:
        rows = rows.filter(wait_reasons={})
    changed = list(rows.values_list("id", flat=True))
    if changed:
        with transaction.atomic():
            still = lock_free_tasks(id__in=changed, state=TaskState.QUEUED)
            Task.objects.filter(id__in=still).update(wait_reasons=reasons, changed_at=now)
            live.changed("tasks", *(f"task:{task_id}" for task_id in changed))


def _resumed(decision: values.Decision) -> int | None:
    """The task's last decision where it says the same: this process has just begun."""
    last = Decision.objects.filter(task_id=decision.task_id).order_by("-id").first()
    if last is None or last.chosen_id is not None or set(last.rejected) != set(decision.rejected):
        return None
    return int(last.pk)


def _store(decision: values.Decision, now: datetime) -> int:
    with transaction.atomic():
        store_decisions([decision], {}, now)
        live.changed(f"task:{decision.task_id}")
    return int(Decision.objects.filter(task_id=decision.task_id).latest("id").pk)

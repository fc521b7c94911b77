"""Where work flows: the placements of the last minute, from where a task wanted to be to where it went."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta

from tasks.models import Attempt

OVER = timedelta(seconds=60)
PLACEMENTS_MOST = 500


@dataclass(frozen=True, slots=True)
class Flow:
    """``source`` is the region that tasks asked for, empty for anywhere; of ``moved`` ones, the region of the
    node that they were on before."""

    source: str
    target: str
    moved: bool
    number: int


@dataclass(frozen=True, slots=True)
class Flows:
    """The busiest first. ``over_s`` is the stretch they tell of: a minute, or less when much was placed."""

    flows: list[Flow]
    over_s: float

    @property
    def number(self) -> int:
        return sum(flow.number for flow in self.flows)

    @property
    def most(self) -> int:
        return max((flow.number for flow in self.flows), default=0)


def recent_flows(now: datetime) -> Flows:
    """Attempts are numbered as they are made, so the newest are found by their keys."""
    newest = Attempt.objects.filter(task__canary=False).order_by("-id")
    columns = ("created_at", "task_id", "number", "task__region", "node__region")
    rows = [row for row in newest.values_list(*columns)[:PLACEMENTS_MOST] if row[0] > now - OVER]
    before = _regions_before([(task_id, number) for _, task_id, number, _, _ in rows if number > 1])
    counted = Counter(
        (before.get((task_id, number), asked), target, number > 1)
        for _, task_id, number, asked, target in rows
    )
    flows = [Flow(*key, number) for key, number in counted.items()]
    flows.sort(key=lambda flow: (-flow.number, flow.source, flow.target))
    covered = OVER if len(rows) < PLACEMENTS_MOST else now - rows[-1][0]
    return Flows(flows, covered.total_seconds())


def _regions_before(tries: list[tuple[int, int]]) -> dict[tuple[int, int], str]:
    """Of further attempts (task, number): the region of the node of the attempt before."""
    if not tries:
        return {}
    earlier = Attempt.objects.filter(task_id__in={task_id for task_id, _ in tries})
    return {
        (task_id, number + 1): region
        for task_id, number, region in earlier.values_list("task_id", "number", "node__region")
    }

"""The fleet at a glance: few queries, each bounded, so that a million tasks cost no more than a thousand."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Case, Count, Min, QuerySet, When

from coordinator.values import NodeStatus
from fogpanel.templatetags.fog import tone
from services.fleet_groups import Group, counted
from tasks.models import Task
from tasks.states import TaskState

COUNTED_TO = 1000
RECENT_S = 60.0
HOUR_S = 3600.0
BUCKETS = 30
REST = (NodeStatus.BUSY, NodeStatus.MAINTENANCE, NodeStatus.OFFLINE)  # than idle and active


@dataclass(frozen=True, slots=True)
class Summary:
    at: datetime
    nodes: Mapping[str, int]  # status → number
    cpu_millis: int
    cpu_reserved_millis: int
    memory_mb: int
    memory_reserved_mb: int
    running: int
    queued: int
    oldest_queued_s: float | None
    finished_per_s: float
    failed_share: float | None  # of those finished in the last hour; None where there were none
    running_course: list[float]
    finished_course: list[float]

    @property
    def nodes_total(self) -> int:
        return sum(self.nodes.values())

    @property
    def nodes_here(self) -> int:
        return self.nodes_total - self.nodes.get(NodeStatus.OFFLINE, 0)

    @property
    def nodes_well(self) -> int:
        return self.nodes.get(NodeStatus.IDLE, 0) + self.nodes.get(NodeStatus.ACTIVE, 0)

    @property
    def node_parts(self) -> list[tuple[str, float]]:
        return [("ok", self.nodes_well), *((tone(status), self.nodes.get(status, 0)) for status in REST)]

    @property
    def nodes_in_words(self) -> str:
        told = [f"{self.nodes[status]:,} {status}" for status in REST if self.nodes.get(status)]
        return " · ".join([f"{self.nodes_well:,} idle or active", *told])

    @property
    def cpu_percent(self) -> float:
        return 100 * self.cpu_reserved_millis / self.cpu_millis if self.cpu_millis else 0.0

    @property
    def memory_percent(self) -> float:
        return 100 * self.memory_reserved_mb / self.memory_mb if self.memory_mb else 0.0

    @property
    def failed_percent(self) -> float | None:
        return None if self.failed_share is None else 100 * self.failed_share


@dataclass(frozen=True, slots=True)
class Span:
    """When one task ran; ``finished_at`` is None while it runs."""

    started_at: datetime | None
    finished_at: datetime | None


def user_tasks() -> QuerySet[Task]:
    return Task.objects.filter(canary=False)


def summary(now: datetime, fleet: Sequence[Group]) -> Summary:
    """``fleet``: its groups at the same moment."""
    offered = [group for group in fleet if group.status != NodeStatus.OFFLINE]
    cpu_millis = sum(group.total.cpu_millis for group in offered)
    memory_mb = sum(group.total.memory_mb for group in offered)
    recent_at = now - timedelta(seconds=RECENT_S)
    states, finished = _finished(now - timedelta(seconds=HOUR_S), recent_at)
    covered_s = _covered_s(finished, now)
    running = _running(recent_at)
    queued, oldest_at = _queue()
    return Summary(
        at=now,
        nodes=counted(fleet, lambda group: group.status),
        cpu_millis=cpu_millis,
        cpu_reserved_millis=cpu_millis - sum(group.free.cpu_millis for group in offered),
        memory_mb=memory_mb,
        memory_reserved_mb=memory_mb - sum(group.free.memory_mb for group in offered),
        running=len(running),
        queued=queued,
        oldest_queued_s=max(0.0, (now - oldest_at).total_seconds()) if oldest_at else None,
        finished_per_s=len(finished) / covered_s,
        failed_share=states.count(TaskState.FAILED) / len(states) if states else None,
        running_course=running_course([*finished, *running], now, covered_s),
        finished_course=finished_course(finished, now, covered_s),
    )


def running_course(spans: Sequence[Span], now: datetime, covered_s: float) -> list[float]:
    """How many tasks ran at each of `BUCKETS` moments of the stretch that ends now."""
    begun = [span for span in spans if span.started_at is not None]
    starts = sorted(span.started_at for span in begun if span.started_at)
    ends = sorted(span.finished_at for span in begun if span.finished_at)
    moments = [now - timedelta(seconds=covered_s * i / BUCKETS) for i in reversed(range(BUCKETS))]
    return [float(bisect_right(starts, moment) - bisect_right(ends, moment)) for moment in moments]


def finished_course(spans: Sequence[Span], now: datetime, covered_s: float) -> list[float]:
    """How many tasks finished in each of `BUCKETS` equal parts of the stretch that ends now."""
    course = [0.0] * BUCKETS
    for span in spans:
        if span.finished_at is not None:
            course[max(0, BUCKETS - 1 - int(BUCKETS * _age_s(span, now) / covered_s))] += 1
    return course


def _age_s(span: Span, now: datetime) -> float:
    return 0.0 if span.finished_at is None else max(0.0, (now - span.finished_at).total_seconds())


def _covered_s(finished: Sequence[Span], now: datetime) -> float:
    """The stretch that the newest `COUNTED_TO` finished tasks tell of: a minute, or less when busy."""
    if len(finished) < COUNTED_TO:
        return RECENT_S
    return min(RECENT_S, max(0.1, _age_s(finished[-1], now)))


def _finished(hour_at: datetime, recent_at: datetime) -> tuple[list[str], list[Span]]:
    """Of the newest `COUNTED_TO` that finished since ``hour_at``: their states, and when those ran that
    finished since ``recent_at``, newest first."""
    newest = user_tasks().filter(finished_at__gte=hour_at).order_by("-finished_at")
    recent = (_if_since(recent_at, "finished_at", name) for name in ("started_at", "finished_at"))
    rows = list(newest.values_list("state", *recent)[:COUNTED_TO])
    return [state for state, _, _ in rows], [Span(*span) for _, *span in rows if span[-1]]


def _running(recent_at: datetime) -> list[Span]:
    """The newest `COUNTED_TO` and one more; those that began before ``recent_at`` count as begun then."""
    newest = user_tasks().filter(state=TaskState.RUNNING).order_by("-id")
    began = newest.values_list(_if_since(recent_at, "started_at", "started_at"), flat=True)
    return [Span(started_at or recent_at, None) for started_at in began[: COUNTED_TO + 1]]


def _if_since(moment: datetime, when: str, name: str) -> Case:
    """The column ``name``, or None for what was before: turning a thousand texts into times that nobody looks
    at takes longer than to find them."""
    return Case(When(**{f"{when}__gte": moment}, then=name))


def _queue() -> tuple[int, datetime | None]:
    """How many tasks wait, counted to one more than `COUNTED_TO`, and since when the oldest does."""
    oldest = user_tasks().filter(state=TaskState.QUEUED).order_by("id")[: COUNTED_TO + 1]
    found = oldest.aggregate(number=Count("id"), since=Min("created_at"))
    return found["number"], found["since"]

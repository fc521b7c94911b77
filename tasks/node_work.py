"""What work a node gets and why not more: tasks that wait, the last placements, how it stands to them.

Bounded whatever the size of fleet and queue: the tasks that wait longest, the newest placements, the
most frequent kinds of both. What is counted is said with it.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.utils import timezone

from coordinator import values
from coordinator.fleet import Fleet
from coordinator.standing import Standing, standing
from fogpanel.templatetags.fog import cores, megabytes
from nodes.models import Node
from tasks.models import Decision, Explanation, Task
from tasks.node_verdict import Kind, Verdict, judge
from tasks.placement import placer
from tasks.queue_view import ShapeKey, shape_key
from tasks.reach import within_reach
from tasks.routing_view import as_routing_task
from tasks.states import TaskState

WAITING_SEEN = 1000
PLACEMENTS_SEEN = 500
EXPLANATIONS_SEEN = 40
KINDS_SEEN = 8

NEEDS = ("driver", "cpu_millis", "memory_mb", "disk_mb", "gpu_count", "region", "region_required", "labels")
ROUTED = (
    *NEEDS, "onion_required", "strategy", "priority", "payload", "stdin", "created_at", "privacy",
    "reservation",
)  # fmt: skip


@dataclass(slots=True)
class _Seen:
    """One kind of task among those looked at."""

    example: Task
    waiting: int = 0
    placed: int = 0
    here: int = 0


@dataclass(frozen=True, slots=True)
class Recorded:
    """In how many of the placements the record names this node, and as what. Large fleets name few."""

    named: int
    eligible: int
    fell: dict[str, int]  # filter → placements


@dataclass(frozen=True, slots=True)
class NodeWork:
    node: Node
    as_of: datetime
    verdict: Verdict
    waiting: int  # of them at most WAITING_SEEN were looked at
    placed: int
    here: int
    since: datetime | None  # of the oldest placement looked at
    recorded: Recorded
    kinds: list[Kind]
    kinds_in_all: int

    @property
    def sees_all_waiting(self) -> bool:
        return self.waiting < WAITING_SEEN


def work_of(node: Node) -> NodeWork:
    """Raises TimeoutError when the placer has no time to answer."""
    now = timezone.now()
    waiting = _waiting()
    placements = _placements()
    seen = _by_kind(waiting, placements, node)
    frequent = sorted(seen, key=lambda kind: -(kind.waiting + kind.placed))[:KINDS_SEEN]
    anything, *standings = _standings(node, [kind.example for kind in frequent], now)
    kinds = [_kind(kind, stands) for kind, stands in zip(frequent, standings, strict=True)]
    here = sum(kind.here for kind in seen)
    return NodeWork(
        node=node,
        as_of=now,
        verdict=judge(anything, kinds, len(placements), here) if anything else _outside(node),
        waiting=len(waiting),
        placed=len(placements),
        here=here,
        since=placements[-1].decided_at if placements else None,
        recorded=_recorded(node, placements),
        kinds=kinds,
        kinds_in_all=len(seen),
    )


def _waiting() -> list[Task]:
    queued = Task.objects.filter(state=TaskState.QUEUED, canary=False, cancel_requested_at=None)
    return list(queued.only(*ROUTED).order_by("id")[:WAITING_SEEN])


def _placements() -> list[Decision]:
    """The newest first."""
    made = Decision.objects.filter(task__canary=False).exclude(chosen=None).select_related("task")
    columns = ("task", "chosen", "explanation", "decided_at", *(f"task__{name}" for name in ROUTED))
    return list(made.only(*columns).order_by("-id")[:PLACEMENTS_SEEN])


def _by_kind(waiting: Iterable[Task], placements: Iterable[Decision], node: Node) -> list[_Seen]:
    kinds: dict[tuple[bool, ShapeKey], _Seen] = {}

    def kind_of(task: Task) -> _Seen:
        # Those that are sealed are one kind, whatever the nodes that each is sealed for.
        key = task.is_sealed, shape_key(as_routing_task(task, 0.0))
        return kinds.setdefault(key, _Seen(task))

    for task in waiting:
        kind_of(task).waiting += 1
    for placement in placements:
        kind = kind_of(placement.task)
        kind.placed += 1
        kind.here += placement.chosen_id == node.id
    return list(kinds.values())


def _standings(node: Node, examples: Sequence[Task], now: datetime) -> list[Standing | None]:
    """How the node stands to a task that asks for nothing, and to each of these."""
    moment = now.timestamp()
    nothing = values.Task(task_id=0, needs=values.Resources())
    reserved = within_reach(task.reservation for task in examples)
    asked = [nothing, *(as_routing_task(task, moment, reserved) for task in examples)]

    def answer(fleet: Fleet, rng: random.Random) -> list[Standing | None]:
        return [standing(fleet, task, node.id, moment) for task in asked]

    return placer.ask(answer)


def _kind(seen: _Seen, stands: Standing | None) -> Kind:
    return Kind(
        words=in_words(seen.example),
        strategy=seen.example.strategy,
        waiting=seen.waiting,
        placed=seen.placed,
        here=seen.here,
        standing=stands,
        example=seen.example.id,
    )


def in_words(task: Task) -> str:
    """What tasks of this kind ask for: "python, 0.5 cores, 256 MB, only in eu-west"."""
    said = [task.driver, f"{cores(task.cpu_millis)} cores", megabytes(task.memory_mb)]
    if task.disk_mb:
        said.append(f"{megabytes(task.disk_mb)} disk")
    if task.gpu_count:
        said.append(f"{task.gpu_count} GPU")
    if task.region:
        said.append(f"only in {task.region}" if task.region_required else f"near {task.region}")
    said += [f"{name}={value}" for name, value in task.labels.items()]
    if task.onion_required:
        said.append("onion-capable")
    if task.is_sealed:
        said.append("sealed")
    return ", ".join(said)


def _recorded(node: Node, placements: Sequence[Decision]) -> Recorded:
    ids = dict.fromkeys(each.explanation_id for each in placements if each.explanation_id)
    newest = list(ids)[:EXPLANATIONS_SEEN]
    named: dict[int, str | None] = {}
    for explanation in Explanation.objects.filter(id__in=newest):
        for row in explanation.rows:
            if row["node_id"] == node.id:
                named[explanation.pk] = row["reason"]
    outcomes = [named[e.explanation_id] for e in placements if e.explanation_id in named]
    fell = Counter(reason for reason in outcomes if reason is not None)
    return Recorded(len(outcomes), outcomes.count(None), dict(fell.most_common()))


def _outside(node: Node) -> Verdict:
    if node.archived_at:
        return Verdict(
            "mute", "It was removed from the fleet, so it gets no work.", "Join the machine again."
        )
    if not node.approved_at:
        return Verdict("warn", "It waits for approval, so it gets no work.", "Approve it on its page.")
    return Verdict("mute", "It joined a moment ago and is not considered yet.", "Look again in a second.")

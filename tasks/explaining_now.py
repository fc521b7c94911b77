"""The decision on a task made once more, against the fleet as it is, to be looked at only."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.utils import timezone

from coordinator import planning, standing, values
from coordinator.fleet import Fleet
from fogagent.messages import Outcome
from tasks.explaining import counted, decisions_of, latest, others_of, table_of
from tasks.models import Task
from tasks.placement import placer
from tasks.reach import within_reach
from tasks.routing_view import NO_INPUTS, as_routing_task, fetched_inputs
from tasks.states import PLACED

ROWS = 50


@dataclass(frozen=True, slots=True)
class Answer:
    """``decision`` has no candidates: those that were asked for are in ``excerpt``, from ``start`` on."""

    as_of: datetime
    decision: values.Decision
    excerpt: standing.Excerpt
    avoided: frozenset[values.NodeId]
    start: int

    @property
    def end(self) -> int:
        return self.start + len(self.excerpt.rows)


def explain_now(task: Task, *, name: str = "", start: int = 0, size: int = ROWS) -> Answer:
    """How the nodes whose name contains ``name`` stand to this task now, ``size`` of them from ``start`` on.

    Raises TimeoutError when the placer has no time to answer.
    """
    now = timezone.now()
    asked = replace(
        as_routing_task(task, now.timestamp(), within_reach([task.reservation])),
        avoid=_failed_on(task),
        inputs=fetched_inputs([task]).get(task.id, NO_INPUTS),
    )

    def answer(fleet: Fleet, rng: random.Random) -> tuple[values.Decision, standing.Excerpt]:
        decision = planning.decide(fleet, asked, now.timestamp(), rng)
        return decision, standing.excerpt(fleet, asked, now.timestamp(), name=name, start=start, size=size)

    decision, excerpt = placer.ask(answer)
    return Answer(now, decision, excerpt, asked.avoid, start)


def _failed_on(task: Task) -> frozenset[int]:
    ended = task.attempts.exclude(ended_at=None).exclude(outcome=Outcome.SUCCEEDED)
    return frozenset(ended.values_list("node_id", flat=True))


def page_of(task: Task, name: str, start: int) -> dict[str, Any]:
    """What the page shows of an answer. Raises TimeoutError as `explain_now` does."""
    answer = explain_now(task, name=name, start=start)
    decision, shown = answer.decision, answer.excerpt.rows
    others = others_of(decision.others, decision.strategy, decision.chosen)
    return {
        "answer": answer,
        "rows": table_of(
            [row.candidate for row in shown],
            decision.chosen,
            places=[row.place for row in shown],
            avoided=answer.avoided,
        ),
        "others": others,
        "chosen": next((other.node for other in others if other.taken), None),
        "fell": counted(decision.rejected),
        "before": latest(decisions_of(task)),
        "holds": task.node.name if task.node and task.state in PLACED else "",
        "links": _links(answer, name),
    }


def _links(answer: Answer, name: str) -> dict[str, str]:
    def link(start: int) -> str:
        return f"?{urlencode({'q': name, 'start': start})}"

    return {
        "before": link(max(0, answer.start - ROWS)) if answer.start else "",
        "after": link(answer.end) if answer.end < answer.excerpt.matching else "",
    }

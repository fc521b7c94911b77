"""A decision as its page reads: who was chosen, who was eligible with what score, who fell at what."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from coordinator.values import Candidate, NodeId, RoutingStrategy
from coordinator.values import Decision as Routed
from nodes.models import Node
from tasks.models import Decision, Task

PART_TONES = 5
BAR_WIDTH = 100.0

HOW_IT_CHOOSES = {
    RoutingStrategy.ROUND_ROBIN: "got work longest ago",
    RoutingStrategy.LEAST_LOADED: "lowest load",
    RoutingStrategy.AFFINITY_BASED: "least left over",
    RoutingStrategy.PROXIMITY_BASED: "nearest",
    RoutingStrategy.PRIVACY_AWARE: "reputation, then a network not used lately",
}

IN_WORDS = {"sealed": "not sealed for it, or out of its reach"}
"""Of reasons whose names alone would say something else."""


@dataclass(frozen=True, slots=True)
class Eligible:
    """``bar`` has a (tone, x, width) for each part of the score, in a whole of 100."""

    node_id: int
    name: str
    region: str
    score: float
    bar: list[tuple[str, str, str]]
    chosen: bool
    place: int  # 1 is the best
    avoided: bool = False  # it failed there before


@dataclass(frozen=True, slots=True)
class Rejected:
    node_id: int
    name: str
    region: str
    why: str


@dataclass(frozen=True, slots=True)
class Rows:
    """Nodes as a table shows them, in the strategy's order. ``legend`` has a (tone, part of the score)."""

    eligible: list[Eligible]
    rejected: list[Rejected]
    legend: list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Other:
    """What a strategy would have chosen; ``node`` is None where it had nothing to choose."""

    strategy: RoutingStrategy
    node_id: int | None
    node: str | None
    how: str
    taken: bool


@dataclass(frozen=True, slots=True)
class Explained:
    """``first_of``: the task whose rows these are, where equal tasks of one batch share them."""

    decision: Decision
    rows: Rows
    others: list[Other]
    fell: list[tuple[str, int]]  # (why, how many nodes)
    first_of: int | None = None

    @property
    def shows_all(self) -> bool:
        return len(self.rows.eligible) + len(self.rows.rejected) == self.decision.considered


def explain(decision: Decision) -> Explained:
    """``decision`` with its explanation and chosen node loaded."""
    recorded = decision.explanation.rows if decision.explanation else []
    candidates = [Candidate(**row) for row in recorded]
    return Explained(
        decision,
        rows=table_of(candidates, decision.chosen_id),
        others=others_of(decision.others, decision.strategy, decision.chosen_id),
        fell=counted(decision.rejected),
        first_of=_first_of(decision),
    )


def _first_of(decision: Decision) -> int | None:
    if decision.explanation_id is None:
        return None
    sharing = Decision.objects.filter(explanation_id=decision.explanation_id).order_by("id")
    first = sharing.values_list("task_id", flat=True).first()
    return first if first != decision.task_id else None


def table_of(
    candidates: Sequence[Candidate],
    chosen: object,
    *,
    places: Sequence[int] = (),
    avoided: Container[NodeId] = (),
) -> Rows:
    """``places`` are those of the candidates where they are not all of the table from its top on."""
    places = places or range(1, len(candidates) + 1)
    scored = [(place, each) for place, each in zip(places, candidates, strict=True) if each.reason is None]
    names = list(dict.fromkeys(part for _, each in scored for part in each.parts))
    tones = {name: f"part-{index % PART_TONES}" for index, name in enumerate(names)}
    return Rows(
        eligible=[
            Eligible(
                int(each.node_id),
                each.name,
                each.region,
                each.score or 0.0,
                _bar(each, tones),
                each.node_id == chosen,
                place,
                each.node_id in avoided,
            )
            for place, each in scored
        ],
        rejected=[
            Rejected(int(each.node_id), each.name, each.region, each.detail or in_words(each.reason))
            for each in candidates
            if each.reason is not None
        ],
        legend=[(tones[name], in_words(name)) for name in names],
    )


def _bar(candidate: Candidate, tones: Mapping[str, str]) -> list[tuple[str, str, str]]:
    bar, x = [], 0.0
    for name, share in candidate.parts.items():
        width = BAR_WIDTH * max(0.0, share)
        bar.append((tones[name], f"{x:.2f}", f"{width:.2f}"))
        x += width
    return bar


def others_of(others: Mapping[Any, Any], taken: str, chosen: Any) -> list[Other]:
    """Every strategy's choice, where they were asked; the one that was taken is among them."""
    if not others:
        return []
    choices = {**others, taken: chosen}
    names = dict(Node.objects.filter(id__in=[id for id in choices.values() if id]).values_list("id", "name"))
    return [
        Other(
            strategy,
            choices[strategy],
            names.get(choices[strategy]),
            HOW_IT_CHOOSES[strategy],
            strategy == taken,
        )
        for strategy in RoutingStrategy
        if strategy in choices
    ]


def counted(reasons: Mapping[str, int]) -> list[tuple[str, int]]:
    """Named reasons in words, the most frequent first."""
    return sorted(
        ((in_words(reason), count) for reason, count in reasons.items()), key=lambda pair: (-pair[1], pair[0])
    )


def in_words(name: str) -> str:
    return IN_WORDS.get(name) or name.replace("_", " ")


def decisions_of(task: Task) -> list[Decision]:
    """A task's decisions, oldest first."""
    return list(task.decisions.select_related("chosen", "explanation", "attempt"))


@dataclass(frozen=True, slots=True)
class Preview:
    """Where one strategy would send a task now, or why nowhere."""

    strategy: RoutingStrategy
    node_id: object | None
    node: str
    region: str
    score: float | None
    eligible: int
    considered: int
    how: str
    fell: list[tuple[str, int]]


def previews(decisions: Mapping[RoutingStrategy, Routed]) -> list[Preview]:
    return [_preview(strategy, decisions[strategy]) for strategy in RoutingStrategy if strategy in decisions]


def _preview(strategy: RoutingStrategy, decision: Routed) -> Preview:
    # Nothing is sealed yet: these are nodes that nothing can be sealed for.
    fell = {"cannot_be_sealed_for" if why == "sealed" else why: n for why, n in decision.rejected.items()}
    row = next((c for c in decision.candidates if c.node_id == decision.chosen), None)
    name, region, score = (row.name, row.region, row.score) if row else ("", "", None)
    if row is None and decision.chosen is not None:
        node = Node.objects.get(id=decision.chosen)
        name, region = node.name, node.region
    return Preview(
        strategy,
        decision.chosen,
        name,
        region,
        score,
        decision.eligible,
        decision.considered,
        HOW_IT_CHOOSES[strategy],
        counted(fell),
    )


def latest(decisions: Iterable[Decision]) -> Decision | None:
    """The decision that speaks for the task now: the newest."""
    return max(decisions, key=lambda decision: decision.id, default=None)

"""A decision as its page reads: who was chosen, who was eligible with what score, who fell at what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from coordinator.values import Decision as Routed
from coordinator.values import RoutingStrategy
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


@dataclass(frozen=True, slots=True)
class Eligible:
    """``bar`` has a (tone, x, width) for each part of the score, in a whole of 100."""

    node_id: int
    name: str
    region: str
    score: float
    bar: list[tuple[str, str, str]]
    chosen: bool


@dataclass(frozen=True, slots=True)
class Rejected:
    node_id: int
    name: str
    region: str
    why: str


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
    decision: Decision
    eligible: list[Eligible]
    rejected: list[Rejected]
    legend: list[tuple[str, str]]  # (tone, part of the score)
    others: list[Other]
    fell: list[tuple[str, int]]  # (why, how many nodes)

    @property
    def shows_all(self) -> bool:
        return len(self.eligible) + len(self.rejected) == self.decision.considered


def explain(decision: Decision) -> Explained:
    """``decision`` with its explanation and chosen node loaded. Rows stay in the strategy's order."""
    rows: list[dict[str, Any]] = decision.explanation.rows if decision.explanation else []
    scored = [row for row in rows if row.get("reason") is None]
    names = list(dict.fromkeys(part for row in scored for part in row["parts"]))
    tones = {name: f"part-{index % PART_TONES}" for index, name in enumerate(names)}
    return Explained(
        decision,
        eligible=[_eligible(row, tones, decision.chosen_id) for row in scored],
        rejected=[_rejected(row) for row in rows if row.get("reason") is not None],
        legend=[(tones[name], in_words(name)) for name in names],
        others=_others(decision),
        fell=counted(decision.rejected),
    )


def _eligible(row: dict[str, Any], tones: Mapping[str, str], chosen: int | None) -> Eligible:
    bar, x = [], 0.0
    for name, share in row["parts"].items():
        width = BAR_WIDTH * max(0.0, share)
        bar.append((tones[name], f"{x:.2f}", f"{width:.2f}"))
        x += width
    return Eligible(row["node_id"], row["name"], row["region"], row["score"], bar, row["node_id"] == chosen)


def _rejected(row: dict[str, Any]) -> Rejected:
    return Rejected(row["node_id"], row["name"], row["region"], row["detail"] or in_words(row["reason"]))


def _others(decision: Decision) -> list[Other]:
    """Every strategy's choice, where they were asked; the one that was taken is among them."""
    if not decision.others:
        return []
    choices = {**decision.others, decision.strategy: decision.chosen_id}
    names = dict(Node.objects.filter(id__in=[id for id in choices.values() if id]).values_list("id", "name"))
    return [
        Other(
            strategy,
            choices[strategy],
            names.get(choices[strategy]),
            HOW_IT_CHOOSES[strategy],
            strategy == decision.strategy,
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
    return name.replace("_", " ")


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
        counted(decision.rejected),
    )


def latest(decisions: Iterable[Decision]) -> Decision | None:
    """The decision that speaks for the task now: the newest."""
    return max(decisions, key=lambda decision: decision.id, default=None)

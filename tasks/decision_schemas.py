"""What the API tells of decisions that were made or would be, and of why a node gets work or none."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ninja import Schema

from coordinator.values import Candidate
from coordinator.values import Decision as Routed
from tasks.explaining_now import Answer
from tasks.models import Decision
from tasks.node_verdict import Kind
from tasks.node_work import NodeWork
from tasks.task_schemas import NodeRef

CANDIDATES_SHOWN = 20


class DecisionOut(Schema):
    """``rejected`` counts nodes by the filter they fell at, ``nodes`` shows them one by one.

    A task that waits for the same reasons again has ``count`` above 1 and ``last_at``; the rest is as it
    was found first. ``others`` is empty where the other strategies were not asked.
    """

    id: int
    attempt: int | None
    strategy: str
    chosen: NodeRef | None
    considered: int
    eligible: int
    rejected: dict[str, int]
    others: dict[str, int | None]
    decided_at: datetime
    count: int
    last_at: datetime | None
    took_us: float
    nodes: list[dict[str, Any]]


class Decisions(Schema):
    items: list[DecisionOut]


class CandidateOut(Schema):
    node_id: int
    name: str
    region: str
    score: float | None
    parts: dict[str, float]
    reason: str | None
    detail: str


class PlacedCandidate(CandidateOut):
    """``place`` counts from 1 over all nodes: the eligible from the best on, then the others."""

    place: int


class ExplainedNow(Schema):
    """A task's decision made once more against the fleet at ``as_of``; nothing was reserved.

    ``nodes`` are those asked for, ``matching`` how many there are of them; ``next`` is the ``start`` of
    the page after. ``others`` is what the other strategies would choose, exactly.
    """

    as_of: datetime
    strategy: str
    chosen: int | None
    considered: int
    eligible: int
    rejected: dict[str, int]
    others: dict[str, int | None]
    matching: int
    nodes: list[PlacedCandidate]
    next: int | None


class WorkKind(Schema):
    """Tasks with equal needs and strategy. ``place`` is 1 for the node that would be chosen, null with a
    ``reason`` and its sentence in ``detail`` where the node is not eligible. ``example`` is one such task."""

    needs: str
    strategy: str
    waiting: int
    placed: int
    here: int
    place: int | None
    eligible: int | None
    reason: str | None
    detail: str
    example: int


class NodeWhy(Schema):
    """Why a node gets work or none. ``waiting`` and ``placed`` are how many tasks were looked at, those that
    wait longest and the newest placements, ``here`` how many of these came to the node. How it stands to the
    most frequent kinds was worked out at ``as_of``; ``recorded`` says in how many placements the record names
    it and as what."""

    as_of: datetime
    sentence: str
    advice: str
    waiting: int
    placed: int
    here: int
    recorded: int
    recorded_eligible: int
    recorded_fell: dict[str, int]
    kinds: list[WorkKind]
    kinds_in_all: int


class PreviewOut(Schema):
    strategy: str
    chosen: NodeRef | None
    considered: int
    eligible: int
    rejected: dict[str, int]
    candidates: list[CandidateOut]


class Previews(Schema):
    items: list[PreviewOut]


def decision_out(decision: Decision) -> DecisionOut:
    chosen = decision.chosen
    return DecisionOut(
        id=decision.pk,
        attempt=decision.attempt.number if decision.attempt else None,
        strategy=decision.strategy,
        chosen=NodeRef(id=chosen.id, name=chosen.name) if chosen else None,
        considered=decision.considered,
        eligible=decision.eligible,
        rejected=decision.rejected,
        others=decision.others,
        decided_at=decision.decided_at,
        count=decision.count,
        last_at=decision.last_at,
        took_us=decision.took_us,
        nodes=decision.explanation.rows if decision.explanation else [],
    )


def preview_out(decision: Routed) -> PreviewOut:
    chosen = next((c for c in decision.candidates if c.node_id == decision.chosen), None)
    return PreviewOut(
        strategy=decision.strategy,
        chosen=NodeRef(id=int(chosen.node_id), name=chosen.name) if chosen else None,
        considered=decision.considered,
        eligible=decision.eligible,
        rejected=dict(decision.rejected),
        candidates=[_candidate(each) for each in decision.candidates[:CANDIDATES_SHOWN]],
    )


def _candidate(candidate: Candidate) -> CandidateOut:
    return CandidateOut(
        node_id=int(candidate.node_id),
        name=candidate.name,
        region=candidate.region,
        score=candidate.score,
        parts=dict(candidate.parts),
        reason=candidate.reason,
        detail=candidate.detail,
    )


def explained_now(answer: Answer) -> ExplainedNow:
    decision, excerpt = answer.decision, answer.excerpt
    return ExplainedNow(
        as_of=answer.as_of,
        strategy=decision.strategy,
        chosen=_node_id(decision.chosen),
        considered=decision.considered,
        eligible=decision.eligible,
        rejected=dict(decision.rejected),
        others={str(strategy): _node_id(node_id) for strategy, node_id in decision.others.items()},
        matching=excerpt.matching,
        nodes=[
            PlacedCandidate(**_candidate(row.candidate).model_dump(), place=row.place) for row in excerpt.rows
        ],
        next=answer.end if answer.end < excerpt.matching else None,
    )


def _node_id(node_id: object) -> int | None:
    return None if node_id is None else int(str(node_id))


def node_why(work: NodeWork) -> NodeWhy:
    return NodeWhy(
        as_of=work.as_of,
        sentence=work.verdict.sentence,
        advice=work.verdict.advice,
        waiting=work.waiting,
        placed=work.placed,
        here=work.here,
        recorded=work.recorded.named,
        recorded_eligible=work.recorded.eligible,
        recorded_fell=work.recorded.fell,
        kinds=[_work_kind(kind) for kind in work.kinds],
        kinds_in_all=work.kinds_in_all,
    )


def _work_kind(kind: Kind) -> WorkKind:
    stands = kind.standing
    return WorkKind(
        needs=kind.words,
        strategy=kind.strategy,
        waiting=kind.waiting,
        placed=kind.placed,
        here=kind.here,
        place=stands.place if stands else None,
        eligible=stands.eligible if stands else None,
        reason=stands.candidate.reason if stands else None,
        detail=stands.candidate.detail if stands else "",
        example=kind.example,
    )

"""Tasks, attempts, decisions and logs as the API speaks of them."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from django.conf import settings
from ninja import Schema
from pydantic import Field

from coordinator.values import Candidate, RoutingStrategy
from coordinator.values import Decision as Routed
from tasks.explaining_now import Answer
from tasks.models import Attempt, Decision, Task
from tasks.node_verdict import Kind
from tasks.node_work import NodeWork
from tasks.privacy import Privacy
from tasks.specification import (
    DEFAULT_CORES,
    DEFAULT_MAX_ATTEMPTS,
    DEFAULT_MEMORY_MB,
    DEFAULT_PRIORITY,
    DEFAULT_TIMEOUT_S,
    Driver,
)

CANDIDATES_SHOWN = 20


class TaskIn(Schema):
    """A specification, for the documentation: `tasks.specification.validate` is what reads it.

    What to run is ``source`` (python), ``module`` (wasm), ``argv`` (command) or ``image`` (container).
    """

    driver: Driver = Driver.PYTHON
    name: str = Field(default="", max_length=200)
    source: str | None = Field(default=None, description="At most 1 MiB")
    module: str | None = Field(default=None, description="Base64 of at most 16 MiB")
    argv: list[str] | None = None
    image: str | None = None
    args: list[str] = []
    env: dict[str, str] = {}
    stdin: str | None = None
    network: bool = False
    timeout_s: float = Field(default=DEFAULT_TIMEOUT_S, ge=1, le=86_400)
    cores: float = Field(default=DEFAULT_CORES, ge=0.01, le=256)
    memory_mb: int = Field(default=DEFAULT_MEMORY_MB, ge=16)
    disk_mb: int = 0
    gpus: int = 0
    strategy: RoutingStrategy = RoutingStrategy.LEAST_LOADED
    region: str = ""
    region_required: bool = False
    labels: dict[str, str] = {}
    onion_required: bool = False
    priority: int = Field(default=DEFAULT_PRIORITY, ge=1, le=10)
    max_attempts: int = Field(default=DEFAULT_MAX_ATTEMPTS, ge=1, le=10)
    privacy: Privacy = Field(default=Privacy.PUBLIC, description="Public; others are sealed first")


class NodeRef(Schema):
    id: int
    name: str


class WaitReason(Schema):
    reason: str
    nodes: int


class TaskOut(Schema):
    id: int
    name: str
    url: str
    state: str
    owner: str
    driver: str
    strategy: str
    region: str
    privacy: Privacy
    priority: int
    node: NodeRef | None
    wait_reasons: list[WaitReason]
    reason: str
    exit_code: int | None
    created_at: datetime
    assigned_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    cancel_requested_at: datetime | None
    attempts_made: int
    max_attempts: int
    needs_resealing: bool
    reseal_by: datetime | None


class AttemptOut(Schema):
    """``accepted``: the attempt whose result is the task's. ``doubted_at``: when its node fell silent."""

    number: int
    node: NodeRef
    created_at: datetime
    started_at: datetime | None
    doubted_at: datetime | None
    ended_at: datetime | None
    outcome: str
    sentence: str
    exit_code: int | None
    usage: dict[str, Any] | None
    truncated: bool
    accepted: bool


class Needs(Schema):
    cores: float
    memory_mb: int
    disk_mb: int
    gpus: int
    timeout_s: float
    region_required: bool
    labels: dict[str, str]
    onion_required: bool
    network: bool


class Content(Schema):
    """What runs; ``payload_sha256`` is of the script or module."""

    image: str
    args: list[str]
    env: dict[str, str]
    payload_sha256: str | None
    stdin_sha256: str | None


class TaskDetail(TaskOut):
    """``content`` is null for those who may not see it."""

    needs: Needs
    content: Content | None
    attempts: list[AttemptOut]


class Tasks(Schema):
    items: list[TaskOut]
    next: int | None


class LogText(Schema):
    id: int
    stream: Literal["stdout", "stderr"]
    attempt: int
    text: str


class Logs(Schema):
    chunks: list[LogText]
    next: int
    done: bool


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


def task_out(task: Task) -> TaskOut:
    return TaskOut(
        id=task.id,
        name=task.name,
        url=f"{settings.PUBLIC_URL}/tasks/{task.id}",
        state=task.state,
        owner=task.owner.get_username(),
        driver=task.driver,
        strategy=task.strategy,
        region=task.region,
        privacy=Privacy(task.privacy),
        priority=task.priority,
        node=NodeRef(id=task.node.id, name=task.node.name) if task.node else None,
        wait_reasons=[WaitReason(reason=reason, nodes=nodes) for reason, nodes in task.wait_reasons.items()],
        reason=task.reason,
        exit_code=task.exit_code,
        created_at=task.created_at,
        assigned_at=task.assigned_at,
        started_at=task.started_at,
        finished_at=task.finished_at,
        cancel_requested_at=task.cancel_requested_at,
        attempts_made=task.attempts_made,
        max_attempts=task.max_attempts,
        needs_resealing=task.needs_resealing,
        reseal_by=task.expires_at if task.needs_resealing else None,
    )


def task_detail(task: Task, *, with_content: bool) -> TaskDetail:
    attempts = task.attempts.select_related("node").order_by("id")
    return TaskDetail(
        **task_out(task).model_dump(),
        needs=_needs(task),
        content=_content(task) if with_content else None,
        attempts=[_attempt_out(attempt, task) for attempt in attempts],
    )


def _needs(task: Task) -> Needs:
    return Needs(
        cores=task.cpu_millis / 1000,
        memory_mb=task.memory_mb,
        disk_mb=task.disk_mb,
        gpus=task.gpu_count,
        timeout_s=task.timeout_s,
        region_required=task.region_required,
        labels=task.labels,
        onion_required=task.onion_required,
        network=task.network,
    )


def _content(task: Task) -> Content:
    return Content(
        image=task.image,
        args=task.args,
        env=task.env,
        payload_sha256=task.payload_id,
        stdin_sha256=task.stdin_id,
    )


def _attempt_out(attempt: Attempt, task: Task) -> AttemptOut:
    return AttemptOut(
        number=attempt.number,
        node=NodeRef(id=attempt.node.id, name=attempt.node.name),
        created_at=attempt.created_at,
        started_at=attempt.started_at,
        doubted_at=attempt.doubted_at,
        ended_at=attempt.ended_at,
        outcome=attempt.outcome,
        sentence=attempt.sentence,
        exit_code=attempt.exit_code,
        usage=attempt.usage,
        truncated=attempt.truncated,
        accepted=attempt.id == task.accepted_attempt_id,
    )


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

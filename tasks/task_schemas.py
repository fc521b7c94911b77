"""Tasks, attempts and logs as the API speaks of them."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from django.conf import settings
from ninja import Schema
from pydantic import Field

from coordinator.values import RoutingStrategy
from tasks.models import Attempt, Task
from tasks.privacy import Privacy
from tasks.specification import (
    DEFAULT_CORES,
    DEFAULT_MAX_ATTEMPTS,
    DEFAULT_MEMORY_MB,
    DEFAULT_PRIORITY,
    DEFAULT_TIMEOUT_S,
    Driver,
)


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

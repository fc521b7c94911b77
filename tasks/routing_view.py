"""A task's row as routing sees it."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from msgspec.json import decode

from coordinator import values
from coordinator.values import Resources, RoutingStrategy
from fogagent.messages import INLINE_BLOB_BYTES
from fogpanel.rows import as_time
from tasks.models import Attempt, Blob, Task
from tasks.privacy import SEALED
from tasks.reach import sealable, within_reach
from tasks.specification import TaskSpec

NO_INPUTS: frozenset[str] = frozenset()
NOTHING_RESERVED: Mapping[int | None, frozenset[int]] = MappingProxyType({})


class Reserves(Protocol):
    """A task in any form that names what it needs."""

    @property
    def cpu_millis(self) -> int: ...
    @property
    def memory_mb(self) -> int: ...
    @property
    def disk_mb(self) -> int: ...
    @property
    def gpu_count(self) -> int: ...


def needs_of(task: Reserves) -> Resources:
    return Resources(
        cpu_millis=task.cpu_millis, memory_mb=task.memory_mb, disk_mb=task.disk_mb, gpus=task.gpu_count
    )


class Waiting(NamedTuple):
    """A task in the queue: what routing looks at. Columns of `tasks.models.Task`."""

    id: int
    created_at: datetime
    attempts_made: int
    cpu_millis: int
    memory_mb: int
    disk_mb: int
    gpu_count: int
    driver: str
    strategy: str
    region: str
    region_required: bool
    labels: dict[str, str]
    payload_id: str | None
    stdin_id: str | None
    onion_required: bool
    priority: int
    privacy: str
    reservation: int | None


def waiting(row: Sequence[Any]) -> Waiting:
    """A row of these columns, in their order, as `fogpanel.rows.select` gives it."""
    columns = list(row)
    columns[_CREATED_AT] = as_time(row[_CREATED_AT])
    columns[_LABELS] = decode(row[_LABELS])
    columns[_REGION_REQUIRED] = bool(row[_REGION_REQUIRED])
    columns[_ONION_REQUIRED] = bool(row[_ONION_REQUIRED])
    return Waiting._make(columns)


_CREATED_AT, _LABELS, _REGION_REQUIRED, _ONION_REQUIRED = map(
    Waiting._fields.index, ("created_at", "labels", "region_required", "onion_required")
)


def as_routing_tasks(tasks: Iterable[Task | Waiting]) -> list[values.Task]:
    """Tasks in their order, each with the nodes that it failed on before as those to avoid."""
    tasks = list(tasks)
    failed_on: dict[int, set[int]] = defaultdict(set)
    if tried := [task.id for task in tasks if task.attempts_made]:
        for task_id, node_id in Attempt.objects.filter(task_id__in=tried).values_list("task_id", "node_id"):
            failed_on[task_id].add(node_id)
    inputs = fetched_inputs(tasks)
    reserved = within_reach(task.reservation for task in tasks)
    return [
        _view(
            task,
            task.id,
            task.created_at.timestamp(),
            failed_on[task.id],
            inputs.get(task.id, NO_INPUTS),
            reserved[task.reservation] if task.reservation is not None else None,
        )
        for task in tasks
    ]


def as_routing_task(
    spec: TaskSpec | Task, now: float, reserved: Mapping[int | None, frozenset[int]] = NOTHING_RESERVED
) -> values.Task:
    """A task that is not stored (yet), for a preview. A stored one comes without what costs a query: its
    inputs (`fetched_inputs`), and the nodes that it is sealed for, unless ``reserved`` has them."""
    if isinstance(spec, Task):
        return _view(spec, 0, now, set(), NO_INPUTS, reserved.get(spec.reservation))
    among = sealable(spec.privacy) if spec.privacy in SEALED else None
    return _view(spec, 0, now, set(), _content(spec), among)


def fetched_inputs(tasks: Iterable[Task | Waiting]) -> dict[int, frozenset[str]]:
    """By task what its node has to fetch unless it has it already; what is small travels in the order.

    Only of tasks whose strategy looks at it.
    """
    named = {
        task.id: {sha256 for sha256 in (task.payload_id, task.stdin_id) if sha256}
        for task in tasks
        if task.strategy == RoutingStrategy.AFFINITY_BASED
    }
    hashes = set().union(*named.values())
    if not hashes:
        return {}
    large = set(
        Blob.objects.filter(sha256__in=hashes, size__gt=INLINE_BLOB_BYTES).values_list("sha256", flat=True)
    )
    return {task_id: frozenset(inputs & large) for task_id, inputs in named.items()}


def _content(spec: TaskSpec) -> frozenset[str]:
    contents = (content for content in (spec.payload, spec.stdin) if content is not None)
    return frozenset(
        hashlib.sha256(content).hexdigest() for content in contents if len(content) > INLINE_BLOB_BYTES
    )


def _view(
    spec: Task | Waiting | TaskSpec,
    task_id: int,
    submitted_at: float,
    avoid: set[int],
    inputs: frozenset[str],
    among: frozenset[int] | None,
) -> values.Task:
    return values.Task(
        task_id=task_id,
        needs=needs_of(spec),
        driver=str(spec.driver),
        strategy=RoutingStrategy(spec.strategy),
        region=spec.region,
        region_required=spec.region_required,
        labels=spec.labels,
        inputs=inputs,
        onion_required=spec.onion_required,
        priority=spec.priority,
        submitted_at=submitted_at,
        avoid=frozenset(avoid),
        among=among,
    )

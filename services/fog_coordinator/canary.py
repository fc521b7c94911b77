"""Canaries: small real tasks, one for each routing strategy, that must come back with a given word."""

from __future__ import annotations

import secrets
from collections import defaultdict
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import QuerySet

from coordinator.values import RoutingStrategy
from fogpanel import wakes
from services.canaries import FOG_COORDINATOR, account, program
from services.fog_coordinator.rules import Canary
from tasks.blobs import store_blob
from tasks.models import LogChunk, Task
from tasks.states import FINAL, TaskState

DEADLINE_S = 15.0
RUN_LIMIT_S = 10.0
KEPT_S = 300.0


def send(now: datetime) -> None:
    """Hand in one canary for each strategy, as a task like any other."""
    sender = account(FOG_COORDINATOR)
    with transaction.atomic():
        payload = store_blob(program())
        Task.objects.bulk_create(
            Task(
                name=f"canary {strategy}",
                owner=sender,
                canary=True,
                driver="wasm",
                payload=payload,
                args=[secrets.token_hex(8)],
                timeout_s=RUN_LIMIT_S,
                cpu_millis=10,
                memory_mb=16,
                strategy=strategy,
                priority=10,
                max_attempts=2,
                created_at=now,
                changed_at=now,
                expires_at=now + timedelta(seconds=DEADLINE_S),
            )
            for strategy in RoutingStrategy
        )
        wakes.wake("placer")


def latest_round() -> list[Canary]:
    """The canaries sent last, with what became of them; empty when none were sent."""
    tasks = list(_canaries().order_by("-id")[: len(RoutingStrategy)])
    tasks = [task for task in tasks if task.created_at == tasks[0].created_at]
    printed = _printed([task.accepted_attempt_id for task in tasks if task.accepted_attempt_id])
    return [_canary(task, printed.get(task.accepted_attempt_id or 0, b"")) for task in tasks]


def clean_up(now: datetime) -> int:
    """Delete canaries that ended some minutes ago; how many rows went."""
    old = _canaries().filter(state__in=FINAL, created_at__lt=now - timedelta(seconds=KEPT_S))
    return old.delete()[0]


def _canaries() -> QuerySet[Task]:
    return Task.objects.filter(owner__username=FOG_COORDINATOR, canary=True)


def _printed(attempt_ids: list[int]) -> dict[int, bytes]:
    chunks = LogChunk.objects.filter(attempt_id__in=attempt_ids, stream="stdout").order_by("offset")
    printed: defaultdict[int, bytes] = defaultdict(bytes)
    for attempt_id, content in chunks.values_list("attempt_id", "content"):
        printed[attempt_id] += bytes(content)
    return printed


def _canary(task: Task, printed: bytes) -> Canary:
    return Canary(
        strategy=RoutingStrategy(task.strategy),
        sent_at=task.created_at,
        over=task.state in FINAL,
        right=task.state == TaskState.SUCCEEDED and printed == task.args[0].encode(),
        placed_after_s=(task.assigned_at - task.created_at).total_seconds() if task.assigned_at else None,
        trouble=_trouble(task),
    )


def _trouble(task: Task) -> str:
    if task.state == TaskState.SUCCEEDED:
        return "printed something else than it was told to"
    if task.assigned_at is None:
        reasons = ", ".join(f"{count} × {reason}" for reason, count in task.wait_reasons.items())
        return f"found no node ({reasons})" if reasons else "found no node"
    return task.reason.rstrip(".") or "did not come back in time"

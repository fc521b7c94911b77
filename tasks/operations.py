"""What people do to tasks: cancel one, run one again."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from fogagent.messages import Outcome
from fogpanel import audit, live
from fogpanel.access import AnyUser, Refusal
from fogpanel.wakes import wake
from nodes import outbox
from nodes.locks import with_nodes
from tasks.closing import lock_tasks, nodes_of, open_attempts, stop
from tasks.models import Task
from tasks.orders import cancel_orders
from tasks.states import PLACED, TaskState

SPECIFICATION = (
    "name", "driver", "payload_id", "image", "args", "env", "stdin_id", "network", "timeout_s", "cpu_millis",
    "memory_mb", "disk_mb", "gpu_count", "strategy", "region", "region_required", "labels", "onion_required",
    "priority", "max_attempts",
)  # fmt: skip


def cancel(task: Task, actor: AnyUser) -> None:
    """Cancel at once what is queued; what runs is told to stop and ends when its node says so."""
    with_nodes(nodes_of(task_id=task.id), lambda: _cancel(task, actor))


def _cancel(task: Task, actor: AnyUser) -> None:
    lock_tasks([task.id])  # which may have no attempt yet, and get one at this moment
    running = open_attempts(task_id=task.id)
    now = timezone.now()
    cancelled = Task.objects.filter(id=task.id, state=TaskState.QUEUED).update(
        state=TaskState.CANCELLED,
        cancel_requested_at=now,
        finished_at=now,
        reason="cancelled on request",
        changed_at=now,
    )
    placed = Task.objects.filter(id=task.id, state__in=PLACED, cancel_requested_at=None)
    if cancelled or placed.update(cancel_requested_at=now, changed_at=now):
        doubted = [attempt for attempt in running if attempt.doubted_at]
        stop(doubted, Outcome.CANCELLED, "cancelled on request", now)
        sure = ((a.node_id, a.id) for a in running if not a.doubted_at)
        outbox.put(cancel_orders(sure, "cancelled on request"), now)
        audit.record("task.cancelled", f"{actor} cancelled {task.name}", actor=actor, subject=task)
        live.changed("tasks", "fleet", f"task:{task.id}")


def retry(task: Task, actor: AnyUser) -> Task:
    """A new task with the same specification, for ``actor``. Raises Refusal."""
    if not isinstance(actor, User):
        raise Refusal("Sign in to run a task again.")
    if task.is_sealed:
        raise Refusal("What a sealed task runs is known to its submitter alone; hand it in anew.")
    with transaction.atomic():
        again = Task.objects.create(owner=actor, **{name: getattr(task, name) for name in SPECIFICATION})
        audit.record(
            "task.submitted",
            f"{actor} ran {task.name} again",
            actor=actor,
            subject=again,
            after={"of": task.id},
        )
        wake("submitted")
        live.changed("tasks", "fleet")
    return again

"""Handing in tasks: storing what was specified. Pages, API and probes all come through here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from fogpanel import audit, live
from fogpanel.access import AnyUser, Role, require
from fogpanel.rows import create
from fogpanel.wakes import wake
from tasks.blobs import store_blobs
from tasks.fields import shown
from tasks.models import Blob, Task
from tasks.specification import TaskSpec


def submit(user: AnyUser, spec: TaskSpec) -> Task:
    """Store a task for ``user`` and wake the placer. Raises Refusal for less than a submitter."""
    return submit_many(user, [spec])[0]


def submit_many(user: AnyUser, specs: Sequence[TaskSpec]) -> list[Task]:
    """Store some hundred tasks at most in one transaction: all of them or none."""
    require(user, Role.SUBMITTER)
    assert isinstance(user, User)
    with transaction.atomic():
        contents = {content for spec in specs for content in (spec.payload, spec.stdin) if content}
        blobs = store_blobs(contents)
        tasks = [_row(user, spec, blobs) for spec in specs]
        create(tasks)
        _record(user, tasks)
        wake("submitted")
        live.changed("tasks", "fleet")
    return tasks


def _row(user: User, spec: TaskSpec, blobs: Mapping[bytes, Blob]) -> Task:
    now = timezone.now()
    plain = {name: value for name, value in vars(spec).items() if name not in ("payload", "stdin", "args")}
    return Task(
        owner=user,
        payload=blobs.get(spec.payload or b""),
        stdin=blobs.get(spec.stdin or b""),
        args=list(spec.args),
        created_at=now,
        changed_at=now,
        **plain,
    )


def _record(user: User, tasks: Sequence[Task]) -> None:
    if len(tasks) == 1:
        task = tasks[0]
        after: dict[str, str | int] = {"driver": task.driver, "strategy": task.strategy}
        sentence = f"{user} handed in {shown(task.name)}"
        audit.record("task.submitted", sentence, actor=user, subject=task, after=after)
    elif tasks:
        sentence = f"{user} handed in {len(tasks)} tasks, {shown(tasks[0].name)} the first"
        after = {"first": tasks[0].id, "last": tasks[-1].id}
        audit.record("task.submitted", sentence, actor=user, subject=tasks[0], after=after)

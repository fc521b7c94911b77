"""Sealed canaries: the panel as its own client hands in a small sealed task, and opens what comes back.

What the tasks of people go through, these go through: some nodes are reserved, the task is sealed for them, a
gateway brings it to one over a circuit, and the result is opened with a key that only the row here has.
"""

from __future__ import annotations

import base64
import secrets
from datetime import datetime, timedelta
from random import Random
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from django.db import transaction

from coordinator.values import Availability
from fogagent.messages import Outcome
from fogagent.sealing import task as sealing
from fogagent.sealing.errors import SealingError
from fogagent.sealing.result import open_result
from fogagent.sealing.task import MAX_RESERVED, SealedSpec, SealedTask, Terms, seal_task
from fogpanel import audit, live, retention
from nodes.locks import with_nodes
from nodes.models import Node
from services.canaries import VPN_COORDINATOR, account, program
from services.vpn_coordinator.carrying import TOPIC, entries_of
from services.vpn_coordinator.choosing import chance, some
from services.vpn_coordinator.gateways import REACHABLE, granting
from services.vpn_coordinator.models import Carriage, SealedCanary
from services.vpn_coordinator.quotes import LARGE
from tasks import reservations
from tasks.closing import lock_tasks, nodes_of, open_attempts, stop
from tasks.models import Task
from tasks.privacy import Privacy
from tasks.reservations import CannotReserve, Choice, Reserved
from tasks.retention import delete_tasks
from tasks.sealed_input import validate_outside
from tasks.sealed_results import sealed_result
from tasks.specification import SpecError, TaskSpec
from tasks.states import FINAL, PLACED, TaskState

Step = SealedCanary.Step

DEADLINE = timedelta(seconds=20)
"""Time enough for another gateway where the first one goes."""
RUN_LIMIT_S = 10.0
SELDOM = timedelta(minutes=10)
"""So often one is large, to measure how fast content is carried, and one is private instead."""
MUCH = bytes(LARGE // 2)  # whose padded size is above that
TASKS_KEPT = timedelta(hours=1)
KEPT = timedelta(days=2)

OUTSIDE: dict[str, Any] = {
    "name": "sealed canary",
    "driver": "wasm",
    "timeout_s": RUN_LIMIT_S,
    "cores": 0.01,
    "memory_mb": 16,
    "priority": 10,
    "max_attempts": 2,
}

NOBODY = "No relay is connected that runs wasm, has room, and may get work."


# --- Sending -----------------------------------------------------------------------------------------


def send(now: datetime, rng: Random = chance) -> SealedCanary:
    """Hand one in. Where no node can be reserved for it, it is over with that."""
    level, stdin = _next(now)
    canary = SealedCanary(level=level, word=secrets.token_hex(8), sent_at=now, deadline_at=now + DEADLINE)
    spec = validate_outside({**OUTSIDE, "privacy": level})
    nodes = _nodes(spec, rng)
    try:
        if nodes:
            _hand_in(canary, reservations.chosen(spec, nodes), stdin)
        else:
            _end(canary, now, Step.RESERVE, NOBODY)
    except (CannotReserve, SpecError, SealingError) as error:
        _end(canary, now, Step.RESERVE, str(error))
    live.changed(TOPIC)
    return canary


def _nodes(spec: TaskSpec, rng: Random) -> list[int]:
    """By chance, so that each has its turn. The placer is not asked: in this process none is, and to read the
    whole fleet for it takes seconds."""
    able = granting("relay").filter(
        REACHABLE,
        availability=Availability.SCHEDULABLE,
        unstable_since=None,
        cooling_until=None,
        free_cpu_millis__gte=spec.cpu_millis,
        free_memory_mb__gte=spec.memory_mb,
    )
    drivers = Node.objects.filter(id__in=some(able, rng)).values_list("id", "drivers")
    found = [node_id for node_id, facts in drivers if any(map(_is_wasm, facts))]
    return rng.sample(found, min(len(found), MAX_RESERVED))


def _is_wasm(driver: dict[str, Any]) -> bool:
    return bool(driver["name"] == "wasm" and driver.get("available"))


def _next(now: datetime) -> tuple[Privacy, bytes]:
    """Level and standard input of the next one: confidential and small, unless the last one came back and it
    is time to measure something else."""
    last = latest()
    lately = list(SealedCanary.objects.filter(sent_at__gt=now - SELDOM).values_list("level", "size"))
    if last is None or not last.ok:
        return Privacy.CONFIDENTIAL, b""
    if not any(level == Privacy.CONFIDENTIAL and size >= LARGE for level, size in lately):
        return Privacy.CONFIDENTIAL, MUCH
    if not any(level == Privacy.PRIVATE for level, _ in lately):
        before = SealedCanary.objects.filter(level=Privacy.PRIVATE).order_by("-id").first()
        return Privacy.PRIVATE, MUCH if before is not None and before.size < LARGE else b""
    return Privacy.CONFIDENTIAL, b""


def _hand_in(canary: SealedCanary, choice: Choice, stdin: bytes) -> None:
    key = X25519PrivateKey.generate()
    terms = Terms(**{name: choice.specification[name] for name in Terms.__struct_fields__})
    task = seal_task(
        SealedSpec(
            terms=terms,
            result_key=key.public_key().public_bytes_raw(),
            args=[canary.word],
            payload=program(),
            stdin=stdin,
        )
    )
    with transaction.atomic():
        reserved = reservations.reserve(account(VPN_COORDINATOR), choice, canary.sent_at)
        canary.task = reservations.hand_in(
            reserved.reservation,
            base64.b64encode(task.content).decode(),
            _wraps(task, reserved),
            canary.sent_at,
            canary=True,
            expires_at=canary.deadline_at,
        )
        canary.result_key = key.private_bytes_raw()
        canary.size = len(task.content)
        canary.save()


def _wraps(task: SealedTask, reserved: Reserved) -> list[dict[str, str]]:
    """The content key for each node, by the keys of the directory. Raises NotInDirectory, WrongKey."""
    relays = {entry.identity: entry for entry in entries_of(node.id for node in reserved.nodes).values()}
    nodes = [bytes.fromhex(node.public_key) for node in reserved.nodes]
    promised = sealing.Reservation(reservation=reserved.reservation.id, nodes=nodes)
    return [
        {"node": wrap.node.hex(), "wrapped": base64.b64encode(wrap.wrapped).decode()}
        for wrap in task.key.wraps(promised, relays)
    ]


# --- Looking what became of it -------------------------------------------------------------------------


def latest() -> SealedCanary | None:
    return SealedCanary.objects.select_related("task", "node").order_by("-id").first()


def end_if_over(canary: SealedCanary, now: datetime) -> bool:
    """Whether it is over, by its result or by its deadline, which is noted in it."""
    if canary.ended_at is not None:
        return True
    task = canary.task
    is_final = task is None or task.state in FINAL
    if not is_final and now <= canary.deadline_at:
        return False
    _end(canary, now, *(_trouble(canary, task) if task else (Step.RUN, "Its task is not there any more.")))
    if task is not None and not is_final:
        let_go(task, now)
    live.changed(TOPIC)
    return True


def _end(canary: SealedCanary, now: datetime, step: str, sentence: str) -> None:
    """``step`` is empty where it went well."""
    task = canary.task
    canary.ended_at, canary.ok, canary.step = now, not step, step
    canary.sentence, canary.result_key = audit.shorten(sentence), b""
    if task is not None:
        canary.node_id = task.node_id
        if task.finished_at is not None:
            canary.took_ms = 1000 * (task.finished_at - task.created_at).total_seconds()
    canary.save()


def _trouble(canary: SealedCanary, task: Task) -> tuple[str, str]:
    """The step that failed, and why; both empty where it did what it was to do."""
    result = sealed_result(task)
    if result is None:
        return _where(task)
    key = X25519PrivateKey.from_private_bytes(bytes(canary.result_key))
    try:
        opened = open_result(result.content, key, result.reservation, result.node)
    except SealingError as error:
        return Step.OPEN, str(error)
    if opened.outcome != Outcome.SUCCEEDED:
        return Step.RUN, opened.sentence or f"It ended as {opened.outcome}."
    if opened.stdout != canary.word.encode():
        return Step.OPEN, "It printed something else than it was told to."
    return "", ""


def _where(task: Task) -> tuple[str, str]:
    """How far one got that has no result."""
    attempt = task.attempts.order_by("-id").first()
    if attempt is None:
        reasons = ", ".join(f"{count} × {reason}" for reason, count in task.wait_reasons.items())
        return Step.RESERVE, f"None of its nodes took it{f' ({reasons})' if reasons else ''}."
    carriage = Carriage.objects.filter(attempt=attempt).select_related("gateway").first()
    if carriage is not None and not carriage.ok and attempt.started_at is None:
        return Step.CARRY, carriage.sentence or f"{carriage.gateway} was still at it."
    if task.state == TaskState.SUCCEEDED:
        return Step.OPEN, "It came back without a sealed result."
    return Step.RUN, attempt.sentence or f"{attempt.node} was still at it."


def let_go(task: Task, now: datetime) -> None:
    """Nobody waits for it any more."""

    def cancel() -> None:
        lock_tasks([task.id])
        present = Task.objects.filter(id=task.id)
        present.filter(state=TaskState.QUEUED).update(
            state=TaskState.CANCELLED, finished_at=now, cancel_requested_at=now, changed_at=now
        )
        present.filter(state__in=PLACED).update(cancel_requested_at=now, changed_at=now)
        stop(open_attempts(task_id=task.id), Outcome.CANCELLED, "its time is over", now)

    with_nodes(nodes_of(task_id=task.id), cancel)


def forget(now: datetime) -> int:
    """Delete the tasks of those that are over for an hour, and old ones wholly; how many of these."""
    old = SealedCanary.objects.filter(sent_at__lt=now - TASKS_KEPT, task__state__in=FINAL).order_by("sent_at")
    columns = ("task_id", "task__payload_id", "task__stdin_id")
    if tasks := list(old.values_list(*columns)[: retention.BATCH]):
        delete_tasks(tasks)
    return retention.delete(SealedCanary.objects.filter(sent_at__lt=now - KEPT).order_by("sent_at"))

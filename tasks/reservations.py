"""Sealed tasks: nodes are reserved first, then the task comes, sealed for these.

The panel sees what `Envelope` of `fogagent.sealing.task` names, and how large the sealed content is, padded.
Whoever has the keys takes those of the nodes from the signed directory: the panel is trusted to choose nodes,
not with what runs there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction

from coordinator import planning, values
from fogagent.sealing.task import MAX_RESERVED
from fogpanel import audit, live
from fogpanel.rows import create
from fogpanel.wakes import wake
from nodes.locks import with_nodes
from nodes.models import Node
from tasks.blobs import store_blob
from tasks.closing import lock_tasks, nodes_of
from tasks.fields import shown
from tasks.models import Reservation, Task
from tasks.placement import placer
from tasks.privacy import SEALED, Privacy, refusal
from tasks.reach import sealable
from tasks.resealing import forget_wish
from tasks.routing_view import as_routing_task, as_routing_tasks
from tasks.sealed_input import read_sealed, read_wraps
from tasks.specification import SpecError, TaskSpec
from tasks.states import TaskState

USABLE = timedelta(minutes=5)
UNUSED_MOST = 500
"""So many reservations that can still be used one person may have: each costs the placer a few looks at the
whole fleet, and stays for a while."""
NOT_OUTSIDE = frozenset({"payload", "image", "args", "env", "stdin", "privacy"})


class CannotReserve(Exception):
    """No node can be reserved, or a reservation not be used. ``str`` is a sentence, ``code`` for programs."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


@dataclass(frozen=True, slots=True)
class Choice:
    """``specification`` holds columns of the task, ``nodes`` numbers, the one chosen first before its
    standbys; ``task`` is the one that waits for others, if it is for one."""

    level: Privacy
    specification: dict[str, Any]
    nodes: list[int]
    task: Task | None = None


@dataclass(frozen=True, slots=True)
class Reserved:
    reservation: Reservation
    nodes: Sequence[Node]
    """The one chosen first comes first."""


def check_unused(owner: User, now: datetime) -> None:
    """Raises CannotReserve for who has very many that were not used."""
    unused = Reservation.objects.filter(owner=owner, used_at=None, expires_at__gte=now)
    if len(unused.values_list("id")[:UNUSED_MOST]) == UNUSED_MOST:
        sentence = (
            f"You have {UNUSED_MOST} reservations that were not used; use some, or try again in minutes."
        )
        raise CannotReserve("too-many", sentence)


# --- Reserving -------------------------------------------------------------------------------------


def choose(spec: TaskSpec, now: datetime) -> Choice:
    """Nodes for a task that is to be sealed for them. Not to be called within a transaction: the placer, who
    answers, may wait for it.

    Raises:
        SpecError: the level cannot be had now.
        CannotReserve: no node can take it.
        TimeoutError: the placer has no time.
    """
    if sentence := refusal(spec.privacy, now):
        raise SpecError.of("privacy", sentence)
    return chosen(spec, _shortlist(as_routing_task(spec, now.timestamp()), now))


def chosen(spec: TaskSpec, nodes: list[int]) -> Choice:
    """That a task like this is to go to one of these nodes."""
    columns = {name: value for name, value in vars(spec).items() if name not in NOT_OUTSIDE}
    return Choice(spec.privacy, columns, nodes)


def choose_again(task: Task, now: datetime) -> Choice:
    """Other nodes for a sealed task that waits. Raises CannotReserve and TimeoutError."""
    _check_waits(task)
    level = Privacy(task.privacy)
    if sentence := refusal(level, now):
        raise CannotReserve("not-served", sentence)
    [asked] = as_routing_tasks([task])
    assert task.reservation is not None  # as every sealed task
    columns = Reservation.objects.get(id=task.reservation).specification
    return Choice(level, columns, _shortlist(replace(asked, among=sealable(level)), now), task)


def _shortlist(asked: values.Task, now: datetime) -> list[int]:
    chosen, decision = placer.ask(
        lambda fleet, rng: planning.shortlist(fleet, asked, now.timestamp(), rng, MAX_RESERVED)
    )
    if not chosen:
        raise CannotReserve("no-node", f"No node can take such a task now{_reasons(decision.rejected)}.")
    return [int(node_id) for node_id in chosen]


def reserve(owner: User, choice: Choice, now: datetime) -> Reserved:
    reservation = Reservation.objects.create(
        owner=owner,
        task=choice.task,
        privacy=choice.level,
        specification=choice.specification,
        nodes=choice.nodes,
        created_at=now,
        expires_at=now + USABLE,
    )
    nodes = Node.objects.in_bulk(choice.nodes)
    return Reserved(reservation, [nodes[node_id] for node_id in choice.nodes])


def _reasons(rejected: Mapping[str, int]) -> str:
    """ ", of 5 nodes 3 fall at memory, 2 at sealed"."""
    if not rejected:
        return ": there is none"
    counted = ", ".join(f"{count} at {reason}" for reason, count in rejected.items())
    return f"; of {sum(rejected.values())} nodes fall {counted}"


# --- Using a reservation ---------------------------------------------------------------------------


def hand_in(
    reservation: Reservation,
    sealed: object,
    wraps: object,
    now: datetime,
    *,
    canary: bool = False,
    expires_at: datetime | None = None,
) -> Task:
    """Store a task that was sealed for the nodes of its reservation, and wake the placer.

    ``sealed`` is base64, ``wraps`` [{node, wrapped}]: as they come in JSON.

    Raises:
        SpecError: with a sentence for each rule that is broken.
        CannotReserve: the reservation was used, or is too old.
    """
    content, keys = read_sealed(sealed), read_wraps(wraps, reservation)
    with transaction.atomic():
        reservation = _lock(reservation, None, now)
        columns = reservation.specification
        task = Task(
            owner=reservation.owner,
            payload=store_blob(content),
            privacy=reservation.privacy,
            reservation=reservation.id,
            canary=canary,
            expires_at=expires_at,
            created_at=now,
            changed_at=now,
            **columns,
        )
        create([task])
        _use(reservation, task, keys, now)
        if not canary:
            _record(reservation.owner, task)
        wake("submitted")
        live.changed("tasks", "fleet")
    return task


def reseal(task: Task, reservation: Reservation, wraps: object, now: datetime) -> None:
    """Have a sealed task that waits go on with the nodes of another reservation. Raises as `hand_in` does."""
    keys = read_wraps(wraps, reservation)
    # One of its attempts may be in doubt: whoever locks a task holds the nodes of what is open of it.
    with_nodes(nodes_of(task_id=task.id), lambda: _reseal(task, reservation, keys, now))


def _reseal(task: Task, reservation: Reservation, keys: Mapping[str, str], now: datetime) -> None:
    lock_tasks([task.id])
    _check_waits(Task.objects.get(id=task.id))
    reservation = _lock(reservation, task.id, now)
    _use(reservation, task, keys, now)
    Task.objects.filter(id=task.id).update(reservation=reservation.id, wait_reasons={}, changed_at=now)
    forget_wish([task.id])
    sentence = f"{shown(task.name)} was sealed for other nodes and goes on"
    audit.record("task.resealed", sentence, actor=task.owner, subject=task)
    wake("resealed", task.id)
    live.changed("tasks", f"task:{task.id}")


def _check_waits(task: Task) -> None:
    if task.privacy not in SEALED:
        raise CannotReserve("not-sealed", "This task is public: it goes to any node without being sealed.")
    if task.state != TaskState.QUEUED or task.cancel_requested_at is not None:
        sentence = f"This task is {task.state}; it can be sealed for other nodes only while it is queued."
        raise CannotReserve("not-waiting", sentence)


def _lock(reservation: Reservation, task_id: int | None, now: datetime) -> Reservation:
    """The reservation as it is, so that nobody else uses it; for a new task, or for the one that it was made
    for. Raises CannotReserve."""
    locked = Reservation.objects.select_for_update().select_related("owner").filter(id=reservation.id).first()
    if locked is None or (locked.used_at is None and locked.expires_at < now):
        raise CannotReserve("reservation-expired", "This reservation has expired; ask for another one.")
    if locked.used_at is not None:
        raise CannotReserve("reservation-used", "This reservation was used already; ask for another one.")
    if locked.task_id != task_id:
        raise CannotReserve("reservation-used", "This reservation was made for another task.")
    return locked


def _use(reservation: Reservation, task: Task, keys: Mapping[str, str], now: datetime) -> None:
    reservation.task, reservation.wraps, reservation.used_at = task, dict(keys), now
    reservation.save(update_fields=["task", "wraps", "used_at"])


def _record(user: User, task: Task) -> None:
    after: dict[str, str | int] = {"driver": task.driver, "privacy": task.privacy}
    sentence = f"{user} handed in {shown(task.name)}, sealed"
    audit.record("task.submitted", sentence, actor=user, subject=task, after=after)

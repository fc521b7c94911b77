"""The API of sealed tasks: reserve nodes, hand in what was sealed for them, reseal, take what came of it."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated, Any

from django.contrib.auth.models import User
from django.http import HttpResponse
from django.utils import timezone
from ninja import Body, Router, Schema
from pydantic import Field

from fogagent.sealing.packing import BUCKETS, padded_size, room
from fogpanel.access import Role, require
from fogpanel.api_auth import SignedInRequest
from fogpanel.idempotency import answer_once
from fogpanel.problems import Problem, not_found
from tasks import reservations, task_schemas
from tasks.api import find_task
from tasks.models import Reservation, Task
from tasks.privacy import SEALED, Privacy
from tasks.quotes import quotes
from tasks.reservations import CannotReserve, Choice
from tasks.sealed_input import validate_outside
from tasks.sealed_results import sealed_result
from tasks.visibility import require_content, require_control

router = Router(tags=["sealed tasks"])

Given = Annotated[dict[str, Any], Body()]
Size = Annotated[int, Field(ge=0, le=room(BUCKETS[-1]))]


class ReservedNode(Schema):
    """``identity`` is its Ed25519 public key, hexadecimal, by which the relay directory lists it."""

    identity: str
    name: str
    region: str


class Terms(Schema):
    """What the order will say beside the sealed content. The submitter seals the same inside."""

    driver: str
    timeout_s: float
    cpu_millis: int
    memory_mb: int
    network: bool


class ReservationOut(Schema):
    reservation: int
    privacy: Privacy
    nodes: list[ReservedNode]
    expires_at: datetime
    terms: Terms


class WrapIn(Schema):
    node: str = Field(description="Identity, hexadecimal")
    wrapped: str = Field(description="80 bytes, base64")


class SealedIn(Schema):
    """For the documentation: `tasks.sealed_input` is what reads it."""

    sealed: str = Field(description="Sealed content, base64")
    wraps: list[WrapIn]


class ResealIn(Schema):
    reservation: int
    wraps: list[WrapIn]


class SealedResultOut(Schema):
    reservation: int
    node: str
    sealed: str


class QuoteOut(Schema):
    """``start_s`` is the median from submission to start, over ``samples`` tasks; null: not measured yet.
    ``sealed_bytes`` is the size after padding, which crosses a network ``transfers`` times."""

    level: Privacy
    refusal: str
    hides: str
    start_s: float | None
    samples: int
    transfers: int
    bytes_per_s: float | None
    sealed_bytes: int


class Quotes(Schema):
    items: list[QuoteOut]


def _body(schema: type[Schema]) -> dict[str, Any]:
    return {"requestBody": {"content": {"application/json": {"schema": schema.model_json_schema()}}}}


@router.get("/privacy", response=Quotes)
def list_levels(request: SignedInRequest, size: Size = 0) -> Quotes:
    """What each privacy level hides and costs, for content of ``size`` bytes."""
    require(request.user, Role.VIEWER)
    return Quotes(
        items=[
            QuoteOut(
                sealed_bytes=padded_size(size) if quote.level in SEALED else size,
                **{name: getattr(quote, name) for name in quote.__slots__},
            )
            for quote in quotes(timezone.now())
        ]
    )


@router.post("/reservations", response={201: ReservationOut}, openapi_extra=_body(task_schemas.TaskIn))
def reserve(request: SignedInRequest, given: Given) -> HttpResponse:
    """Choose nodes for a task that is to be sealed for them: its fields without what belongs inside
    (source, module, argv, image, args, env, stdin), and its privacy level."""
    require(request.user, Role.SUBMITTER)
    spec = validate_outside(given)
    choice = _chosen(request, lambda now: reservations.choose(spec, now))
    return answer_once(request, lambda: _reserve(request, choice))


@router.post(
    "/reservations/{int:reservation_id}/task",
    response={201: task_schemas.TaskOut},
    openapi_extra=_body(SealedIn),
)
def hand_in(request: SignedInRequest, reservation_id: int, given: Given) -> HttpResponse:
    """Hand in a task that was sealed for the nodes of a reservation."""
    require(request.user, Role.SUBMITTER)
    reservation = _find(request, reservation_id)

    def store() -> task_schemas.TaskOut:
        with _refusals():
            task = reservations.hand_in(reservation, given.get("sealed"), given.get("wraps"), timezone.now())
        return task_schemas.task_out(task)

    return answer_once(request, store)


@router.post("/tasks/{int:task_id}/reservation", response={201: ReservationOut})
def reserve_again(request: SignedInRequest, task_id: int) -> HttpResponse:
    """Choose other nodes for a sealed task whose nodes are gone."""
    task = _own(request, task_id)
    choice = _chosen(request, lambda now: reservations.choose_again(task, now))
    return answer_once(request, lambda: _reserve(request, choice))


@router.post("/tasks/{int:task_id}/reseal", response=task_schemas.TaskOut, openapi_extra=_body(ResealIn))
def reseal(request: SignedInRequest, task_id: int, given: Given) -> HttpResponse:
    """Have it go on with the nodes of that reservation, for which its content key was wrapped."""
    task = _own(request, task_id)
    number = given.get("reservation")
    if isinstance(number, bool) or not isinstance(number, int):
        raise Problem(422, "invalid", "reservation: must be the number of a reservation.")
    reservation = _find(request, number)

    def store() -> task_schemas.TaskOut:
        with _refusals():
            reservations.reseal(task, reservation, given.get("wraps"), timezone.now())
        return task_schemas.task_out(find_task(task_id))

    return answer_once(request, store, status=200)


@router.get("/tasks/{int:task_id}/sealed-result", response=SealedResultOut)
def get_sealed_result(request: SignedInRequest, task_id: int) -> SealedResultOut:
    """What came of it, for its submitter to open."""
    require(request.user, Role.VIEWER)
    task = find_task(task_id)
    require_content(request.user, task)
    result = sealed_result(task)
    if result is None:
        raise Problem(409, "no-result", f"This task is {task.state}; there is no sealed result of it.")
    return SealedResultOut(
        reservation=result.reservation,
        node=result.node.hex(),
        sealed=base64.b64encode(result.content).decode(),
    )


def _chosen(request: SignedInRequest, choose: Callable[[datetime], Choice]) -> Choice:
    now = timezone.now()
    try:
        with _refusals():
            reservations.check_unused(_user(request), now)
            return choose(now)
    except TimeoutError as error:
        raise Problem(503, "busy", "The panel is busy placing tasks; try again.") from error


def _reserve(request: SignedInRequest, choice: Choice) -> ReservationOut:
    reserved = reservations.reserve(_user(request), choice, timezone.now())
    row = reserved.reservation
    return ReservationOut(
        reservation=row.id,
        privacy=Privacy(row.privacy),
        nodes=[ReservedNode(identity=n.public_key, name=n.name, region=n.region) for n in reserved.nodes],
        expires_at=row.expires_at,
        terms=Terms(**{name: row.specification[name] for name in Terms.model_fields}),
    )


@contextmanager
def _refusals() -> Iterator[None]:
    """What cannot be done is an answer."""
    try:
        yield
    except CannotReserve as error:
        raise Problem(409, error.code, str(error)) from error


def _user(request: SignedInRequest) -> User:
    assert isinstance(request.user, User)
    return request.user


def _find(request: SignedInRequest, reservation_id: int) -> Reservation:
    """One of the caller's own: nobody else knows what it was made for."""
    found = Reservation.objects.filter(id=reservation_id, owner=_user(request)).first()
    if found is None:
        raise not_found(f"reservation {reservation_id} of yours")
    return found


def _own(request: SignedInRequest, task_id: int) -> Task:
    """A task of the caller's, who alone has its keys."""
    task = find_task(task_id)
    require_control(request.user, task)
    if task.owner_id != request.user.pk:
        raise Problem(403, "not-yours", "Only the person who sealed this task can seal it for other nodes.")
    return task

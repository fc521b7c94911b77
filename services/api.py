"""The API of services, and the fleet as counts and totals."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime
from http import HTTPStatus

from django.http import HttpResponse
from django.utils import timezone
from ninja import Router, Schema

from coordinator.values import Resources
from fogpanel.access import Role, require
from fogpanel.api_auth import SignedInRequest
from fogpanel.idempotency import answer_once
from fogpanel.problems import Problem, not_found
from services import cards, control
from services.catalogue import BY_SLUG
from services.fleet import COUNTED_TO, user_tasks
from services.fleet_groups import counted, groups
from services.models import ServiceState
from tasks.states import TaskState

router = Router(tags=["services"])


class FigureOut(Schema):
    label: str
    value: float | None
    unit: str = ""


class ServiceOut(Schema):
    """``state`` is of `services.models.State`, or unknown before the first probe."""

    slug: str
    title: str
    category: str
    line: str
    state: str
    sentence: str
    figures: list[FigureOut]
    probed_at: datetime | None


class Services(Schema):
    items: list[ServiceOut]


class Amount(Schema):
    cpu_millis: int
    memory_mb: int
    disk_mb: int
    gpus: int


class Topology(Schema):
    """``queued`` and ``running`` count to 1001 and stop there."""

    taken_at: datetime
    nodes_total: int
    by_status: dict[str, int]
    by_type: dict[str, int]
    by_region: dict[str, int]
    total: Amount
    free: Amount
    queued: int
    running: int


@router.get("/services", response=Services)
def list_services(request: SignedInRequest) -> Services:
    """What the last probe of each service measured."""
    require(request.user, Role.VIEWER)
    rows = ServiceState.objects.in_bulk()
    return Services(items=[_service_out(card) for card in cards.cards(rows, timezone.now())])


def _service_out(card: cards.Card) -> ServiceOut:
    service = card.service
    return ServiceOut(
        slug=service.slug,
        title=service.title,
        category=service.category,
        line=service.line,
        state=card.state,
        sentence=card.sentence,
        figures=[FigureOut(**figure) for figure in card.figures],
        probed_at=card.probed_at,
    )


@router.post("/services/{slug}/{action}", response=ServiceOut)
def control_service(request: SignedInRequest, slug: str, action: control.Action) -> HttpResponse:
    """Disable, enable or restart a service. A disabled coordinator places no new task."""
    require(request.user, Role.OPERATOR)
    if slug not in BY_SLUG:
        raise not_found(f"service {slug[:40]}")
    service = BY_SLUG[slug]

    def do() -> ServiceOut:
        now = timezone.now()
        control.act(service, action, request.user, now)
        return _service_out(cards.card(service, ServiceState.objects.in_bulk(), now))

    try:
        return answer_once(request, do, status=HTTPStatus.OK)
    except control.NotNow as refusal:
        raise Problem(HTTPStatus.CONFLICT, "not-now", str(refusal)) from refusal


@router.get("/topology", response=Topology)
def get_topology(request: SignedInRequest) -> Topology:
    """The fleet at this moment."""
    require(request.user, Role.VIEWER)
    now = timezone.now()
    fleet = groups(now)
    return Topology(
        taken_at=now,
        nodes_total=sum(group.nodes for group in fleet),
        by_status=counted(fleet, lambda group: group.status),
        by_type=counted(fleet, lambda group: group.node_type),
        by_region=counted(fleet, lambda group: group.region),
        total=_amount(group.total for group in fleet),
        free=_amount(group.free for group in fleet),
        queued=_in_state(TaskState.QUEUED),
        running=_in_state(TaskState.ASSIGNED) + _in_state(TaskState.RUNNING),
    )


def _amount(amounts: Iterable[Resources]) -> Amount:
    total: Resources = sum(amounts, start=Resources())
    return Amount(**asdict(total))


def _in_state(state: TaskState) -> int:
    return user_tasks().filter(state=state).order_by().values("id")[: COUNTED_TO + 1].count()

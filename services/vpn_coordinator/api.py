"""The API of tunnels: create, look, stop."""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any

from django.http import HttpResponse
from django.utils import timezone
from ninja import Body, Router, Schema
from pydantic import Field

from fogpanel.access import Role, require
from fogpanel.api_auth import SignedInRequest
from fogpanel.idempotency import answer_once
from fogpanel.keyset import Limit, find_page
from fogpanel.problems import Problem, not_found
from services.control import NotNow
from services.vpn_coordinator import operations
from services.vpn_coordinator.guarding import set_require_password
from services.vpn_coordinator.models import DEFAULT_HOPS, DEFAULT_ROTATE_S, Tunnel
from services.vpn_coordinator.page import TunnelView, view_of, views_of
from services.vpn_coordinator.renewing import create_with_password, renew
from services.vpn_coordinator.visibility import may_use, require_own, usable
from services.vpn_coordinator.wishes import read, read_allowed

router = Router(tags=["tunnels"])

Given = Annotated[dict[str, Any], Body()]


class TunnelIn(Schema):
    """``entry`` and ``exit_node`` are names of nodes, or their numbers; without either exit it is anywhere.
    ``port`` 0 is one that is free. With ``require_password`` each of its users has a password of their own;
    Chromium cannot use such a tunnel."""

    name: str
    entry: str | int
    exit_region: str = ""
    exit_node: str | int | None = None
    hops: Annotated[int, Field(ge=1, le=8)] = DEFAULT_HOPS
    rotate_s: int = DEFAULT_ROTATE_S
    port: int = 0
    allowed: list[str] = []
    require_password: bool = False


class TunnelOut(Schema):
    """``state`` is ordered, open, stuck, broken, silent, gone or stopped. ``port`` is null for who may not
    use it, and while there is none. Bytes are since it was opened, as are clients that were refused for a
    wrong password or for giving none; ``bytes_per_s`` is that of the last two statuses.
    """

    id: int
    name: str
    state: str
    sentence: str
    remarks: list[str]
    entry: str
    exit_region: str
    exit_node: str | None
    leaves_at: str | None
    hops: int
    pool: str
    rotate_s: int
    require_password: bool
    port: int | None
    clients: int
    wrong_passwords: int
    missing_passwords: int
    sent_bytes: int
    received_bytes: int
    bytes_per_s: float | None
    build_ms: float | None
    created_by: str | None
    created_at: datetime
    stopped_at: datetime | None
    told_at: datetime | None


class TunnelDetail(TunnelOut):
    allowed: list[str]


class NewTunnel(TunnelDetail):
    """``password`` is yours, where the tunnel requires one. It is told only now, and the answer is not kept:
    sent again with the same Idempotency-Key, the request is refused with 409."""

    password: str | None


class Sharing(Schema):
    allowed: list[str]


class Guarding(Schema):
    require_password: bool


class Guarded(TunnelDetail):
    """``password`` is yours, told only now: where the tunnel requires one since this request, and is yours or
    shared with you."""

    password: str | None


class NewPassword(Schema):
    """SOCKS takes ``user``, or ``user+anything`` to have circuits of its own for anything."""

    user: str
    password: str


class Tunnels(Schema):
    items: list[TunnelOut]
    next: int | None


SPECIFICATION = {"requestBody": {"content": {"application/json": {"schema": TunnelIn.model_json_schema()}}}}


@router.get("", response=Tunnels)
def list_tunnels(
    request: SignedInRequest,
    stopped: bool = False,
    mine: bool = False,
    after: int | None = None,
    limit: Limit = 50,
) -> Tunnels:
    """The newest first. ``mine`` are those that you may use; ``after`` is the ``next`` of the page before."""
    require(request.user, Role.VIEWER)
    tunnels = usable(request.user) if mine else Tunnel.objects.all()
    tunnels = tunnels.filter(stopped_at__isnull=not stopped).with_nodes()
    page = find_page([tunnels], "id", descending=True, after=after, size=limit)
    ids = usable(request.user).filter(id__in=[tunnel.id for tunnel in page.rows])
    ours = set(ids.values_list("id", flat=True))
    views = views_of(page.rows, timezone.now())
    return Tunnels(
        items=[_out(view, view.tunnel.id in ours) for view in views],
        next=page.rows[-1].id if page.after else None,
    )


@router.post("", response={201: NewTunnel}, openapi_extra=SPECIFICATION)
def create_tunnel(request: SignedInRequest, given: Given) -> HttpResponse:
    """Order a tunnel from its entry. Every rule that is broken is named in the answer."""
    require(request.user, Role.SUBMITTER)
    wish = read(given)

    def create() -> NewTunnel:
        tunnel, password = create_with_password(request.user, wish, timezone.now())
        return NewTunnel(**_detail(request, tunnel.id).model_dump(), password=password or None)

    try:
        return answer_once(request, create, secret=wish.require_password)
    except NotNow as refusal:
        raise Problem(HTTPStatus.CONFLICT, "not-now", str(refusal)) from refusal


@router.get("/{int:tunnel_id}", response=TunnelDetail)
def get_tunnel(request: SignedInRequest, tunnel_id: int) -> TunnelDetail:
    require(request.user, Role.VIEWER)
    return _detail(request, tunnel_id)


@router.put("/{int:tunnel_id}/allowed", response=TunnelDetail)
def share_tunnel(request: SignedInRequest, tunnel_id: int, given: Sharing) -> TunnelDetail:
    """Share it with these users and nobody else. Who is taken off loses their password and open streams."""
    require(request.user, Role.SUBMITTER)
    tunnel = _find(tunnel_id)
    require_own(request.user, tunnel)
    try:
        operations.share(request.user, tunnel, read_allowed(given.allowed), timezone.now())
    except NotNow as refusal:
        raise Problem(HTTPStatus.CONFLICT, "not-now", str(refusal)) from refusal
    return _detail(request, tunnel_id)


@router.put("/{int:tunnel_id}/require-password", response=Guarded)
def guard_tunnel(request: SignedInRequest, tunnel_id: int, given: Guarding) -> Guarded:
    """Have it ask for passwords or for none, on the same port. As soon as its entry is told that it asks,
    whatever came without a password ends, and each of its users needs a new one of their own; when it asks
    no more, all of them are void. To ask for what is so already changes nothing."""
    require(request.user, Role.SUBMITTER)
    tunnel = _find(tunnel_id)
    try:
        password = set_require_password(request.user, tunnel, given.require_password, timezone.now())
    except NotNow as refusal:
        raise Problem(HTTPStatus.CONFLICT, "not-now", str(refusal)) from refusal
    return Guarded(**_detail(request, tunnel_id).model_dump(), password=password or None)


@router.post("/{int:tunnel_id}/password", response={201: NewPassword})
def new_password(request: SignedInRequest, tunnel_id: int) -> HttpResponse:
    """A password of your own for a tunnel that requires one, in place of the last. It is told only now."""
    require(request.user, Role.SUBMITTER)
    tunnel = _find(tunnel_id)

    def make() -> NewPassword:
        password = renew(request.user, tunnel, timezone.now())
        return NewPassword(user=request.user.get_username(), password=password)

    try:
        return answer_once(request, make, secret=True)
    except NotNow as refusal:
        raise Problem(HTTPStatus.CONFLICT, "not-now", str(refusal)) from refusal


@router.delete("/{int:tunnel_id}", response=TunnelDetail)
def stop_tunnel(request: SignedInRequest, tunnel_id: int) -> TunnelDetail:
    """Stop it. Its row stays, with when it was stopped; to stop it again changes nothing."""
    require(request.user, Role.SUBMITTER)
    operations.stop(request.user, _find(tunnel_id), timezone.now())
    return _detail(request, tunnel_id)


def _find(tunnel_id: int) -> Tunnel:
    tunnel = Tunnel.objects.filter(id=tunnel_id).with_nodes().first() if tunnel_id < 2**63 else None
    if tunnel is None:
        raise not_found(f"tunnel {tunnel_id}")
    return tunnel


def _detail(request: SignedInRequest, tunnel_id: int) -> TunnelDetail:
    tunnel = _find(tunnel_id)
    out = _out(view_of(tunnel, timezone.now()), may_use(request.user, tunnel))
    allowed = tunnel.allowed.order_by("username").values_list("username", flat=True)
    return TunnelDetail(**out.model_dump(), allowed=list(allowed))


def _out(view: TunnelView, usable: bool) -> TunnelOut:
    tunnel = view.tunnel
    return TunnelOut(
        id=tunnel.id,
        name=tunnel.name,
        state=view.stands.standing,
        sentence=view.stands.sentence,
        remarks=view.remarks,
        entry=tunnel.entry.name,
        exit_region=tunnel.exit_region,
        exit_node=tunnel.exit_node.name if tunnel.exit_node else None,
        leaves_at=tunnel.used_exit.name if tunnel.used_exit else None,
        hops=tunnel.hops,
        pool=view.pool.name,
        rotate_s=tunnel.rotate_s,
        require_password=tunnel.require_password,
        port=(tunnel.port or None) if usable else None,
        clients=tunnel.clients,
        wrong_passwords=tunnel.wrong_passwords,
        missing_passwords=tunnel.missing_passwords,
        sent_bytes=tunnel.sent_bytes,
        received_bytes=tunnel.received_bytes,
        bytes_per_s=view.bytes_per_s,
        build_ms=tunnel.build_ms,
        created_by=tunnel.created_by.get_username() if tunnel.created_by else None,
        created_at=tunnel.created_at,
        stopped_at=tunnel.stopped_at,
        told_at=tunnel.told_at,
    )

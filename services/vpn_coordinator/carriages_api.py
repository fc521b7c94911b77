"""The API of carriages: how orders of confidential tasks get to their nodes."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from ninja import Router, Schema

from fogpanel.access import Role, require
from fogpanel.api_auth import SignedInRequest
from fogpanel.keyset import Limit, find_page
from services.vpn_coordinator.models import Carriage
from services.vpn_coordinator.troubles import Trouble

router = Router(tags=["private tasks"])


class CarriageOut(Schema):
    """``ok`` is null while it is under way, and where its attempt was over before. ``gateway`` is null while
    it waits. ``trouble`` names why it waits or what failed last (empty: nothing), ``reason`` is the name by
    which its node refused it, ``sentence`` says the same for people. ``tries`` failed so far. Times of the
    circuit and of bringing it are in ms, ``size`` in bytes.
    """

    id: int
    attempt: int
    gateway: str | None
    node: str
    hops: int
    created_at: datetime
    brought_at: datetime | None
    ended_at: datetime | None
    ok: bool | None
    tries: int
    trouble: Trouble | Literal[""]
    reason: str
    sentence: str
    build_ms: float | None
    took_ms: float | None
    size: int


class CarriagesOut(Schema):
    items: list[CarriageOut]
    next: int | None


COLUMNS = (
    "id", "hops", "created_at", "brought_at", "ended_at", "ok", "tries", "trouble", "reason", "sentence",
    "build_ms", "took_ms", "size",
)  # fmt: skip


@router.get("/carriages", response=CarriagesOut)
def list_carriages(request: SignedInRequest, after: int | None = None, limit: Limit = 50) -> CarriagesOut:
    """Orders that gateways were asked to bring, the panel's own trials among them, the newest first.
    ``after`` is the ``next`` of the page before."""
    require(request.user, Role.VIEWER)
    carriages = Carriage.objects.select_related("gateway", "node").defer("run")
    page = find_page([carriages], "id", descending=True, after=after, size=limit)
    return CarriagesOut(
        items=[_out(carriage) for carriage in page.rows],
        next=page.rows[-1].id if page.after else None,
    )


def _out(carriage: Carriage) -> CarriageOut:
    return CarriageOut(
        **{name: getattr(carriage, name) for name in COLUMNS},
        attempt=carriage.attempt_id,
        gateway=carriage.gateway.name if carriage.gateway else None,
        node=carriage.node.name,
    )

"""The API of the keys that let nodes in."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from django.conf import settings
from django.http import HttpResponse
from ninja import Router, Schema
from pydantic import Field

from fogpanel.access import Role, require
from fogpanel.api_auth import SignedInRequest
from fogpanel.idempotency import answer_once
from fogpanel.keyset import Limit, find_page
from fogpanel.problems import Problem, invalid, not_found
from fogpanel.storable import Asked
from nodes import joining
from nodes.models import Group, JoinKey

router = Router(tags=["join keys"])

DAY_S = 86_400


class JoinKeyIn(Asked):
    """``group`` names one that exists."""

    note: Annotated[str, Field(max_length=200)] = ""
    group: str = ""
    labels: dict[str, str] = {}
    uses: Annotated[int, Field(ge=1, le=1000)] = 1
    lifetime_s: Annotated[int, Field(ge=60, le=30 * DAY_S)] = DAY_S


class JoinKeyOut(Schema):
    id: int
    prefix: str
    note: str
    group: str | None
    labels: dict[str, str]
    created_at: datetime
    expires_at: datetime
    uses_left: int
    revoked_at: datetime | None


class NewJoinKey(JoinKeyOut):
    """``key`` is shown here and never again; the lines join a machine with it."""

    key: str
    paste: str
    checkout: str


class JoinKeys(Schema):
    items: list[JoinKeyOut]
    next: int | None


@router.get("", response=JoinKeys)
def list_join_keys(request: SignedInRequest, after: int | None = None, limit: Limit = 50) -> JoinKeys:
    """The newest first; the keys themselves are not stored."""
    require(request.user, Role.OPERATOR)
    keys = JoinKey.objects.select_related("group")
    page = find_page([keys], "id", descending=True, after=after, size=limit)
    return JoinKeys(items=[_key_out(key) for key in page.rows], next=page.rows[-1].id if page.after else None)


@router.post("", response={201: NewJoinKey})
def create_join_key(request: SignedInRequest, given: JoinKeyIn) -> HttpResponse:
    """A key that lets machines in, and the line to paste on them."""
    require(request.user, Role.OPERATOR)
    group = _group(given.group)

    def create() -> NewJoinKey:
        key, text = joining.create_join_key(
            actor=request.user,
            note=given.note,
            group=group,
            labels=given.labels,
            uses=given.uses,
            lifetime_s=given.lifetime_s,
        )
        lines = _lines(text)
        return NewJoinKey(**_key_out(key).model_dump(), key=text, paste=lines.paste, checkout=lines.checkout)

    return answer_once(request, create, secret=True)


@router.post("/{int:key_id}/revoke", response=JoinKeyOut)
def revoke_join_key(request: SignedInRequest, key_id: int) -> HttpResponse:
    """The key lets nobody in any more; machines that joined with it stay."""
    require(request.user, Role.OPERATOR)
    key = JoinKey.objects.filter(id=key_id).first()
    if key is None:
        raise not_found(f"join key {key_id}")

    def revoke() -> JoinKeyOut:
        joining.revoke_join_key(key, request.user)
        return _key_out(JoinKey.objects.select_related("group").get(id=key_id))

    return answer_once(request, revoke, status=200)


def _group(name: str) -> Group | None:
    if not name:
        return None
    group = Group.objects.filter(name=name).first()
    if group is None:
        raise invalid([("group", f"group: there is no group “{name[:40]}”; create it first.")])
    return group


def _lines(key_text: str) -> joining.JoinLines:
    try:
        return joining.join_lines(settings.PUBLIC_URL, key_text)
    except FileNotFoundError as error:
        raise Problem(503, "no-agent", str(error)) from error


def _key_out(key: JoinKey) -> JoinKeyOut:
    return JoinKeyOut(
        id=key.pk,
        prefix=key.prefix,
        note=key.note,
        group=key.group.name if key.group else None,
        labels=key.labels,
        created_at=key.created_at,
        expires_at=key.expires_at,
        uses_left=key.uses_left,
        revoked_at=key.revoked_at,
    )

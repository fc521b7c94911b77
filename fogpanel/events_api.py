"""The API of events: the audit trail."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from ninja import Router, Schema
from pydantic import Field

from fogpanel.access import Role, require
from fogpanel.api_auth import SignedInRequest
from fogpanel.keyset import Limit, find_page
from fogpanel.models import Event

router = Router(tags=["events"])


class EventOut(Schema):
    id: int
    at: datetime
    level: str
    kind: str
    sentence: str
    actor: str
    subject_kind: str
    subject_id: int | None
    before: dict[str, Any] | None
    after: dict[str, Any] | None


class Events(Schema):
    items: list[EventOut]
    next: int | None


@router.get("", response=Events)
def list_events(
    request: SignedInRequest,
    kind: Annotated[str, Field(max_length=60)] = "",
    actor: Annotated[str, Field(max_length=150)] = "",
    subject_kind: Annotated[str, Field(max_length=60)] = "",
    subject_id: int | None = None,
    after: int | None = None,
    limit: Limit = 50,
) -> Events:
    """Who did what, when, before and after; the newest first. ``kind`` is whole (node.joined) or
    what stands before the point (node)."""
    require(request.user, Role.VIEWER)
    wanted: dict[str, Any] = {"actor_name": actor, "subject_kind": subject_kind, "subject_id": subject_id}
    events = Event.objects.filter(**{name: value for name, value in wanted.items() if value})
    if kind:
        events = events.filter(**{"kind" if "." in kind else "kind__startswith": kind})
    page = find_page([events], "id", descending=True, after=after, size=limit)
    return Events(
        items=[_event_out(event) for event in page.rows], next=page.rows[-1].pk if page.after else None
    )


def _event_out(event: Event) -> EventOut:
    return EventOut(
        id=event.pk,
        at=event.at,
        level=event.level,
        kind=event.kind,
        sentence=event.sentence,
        actor=event.actor_name,
        subject_kind=event.subject_kind,
        subject_id=event.subject_id,
        before=event.before,
        after=event.after,
    )

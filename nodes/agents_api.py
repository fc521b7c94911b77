"""What machines ask before they are nodes: whose panel this is, and to be let in. Open to everybody."""

from __future__ import annotations

import base64
from typing import Annotated

import msgspec
from django.conf import settings
from django.http import HttpRequest
from msgspec import Meta
from ninja import Router, Schema, Status

from fogagent.messages import Facts, Key, Short, Signature
from fogpanel.problems import Problem, invalid
from nodes import joining
from nodes.identity import panel_identity

router = Router(tags=["agents"])

MAX_BODY_BYTES = 256 * 1024
"""Far above what the facts of a machine need, and little enough to read from strangers."""


class EnrolBody(msgspec.Struct):
    """Keys and signature travel as base64; ``facts`` is the message of `fogagent.messages`."""

    join_key: Annotated[str, Meta(max_length=200)]
    public_key: Key
    sealing_key: Key
    signature: Signature
    name: Short
    facts: Facts


class WheelOut(Schema):
    url: str
    sha256: str


class PanelOut(Schema):
    """``wheel`` is null until set-up has built it."""

    panel_key: str
    version: str
    wheel: WheelOut | None


class EnrolledOut(Schema):
    node: int
    name: str
    panel_key: str
    approved: bool


@router.get("/panel", auth=None, response=PanelOut)
def get_panel(request: HttpRequest) -> PanelOut:
    """The panel's public key and the agent that it serves."""
    key = base64.b64encode(panel_identity().public_key).decode()
    return PanelOut(panel_key=key, version=settings.VERSION, wheel=_wheel())


def _wheel() -> WheelOut | None:
    try:
        wheel = joining.agent_wheel()
    except FileNotFoundError:
        return None
    return WheelOut(url=f"{settings.PUBLIC_URL}/agent/{wheel.filename}", sha256=wheel.sha256)


@router.post("/enrol", auth=None, response={201: EnrolledOut})
def enrol(request: HttpRequest) -> Status[EnrolledOut]:
    """Let a machine in that holds a good join key. Asking again with the same identity changes nothing."""
    body = _read(request)
    asked = joining.EnrolRequest(**{name: getattr(body, name) for name in EnrolBody.__struct_fields__})
    enrolled = joining.enrol(asked, request.META.get("REMOTE_ADDR"))
    key = base64.b64encode(enrolled.panel_key).decode()
    node = enrolled.node
    return Status(201, EnrolledOut(node=node.id, name=node.name, panel_key=key, approved=enrolled.approved))


def _read(request: HttpRequest) -> EnrolBody:
    if int(request.META.get("CONTENT_LENGTH") or 0) > MAX_BODY_BYTES:
        raise Problem(413, "too-large", f"body: an enrolment holds at most {MAX_BODY_BYTES // 1024} KiB.")
    try:
        return msgspec.json.decode(request.body, type=EnrolBody)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$")
        field = where.strip("`").strip(".") or "body"
        raise invalid([(field, f"{field}: {what[:1].lower()}{what[1:]}.")]) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Problem(400, "not-json", f"body: must be one JSON object: {error}.") from error

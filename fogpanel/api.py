"""The API under /api/v1/: what every app offers, who may come in, and how errors are answered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import wraps
from http import HTTPStatus
from inspect import iscoroutinefunction
from typing import Annotated, Any

from django.conf import settings
from django.contrib.auth import authenticate
from django.contrib.auth.models import User
from django.contrib.auth.signals import user_logged_in
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.urls import URLPattern, re_path
from django.utils import timezone
from ninja import NinjaAPI, Router, Schema
from pydantic import Field

from fogpanel import problems, tokens
from fogpanel.access import Role, require
from fogpanel.api_auth import SIGNED_IN, SignedInRequest
from fogpanel.idempotency import answer_once
from fogpanel.keyset import find_page
from fogpanel.models import ApiToken, Event
from fogpanel.parameters.api import router as parameters
from fogpanel.parameters.parameter import Refused
from fogpanel.problems import Parser, Problem
from fogpanel.storable import Asked
from fogpanel.tokens import DEFAULT_LIFETIME_S, MAX_LIFETIME_S, Scope
from nodes.agents_api import router as agents
from nodes.api import keys_router
from nodes.api import router as nodes
from nodes.joining import JoinError
from nodes.relay_directory.api import router as relay_directory
from services.api import router as services
from services.onion.api import router as onion
from services.vpn_coordinator.api import router as tunnels
from tasks.api import nodes_router as placement
from tasks.api import router as tasks
from tasks.batches_api import router as batches
from tasks.sealed_api import router as sealed_tasks
from tasks.specification import SpecError

router = Router()

Limit = Annotated[int, Field(ge=1, le=200)]


class TokenIn(Asked):
    """A user name and password for a token. Without ``scopes`` it may read, and submit if the user may."""

    username: Annotated[str, Field(max_length=150)]
    password: Annotated[str, Field(max_length=4096)]
    name: Annotated[str, Field(min_length=1, max_length=100)] = "API token"
    scopes: list[Scope] | None = None
    lifetime_s: Annotated[int, Field(ge=60, le=MAX_LIFETIME_S)] = DEFAULT_LIFETIME_S


class TokenOut(Schema):
    """``last_used_at``: when it last changed something (to the minute); reading leaves no trace."""

    id: int
    name: str
    prefix: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None


class NewToken(TokenOut):
    """``token`` is shown here and never again."""

    token: str


class Tokens(Schema):
    items: list[TokenOut]


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


@router.post("/tokens", auth=None, response={201: NewToken}, tags=["tokens"])
def create_token(request: HttpRequest, given: TokenIn) -> HttpResponse:
    """Sign in from a program. Wrong passwords are counted as on the sign-in page."""
    user = _signed_in(request, given)
    scopes = given.scopes if given.scopes is not None else tokens.default_scopes(user)
    if not scopes:
        require(user, Role.VIEWER)
    request.user = user

    def create() -> NewToken:
        token, text = tokens.create_token(
            user, name=given.name, scopes=scopes, lifetime_s=given.lifetime_s, now=timezone.now()
        )
        return NewToken(**_token_out(token).model_dump(), token=text)

    return answer_once(request, create, secret=True)


def _signed_in(request: HttpRequest, given: TokenIn) -> User:
    user = authenticate(request, username=given.username, password=given.password)
    if getattr(request, "axes_locked_out", False):
        # Taken back, or the middleware would answer with a page in place of ours.
        request.axes_locked_out = False  # type: ignore[attr-defined]
        minutes = round(settings.AXES_COOLOFF_TIME * 60)
        detail = f"Too many wrong passwords for {given.username}; try again in {minutes} minutes."
        raise Problem(HTTPStatus.TOO_MANY_REQUESTS, "locked-out", detail)
    if not isinstance(user, User):
        raise Problem(HTTPStatus.UNAUTHORIZED, "wrong-password", "The user name or the password is wrong.")
    user_logged_in.send(sender=User, request=request, user=user)
    return user


@router.get("/tokens", response=Tokens, tags=["tokens"])
def list_tokens(request: SignedInRequest) -> Tokens:
    """Your own tokens, the newest first."""
    require(request.user, Role.VIEWER)
    mine = ApiToken.objects.filter(user=request.user).order_by("-id")[:200]
    return Tokens(items=[_token_out(token) for token in mine])


@router.post("/tokens/{int:token_id}/revoke", response=TokenOut, tags=["tokens"])
def revoke_token(request: SignedInRequest, token_id: int) -> HttpResponse:
    """End one of your own tokens at once. A token with no scope but ``read`` ends only itself."""
    require(request.user, Role.VIEWER)
    token = ApiToken.objects.filter(id=token_id, user=request.user).first()
    if token is None:
        raise problems.not_found(f"token {token_id} of yours")
    scheme, _, sent = request.headers.get("Authorization", "").partition(" ")
    if scheme and not tokens.is_text_of(token, sent):
        require(request.user, Role.SUBMITTER)

    def revoke() -> TokenOut:
        tokens.revoke(token, request.user)
        token.refresh_from_db()
        return _token_out(token)

    return answer_once(request, revoke, status=HTTPStatus.OK)


def _token_out(token: ApiToken) -> TokenOut:
    return TokenOut.model_validate(token, from_attributes=True)


@router.get("/events", response=Events, tags=["events"])
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


DESCRIPTION = """
Send a token as `Authorization: Bearer fpt_…` (`POST /api/v1/tokens` makes one). Name each POST with an
`Idempotency-Key` of your own: sent again with the same key, it is answered again and done once; keys are
kept for a day. Errors are `application/problem+json` with a `detail` to show and a `code` to act on.
"""

api = NinjaAPI(
    title="Fogpanel",
    version=settings.VERSION,
    description=DESCRIPTION,
    urls_namespace="api",
    auth=SIGNED_IN,
    parser=Parser(),
)
problems.install(api)


def _bad_specification(request: HttpRequest, error: Any) -> HttpResponse:
    return problems.answer(problems.invalid([(one.field, one.message) for one in error.errors]))


def _not_joined(request: HttpRequest, error: Any) -> HttpResponse:
    return problems.answer(Problem(error.status, error.code, str(error)))


def _refused_values(request: HttpRequest, error: Any) -> HttpResponse:
    return problems.answer(problems.invalid(error.errors))


api.add_exception_handler(SpecError, _bad_specification)
api.add_exception_handler(Refused, _refused_values)
api.add_exception_handler(JoinError, _not_joined)

api.add_router("", router)
api.add_router("/nodes", nodes)
api.add_router("/join-keys", keys_router)
api.add_router("/agents", agents)
api.add_router("/tasks", tasks)
api.add_router("", sealed_tasks)
api.add_router("", relay_directory)
api.add_router("/tasks", batches)
api.add_router("/nodes", placement)
api.add_router("", services)
api.add_router("", onion)
api.add_router("/tunnels", tunnels)
api.add_router("", parameters)


# --- Addresses -----------------------------------------------------------------------------------

View = Callable[..., Any]
FOR_BROWSERS = {"openapi-json", "openapi-view"}  # the documentation, for whoever is signed in


def _as_problem(response: HttpResponseBase) -> HttpResponseBase:
    if response.status_code != HTTPStatus.METHOD_NOT_ALLOWED:
        return response
    detail = f"This address takes {response['Allow']}."
    answer = problems.answer(Problem(HTTPStatus.METHOD_NOT_ALLOWED, "method-not-allowed", detail))
    answer["Allow"] = response["Allow"]
    return answer


def _open(view: View) -> View:
    """Let requests reach the API, which asks itself who they are from."""
    if iscoroutinefunction(view):

        @wraps(view)
        async def opened_async(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            return _as_problem(await view(request, *args, **kwargs))

        opened: View = opened_async
    else:

        @wraps(view)
        def opened_sync(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            return _as_problem(view(request, *args, **kwargs))

        opened = opened_sync
    opened.login_required = False  # type: ignore[attr-defined]
    return opened


def _nothing_here(request: HttpRequest) -> HttpResponse:
    detail = f"There is nothing at {request.path}; /api/v1/docs lists what there is."
    return problems.answer(Problem(HTTPStatus.NOT_FOUND, "not-found", detail))


def _patterns() -> Sequence[URLPattern]:
    nothing = _open(_nothing_here)
    nothing.csrf_exempt = True  # type: ignore[attr-defined]
    patterns = [pattern for pattern in api.urls[0] if isinstance(pattern, URLPattern)]
    for pattern in patterns:
        if pattern.name not in FOR_BROWSERS:
            pattern.callback = nothing if pattern.name == "api-root" else _open(pattern.callback)
    return [*patterns, re_path(r"^", nothing)]


urls = (_patterns(), "api", "api")

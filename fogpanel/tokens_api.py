"""The API of tokens, by which programs come in."""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus
from typing import Annotated

from django.conf import settings
from django.contrib.auth import authenticate
from django.contrib.auth.models import User
from django.contrib.auth.signals import user_logged_in
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from ninja import Router, Schema
from pydantic import Field

from fogpanel import tokens
from fogpanel.access import Role, require
from fogpanel.api_auth import SignedInRequest
from fogpanel.idempotency import answer_once
from fogpanel.models import ApiToken
from fogpanel.problems import Problem, not_found
from fogpanel.storable import Asked
from fogpanel.tokens import DEFAULT_LIFETIME_S, MAX_LIFETIME_S, Scope

router = Router(tags=["tokens"])


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


@router.post("", auth=None, response={201: NewToken})
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


@router.get("", response=Tokens)
def list_tokens(request: SignedInRequest) -> Tokens:
    """Your own tokens, the newest first."""
    require(request.user, Role.VIEWER)
    mine = ApiToken.objects.filter(user=request.user).order_by("-id")[:200]
    return Tokens(items=[_token_out(token) for token in mine])


@router.post("/{int:token_id}/revoke", response=TokenOut)
def revoke_token(request: SignedInRequest, token_id: int) -> HttpResponse:
    """End one of your own tokens at once. A token with no scope but ``read`` ends only itself."""
    require(request.user, Role.VIEWER)
    token = ApiToken.objects.filter(id=token_id, user=request.user).first()
    if token is None:
        raise not_found(f"token {token_id} of yours")
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

"""API tokens: a user's key for programs. Shown once, stored as a hash, never stronger than its user."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from fogpanel import audit
from fogpanel.access import Refusal, Role, allows, limit, refusal_sentence
from fogpanel.models import ApiToken

PREFIX = "fpt_"
DAY_S = 86_400
DEFAULT_LIFETIME_S = 90 * DAY_S
MAX_LIFETIME_S = 366 * DAY_S
USE_NOTED_EVERY_S = 60


class Scope(StrEnum):
    """What a token is for. Each includes those before it, as roles do."""

    READ = "read"
    SUBMIT = "submit"
    OPERATE = "operate"
    ADMIN = "admin"

    @property
    def role(self) -> Role:
        return dict(zip(Scope, Role, strict=True))[self]


def create_token(
    user: User, *, name: str, scopes: Sequence[Scope], lifetime_s: float, now: datetime
) -> tuple[ApiToken, str]:
    """A new token and its text, which is not stored: this is the only chance to show it.

    Raises:
        Refusal: a scope is beyond the user's role.
    """
    for scope in scopes:
        if not allows(user, scope.role):
            raise Refusal(f"scopes: {scope} is beyond your role. {refusal_sentence(user, scope.role)}")
    text = PREFIX + secrets.token_urlsafe(32)
    with transaction.atomic():
        token = ApiToken.objects.create(
            user=user,
            name=name,
            prefix=text[:12],
            digest=_digest(text),
            scopes=[scope.value for scope in scopes],
            created_at=now,
            expires_at=now + timedelta(seconds=lifetime_s),
        )
        sentence = f"{user} made the API token {token}"
        audit.record("token.created", sentence, actor=user, subject=token, after={"scopes": token.scopes})
    return token, text


def default_scopes(user: User) -> list[Scope]:
    """Reading, and handing in for those who may: enough for the command-line client."""
    return [scope for scope in (Scope.READ, Scope.SUBMIT) if allows(user, scope.role)]


def find(text: str, now: datetime) -> ApiToken | None:
    """The valid token with this text. Its ``user`` acts with what the token's scopes allow, no more."""
    token = next(iter(ApiToken.objects.raw(_FIND, [_digest(text)])), None)
    if token is None or token.revoked_at is not None or (token.expires_at and token.expires_at <= now):
        return None
    user = next(iter(User.objects.raw(_FIND_USER, [token.user_id])), None)
    if user is None or not user.is_active:
        return None
    token.user = user
    limit(user, _strongest(token.scopes))
    return token


_FIND = "SELECT * FROM fogpanel_apitoken WHERE digest = %s"
_FIND_USER = "SELECT * FROM auth_user WHERE id = %s"


def is_text_of(token: ApiToken, text: str) -> bool:
    return secrets.compare_digest(token.digest, _digest(text))


def _strongest(scopes: Sequence[str]) -> Role:
    return max((Scope(scope) for scope in scopes), key=list(Scope).index, default=Scope.READ).role


def note_use(token: ApiToken, now: datetime) -> None:
    """Remember when the token last changed something; called for such requests only: GETs write nothing."""
    before = now - timedelta(seconds=USE_NOTED_EVERY_S)
    if token.last_used_at is None or token.last_used_at < before:
        ApiToken.objects.filter(id=token.id).update(last_used_at=now)


def revoke(token: ApiToken, actor: User) -> None:
    with transaction.atomic():
        if ApiToken.objects.filter(id=token.id, revoked_at=None).update(revoked_at=timezone.now()):
            audit.record(
                "token.revoked", f"{actor} revoked the API token {token}", actor=actor, subject=token
            )


def _digest(text: str) -> str:
    # A token is 256 random bits, so a plain hash gives nothing away; a slow one would cost every request.
    return hashlib.sha256(text.encode()).hexdigest()

"""How a request to the API says who it is from: a token in a header, or the session of a browser."""

from __future__ import annotations

from http import HTTPStatus

from django.contrib.auth.models import User
from django.http import HttpRequest
from django.utils import timezone
from ninja.security import APIKeyCookie, HttpBearer
from ninja.utils import check_csrf

from fogpanel import tokens
from fogpanel.problems import Problem

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class TokenAuth(HttpBearer):
    """`Authorization: Bearer fpt_…`"""

    def authenticate(self, request: HttpRequest, token: str) -> User | None:
        now = timezone.now()
        found = tokens.find(token, now)
        if found is None:
            return None
        if request.method not in SAFE_METHODS:
            tokens.note_use(found, now)
        request.user = found.user
        return found.user


class SessionAuth(APIKeyCookie):
    """The cookie of a signed-in browser, with Django's protection against forged requests."""

    param_name = "sessionid"

    def __call__(self, request: HttpRequest) -> User | None:
        return self.authenticate(request, None)

    def authenticate(self, request: HttpRequest, key: str | None) -> User | None:
        # A token that was sent and is wrong must not fall back to whoever else is signed in.
        if "Authorization" in request.headers or not isinstance(request.user, User):
            return None
        # Read before the check looks for a form in it, or nobody could read it any more.
        _ = request.body
        if check_csrf(request) is not None:
            detail = "The request lacks a valid CSRF token: send it as X-CSRFToken, or use an API token."
            raise Problem(HTTPStatus.FORBIDDEN, "csrf", detail)
        return request.user


SIGNED_IN = (TokenAuth(), SessionAuth())


class SignedInRequest(HttpRequest):
    """What a view behind `SIGNED_IN` gets."""

    user: User

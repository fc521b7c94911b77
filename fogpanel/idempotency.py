"""Doing a POST once however often it is sent: the answer is stored together with its effect.

A client that names its request by an ``Idempotency-Key`` may send it again after a lost connection or
a killed panel. Either the effect and the answer were both stored, or neither was.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from ninja import Schema

from fogpanel.jobs import Run, job
from fogpanel.models import IdempotencyKey
from fogpanel.problems import Problem, invalid
from fogpanel.rows import create

KEPT = timedelta(hours=24)
FORGET_EVERY_S = 3600
FORGET_BATCH = 500


def answer_once(
    request: HttpRequest,
    effect: Callable[[], Schema],
    *,
    status: int = HTTPStatus.CREATED,
    secret: bool = False,
) -> HttpResponse:
    """Run ``effect`` in a transaction and answer with what it returns, or with the answer given before.

    Only successes are kept: what was refused may be sent again, mended or not. A ``secret`` answer is
    never stored; asked for again, it is refused with 409.

    Raises:
        Problem: the key breaks its rule, or was used for a different request.
    """
    key = _key(request)
    if key is None:
        with transaction.atomic():
            return _respond(status, effect().model_dump(mode="json"))
    assert isinstance(request.user, User)
    user, digest = request.user, _digest(request)
    if known := _find(user, key):
        return _replay(known, digest)
    try:
        with transaction.atomic():
            body = effect().model_dump(mode="json")
            # Of two equal requests at once, the second waits here for the first, and is then undone.
            create([_answer(user, key, digest, status, None if secret else body)])
    except IntegrityError:
        if known := _find(user, key):
            return _replay(known, digest)
        raise
    return _respond(status, body)


def _key(request: HttpRequest) -> str | None:
    key = request.headers.get("Idempotency-Key")
    if key is not None and not (1 <= len(key) <= 200 and key.isascii() and key.isprintable()):
        rule = "Idempotency-Key: must be 1 to 200 printable ASCII characters; a random UUID is best."
        raise invalid([("Idempotency-Key", rule)])
    return key


def _digest(request: HttpRequest) -> str:
    head = f"{request.method} {request.path}\n".encode()
    return hashlib.sha256(head + request.body).hexdigest()


def _find(user: User, key: str) -> IdempotencyKey | None:
    return next(iter(IdempotencyKey.objects.raw(_FIND, [user.pk, key])), None)


_FIND = "SELECT * FROM fogpanel_idempotencykey WHERE user_id = %s AND key = %s"


def _answer(user: User, key: str, digest: str, status: int, body: Any) -> IdempotencyKey:
    return IdempotencyKey(
        user=user, key=key, request_digest=digest, status=status, body=body, created_at=timezone.now()
    )


def _replay(known: IdempotencyKey, digest: str) -> HttpResponse:
    if known.request_digest != digest:
        rule = "Idempotency-Key: was used for a different request already; make a new key for each request."
        raise invalid([("Idempotency-Key", rule)])
    if known.body is None:
        sentence = (
            "This was done already. Its answer held a secret that is shown once and not kept: make another."
        )
        raise Problem(HTTPStatus.CONFLICT, "answer-not-kept", sentence)
    response = _respond(known.status, known.body)
    response["Idempotency-Replayed"] = "true"
    return response


def _respond(status: int, body: Any) -> HttpResponse:
    return JsonResponse(body, status=status)


@job(every_s=FORGET_EVERY_S)
def forget_old_answers(run: Run) -> None:
    forget(run.now)


def forget(now: datetime) -> None:
    """Drop answers that nobody will ask for again, some hundred rows a transaction."""
    old = IdempotencyKey.objects.filter(created_at__lt=now - KEPT)
    while ids := list(old.values_list("id", flat=True)[:FORGET_BATCH]):
        IdempotencyKey.objects.filter(id__in=ids).delete()

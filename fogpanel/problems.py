"""Errors of the API as `application/problem+json` (RFC 9457), each with a sentence a user can act on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import structlog
from django.conf import settings
from django.core.exceptions import BadRequest, PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.http.multipartparser import MultiPartParserError
from django.utils.datastructures import MultiValueDict
from ninja import NinjaAPI
from ninja.errors import AuthenticationError, HttpError, ValidationError
from ninja.parser import Parser as NinjaParser

from fogpanel.storable import RULE, UNSTORABLE

CONTENT_TYPE = "application/problem+json"
MIB = 1024 * 1024
RETRY_AFTER_S = 2

log = structlog.get_logger(__name__)


class Problem(Exception):
    """An answer that is an error. ``code`` is for programs, ``detail`` for people."""

    def __init__(self, status: int, code: str, detail: str, errors: Sequence[Mapping[str, str]] = ()) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail, self.errors = status, code, detail, errors


def answer(problem: Problem) -> HttpResponse:
    body: dict[str, Any] = {
        "type": f"urn:fogpanel:problem:{problem.code}",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": problem.detail,
        "code": problem.code,
    }
    if problem.errors:
        body["errors"] = list(problem.errors)
    response = JsonResponse(body, status=problem.status, content_type=CONTENT_TYPE)
    if problem.status == HTTPStatus.UNAUTHORIZED:
        response["WWW-Authenticate"] = 'Bearer realm="Fogpanel"'
    return response


def invalid(errors: Sequence[tuple[str, str]]) -> Problem:
    """422 out of (field, sentence) pairs; the sentences together are the detail."""
    detail = " ".join(sentence for _, sentence in errors)
    listed = [{"field": field, "message": sentence} for field, sentence in errors]
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid", detail, listed)


def not_found(what: str) -> Problem:
    return Problem(HTTPStatus.NOT_FOUND, "not-found", f"There is no {what}.")


class Parser(NinjaParser):
    """Reads queries, of which some end up in the database as they are."""

    def parse_querydict(
        self, data: MultiValueDict[str, str], list_fields: list[str], request: HttpRequest
    ) -> dict[str, Any]:
        if wrong := [name for name in data if UNSTORABLE.search("".join((name, *data.getlist(name))))]:
            raise invalid([(name, f"{name}: {RULE}") for name in map(_printable, wrong)])
        return super().parse_querydict(data, list_fields, request)


def _printable(name: str) -> str:
    return "".join(c if c.isprintable() else "·" for c in name[:40])


UNAUTHENTICATED = Problem(
    HTTPStatus.UNAUTHORIZED,
    "not-signed-in",
    "Sign in, or send a valid API token as “Authorization: Bearer …”; it may be wrong, expired or revoked.",
)


def install(api: NinjaAPI) -> None:
    """Answer everything that can go wrong in an API view as a problem."""
    handlers: dict[type[Exception], Callable[[HttpRequest, Any], HttpResponse]] = {
        Problem: lambda request, error: answer(error),
        AuthenticationError: lambda request, error: answer(UNAUTHENTICATED),
        PermissionDenied: _refused,
        ValidationError: _invalid,
        RequestDataTooBig: _too_big,
        BadRequest: _no_sense,
        MultiPartParserError: _no_sense,
        SuspiciousOperation: _no_sense,
        Http404: _missing,
        HttpError: _http_error,
        OperationalError: _database_away,
        InterfaceError: _database_away,
        Exception: _broken,
    }
    for kind, handler in handlers.items():
        api.add_exception_handler(kind, handler)


def _refused(request: HttpRequest, error: PermissionDenied) -> HttpResponse:
    return answer(Problem(HTTPStatus.FORBIDDEN, "role-missing", str(error)))


def _invalid(request: HttpRequest, error: ValidationError) -> HttpResponse:
    return answer(invalid([_sentence(one) for one in error.errors]))


def _sentence(error: Mapping[str, Any]) -> tuple[str, str]:
    """What pydantic found, as (field, sentence). ``loc`` starts with where it was (body, query, …)."""
    field = ".".join(str(part) for part in error["loc"][1:] if part != "given") or "body"
    text = str(error["msg"]).removeprefix("Value error, ")
    return field, f"{field}: {text[:1].lower()}{text[1:].rstrip('.')}."


def _too_big(request: HttpRequest, error: RequestDataTooBig) -> HttpResponse:
    most = settings.DATA_UPLOAD_MAX_MEMORY_SIZE / MIB
    told = int(request.META.get("CONTENT_LENGTH") or 0)  # none where the body came in chunks
    was = f"this one {told / MIB:.1f} MiB" if told else "this one more"
    detail = f"body: a request holds at most {most:g} MiB, {was}."
    return answer(Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too-large", detail))


def _no_sense(request: HttpRequest, error: Exception) -> HttpResponse:
    """What Django finds wrong with a form; the API takes none, but its CSRF check looks into it."""
    return answer(Problem(HTTPStatus.BAD_REQUEST, "bad-request", f"body: {str(error).rstrip('.')}."))


def _missing(request: HttpRequest, error: Http404) -> HttpResponse:
    said = error.args[0] if error.args and isinstance(error.args[0], str) else ""
    return answer(Problem(HTTPStatus.NOT_FOUND, "not-found", said or f"There is nothing at {request.path}."))


def _http_error(request: HttpRequest, error: HttpError) -> HttpResponse:
    if error.status_code == HTTPStatus.BAD_REQUEST:
        return answer(Problem(HTTPStatus.BAD_REQUEST, "not-json", "body: must be one JSON object."))
    code = HTTPStatus(error.status_code).phrase.lower().replace(" ", "-")
    return answer(Problem(error.status_code, code, str(error)))


def _database_away(request: HttpRequest, error: Exception) -> HttpResponse:
    log.warning("The database did not answer an API view", path=request.path, error=str(error))
    detail = (
        "The database does not answer at the moment. Send this again in a few seconds, "
        "with the same Idempotency-Key if it is to change something."
    )
    response = answer(Problem(HTTPStatus.SERVICE_UNAVAILABLE, "database-away", detail))
    response["Retry-After"] = str(RETRY_AFTER_S)
    return response


def _broken(request: HttpRequest, error: Exception) -> HttpResponse:
    log.error("An API view failed", path=request.path, method=request.method, exc_info=error)
    detail = "The panel could not do this; the reason is in its log. Nothing was half done: try again."
    return answer(Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "broken", detail))

"""The API under /api/v1/: what every app offers, who may come in, and how errors are answered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from http import HTTPStatus
from inspect import iscoroutinefunction
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.urls import URLPattern, re_path
from ninja import NinjaAPI

from fogpanel import problems
from fogpanel.api_auth import SIGNED_IN
from fogpanel.events_api import router as events
from fogpanel.parameters.api import router as parameters
from fogpanel.parameters.parameter import Refused
from fogpanel.problems import Parser, Problem
from fogpanel.tokens_api import router as tokens
from nodes.agents_api import router as agents
from nodes.api import router as nodes
from nodes.join_keys_api import router as join_keys
from nodes.joining import JoinError
from nodes.relay_directory.api import router as relay_directory
from services.api import router as services
from services.onion.api import router as onion
from services.vpn_coordinator.api import router as tunnels
from services.vpn_coordinator.carriages_api import router as carriages
from tasks.api import nodes_router as placement
from tasks.api import router as tasks
from tasks.batches_api import router as batches
from tasks.sealed_api import router as sealed_tasks
from tasks.specification import SpecError

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

api.add_router("/tokens", tokens)
api.add_router("/events", events)
api.add_router("/nodes", nodes)
api.add_router("/join-keys", join_keys)
api.add_router("/agents", agents)
api.add_router("/tasks", tasks)
api.add_router("", sealed_tasks)
api.add_router("", relay_directory)
api.add_router("/tasks", batches)
api.add_router("/nodes", placement)
api.add_router("", services)
api.add_router("", onion)
api.add_router("/tunnels", tunnels)
api.add_router("", carriages)
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

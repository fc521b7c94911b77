"""Signing in and out, the events, and what is shown when something is not found, not allowed or broken."""

from __future__ import annotations

import sys
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.contrib.auth.views import LoginView
from django.core.exceptions import BadRequest
from django.db import InterfaceError, OperationalError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET
from django.views.decorators.vary import vary_on_headers

from fogpanel.access import Role, requires
from fogpanel.forms import EventFilter, SignInForm
from fogpanel.keyset import find_page
from fogpanel.models import Event

EVENTS_PER_PAGE = 50

sign_in = LoginView.as_view(
    template_name="registration/sign_in.html",
    authentication_form=SignInForm,
    redirect_authenticated_user=True,
)


def locked_out(request: HttpRequest, *_: Any, **__: Any) -> HttpResponse:
    """Shown by axes instead of the sign-in page after too many wrong passwords."""
    minutes = round(settings.AXES_COOLOFF_TIME * 60)
    return render(request, "registration/locked_out.html", {"minutes": minutes}, status=429)


@require_GET
@vary_on_headers("HX-Request")
@requires(Role.VIEWER)
def events(request: HttpRequest) -> HttpResponse:
    form = EventFilter(request.GET)
    found: QuerySet[Event] = Event.objects.all()
    if form.is_valid():
        found = form.narrow(found)
    page = find_page(
        [found],
        "id",
        descending=True,
        after=form.position("after"),
        before=form.position("before"),
        size=EVENTS_PER_PAGE,
    )
    chosen = form.chosen()
    context = {
        "section": "events",
        "form": form,
        "chosen": chosen,
        "events": page.rows,
        "newer": page.before and "?" + urlencode({**chosen, "before": page.before}),
        "older": page.after and "?" + urlencode({**chosen, "after": page.after}),
    }
    return render(
        request, "fogpanel/_events.html" if _is_fragment(request) else "fogpanel/events.html", context
    )


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    # Of what Django finds suspicious it says more than a stranger should read.
    said = str(exception) if isinstance(exception, BadRequest) else ""
    sentence = said or "Go back, reload the page and try again."
    return _problem(request, 400, "That request does not make sense", sentence)


def not_allowed(request: HttpRequest, exception: Exception) -> HttpResponse:
    sentence = str(exception) or "Your role does not allow this. An admin can give you another."
    return _problem(request, 403, "Not allowed", sentence)


def csrf_refused(request: HttpRequest, reason: str = "") -> HttpResponse:
    sentence = (
        "The form was open for too long, or came from another address than this panel has. "
        "Go back, reload the page and send it again."
    )
    return _problem(request, 403, "The form could not be trusted", sentence)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    # Views raise Http404 with a sentence; the resolver's own exception has a dictionary instead.
    said = exception.args[0] if exception.args and isinstance(exception.args[0], str) else ""
    return _problem(request, 404, "Not found", said or f"There is nothing at {request.path}.")


def broken(request: HttpRequest) -> HttpResponse:
    # Django calls this while it handles the exception, and does not hand it over.
    if isinstance(sys.exc_info()[1], (OperationalError, InterfaceError)):
        sentence = "The database does not answer at the moment. Try again in a few seconds."
        return _problem(request, 503, "The panel is waiting for its database", sentence)
    sentence = "The panel could not do this; the reason is in its log. Nothing was half done: try again."
    return _problem(request, 500, "Something went wrong", sentence)


def _problem(request: HttpRequest, status: int, title: str, sentence: str) -> HttpResponse:
    """One page for every error. It reads nothing from the database, which may be what is broken."""
    context = {"status": status, "title": title, "sentence": sentence}
    name = "fogpanel/_problem.html" if _is_fragment(request) else "fogpanel/problem.html"
    return render(request, name, context, status=status)


def _is_fragment(request: HttpRequest) -> bool:
    """Whether htmx asks for a part of a page; errors may come before its middleware has run."""
    htmx = getattr(request, "htmx", None)
    return htmx is not None and bool(htmx) and not htmx.history_restore_request

"""The page Settings: every parameter, and a form for each group of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from django.contrib import messages
from django.contrib.auth.models import User
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe
from django.views.decorators.vary import vary_on_headers

from fogpanel.access import Role, allows, requires
from fogpanel.parameters import changing
from fogpanel.parameters.catalogue import BY_NAME, GROUPS
from fogpanel.parameters.parameter import Group, Parameter, Refused
from fogpanel.parameters.presenting import section, sections


@require_safe
@requires(Role.VIEWER)
def settings_page(request: HttpRequest) -> HttpResponse:
    context = {
        "section": "settings",
        "sections": sections(),
        "may_change": allows(request.user, Role.ADMIN),
    }
    return render(request, "fogpanel/settings.html", context)


@require_POST
@vary_on_headers("HX-Request")
@requires(Role.ADMIN)
def change_parameters(request: HttpRequest, slug: str) -> HttpResponse:
    """Change what differs from what the form showed, or set one back. What can harm is asked twice."""
    group = next((group for group in GROUPS if group.slug == slug), None)
    if group is None:
        raise Http404(f"There are no parameters called {slug[:40]}.")
    typed = {each.name: request.POST.get(each.name, "").strip() for each in group.parameters}
    try:
        wanted = _wanted(request, group, typed)
        dangers = [BY_NAME[name] for name in wanted if BY_NAME[name].danger]
        if dangers and "confirmed" not in request.POST:
            return _answer(request, group, typed, dangers=dangers)
        assert isinstance(request.user, User)
        changes = changing.change(wanted, request.user, timezone.now())
    except Refused as refusal:
        return _answer(request, group, typed, refusal=refusal)
    return _done(request, group, changes)


def _wanted(request: HttpRequest, group: Group, typed: Mapping[str, str]) -> dict[str, float | None]:
    """Raises Refused where something is not a number."""
    names = {each.name for each in group.parameters}
    if (reset := request.POST.get("reset", "")) in names:
        return {reset: None}
    wanted: dict[str, float | None] = {}
    wrong = []
    for name in typed:
        # What was not touched keeps what it is, though somebody else changed it meanwhile.
        if typed[name] == request.POST.get(f"was-{name}"):
            continue
        try:
            wanted[name] = float(typed[name])
        except ValueError:
            wrong.append((name, f"{name}: must be a number, was “{typed[name][:40]}”."))
    if wrong:
        raise Refused(wrong)
    return wanted


def _answer(
    request: HttpRequest,
    group: Group,
    typed: Mapping[str, str],
    *,
    refusal: Refused | None = None,
    dangers: Sequence[Parameter] = (),
) -> HttpResponse:
    """The form again: with what is wrong in it, or with the question whether it is meant."""
    errors: dict[str, list[str]] = defaultdict(list)
    for name, sentence in refusal.errors if refusal else ():
        errors[name].append(sentence)
    shown = section(group, typed=typed, errors=errors)
    context = {
        "one": shown,
        "dangers": dangers,
        "reset": request.POST.get("reset", ""),
        "may_change": True,
    }
    if request.headers.get("HX-Request"):
        return render(request, "fogpanel/_parameters.html", context)
    context |= {"section": "settings", "sections": [shown], "only": True}
    status = 422 if refusal else 200
    return render(request, "fogpanel/settings.html", context, status=status)


def _done(request: HttpRequest, group: Group, changes: list[changing.Change]) -> HttpResponse:
    sentence = f"{'; '.join(map(str, changes))}." if changes else "Nothing was changed."
    if request.headers.get("HX-Request"):
        context = {"one": section(group), "told": sentence, "may_change": True}
        return render(request, "fogpanel/_parameters.html", context)
    messages.success(request, sentence)
    return redirect("settings")

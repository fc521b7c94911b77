"""The control panel, a page for each service, and what monitoring asks."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.models import User
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from fogpanel.access import Role, allows, requires
from services import cards, control, fleet, fleet_groups, happenings, topology
from services.catalogue import BY_SLUG, SERVICES
from services.models import ServiceState, State
from services.record import Service


@require_safe
@requires(Role.VIEWER)
def control_panel(request: HttpRequest) -> HttpResponse:
    now = timezone.now()
    groups, states = fleet_groups.groups(now), ServiceState.objects.in_bulk()
    context = {
        "section": "panel",
        "states": states,
        "may_submit": allows(request.user, Role.SUBMITTER),
        "fleet": fleet.summary(now, groups),
        "cards": cards.cards(states, now),
        "map": topology.topology(now, groups),
        "lanes": happenings.stream(now),
        "lines": happenings.newest_lines(),
    }
    return render(request, "services/control_panel.html", context)


@require_safe
@requires(Role.VIEWER)
def service_page(request: HttpRequest, slug: str) -> HttpResponse:
    if slug not in BY_SLUG:
        raise Http404(f"There is no service {slug}. The control panel shows those that exist.")
    service = BY_SLUG[slug]
    return render(request, service.template, service_context(request, service))


def service_context(request: HttpRequest, service: Service) -> dict[str, Any]:
    """What a service's page shows; also for services whose page depends on who looks."""
    now = timezone.now()
    states = ServiceState.objects.in_bulk()
    return {
        "section": service.slug,
        "states": states,
        "card": cards.card(service, states, now),
        "may_operate": allows(request.user, Role.OPERATOR),
        "needed_by": [other.title for other in SERVICES if service.slug in other.needs],
        **service.page(now),
    }


@require_POST
@requires(Role.OPERATOR)
def control_service(request: HttpRequest, slug: str) -> HttpResponse:
    """Disable, enable or restart it."""
    if slug not in BY_SLUG:
        raise Http404(f"There is no service {slug}. The control panel shows those that exist.")
    asked = request.POST.get("action", "")
    if asked not in set(control.Action):
        messages.error(request, f"action: must be one of {', '.join(control.Action)}, was “{asked[:40]}”.")
        return redirect("service", slug=slug)
    assert isinstance(request.user, User)
    try:
        told = control.act(BY_SLUG[slug], control.Action(asked), request.user, timezone.now())
    except control.NotNow as refusal:
        messages.error(request, str(refusal))
    else:
        messages.success(request, f"{told}.")
    return redirect("service", slug=slug)


@never_cache
@login_not_required
@require_safe
def health(request: HttpRequest) -> JsonResponse:
    """For load balancers and `up --check`: the worst state of the services that were measured."""
    now = timezone.now()
    rows = ServiceState.objects.in_bulk()
    states = {s.slug: cards.present_state(s, rows.get(s.slug), now)[0] for s in SERVICES}
    return JsonResponse(
        {"status": worst(list(states.values())), "services": states, "version": settings.VERSION}
    )


def worst(states: list[str]) -> str:
    for state in (State.DOWN, State.DEGRADED, "unknown", State.DISABLED):
        if state in states:
            return str(state)
    return str(State.OPERATIONAL)

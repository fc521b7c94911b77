"""The control panel, a page for each service, and what monitoring asks."""

from __future__ import annotations

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from fogpanel.access import Role, allows, requires
from services import cards, fleet, happenings, topology
from services.catalogue import BY_SLUG, SERVICES
from services.models import ServiceState, State


@require_safe
@requires(Role.VIEWER)
def control_panel(request: HttpRequest) -> HttpResponse:
    now = timezone.now()
    context = {
        "section": "panel",
        "may_submit": allows(request.user, Role.SUBMITTER),
        "fleet": fleet.summary(now),
        "cards": cards.cards(now),
        "map": topology.topology(now),
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
    now = timezone.now()
    card = cards.card(service, ServiceState.objects.filter(slug=slug).first(), now)
    context = {"section": slug, "card": card, **service.page(now)}
    return render(request, service.template, context)


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
    for state in (State.DOWN, State.DEGRADED, "unknown"):
        if state in states:
            return str(state)
    return str(State.OPERATIONAL)

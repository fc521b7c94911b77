"""The control panel's live topics; the pages include the same fragments."""

from __future__ import annotations

from django.template.loader import render_to_string
from django.utils import timezone

from fogpanel import live
from services import cards, fleet, happenings, topology
from services.catalogue import BY_SLUG
from services.models import ServiceState

AGEING_S = 5.0  # statuses change by silence alone
MOVING_S = 2.0  # the task stream flows


@live.topic("fleet", allow=live.viewer, every_s=AGEING_S)
def render_fleet(key: str) -> str:
    return render_to_string("services/_fleet.html", {"fleet": fleet.summary(timezone.now()), "oob": True})


@live.topic("services", allow=live.viewer, every_s=AGEING_S)
def render_grid(key: str) -> str:
    return render_to_string("services/_grid.html", {"cards": cards.cards(timezone.now()), "oob": True})


@live.topic("service", allow=live.viewer, every_s=AGEING_S)
def render_service(key: str) -> str:
    if key not in BY_SLUG:
        return ""
    card = cards.card(BY_SLUG[key], ServiceState.objects.filter(slug=key).first(), timezone.now())
    return render_to_string("services/_service.html", {"card": card, "oob": True})


@live.topic("topology", allow=live.viewer, every_s=AGEING_S)
def render_topology(key: str) -> str:
    return render_to_string("services/_topology.html", {"map": topology.topology(timezone.now()), "oob": True})


@live.topic("events", allow=live.viewer, every_s=MOVING_S)
def render_events(key: str) -> str:
    return render_to_string("services/_happenings.html", {"lines": happenings.newest_lines(), "oob": True})


@live.topic("stream", allow=live.viewer, every_s=MOVING_S)
def render_stream(key: str) -> str:
    return render_to_string("services/_stream.html", {"stream": happenings.stream(timezone.now()), "oob": True})

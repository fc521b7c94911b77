"""The live topics of the control panel and of the navigation; the pages include the same fragments."""

from __future__ import annotations

from django.template.loader import render_to_string
from django.utils import timezone

from fogpanel import live
from services import cards, fleet, happenings, navigation, topology
from services.catalogue import BY_SLUG
from services.fleet_groups import groups
from services.models import ServiceState

AGEING_S = 5.0  # statuses change by silence alone
MOVING_S = 2.0  # the task stream flows
PAUSE_S = 1.0  # between pictures of the whole fleet, however fast it changes


def _fragment(name: str, **context: object) -> str:
    return render_to_string(f"services/{name}.html", {**context, "oob": True})


@live.topic("nav", allow=live.viewer, every_s=AGEING_S)
def render_nav(key: str) -> str:
    context = {"counts": navigation.counts(), "dots": navigation.dots(ServiceState.objects.in_bulk())}
    return render_to_string("fogpanel/_navigation_live.html", context)


@live.topic("fleet", allow=live.viewer, every_s=AGEING_S, pause_s=PAUSE_S)
def render_fleet(key: str) -> str:
    now = timezone.now()
    return _fragment("_fleet", fleet=fleet.summary(now, groups(now)))


@live.topic("services", allow=live.viewer, every_s=AGEING_S)
def render_grid(key: str) -> str:
    return _fragment("_grid", cards=cards.cards(ServiceState.objects.in_bulk(), timezone.now()))


@live.topic("service", allow=live.viewer, every_s=AGEING_S)
def render_service(key: str) -> str:
    if key not in BY_SLUG:
        return ""
    card = cards.card(BY_SLUG[key], ServiceState.objects.in_bulk(), timezone.now())
    return _fragment("_service", card=card)


@live.topic("topology", allow=live.viewer, every_s=AGEING_S, pause_s=PAUSE_S)
def render_topology(key: str) -> str:
    return _fragment("_topology", map=topology.topology(timezone.now()))


@live.topic("events", allow=live.viewer, every_s=MOVING_S)
def render_events(key: str) -> str:
    return _fragment("_happenings", lines=happenings.newest_lines())


@live.topic("stream", allow=live.viewer, every_s=MOVING_S)
def render_stream(key: str) -> str:
    return _fragment("_stream", lanes=happenings.stream(timezone.now()))

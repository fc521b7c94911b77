"""What the navigation shows, for the page and for the live topic "nav" alike."""

from __future__ import annotations

from dataclasses import dataclass

from django.template.loader import render_to_string

from fogpanel import live
from fogpanel.templatetags.fog import tone
from nodes.models import Node
from services.catalogue import SERVICES
from services.models import ServiceState
from tasks.models import Task

COUNTED_TO = 1001
REFRESH_S = 5.0


@dataclass(frozen=True, slots=True)
class Dot:
    slug: str
    title: str
    state: str
    tone: str


def counts() -> dict[str, int]:
    tasks = Task.objects.filter(canary=False).order_by().values("id")[:COUNTED_TO]
    return {"nodes": Node.objects.filter(archived_at=None).count(), "tasks": tasks.count()}


def dots() -> list[Dot]:
    states = dict(ServiceState.objects.values_list("slug", "state"))
    return [
        Dot(service.slug, service.title, state, tone(state))
        for service in SERVICES
        for state in [states.get(service.slug) or "unknown"]
    ]


@live.topic("nav", allow=live.viewer, every_s=REFRESH_S)
def render_nav(key: str) -> str:
    return render_to_string("fogpanel/_navigation_live.html", {"counts": counts(), "dots": dots()})

"""What the navigation shows, for the page and for the live topic "nav" alike."""

from __future__ import annotations

from dataclasses import dataclass

from fogpanel.templatetags.fog import tone
from nodes.models import Node
from services.catalogue import SERVICES
from services.models import ServiceState
from tasks.models import Task

COUNTED_TO = 1001


@dataclass(frozen=True, slots=True)
class Dot:
    slug: str
    title: str
    state: str
    tone: str


def counts() -> dict[str, int]:
    """Each counted to `COUNTED_TO` and no further."""
    nodes, tasks = Node.objects.filter(archived_at=None), Task.objects.filter(canary=False)
    return {
        name: rows.order_by().values("id")[:COUNTED_TO].count()
        for name, rows in {"nodes": nodes, "tasks": tasks}.items()
    }


def dots() -> list[Dot]:
    states = dict(ServiceState.objects.values_list("slug", "state"))
    return [
        Dot(service.slug, service.title, state, tone(state))
        for service in SERVICES
        for state in [states.get(service.slug) or "unknown"]
    ]

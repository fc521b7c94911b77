"""What the navigation shows, for the page and for the live topic "nav" alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fogpanel.rows import select
from fogpanel.templatetags.fog import tone
from services.catalogue import SERVICES
from services.models import ServiceState

COUNTED_TO = 1001


@dataclass(frozen=True, slots=True)
class Dot:
    slug: str
    title: str
    state: str
    tone: str


_COUNTS = """
SELECT (SELECT count(*) FROM (SELECT 1 FROM nodes_node WHERE archived_at IS NULL LIMIT {most}) AS nodes),
       (SELECT count(*) FROM (SELECT 1 FROM tasks_task WHERE NOT canary LIMIT {most}) AS tasks)
"""


def counts() -> dict[str, int]:
    """Each counted to `COUNTED_TO` and no further; both in one look, since every page asks."""
    [(nodes, tasks)] = select(_COUNTS, most=COUNTED_TO)
    return {"nodes": nodes, "tasks": tasks}


def dots(rows: Mapping[str, ServiceState]) -> list[Dot]:
    """``rows`` by slug, of all services."""
    states = {slug: row.state for slug, row in rows.items()}
    return [
        Dot(service.slug, service.title, state, tone(state))
        for service in SERVICES
        for state in [states.get(service.slug) or "unknown"]
    ]

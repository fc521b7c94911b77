"""What browsers see change on the node pages. Nothing here depends on who looks."""

from __future__ import annotations

from django.template.loader import render_to_string
from django.utils import timezone

from fogpanel import live, live_rows
from nodes import directory, operations, presenting
from nodes.models import Node


@live.stream("nodes", allow=live.viewer)
def render_rows(key: str, after: int) -> tuple[str, int]:
    """The newest id, and the rows of a list that changed. ``key`` names the nodes it shows, as "3.8.15".

    The position is the newest ``changed_at`` shown (see `fogpanel.live_rows`).
    """
    now = timezone.now()
    since = live_rows.since(after, now)
    shown = Node.objects.filter(id__in=live_rows.ids_in(key), archived_at=None, changed_at__gt=since)
    rows = presenting.views_of(shown, now)
    newest = render_to_string("nodes/_newest.html", {"newest": directory.newest_id(), "oob": True})
    shown_rows = [render_to_string("nodes/_row.html", {"view": view, "oob": True}) for view in rows]
    position = live_rows.position_of(max([view.node.changed_at for view in rows], default=since))
    return "\n".join([newest, *shown_rows]), position


def watch(key: str) -> None:
    """Ask the agent to beat faster while somebody looks at its page."""
    for node_id in live_rows.ids_in(key)[:1]:
        operations.watch(node_id)


@live.topic("node", allow=live.viewer, watched=watch)
def render_node(key: str) -> str:
    node = Node.objects.filter(id__in=live_rows.ids_in(key)[:1]).first()
    if node is None:
        return ""
    return render_to_string("nodes/_live.html", presenting.page_of(node, timezone.now()))

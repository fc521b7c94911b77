"""The live parts of the page: relays with the trials of late, and circuits of many nodes or of one."""

from __future__ import annotations

from django.template.loader import render_to_string
from django.utils import timezone

from fogpanel import live
from fogpanel.live_rows import ids_in
from nodes import operations
from services.onion import circuits, relays
from services.onion.page import relay_part

PAUSE_S = 2.0  # every status of every node changes these
AGEING_S = 10.0  # countdowns go on by themselves


@live.topic("relays", allow=live.viewer, every_s=AGEING_S, pause_s=PAUSE_S)
def render_relays(key: str) -> str:
    """The beginning of the list; ``key`` is "after.12" or "before.12" for a later page of it."""
    if not key:
        return render_to_string("services/onion/_relay_part.html", {**relay_part(), "oob": True})
    word, _, node_id = key.partition(".")
    if word not in ("after", "before") or not node_id.isdecimal() or len(node_id) > 18:
        return ""
    context = {"relays": relays.table(**{word: int(node_id)}), "oob": True}
    return render_to_string("services/onion/_relays.html", context)


def watch(key: str) -> None:
    """Ask the agent to tell more often while somebody looks at its circuits."""
    for node_id in ids_in(key)[:1]:
        operations.watch(node_id)


@live.topic("circuits", allow=live.viewer, every_s=AGEING_S, pause_s=PAUSE_S, watched=watch)
def render_circuits(key: str) -> str:
    """Of the nodes with the newest word, or of the one whose id is the ``key``."""
    now = timezone.now()
    if not key:
        context = {"overview": circuits.overview(now), "oob": True}
        return render_to_string("services/onion/_overview.html", context)
    one = circuits.of_node(int(key), now) if key.isdecimal() and len(key) < 19 else None
    if one is None:
        return ""
    return render_to_string("services/onion/_node.html", {"one": one, "oob": True})

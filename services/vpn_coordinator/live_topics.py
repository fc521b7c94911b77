"""What browsers see change: how tunnels stand, and for who may use them, the lines to paste.

Ports are kept out of "tunnels" and "tunnel", which everybody may watch. The key of "tunnel-lines" begins with
the user whose lines they are, and only that user may watch it.
"""

from __future__ import annotations

from django.contrib.auth.models import User
from django.template.loader import render_to_string
from django.utils import timezone

from fogpanel import live
from fogpanel.access import AnyUser, Role, allows
from fogpanel.live_rows import ids_in
from nodes import operations
from services.vpn_coordinator.models import Tunnel
from services.vpn_coordinator.page import TunnelView, history, page, view_of, views_of
from services.vpn_coordinator.passwords import lines_of

AGEING_S = 5.0  # an entry falls silent without a word


def watch(key: str) -> None:
    """Ask the entries to tell how their tunnels are more often while somebody looks."""
    entries = Tunnel.objects.filter(id__in=ids_in(key), stopped_at=None).order_by()
    for node_id in entries.values_list("entry_id", flat=True).distinct():
        operations.watch(node_id)


@live.topic("tunnels", allow=live.viewer, every_s=AGEING_S, watched=watch)
def render_tunnels(key: str) -> str:
    """``key`` names the tunnels that a list shows, as "3.8.15"."""
    shown = views_of(Tunnel.objects.filter(id__in=ids_in(key)).with_nodes(), timezone.now())
    return "\n".join(_now(view) for view in shown)


def _now(view: TunnelView) -> str:
    return render_to_string("services/vpn_coordinator/_now.html", {"view": view, "oob": True})


@live.topic("tunnel", allow=live.viewer, every_s=AGEING_S, watched=watch)
def render_tunnel(key: str) -> str:
    tunnel = Tunnel.objects.filter(id__in=ids_in(key)).with_nodes().first()
    if tunnel is None:
        return ""
    told = {"events": history(tunnel), "oob": True}
    events = render_to_string("services/vpn_coordinator/_events.html", told)
    return _now(view_of(tunnel, timezone.now())) + events


@live.topic("exits", allow=live.viewer, every_s=AGEING_S)
def render_exits(key: str) -> str:
    context = {**page(timezone.now()), "oob": True}
    return "\n".join(
        render_to_string(f"services/vpn_coordinator/{name}.html", context) for name in ("_pools", "_exits")
    )


def whose(user: AnyUser, key: str) -> bool:
    return allows(user, Role.SUBMITTER) and key.partition(".")[0] == str(user.pk)


@live.topic("tunnel-lines", allow=whose)
def render_lines(key: str) -> str:
    """``key`` names a user and the tunnels that a page of theirs shows, as "2.3.8.15"."""
    user_id, *tunnels = ids_in(key)
    user = User.objects.filter(id=user_id).first()
    if user is None:
        return ""
    shown = Tunnel.objects.filter(id__in=tunnels).select_related("entry").order_by("id")
    return "\n".join(
        render_to_string("services/vpn_coordinator/_line.html", {"line": line, "oob": True})
        for line in lines_of(user, shown).values()
    )

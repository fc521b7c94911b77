"""Telling nodes which tunnels to have open: always the whole set, and only the newest order counts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import datetime

from django.db import transaction
from django.utils import timezone
from msgspec import structs

from fogagent.messages import GuardedTunnel, SetTunnels, SocksPassword, TunnelSpec
from nodes import outbox
from nodes.locks import lock_nodes
from services.vpn_coordinator import passwords
from services.vpn_coordinator.models import Tunnel

TUNNELS_MOST = 100
"""So many one node can be told to have open (`fogagent.messages.SetTunnels`)."""


def subject(node_id: int) -> str:
    """What the orders are about that tell this node its tunnels."""
    return f"tunnels:{node_id}"


def order_tunnels(node_ids: Collection[int], now: datetime) -> None:
    """Tell these nodes, which are locked, the tunnels they are to have open; older orders are withdrawn."""
    wished: dict[int, list[TunnelSpec]] = defaultdict(list)
    guarded: dict[int, list[GuardedTunnel]] = defaultdict(list)
    found = Tunnel.objects.filter(entry_id__in=node_ids, stopped_at=None).order_by("id")
    tunnels = list(found.select_related("exit_node"))
    known = passwords.valid([tunnel.id for tunnel in tunnels if tunnel.require_password])
    for tunnel in tunnels:
        if tunnel.require_password:
            guarded[tunnel.entry_id].append(guarded_specification(tunnel, known.get(tunnel.id, [])))
        else:
            wished[tunnel.entry_id].append(specification(tunnel))
    outbox.withdraw([subject(node_id) for node_id in node_ids], now)
    outbox.put(
        [
            outbox.NewOrder(
                node_id, SetTunnels(tunnels=wished[node_id], guarded=guarded[node_id]), subject(node_id)
            )
            for node_id in sorted(node_ids)
        ],
        now,
    )


def specification(tunnel: Tunnel) -> TunnelSpec:
    """Reads the exit node."""
    return TunnelSpec(
        tunnel=tunnel.id,
        port=tunnel.wanted_port,
        hops=tunnel.hops,
        exit_region=tunnel.exit_region,
        exit_node=bytes.fromhex(tunnel.exit_node.public_key) if tunnel.exit_node else None,
        rotate_s=float(tunnel.rotate_s),
    )


def guarded_specification(tunnel: Tunnel, known: list[SocksPassword]) -> GuardedTunnel:
    """Reads the exit node."""
    return GuardedTunnel(**structs.asdict(specification(tunnel)), passwords=known)


def order_anew(node_ids: Sequence[int], now: datetime) -> None:
    """These nodes have connected (`settings.NODE_CONNECTED_HANDLERS`); whoever was restarted knows no tunnel.

    A node without tunnels is told nothing: that its last one was stopped waits in the outbox until it has
    acknowledged it.
    """
    having = Tunnel.objects.filter(entry_id__in=node_ids, stopped_at=None).order_by()
    if ids := set(having.values_list("entry_id", flat=True)):
        order_tunnels(ids, now)


def order_all() -> None:
    """Tell every entry its tunnels anew."""
    ids = list(
        Tunnel.objects.filter(stopped_at=None).order_by().values_list("entry_id", flat=True).distinct()
    )
    with transaction.atomic():
        lock_nodes(ids)
        order_anew(ids, timezone.now())

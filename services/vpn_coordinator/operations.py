"""Creating and stopping tunnels: each leaves an event, and an order with all that the entry is to have."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction

from fogpanel import audit, live
from fogpanel.access import Role, require
from nodes.locks import lock_nodes
from services.control import NotNow, want_probe
from services.models import ServiceState
from services.vpn_coordinator.models import SLUG, Tunnel
from services.vpn_coordinator.ordering import TUNNELS_MOST, order_tunnels
from services.vpn_coordinator.pools import pool_of
from services.vpn_coordinator.visibility import require_own, require_use
from services.vpn_coordinator.wishes import Wish
from tasks.fields import FieldError
from tasks.specification import SpecError


def create(actor: User, wish: Wish, now: datetime) -> Tunnel:
    """Store a tunnel of ``actor`` and order it from its entry.

    Raises:
        Refusal: the actor is no submitter.
        SpecError: its entry has as many tunnels as one node can have.
        NotNow: the service is disabled.
    """
    require(actor, Role.SUBMITTER)
    if ServiceState.objects.filter(slug=SLUG, enabled=False).exists():
        raise NotNow("The VPN coordinator is disabled; an operator can enable it on its page.")
    with transaction.atomic():
        lock_nodes([wish.entry.id])
        _require_room(wish)
        tunnel = _store(actor, wish, now)
        order_tunnels([tunnel.entry_id], now)
        told = f"{actor} created the tunnel {tunnel} from {tunnel.entry} to {tunnel.exit_in_words}"
        audit.record("tunnel.created", told, actor=actor, subject=tunnel, after=evidence(tunnel))
        changed(tunnel, now)
    return tunnel


def stop(actor: User, tunnel: Tunnel, now: datetime) -> Tunnel:
    """Have its entry close it. To stop what is stopped changes nothing.

    Raises Refusal where the actor may not use it.
    """
    require_use(actor, tunnel)
    with transaction.atomic():
        lock_nodes([tunnel.entry_id])
        before = evidence(tunnel)
        stopped = Tunnel.objects.filter(id=tunnel.id, stopped_at=None).update(
            stopped_at=now, is_open=None, port=0, clients=0, bytes_per_s=None, used_exit=None, sentence=""
        )
        tunnel.refresh_from_db()
        if stopped:
            order_tunnels([tunnel.entry_id], now)
            told = f"{actor} stopped the tunnel {tunnel} from {tunnel.entry}"
            after = evidence(tunnel)
            audit.record("tunnel.stopped", told, actor=actor, subject=tunnel, before=before, after=after)
            changed(tunnel, now)
    return tunnel


def share(actor: User, tunnel: Tunnel, allowed: Collection[User], now: datetime) -> Tunnel:
    """Let these use it besides its owner, and nobody else.

    Who is not among them any more loses their password, and with it the streams that are open, as soon as its
    entry has the order.

    Raises:
        Refusal: the actor is neither its owner nor an operator.
        NotNow: it is stopped.
    """
    require_own(actor, tunnel)
    with transaction.atomic():
        lock_nodes([tunnel.entry_id])
        tunnel.refresh_from_db()
        if tunnel.stopped_at is not None:
            raise NotNow("This tunnel is stopped.")
        before = evidence(tunnel)
        tunnel.allowed.set([user for user in allowed if user.pk != tunnel.created_by_id])
        after = evidence(tunnel)
        if before != after:
            may = [*tunnel.allowed.values_list("pk", flat=True), tunnel.created_by_id]
            # With the first that goes its entry is told (`access_changes`).
            tunnel.passwords.exclude(user__in=[pk for pk in may if pk is not None]).delete()
            told = f"{actor} shared the tunnel {tunnel} with {', '.join(after['allowed']) or 'nobody'}"
            audit.record("tunnel.shared", told, actor=actor, subject=tunnel, before=before, after=after)
            changed(tunnel, now)
    return tunnel


def _require_room(wish: Wish) -> None:
    if Tunnel.objects.filter(entry=wish.entry, stopped_at=None).count() >= TUNNELS_MOST:
        rule = f"entry: {wish.entry.name} has {TUNNELS_MOST} tunnels, which is the most; stop one of them."
        raise SpecError([FieldError("entry", rule)])


def _store(actor: User, wish: Wish, now: datetime) -> Tunnel:
    tunnel = Tunnel.objects.create(
        name=wish.name,
        entry=wish.entry,
        exit_region=wish.exit_region,
        exit_node=wish.exit_node,
        hops=wish.hops,
        rotate_s=wish.rotate_s,
        wanted_port=wish.port,
        created_by=actor,
        require_password=wish.require_password,
        created_at=now,
    )
    tunnel.allowed.set([user for user in wish.allowed if user != actor])
    return tunnel


def evidence(tunnel: Tunnel) -> dict[str, Any]:
    """What an event keeps of it. Everybody sees events, so its port is not in there."""
    return {
        "name": tunnel.name,
        "entry": tunnel.entry.name,
        "exit": tunnel.exit_in_words,
        "hops": tunnel.hops,
        "pool": pool_of(tunnel.hops).name,
        "rotate_s": tunnel.rotate_s,
        "require_password": tunnel.require_password,
        "allowed": sorted(tunnel.allowed.values_list("username", flat=True)),
        "stopped": tunnel.stopped_at is not None,
    }


def changed(tunnel: Tunnel, now: datetime) -> None:
    """Have pages show it as it is now, and the service look at once."""
    want_probe(SLUG, now)
    live.changed("tunnels", f"tunnel:{tunnel.id}", "tunnel-lines")

"""Switching a tunnel to asking for passwords, or back: its port stays, and who may come there changes."""

from __future__ import annotations

from datetime import datetime

from django.contrib.auth.models import User
from django.db import transaction

from fogpanel import audit
from nodes.locks import lock_nodes
from services.control import NotNow
from services.vpn_coordinator.models import Tunnel
from services.vpn_coordinator.operations import changed, evidence
from services.vpn_coordinator.ordering import order_tunnels
from services.vpn_coordinator.passwords import is_for
from services.vpn_coordinator.renewing import renew
from services.vpn_coordinator.visibility import require_own
from services.vpn_coordinator.wishes import require_asking


def set_require_password(actor: User, tunnel: Tunnel, required: bool, now: datetime) -> str:
    """Have it ask for passwords from now on, or for none. To ask for what is so already changes nothing.

    Returns the actor's password, where it asks for one from now on and the actor may have one; else "".
    Streams that came without one end as soon as its entry has the order.

    Raises:
        Refusal: the actor is neither its owner nor an operator.
        SpecError: the agent of its entry would not ask.
        NotNow: it is stopped, or what `renew` says.
    """
    require_own(actor, tunnel)
    with transaction.atomic():
        lock_nodes([tunnel.entry_id])
        tunnel.refresh_from_db()
        if tunnel.stopped_at is not None:
            raise NotNow("This tunnel is stopped.")
        if tunnel.require_password is required:
            return ""
        if required:
            require_asking(tunnel.entry)
        _switch(actor, tunnel, required, now)
        return renew(actor, tunnel, now) if required and is_for(actor, tunnel) else ""


def _switch(actor: User, tunnel: Tunnel, required: bool, now: datetime) -> None:
    before = evidence(tunnel)
    tunnel.require_password = required
    tunnel.save(update_fields=["require_password"])
    tunnel.passwords.all().delete()  # so that none of them is valid again some day
    order_tunnels([tunnel.entry_id], now)
    told = f"{actor} had the tunnel {tunnel} ask for {'passwords' if required else 'no password any more'}"
    audit.record(
        "tunnel.guarded" if required else "tunnel.unguarded",
        told,
        actor=actor,
        subject=tunnel,
        before=before,
        after=evidence(tunnel),
    )
    changed(tunnel, now)

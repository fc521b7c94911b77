"""Giving a user a password for a tunnel: told in one answer, and to nobody else."""

from __future__ import annotations

import secrets
from datetime import datetime

from django.contrib.auth.models import User
from django.db import transaction

from fogagent.overlay.socks_passwords import MOST_NAME_BYTES, SALT_BYTES, digest_of, new_password
from fogpanel import audit, live
from fogpanel.access import Refusal, Role, require
from nodes.locks import lock_nodes
from services.control import NotNow
from services.vpn_coordinator import operations
from services.vpn_coordinator.models import Tunnel, TunnelPassword
from services.vpn_coordinator.ordering import order_tunnels
from services.vpn_coordinator.passwords import is_for
from services.vpn_coordinator.wishes import Wish

PASSWORDS_MOST = 500
"""So many the tunnels of one entry can have together; they all go into one order."""
NOT_YOURS = (
    "Only the person who created this tunnel and those it is shared with get a password for it. "
    "The person who created it or an operator can share it with you."
)


def renew(actor: User, tunnel: Tunnel, now: datetime) -> str:
    """Give ``actor`` a password for this tunnel, in place of the one before. Only now it is told.

    Raises:
        Refusal: it is not for them.
        NotNow: it asks for none, is stopped, or there is no room for one more; or their name is too long.
    """
    require(actor, Role.SUBMITTER)
    text, salt = new_password(), secrets.token_bytes(SALT_BYTES)
    with transaction.atomic():
        lock_nodes([tunnel.entry_id])  # first: whoever is being taken off must not get one meanwhile
        tunnel.refresh_from_db()
        if not is_for(actor, tunnel):
            raise Refusal(NOT_YOURS)
        _require_possible(actor, tunnel)
        TunnelPassword.objects.update_or_create(
            tunnel=tunnel,
            user=actor,
            defaults={"salt": salt, "digest": digest_of(salt, text.encode()), "made_at": now},
        )
        order_tunnels([tunnel.entry_id], now)
        audit.record(
            "tunnel.password",
            f"{actor} got a new password for the tunnel {tunnel}",
            actor=actor,
            subject=tunnel,
        )
        live.changed("tunnel-lines", f"tunnel:{tunnel.id}")
    return text


def _require_possible(actor: User, tunnel: Tunnel) -> None:
    if not tunnel.require_password:
        raise NotNow("This tunnel asks for no password: any user and password will do.")
    if tunnel.stopped_at is not None:
        raise NotNow("This tunnel is stopped.")
    if len(actor.username.encode()) > MOST_NAME_BYTES:
        raise NotNow(f"SOCKS takes names of at most {MOST_NAME_BYTES} bytes, and yours is longer.")
    others = TunnelPassword.objects.filter(tunnel__entry=tunnel.entry_id, tunnel__stopped_at=None)
    if others.exclude(tunnel=tunnel, user=actor).count() >= PASSWORDS_MOST:
        raise NotNow(
            f"The tunnels of {tunnel.entry} have {PASSWORDS_MOST} passwords, which is the most; stop one of "
            "them or share one with fewer users."
        )


def create_with_password(actor: User, wish: Wish, now: datetime) -> tuple[Tunnel, str]:
    """`operations.create`, and where it requires one, its owner's password; else that is empty.

    Raises what the two raise.
    """
    with transaction.atomic():
        tunnel = operations.create(actor, wish, now)
        return tunnel, renew(actor, tunnel, now) if wish.require_password else ""

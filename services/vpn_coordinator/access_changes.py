"""Whoever is no user any more, or has lost the role for it, loses the tunnels' passwords: entries are told.

Signals, since users are changed in many places, the admin site among them.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models.signals import m2m_changed, post_delete, post_save
from django.dispatch import receiver
from django.utils import timezone

from nodes.locks import lock_nodes
from services.vpn_coordinator.models import Tunnel, TunnelPassword
from services.vpn_coordinator.ordering import order_tunnels


@receiver(post_save, sender=User, dispatch_uid="tunnel-passwords-user")
def user_saved(instance: User, created: bool, update_fields: Collection[str] | None = None, **_: Any) -> None:
    if not created and set(update_fields or ()) != {"last_login"}:  # which each signing in writes
        _order_for(user__in=[instance.pk])


@receiver(m2m_changed, sender=User.groups.through, dispatch_uid="tunnel-passwords-groups")
def groups_changed(
    instance: Any, action: str, reverse: bool, pk_set: Collection[int] | None, **_: Any
) -> None:
    if not action.startswith("post_"):
        return
    if not reverse:
        _order_for(user__in=[instance.pk])
    elif pk_set is not None:
        _order_for(user__in=pk_set)
    else:  # a group was emptied, and who was in it is not told
        _order_for()


@receiver(post_delete, sender=TunnelPassword, dispatch_uid="tunnel-passwords-gone")
def password_gone(instance: TunnelPassword, **_: Any) -> None:
    asking = Tunnel.objects.filter(id=instance.tunnel_id, stopped_at=None, require_password=True)
    _order(asking.values_list("entry_id", flat=True))


def _order_for(**whose: Any) -> None:
    mine = TunnelPassword.objects.filter(tunnel__stopped_at=None, **whose).order_by()
    _order(mine.values_list("tunnel__entry_id", flat=True).distinct())


def _order(entries: Collection[int]) -> None:
    if not (ids := sorted(set(entries))):
        return
    with transaction.atomic():
        lock_nodes(ids)
        order_tunnels(ids, timezone.now())

"""The passwords of tunnels, of which the panel keeps salted hashes: whose they are, and which are valid."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from django.contrib.auth.models import User
from django.db.models import Exists, OuterRef, Q, QuerySet

from fogagent.messages import SocksPassword
from fogpanel.access import AnyUser, Role
from services.vpn_coordinator.models import Tunnel, TunnelPassword
from services.vpn_coordinator.visibility import usable

_MAY_USE_TUNNELS = [role.value for role in Role if role.includes(Role.SUBMITTER)]


def is_for(user: User, tunnel: Tunnel) -> bool:
    """Whether this user may have a password for it. That one is an operator does not make it one's own."""
    return tunnel.created_by_id == user.pk or tunnel.allowed.filter(pk=user.pk).exists()


def others_of(user: User, tunnel: Tunnel) -> list[str]:
    """The names of those besides this user who may have a password for it."""
    its = Q(pk=tunnel.created_by_id) | Q(pk__in=tunnel.allowed.order_by().values("pk"))
    return list(
        User.objects.filter(its).exclude(pk=user.pk).order_by("username").values_list("username", flat=True)
    )


def valid(tunnels: Collection[int]) -> dict[int, list[SocksPassword]]:
    """By tunnel, of the users who may use tunnels at this moment."""
    found: dict[int, list[SocksPassword]] = defaultdict(list)
    if tunnels:
        rows = TunnelPassword.objects.filter(tunnel__in=tunnels, user__in=_able()).order_by("id")
        for number, name, salt, digest in rows.values_list("tunnel_id", "user__username", "salt", "digest"):
            found[number].append(SocksPassword(user=name, salt=bytes(salt), digest=bytes(digest)))
    return found


def _able() -> QuerySet[User]:
    """Who has the role that using tunnels needs (`fogpanel.access.role_of`)."""
    by_group = Q(groups__name__in=_MAY_USE_TUNNELS)
    return User.objects.filter(Q(is_staff=True) | Q(is_superuser=True) | by_group, is_active=True)


@dataclass(frozen=True, slots=True)
class Line:
    """How one user uses a tunnel. ``mine``: whether they may have a password, where it asks for one."""

    tunnel: Tunnel
    user: User
    mine: bool = True
    has_password: bool = False

    @property
    def curl(self) -> str:
        return self.tunnel.curl_line_as(self.user.username if self.tunnel.require_password else "")


def lines_of(user: AnyUser, tunnels: Iterable[Tunnel]) -> dict[int, Line]:
    """By tunnel, for those of them that this user may use or stop."""
    if not isinstance(user, User):
        return {}
    found = {tunnel.id: tunnel for tunnel in tunnels}
    shared = Tunnel.allowed.through.objects.filter(user_id=user.pk, tunnel_id=OuterRef("id"))
    has = TunnelPassword.objects.filter(user=user, tunnel=OuterRef("id"))
    rows = usable(user).filter(id__in=found).values_list("id", Exists(shared), Exists(has))
    return {
        number: Line(found[number], user, found[number].created_by_id == user.pk or is_shared, has_one)
        for number, is_shared, has_one in rows
    }

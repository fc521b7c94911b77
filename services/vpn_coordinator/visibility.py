"""Who sees what of a tunnel. Everybody with a role sees that it exists; its port is for who may use it."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.db.models import Q

from fogpanel.access import AnyUser, Refusal, Role, allows, require
from services.vpn_coordinator.models import Tunnel, TunnelQuerySet

REFUSAL = (
    "Only the person who created this tunnel, those it is shared with and operators may do this. "
    "An admin can give you the role operator."
)

NOT_OWNER = (
    "Only the person who created this tunnel and operators decide with whom it is shared. "
    "An admin can give you the role operator."
)


def usable(user: AnyUser) -> TunnelQuerySet:
    """The tunnels that this user may use, and stop: all for operators, else one's own and shared ones."""
    if allows(user, Role.OPERATOR):
        return Tunnel.objects.all()
    if not isinstance(user, User) or not allows(user, Role.SUBMITTER):
        return Tunnel.objects.none()
    shared = Tunnel.allowed.through.objects.filter(user_id=user.pk).values("tunnel_id")
    return Tunnel.objects.filter(Q(created_by=user) | Q(id__in=shared))


def may_use(user: AnyUser, tunnel: Tunnel) -> bool:
    return usable(user).filter(id=tunnel.id).exists()


def owns(user: AnyUser, tunnel: Tunnel) -> bool:
    """Whether the user decides with whom it is shared."""
    return allows(user, Role.OPERATOR) or (
        allows(user, Role.SUBMITTER) and tunnel.created_by_id == user.pk and user.pk is not None
    )


def require_own(user: AnyUser, tunnel: Tunnel) -> None:
    """Raises Refusal unless the user decides with whom this tunnel is shared."""
    require(user, Role.SUBMITTER)
    if not owns(user, tunnel):
        raise Refusal(NOT_OWNER)


def require_use(user: AnyUser, tunnel: Tunnel) -> None:
    """Raises Refusal unless the user may use, and stop, this tunnel."""
    require(user, Role.SUBMITTER)
    if not may_use(user, tunnel):
        raise Refusal(REFUSAL)

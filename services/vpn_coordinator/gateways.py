"""Where streams enter the overlay and where they leave it: what owners grant and the directory has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from django.db.models import BooleanField, ExpressionWrapper, Q, QuerySet, TextField
from django.db.models.functions import Cast

from nodes.models import Node
from services.vpn_coordinator.models import Tunnel
from services.vpn_coordinator.pools import HOPS_MOST

REACHABLE = Q(connected=True, relay__since__isnull=False) & ~Q(relay__address="")
"""Connected, in the directory, and to be dialled: circuits lead through it if its owner grants relaying."""


@dataclass(frozen=True, slots=True)
class Exit:
    """A node whose owner grants leaving there. ``ready``: circuits can be built to it now, for which its
    owner has to grant relaying, too, and somebody must be able to dial it."""

    node_id: int
    name: str
    region: str
    node_type: str
    ready: bool
    tunnels: int  # open ones that leave there now

    @property
    def free(self) -> bool:
        return self.ready and not self.tunnels


@dataclass(frozen=True, slots=True)
class ExitRegion:
    """The exits of one region: how many, how many of these are ready, and of these without a tunnel."""

    name: str
    exits: int
    ready: int
    free: int


def granting(flag: str) -> QuerySet[Node]:
    """The nodes of the fleet whose owners grant this."""
    present = Node.objects.filter(archived_at=None, approved_at__isnull=False)
    # SQLite cannot look into JSON lists; as text both databases can.
    return present.annotate(flags_text=Cast("flags", TextField())).filter(_grants(flag))


def _grants(flag: str) -> Q:
    """Of the flags as text, in which quotes keep words whole."""
    return Q(flags_text__contains=f'"{flag}"')


def exits(leaving_at: Iterable[int | None] | None = None) -> list[Exit]:
    """By region and name. ``leaving_at``: which exit each open tunnel uses, from who has looked already."""
    in_use = Counter(
        open_tunnels().values_list("used_exit_id", flat=True) if leaving_at is None else leaving_at
    )
    ready = ExpressionWrapper(REACHABLE & _grants("relay"), output_field=BooleanField())
    found = granting("exit").annotate(ready=ready).order_by("region", "name")
    rows = found.values_list("id", "name", "region", "node_type", "ready")
    return [Exit(*row, tunnels=in_use[row[0]]) for row in rows]


def open_tunnels() -> QuerySet[Tunnel]:
    return Tunnel.objects.filter(stopped_at=None, is_open=True).order_by()


def ready_regions() -> set[str]:
    """The names of the regions where an exit is ready."""
    ready = granting("exit").filter(REACHABLE, _grants("relay"))
    return set(ready.order_by().values_list("region", flat=True).distinct())


def regions_of(found: Sequence[Exit]) -> list[ExitRegion]:
    """Regions with exits, by name."""
    names = sorted({one.region for one in found})
    return [_region(name, [one for one in found if one.region == name]) for name in names]


def _region(name: str, members: Sequence[Exit]) -> ExitRegion:
    return ExitRegion(name, len(members), sum(e.ready for e in members), sum(e.free for e in members))


def entries() -> QuerySet[Node]:
    """Nodes that are connected and whose owners grant entry."""
    return granting("entry").filter(connected=True)


def some_relays() -> set[int]:
    """Ids of nodes that circuits can be built through now: all, or as many as tell that there are enough for
    the longest circuit from any node, which goes through others."""
    found = granting("relay").filter(REACHABLE).order_by()
    return set(found.values_list("id", flat=True)[: HOPS_MOST + 1])

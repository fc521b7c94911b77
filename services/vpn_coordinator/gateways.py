"""Where streams enter the overlay and where they leave it: what owners grant and the directory has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import QuerySet, TextField
from django.db.models.functions import Cast

from nodes.models import Node
from services.vpn_coordinator.models import Tunnel


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
    # SQLite cannot look into JSON lists; as text both databases can, and quotes keep words whole.
    return present.annotate(flags_text=Cast("flags", TextField())).filter(flags_text__contains=f'"{flag}"')


def exits() -> list[Exit]:
    """By region and name."""
    in_use = Counter(
        Tunnel.objects.filter(stopped_at=None, is_open=True, used_exit__isnull=False).values_list(
            "used_exit_id", flat=True
        )
    )
    ready = set(relays().values_list("id", flat=True))
    columns = ("id", "name", "region", "node_type")
    found = granting("exit").order_by("region", "name").values_list(*columns)
    return [
        Exit(node_id, name, region, kind, node_id in ready, in_use[node_id])
        for node_id, name, region, kind in found
    ]


def regions_of(found: Sequence[Exit]) -> list[ExitRegion]:
    """Regions with exits, by name."""
    names = sorted({one.region for one in found})
    return [_region(name, [one for one in found if one.region == name]) for name in names]


def _region(name: str, members: Sequence[Exit]) -> ExitRegion:
    return ExitRegion(name, len(members), sum(e.ready for e in members), sum(e.free for e in members))


def entries() -> QuerySet[Node]:
    """Nodes that are connected and whose owners grant entry."""
    return granting("entry").filter(connected=True)


def relays() -> QuerySet[Node]:
    """Nodes that circuits can be built through now: connected, in the directory, and to be dialled."""
    known = granting("relay").filter(connected=True, relay__since__isnull=False)
    return known.exclude(relay__address="")

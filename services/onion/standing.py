"""Who is a relay now, as the directory has it, and what relays are called."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

from django.db.models import QuerySet, Sum, TextField
from django.db.models.functions import Cast

from fogagent.overlay.directory import Relay
from fogagent.overlay.onion.roster import is_local, takes_part
from fogpanel.rows import pieces
from nodes import models as nodes
from nodes.relay_directory.publishing import published_entry
from services.absent import NAMED, Absent
from services.onion.models import OverlayState

AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Standing:
    """The relays that may be in a path and the exits among them, by identity; how many have which flag.

    All of them are connected. Who went stays in the directory for a while, for the sake of those that come
    right back, but no circuit gets through it meanwhile.
    """

    usable: frozenset[bytes]
    exits: frozenset[bytes]
    by_flag: Counter[str]


def standing() -> Standing:
    connected = _dialled().filter(node__connected=True).only("published")
    usable = list(_usable(connected.iterator(AT_ONCE)))
    flags = Counter(flag for relay in usable for flag in relay.flags)
    exits = frozenset(relay.identity for relay in usable if "exit" in relay.flags)
    return Standing(frozenset(relay.identity for relay in usable), exits, flags)


def listed(flag: str = "") -> QuerySet[nodes.Relay]:
    """Those in the directory, or those of them whose owners grant the flag. ``guard`` is no owner's."""
    present = nodes.Relay.objects.filter(since__isnull=False)
    if not flag:
        return present
    # A list in JSON; only PostgreSQL could look into one.
    return present.annotate(granted=Cast("node__flags", TextField())).filter(granted__contains=f'"{flag}"')


def usable_relays() -> Iterator[Relay]:
    """What the newest version of the directory says of those that may be in a path."""
    return _usable(_dialled().only("published").iterator(AT_ONCE))


def still_listed() -> Absent:
    """Relays that are not connected and that nodes still choose."""
    gone = _dialled().filter(node__connected=False).order_by("-node__disconnected_at")
    names = tuple(gone.values_list("node__name", flat=True)[:NAMED])
    return Absent(gone.count() if len(names) == NAMED else len(names), names)


def _dialled() -> QuerySet[nodes.Relay]:
    return listed("relay").exclude(address="")


def _usable(rows: Iterable[nodes.Relay]) -> Iterator[Relay]:
    return filter(takes_part, filter(None, map(published_entry, rows)))


def is_waived(read: Iterable[nodes.Relay]) -> bool:
    """Whether the rule that relays stand in different networks does not apply: all are on one machine.

    As agents judge it (`fogagent.overlay.onion.roster.on_loopback`), but not where there is none. Those that
    were ``read`` already are looked at first: in most fleets one of them tells, and no other need be.
    """
    found = False
    for relay in chain(_usable(read), usable_relays()):
        if not is_local(relay):
            return False
        found = True
    return found


def open_circuits() -> int:
    """How many circuits the nodes that are connected tell of."""
    told = OverlayState.objects.filter(node__connected=True)
    return told.aggregate(sum=Sum("circuits_open"))["sum"] or 0


@dataclass(frozen=True, slots=True)
class Named:
    """A relay as a hop shows it."""

    node_id: int
    name: str
    region: str


def named(identities: Iterable[str]) -> dict[str, Named]:
    """Of nodes, by their identities in hexadecimal."""
    found: dict[str, Named] = {}
    for some in pieces(sorted(set(identities)), AT_ONCE):
        rows = nodes.Node.objects.filter(public_key__in=some)
        for key, node_id, name, region in rows.values_list("public_key", "id", "name", "region"):
            found[key] = Named(node_id, name, region)
    return found

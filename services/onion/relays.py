"""The relays as a table: who they are, whether others reach them, how fast they are, what they carry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import QuerySet
from django.utils import timezone

from fogpanel.keyset import Page, count_capped, find_page
from nodes.models import HostName, Relay
from nodes.relay_directory.names import doubt, name_in
from nodes.relay_directory.publishing import published_entry
from services.onion.models import Measurement, OverlayState
from services.onion.standing import is_waived, listed

FIRST_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Reach:
    """Whether others reach a relay: a state that pills know, a word for it, and why."""

    state: str
    word: str
    sentence: str
    at: datetime | None = None
    by: str = ""


@dataclass(frozen=True, slots=True)
class RelayRow:
    relay: Relay
    flags: Sequence[str]  # with the panel's judgement
    reach: Reach
    told: OverlayState | None
    networks: str  # that its name leads to
    doubt: str  # why it counts as one of an unknown network; empty: it does not

    @property
    def speed(self) -> str:
        return speed(self.relay.bandwidth_kbps)


def speed(kbps: int) -> str:
    """In the unit that suits: 850 kbit/s, 12.3 Mbit/s, 1.0 Gbit/s."""
    amount, unit = float(kbps), "kbit/s"
    for larger in ("Mbit/s", "Gbit/s"):
        if amount >= 1000:
            amount, unit = amount / 1000, larger
    return f"{amount:.1f} {unit}" if unit != "kbit/s" and amount < 100 else f"{amount:.0f} {unit}"


@dataclass(frozen=True, slots=True)
class RelayTable:
    rows: list[RelayRow]
    count: str
    fastest_kbps: int  # of those shown
    waived: bool  # the rule about addresses, for the whole directory
    before: object | None
    after: object | None


def first() -> RelayTable:
    """The beginning of them, which does without counting the others."""
    found = find_page([with_nodes("relay")], "node_id", size=FIRST_SHOWN)
    return _table(found, f"the first {FIRST_SHOWN}" if found.after is not None else f"{len(found.rows)}")


def table(after: int | None = None, before: int | None = None) -> RelayTable:
    """One page of them, the oldest nodes first."""
    found = find_page([with_nodes("relay")], "node_id", after=after, before=None if after else before)
    whole = found.before is None and found.after is None
    return _table(found, f"{len(found.rows):,}" if whole else count_capped(listed("relay")))


def with_nodes(flag: str) -> QuerySet[Relay]:
    """Those in the directory whose owners grant the flag, if any, with what is shown of them and their nodes;
    all that nodes say of themselves would take as long again."""
    shown = ("address", "family", "bandwidth_kbps", "since", "published")
    of_node = ("node__name", "node__region", "node__public_key", "node__connected")
    return listed(flag).select_related("node").only(*shown, *of_node)


def _table(found: Page[Relay], count: str) -> RelayTable:
    return RelayTable(
        rows=rows_of(found.rows),
        count=count,
        fastest_kbps=max((relay.bandwidth_kbps for relay in found.rows), default=0),
        waived=is_waived(found.rows),
        before=found.before,
        after=found.after,
    )


def rows_of(relays: Sequence[Relay]) -> list[RelayRow]:
    ids = [relay.node_id for relay in relays]
    told = OverlayState.objects.defer("circuits", "guards", "builds").in_bulk(ids)
    measured = Measurement.objects.order_by().select_related("by").only("at", "ok", "sentence", "by__name")
    reached = measured.in_bulk(ids)
    names = {relay.node_id: name for relay in relays if (name := name_in(relay.address))}
    looked_up = HostName.objects.in_bulk(set(names.values())) if names else {}
    now = timezone.now()
    return [
        RelayRow(
            relay=relay,
            flags=entry.flags if (entry := published_entry(relay)) else [],
            networks=", ".join(led := entry.networks if entry else []),
            doubt=""
            if led or relay.node_id not in names
            else doubt(looked_up.get(names[relay.node_id]), now),
            reach=reach_of(relay, reached.get(relay.node_id)),
            told=told.get(relay.node_id),
        )
        for relay in relays
    ]


def reach_of(relay: Relay, measured: Measurement | None) -> Reach:
    """Reads its node."""
    if not relay.node.connected:
        return Reach("offline", "Away", "Start its agent again: no circuit gets through it meanwhile.")
    if not relay.address:
        return Reach("waived", "No address", "It names no address to dial, so no path leads through it.")
    if measured is None:
        return Reach("unknown", "Not tried yet", "Its first measurement is on its way.")
    by = measured.by.name
    if measured.ok:
        return Reach("operational", "Reached", "", measured.at, by)
    return Reach("failed", "Not reached", measured.sentence, measured.at, by)

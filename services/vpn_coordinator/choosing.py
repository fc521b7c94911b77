"""Which gateway brings an order to its node: an agent that is connected and whose owner grants entry."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from random import Random

from django.db.models import Count, Max, Min, QuerySet

from coordinator.values import Availability, NodeType
from nodes.models import Node
from services.vpn_coordinator.gateways import granting
from services.vpn_coordinator.models import Carriage
from services.vpn_coordinator.reliability import Reliance
from services.vpn_coordinator.remembering import reliances
from tasks.privacy import Privacy

LOOKED_AT = 50
"""Nodes among which some are chosen. They begin at a random place, so all have their turn."""
CROWD = 8
"""With so many carriages under way a gateway counts as one step worse than another."""

chance = Random()


class Gateways:
    """Those that can be had now, by id, and whether each mainly is one; with what they have under way, and
    how far those are relied on that ever failed."""

    def __init__(
        self,
        found: Mapping[int, bool],
        under_way: Mapping[int, int],
        known: Mapping[int, Reliance],
        now: datetime,
        rng: Random,
    ) -> None:
        self._found = found
        self._known = known
        self._now = now
        self._under_way = Counter(under_way)
        self._rng = rng

    def choose(self, node_id: int, tried: Sequence[int] = ()) -> int | None:
        """Another than the node that it leads to; one that was tried only where no other is left, and then
        the one whose turn is longest ago. One that failed lately is the last of those that were not tried."""
        able = [gateway for gateway in self._found if gateway != node_id]
        if not able:
            return None
        chosen = min(able, key=lambda gateway: self._rank(gateway, tried))
        self._under_way[chosen] += 1
        return chosen

    def _rank(self, gateway: int, tried: Sequence[int]) -> tuple[float, ...]:
        return _turn(gateway, tried), self._is_last(gateway), *self._burden(gateway)

    def _is_last(self, gateway: int) -> bool:
        """It rests, or has rested and is on trial, which is one order at a time."""
        known = self._known.get(gateway)
        if known is None:
            return False
        return known.rests(self._now) or (known.in_doubt and self._under_way[gateway] > 0)

    def _burden(self, gateway: int) -> tuple[float, ...]:
        under_way = self._under_way[gateway]
        return under_way // CROWD, not self._found[gateway], under_way, self._rng.random()


def _turn(gateway: int, tried: Sequence[int]) -> int:
    return max((turn for turn, one in enumerate(tried, 1) if one == gateway), default=0)


def gateways(now: datetime, rng: Random) -> Gateways:
    found = look_for(rng)
    return Gateways(found, _under_way(found), reliances(found), now, rng)


def look_for(rng: Random) -> dict[int, bool]:
    """Nodes that can be gateways now, by id: all, or of many some that mainly are and some others."""
    all_of_few = dict(able().order_by("id").values_list("id", "node_type")[: LOOKED_AT + 1])
    if len(all_of_few) <= LOOKED_AT:
        return {node_id: kind == NodeType.GATEWAY for node_id, kind in all_of_few.items()}
    found = dict.fromkeys(some(able().filter(node_type=NodeType.GATEWAY), rng), True)
    return found | dict.fromkeys(some(able().exclude(node_type=NodeType.GATEWAY), rng), False)


def levels_held_back() -> frozenset[str]:
    """Privacy levels of which no order can be brought anywhere now; `settings.PLACING_HELD_BACK`."""
    return frozenset() if able().exists() else frozenset({Privacy.CONFIDENTIAL})


def able() -> QuerySet[Node]:
    """Nodes that can carry now: they speak with us, know the relays, and their owners grant entry."""
    speaking = granting("entry").filter(connected=True, gone_at=None, relay__since__isnull=False)
    return speaking.exclude(availability=Availability.MAINTENANCE)


def some(nodes: QuerySet[Node], rng: Random) -> list[int]:
    """The ids of LOOKED_AT of them, from a random place on."""
    span = Node.objects.filter(archived_at=None).aggregate(first=Min("id"), last=Max("id"))
    start = rng.randint(span["first"] or 0, span["last"] or 0)
    ids = nodes.order_by("id").values_list("id", flat=True)
    found = list(ids.filter(id__gt=start)[:LOOKED_AT])
    return found + list(ids.filter(id__lte=start)[: LOOKED_AT - len(found)])


def _under_way(node_ids: Iterable[int]) -> dict[int, int]:
    present = Carriage.objects.filter(ended_at=None, brought_at=None, gateway_id__in=list(node_ids))
    return dict(present.order_by().values_list("gateway_id").annotate(number=Count("id")))

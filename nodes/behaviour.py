"""What nodes did is kept against them for a while: `coordinator.behaviour` over their rows.

A node that gets no new work says so in its status, and its filter (unstable, cooling) in each decision.
One event says when that begins, and one when an unstable node is steady again: not one for each flap.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from django.db import transaction
from django.db.models import Count, Q, QuerySet

from coordinator.behaviour import Cooling, Flapping, FlapRule, may_hold_back
from fogpanel import audit, live
from fogpanel.models import Event
from fogpanel.parameters.catalogue import COOL_S, FLAPS_MAX, FLAPS_WINDOW_S, STEADY_S
from fogpanel.parameters.store import current
from fogpanel.rows import select, update_each
from fogpanel.templatetags.fog import duration
from fogpanel.wakes import wake
from nodes.locks import locked_nodes
from nodes.models import Node

SWEEP_MOST = 200
FLAPPING = ("name", "said_goodbye", "flaps", "unstable_since", "unstable_until", "hold_s")
"""The columns that `note_flaps` reads."""


class Room:
    """How many more may be held back: at most half of the nodes that are there. Counted when it is first
    asked for, once for all that a transaction holds back."""

    def __init__(self, now: datetime) -> None:
        self._now = now
        self._taken = 0

    def is_left(self) -> bool:
        held, there = self._counted
        return may_hold_back(held + self._taken, there)

    def take(self) -> None:
        self._taken += 1

    @cached_property
    def _counted(self) -> tuple[int, int]:
        there = Node.objects.filter(
            archived_at=None, approved_at__isnull=False, said_goodbye=False, deadline_at__gte=self._now
        )
        held = Q(unstable_since__isnull=False) | Q(cooling_until__isnull=False)
        found = there.aggregate(held=Count("id", filter=held), there=Count("id"))
        return found["held"], found["there"]


def flap_rule() -> FlapRule:
    return FlapRule(int(current(FLAPS_MAX)), current(FLAPS_WINDOW_S), current(STEADY_S))


def note_flaps(nodes: Iterable[Node], now: datetime) -> None:
    """The connections of these nodes, which the caller has locked, broke. Going in order is no break."""
    rule, room = flap_rule(), Room(now)
    noted: list[tuple[Node, Flapping]] = []
    unstable: list[tuple[Node, Flapping]] = []
    for node in nodes:
        if node.said_goodbye:
            continue
        before = _flapping(node)
        after = before.broke(now.timestamp(), rule, may_hold=room.is_left)
        noted.append((node, after))
        if after.since is not None and before.since is None:
            room.take()
            unstable.append((node, after))
    _store_flappings(noted, now)
    _tell_unstable(unstable)


def note_connected(node_ids: Collection[int], now: datetime) -> None:
    """These nodes are connected; unstable ones have to stay so from now on."""
    unstable = _locked(id__in=node_ids, unstable_since__isnull=False)
    _store_flappings([(node, _flapping(node).connected(now.timestamp())) for node in unstable], now)


_COOLED_LATELY = "SELECT id FROM nodes_node WHERE id IN {ids} AND cool_s > 0"


def note_work(failed: Collection[int], succeeded: Collection[int], now: datetime) -> None:
    """Attempts ended on these nodes: by the nodes' own fault, or well. Once a batch, however many."""
    room, first_s = Room(now), current(COOL_S)
    for node in _locked(id__in=set(failed)) if failed else ():
        before = Cooling(node.cool_s, _seconds(node.cooling_until))
        after = before.failed(now.timestamp(), first_s)
        if after != before and room.is_left():
            room.take()
            _store_cooling(node, after, now)
            _tell_cooling(node, after)
    warm = [node_id for (node_id,) in select(_COOLED_LATELY, ids=set(succeeded) - set(failed))]
    for node in _locked(id__in=warm) if warm else ():
        cooling = Cooling(node.cool_s, _seconds(node.cooling_until))
        _store_cooling(node, cooling.succeeded(first_s), now)


def release_due(now: datetime) -> list[int]:
    """Let nodes get work again whose time is over; returns their ids."""
    steady = Q(unstable_since__isnull=False, unstable_until__lte=now, connected=True)
    due = Node.objects.filter(steady | Q(cooling_until__lte=now)).order_by("id")
    ids = list(due.values_list("id", flat=True)[:SWEEP_MOST])
    if not ids:
        return []
    with transaction.atomic():
        for node in _locked(id__in=ids):
            _release(node, now)
        wake("node-changed", *ids)
        live.changed("nodes", *(f"node:{node_id}" for node_id in ids))
    return ids


def _release(node: Node, now: datetime) -> None:
    cooling = Cooling(node.cool_s, _seconds(node.cooling_until))
    if cooling.is_over(now.timestamp()):
        _store_cooling(node, Cooling(node.cool_s), now)
    flapping = _flapping(node)
    if flapping.since is not None and node.connected and flapping.is_steady(now.timestamp()):
        _store_flappings([(node, flapping.steadied())], now)
        sentence = f"{node.name} is steady again and may get work"
        audit.record("node.steady", sentence, subject=node)


def _locked(**filters: Any) -> QuerySet[Node]:
    return locked_nodes().filter(**filters).order_by("id")


def _flapping(node: Node) -> Flapping:
    return Flapping(
        flaps=tuple(node.flaps),
        since=_seconds(node.unstable_since),
        until=_seconds(node.unstable_until),
        hold_s=node.hold_s,
    )


def _store_flappings(flappings: Sequence[tuple[Node, Flapping]], now: datetime) -> None:
    columns = ("flaps", "unstable_since", "unstable_until", "hold_s", "changed_at")
    rows = [
        (list(each.flaps), _moment(each.since), _moment(each.until), each.hold_s, now, node.id)
        for node, each in flappings
    ]
    update_each(Node, columns, rows)


def _store_cooling(node: Node, cooling: Cooling, now: datetime) -> None:
    Node.objects.filter(id=node.id).update(
        cool_s=cooling.cool_s, cooling_until=_moment(cooling.until), changed_at=now
    )


def _tell_unstable(unstable: Iterable[tuple[Node, Flapping]]) -> None:
    within = duration(current(FLAPS_WINDOW_S))
    audit.record_each(
        "node.unstable",
        (
            (
                f"{node.name} is unstable: its connection broke {len(flapping.flaps)} times within {within}. "
                f"It gets no new work until it was steady for {duration(flapping.hold_s)}",
                node,
            )
            for node, flapping in unstable
        ),
        level=Event.Level.WARNING,
    )


def _tell_cooling(node: Node, cooling: Cooling) -> None:
    sentence = (
        f"{node.name} gets no new work for {duration(cooling.cool_s)}: attempts failed there by its own fault"
    )
    audit.record("node.cooling", sentence, subject=node, level="warning")
    wake("node-changed", node.id)  # since the placer else would only look at what has become free there


def _seconds(at: datetime | None) -> float | None:
    return at.timestamp() if at else None


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)

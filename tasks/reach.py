"""The nodes that sealed tasks can go to: those that each is sealed for, and where its order is carried, of
these only those that it can be carried to.

By the number of a reservation, since a task that is sealed anew has another one.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import TypeAlias

from django.db.models import QuerySet

from fogpanel.rows import select
from nodes.models import Node
from tasks.outcomes import UNDELIVERED
from tasks.privacy import Privacy, transport

NodeIds: TypeAlias = frozenset[int]
ByReservation: TypeAlias = dict[int | None, NodeIds]


def sealed_for(reservations: Iterable[int | None]) -> ByReservation:
    """The only nodes that can open what is sealed by these."""
    return {number: nodes for number, (_, nodes) in _seals(reservations).items()}


def within_reach(reservations: Iterable[int | None]) -> ByReservation:
    """The only nodes that tasks of these can go to now."""
    seals = _seals(reservations)
    levels = {level for level, _ in seals.values() if transport(level)}
    carried = {number: nodes for number, (level, nodes) in seals.items() if level in levels}
    found = {number: nodes for number, (_, nodes) in seals.items()}
    return found | _carried_to(carried) if carried else found


def sealable(level: Privacy) -> NodeIds:
    """The nodes in the relay directory, which has the keys to seal for; where the order comes over a circuit,
    those that circuits can end at."""
    listed = Node.objects.filter(archived_at=None, relay__since__isnull=False)
    if level == Privacy.PRIVATE:
        return frozenset(listed.values_list("id", flat=True))
    return _circuits_end_at(listed)


def _seals(reservations: Iterable[int | None]) -> Mapping[int | None, tuple[str, NodeIds]]:
    """Privacy level and nodes. Many are for the same few nodes, and share them."""
    ids = {number for number in reservations if number is not None}
    rows = select(_SEALS, ids=list(ids)) if ids else []
    sets = {text: frozenset(json.loads(text)) for text in {text for _, _, text in rows}}
    return {number: (level, sets[text]) for number, level, text in rows}


def _carried_to(carried: Mapping[int | None, NodeIds]) -> ByReservation:
    """Of the nodes of each of these those that circuits can end at, but for any that its order was not
    brought to in all its tries: after that it is to be sealed for others."""
    sets = set(carried.values())
    relays = _circuits_end_at(Node.objects.filter(id__in=frozenset().union(*sets)))
    listed = {nodes: nodes & relays for nodes in sets}
    found = {number: listed[nodes] for number, nodes in carried.items()}
    for number, nodes in _given_up(carried).items():
        found[number] -= nodes
    return found


def _circuits_end_at(nodes: QuerySet[Node]) -> NodeIds:
    """Those of these that are relays in the directory which others can dial."""
    listed = nodes.filter(relay__since__isnull=False).exclude(relay__address="").values_list("id", "flags")
    return frozenset(node_id for node_id, flags in listed if "relay" in flags)


def _given_up(carried: Collection[int | None]) -> Mapping[int | None, set[int]]:
    given_up: dict[int | None, set[int]] = defaultdict(set)
    for number, node_id in select(_GIVEN_UP, ids=list(carried)):
        if number in carried:
            given_up[number].add(node_id)
    return given_up


_SEALS = "SELECT id, privacy, nodes FROM tasks_reservation WHERE id IN {ids}"
_GIVEN_UP = f"""
SELECT a.reservation, a.node_id FROM tasks_reservation r JOIN tasks_attempt a ON a.task_id = r.task_id
WHERE a.outcome = '{UNDELIVERED}' AND r.id IN {{ids}}
"""

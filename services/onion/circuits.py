"""Circuits as people see them: hop by hop over regions, with the rules that their paths keep.

Of many nodes those are shown whose word is the newest, and of each some of its circuits; the page of one
node shows all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property

from django.db.models import QuerySet

from fogagent.messages import CircuitState, GuardState, PathVerdict
from nodes.models import Node
from services.onion.models import OverlayState
from services.onion.standing import Named, named
from services.onion.states import circuits_of, guards_of

NODES_SHOWN = 10
CIRCUITS_OF_EACH = 2
RULE_STATES = ("passed", "failed", "waived")


@dataclass(frozen=True, slots=True)
class Hop:
    """A station of a circuit. ``node_id`` is 0 for a relay that this panel does not know."""

    name: str
    region: str
    part: str  # in the circuit
    node_id: int


@dataclass(frozen=True, slots=True)
class Rule:
    """What a rule says of a path; ``state`` is passed, failed or waived."""

    name: str
    state: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Circuit:
    """``stations`` begin with the node whose circuit it is."""

    stations: list[Hop]
    told: CircuitState
    rules: list[Rule]
    rotates_in_s: float | None  # from now on; None: not used yet

    @property
    def relays(self) -> list[Hop]:
        return self.stations[1:]


@dataclass(frozen=True, slots=True)
class Guard:
    name: str
    node_id: int
    region: str
    since: datetime
    until: datetime
    reached: bool
    sentence: str  # why it was set aside; empty: it was not


@dataclass(frozen=True)
class NodeCircuits:
    """What one node tells of its circuits. ``more`` are those that are left out."""

    node: Node
    state: OverlayState
    circuits: list[Circuit]
    more: int
    guards: list[Guard]

    @cached_property
    def builds(self) -> list[tuple[int, int]]:
        """(up to so many ms, circuits), without the empty ends."""
        buckets = [(int(bound), int(count)) for bound, count in self.state.builds]
        used = [index for index, (_, count) in enumerate(buckets) if count]
        return buckets[used[0] : used[-1] + 1] if used else []

    @property
    def most_builds(self) -> int:
        return max((count for _, count in self.builds), default=0)


@dataclass(frozen=True)
class Overview:
    """``more``: others tell of circuits, too."""

    nodes: list[NodeCircuits]
    more: bool
    at: datetime


def overview(now: datetime) -> Overview:
    """The circuits of the nodes with the newest word, in an order that the next word does not change."""
    states = list(told().order_by("-at")[: NODES_SHOWN + 1])
    newest = sorted(states[:NODES_SHOWN], key=lambda state: (not state.circuits_open, state.node_id))
    found = shown(newest, now, most=CIRCUITS_OF_EACH)
    return Overview(found, len(states) > NODES_SHOWN, now)


def of_node(node_id: int, now: datetime) -> NodeCircuits | None:
    """All circuits of this node; None while it never told of any."""
    return next(iter(shown(told().filter(node_id=node_id), now)), None)


def told() -> QuerySet[OverlayState]:
    """Of nodes that are of the fleet."""
    return OverlayState.objects.filter(node__archived_at=None).select_related("node")


def shown(states: Iterable[OverlayState], now: datetime, *, most: int | None = None) -> list[NodeCircuits]:
    read = [(state, circuits_of(state, most), guards_of(state)) for state in states]
    names = named(
        identity.hex()
        for _, circuits, guards in read
        for identity in (
            *(one for circuit in circuits for one in circuit.path),
            *(guard.identity for guard in guards),
        )
    )
    return [
        NodeCircuits(
            node=state.node,
            state=state,
            circuits=[_circuit(state, circuit, names, now) for circuit in circuits],
            more=state.circuits_open - len(circuits),
            guards=[_guard(guard, names) for guard in guards],
        )
        for state, circuits, guards in read
    ]


def _circuit(
    state: OverlayState, circuit: CircuitState, names: Mapping[str, Named], now: datetime
) -> Circuit:
    start = Hop(state.node.name, state.node.region, "this node", state.node_id)
    elapsed_s = (now - state.at).total_seconds()
    left_s = circuit.rotates_in_s
    return Circuit(
        stations=[start, *hops([identity.hex() for identity in circuit.path], names)],
        told=circuit,
        rules=[_rule(verdict) for verdict in circuit.verdicts],
        rotates_in_s=None if left_s is None else max(0.0, left_s - elapsed_s),
    )


def _rule(verdict: PathVerdict) -> Rule:
    """A state that this panel does not know is shown as a failure rather than hidden."""
    state = verdict.state if verdict.state in RULE_STATES else "failed"
    return Rule(verdict.rule, state, verdict.sentence)


def hops(path: Sequence[str], names: Mapping[str, Named]) -> list[Hop]:
    """The relays of a path with their parts in it."""
    found = []
    for position, identity in enumerate(path):
        known = names.get(identity, Named(0, f"{identity[:8]}…", ""))
        found.append(Hop(known.name, known.region, _part(position, len(path)), known.node_id))
    return found


def _part(position: int, length: int) -> str:
    if length == 1:
        return "only hop"
    if position == 0:
        return "entry"
    return "exit" if position == length - 1 else "middle"


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MOST_S = 253_402_300_799.0  # the end of the year 9999


def _guard(guard: GuardState, names: Mapping[str, Named]) -> Guard:
    identity = guard.identity.hex()
    known = names.get(identity, Named(0, f"{identity[:8]}…", ""))
    since, until = (EPOCH + timedelta(seconds=min(one, MOST_S)) for one in (guard.since, guard.until))
    return Guard(known.name, known.node_id, known.region, since, until, guard.reached, guard.sentence)

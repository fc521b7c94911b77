"""The API of relays and circuits."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from django.utils import timezone
from ninja import Router, Schema
from pydantic import BaseModel, Field

from fogpanel.access import Role, require
from fogpanel.api_auth import SignedInRequest
from fogpanel.keyset import Limit, find_page
from services.onion import circuits, relays
from services.onion.circuits import Circuit, Guard, Hop, NodeCircuits
from services.onion.relays import RelayRow

router = Router(tags=["onion circuits"])

NodeLimit = Annotated[int, Field(ge=1, le=50)]
Key = Annotated[int, Field(ge=0, lt=2**63)]


class RelayOut(Schema):
    """A node as the relay directory has it, and how it does.

    ``flags`` are those its owner grants, and guard. ``bandwidth_kbps`` is 0 before the first measurement,
    ``reached`` null, as for one that is not connected. What it relays is as it told ``told_at``.
    """

    node: int
    name: str
    identity: str
    region: str
    family: str
    flags: list[str]
    address: str
    since: datetime | None
    bandwidth_kbps: int
    reached: bool | None
    reached_at: datetime | None
    reached_by: str
    trouble: str
    relayed_circuits: int | None
    relayed_bytes: int | None
    relayed_bytes_per_s: float | None
    told_at: datetime | None


class Relays(Schema):
    items: list[RelayOut]
    next: int | None


# Of these two an answer has a thousand; a `Schema`, which could also be read from rows, takes three times as
# long.


class HopOut(BaseModel):
    """A station; ``node`` is null for a relay that is no node of this panel."""

    node: int | None
    name: str
    region: str
    part: str


class RuleOut(BaseModel):
    """``state``: passed, failed or waived."""

    rule: str
    state: str
    sentence: str


class CircuitOut(Schema):
    """The path begins with the node itself. ``rotates_in_s``: null before its first stream."""

    path: list[HopOut]
    age_s: float
    build_ms: float
    streams: int
    sent_bytes: int
    received_bytes: int
    rotates_in_s: float | None
    tunnels: list[int]
    rules: list[RuleOut]


class GuardOut(Schema):
    """``sentence``: why it was set aside; empty if it was not."""

    node: int | None
    name: str
    region: str
    since: datetime
    until: datetime
    reached: bool
    sentence: str


class BuildsOut(Schema):
    up_to_ms: int
    circuits: int


class CircuitsOut(Schema):
    """What a node told of its circuits ``told_at``. ``trouble``: why the last could not be built."""

    node: int
    name: str
    told_at: datetime
    directory: int
    links: int
    trouble: str
    circuits: list[CircuitOut]
    guards: list[GuardOut]
    builds: list[BuildsOut]


class Circuits(Schema):
    items: list[CircuitsOut]
    next: int | None


@router.get("/relays", response=Relays)
def list_relays(
    request: SignedInRequest,
    flag: Annotated[str, Field(max_length=40)] = "",
    after: Key = 0,
    limit: Limit = 50,
) -> Relays:
    """The nodes in the relay directory, by their ids, or those whose owners grant a flag."""
    require(request.user, Role.VIEWER)
    found = find_page([relays.with_nodes(flag)], "node_id", after=after or None, size=limit)
    items = [_relay_out(row) for row in relays.rows_of(found.rows)]
    return Relays(items=items, next=items[-1].node if found.after is not None else None)


def _relay_out(row: RelayRow) -> RelayOut:
    relay, told, reach = row.relay, row.told, row.reach
    return RelayOut(
        node=relay.node_id,
        name=relay.node.name,
        identity=relay.node.public_key,
        region=relay.node.region,
        family=relay.family,
        flags=list(row.flags),
        address=relay.address,
        since=relay.since,
        bandwidth_kbps=relay.bandwidth_kbps,
        reached={"operational": True, "failed": False}.get(reach.state),
        reached_at=reach.at,
        reached_by=reach.by,
        trouble=reach.sentence,
        relayed_circuits=told.relayed_circuits if told else None,
        relayed_bytes=told.relayed_bytes if told else None,
        relayed_bytes_per_s=told.relayed_bytes_per_s if told else None,
        told_at=told.at if told else None,
    )


@router.get("/circuits", response=Circuits)
def list_circuits(
    request: SignedInRequest, node: Key | None = None, after: Key = 0, limit: NodeLimit = 20
) -> Circuits:
    """What nodes tell of their circuits, by the ids of the nodes, or what one of them tells."""
    require(request.user, Role.VIEWER)
    told = circuits.told()
    if node is not None:
        told = told.filter(node_id=node)
    found = find_page([told], "node_id", after=after or None, size=limit)
    items = [_circuits_out(one) for one in circuits.shown(found.rows, timezone.now())]
    return Circuits(items=items, next=items[-1].node if found.after is not None else None)


def _circuits_out(one: NodeCircuits) -> CircuitsOut:
    return CircuitsOut(
        node=one.node.id,
        name=one.node.name,
        told_at=one.state.at,
        directory=one.state.directory,
        links=one.state.links,
        trouble=one.state.trouble,
        circuits=[_circuit_out(circuit) for circuit in one.circuits],
        guards=[_guard_out(guard) for guard in one.guards],
        builds=[BuildsOut(up_to_ms=bound, circuits=count) for bound, count in one.builds],
    )


def _circuit_out(circuit: Circuit) -> CircuitOut:
    told = circuit.told
    return CircuitOut(
        path=[_hop_out(hop) for hop in circuit.stations],
        age_s=told.age_s,
        build_ms=told.build_ms,
        streams=told.streams,
        sent_bytes=told.sent_bytes,
        received_bytes=told.received_bytes,
        rotates_in_s=circuit.rotates_in_s,
        tunnels=told.tunnels,
        rules=[RuleOut(rule=rule.name, state=rule.state, sentence=rule.sentence) for rule in circuit.rules],
    )


def _hop_out(hop: Hop) -> HopOut:
    return HopOut(node=hop.node_id or None, name=hop.name, region=hop.region, part=hop.part)


def _guard_out(guard: Guard) -> GuardOut:
    return GuardOut(
        node=guard.node_id or None,
        name=guard.name,
        region=guard.region,
        since=guard.since,
        until=guard.until,
        reached=guard.reached,
        sentence=guard.sentence,
    )

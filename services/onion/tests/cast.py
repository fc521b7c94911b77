"""What tests of circuits share: relays in the directory, statuses, and reports of trials."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from conftest import MakeNode
from fogagent.messages import CircuitState, CircuitTried, GuardState, OverlayStatus, PathVerdict, TryCircuit
from nodes.models import Node, Order
from nodes.relay_directory.publishing import PAUSE_S, publish
from nodes.tests.relays import listen, say
from services.onion.models import Trial
from services.onion.trials import SLACK_S, TIMEOUT_S, store_tried

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)

NEXT_VERSION = timedelta(seconds=PAUSE_S)
START = NOW + NEXT_VERSION
"""By then the directory has its relays and may have its next version."""
DEADLINE = timedelta(seconds=TIMEOUT_S + SLACK_S)
"""Of a trial, from when it was asked for."""


def make_relays(
    make_node: MakeNode, number: int, now: datetime = NOW, *, exits: int = 0, **said: Any
) -> list[Node]:
    """So many relays, the first of them exits, that are in the directory from then on."""
    listen(now)
    found = [
        make_node(
            name=f"relay-{index}",
            region=f"region-{index}",
            flags=["relay", "exit"] if index < exits else ["relay"],
        )
        for index in range(number)
    ]
    for node in found:
        assert say(node, now, **said) == []
    publish(now)
    return found


def make_builder(make_node: MakeNode, now: datetime, **columns: Any) -> Node:
    """A node that is no relay and may try circuits, in the directory from ``now`` on."""
    listen(now)
    node = make_node(**{"name": "builder", "flags": ["entry"], **columns})
    assert say(node, now, address="") == []
    assert publish(now) is not None
    return node


def key(node: Node) -> bytes:
    return bytes.fromhex(node.public_key)


def orders() -> list[tuple[int, TryCircuit]]:
    """What was ordered and neither acknowledged nor withdrawn: (node, order)."""
    pending = Order.objects.filter(kind="trycircuit", acked_at=None, withdrawn_at=None).order_by("id")
    return [(order.node_id, msgspec.json.decode(bytes(order.body), type=TryCircuit)) for order in pending]


def answer(trial: Trial, now: datetime, path: list[Node], **different: Any) -> None:
    """As the trial's node does when it went well, unless told otherwise."""
    usual: dict[str, Any] = {"ok": True, "build_ms": 23.4, "echo_ms": 5.0, "kbps": 3200}
    report = CircuitTried(trial=trial.id, path=[key(node) for node in path], **(usual | different))
    store_tried([(trial.node_id, report)], now)


VERDICTS = [
    PathVerdict(rule="length", state="passed", sentence="3 hops."),
    PathVerdict(rule="no network twice", state="waived", sentence="All on one machine."),
    PathVerdict(rule="no family twice", state="failed", sentence="Two are of the family lab."),
]


def status(path: list[Node], **different: Any) -> OverlayStatus:
    """One circuit over these relays, guarded by the first."""
    circuit = CircuitState(
        path=[key(node) for node in path],
        age_s=125.0,
        build_ms=31.0,
        streams=2,
        sent_bytes=2048,
        received_bytes=4096,
        rotates_in_s=300.0,
        tunnels=[7],
        verdicts=VERDICTS,
    )
    usual = OverlayStatus(
        directory=5,
        links=3,
        relayed_circuits=4,
        relayed_bytes=1_000_000,
        circuits=[circuit],
        guards=[GuardState(identity=key(path[0]), since=1.77e9, until=1.78e9, reached=True)],
        builds=[(10, 0), (25, 6), (50, 3), (100, 0)],
    )
    return msgspec.structs.replace(usual, **different)

"""An overlay for the full panel: every node a relay, a thousand of them with circuits, sixty with a tunnel.

Invented, as all of that panel is, and made once. To be called where Django is set up (`bench.inside_pages`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import islice

from django.db import transaction

from fogagent.messages import CircuitState, GuardState, OverlayStatus, PathVerdict
from nodes.models import Node, Relay
from nodes.relay_directory.publishing import publish
from services.onion.models import Measurement, Trial
from services.onion.states import store_overlay_status
from services.vpn_coordinator.models import Tunnel

TELLING, TUNNELS, TRIALS, CIRCUITS, HOPS = 1000, 60, 20, 4, 3
EXIT_EVERY, ENTRY_EVERY = 20, 10
RULES = (
    "length", "relays", "exit", "exit region", "exit node", "guard", "no relay twice", "not this node",
    "no family twice", "no network twice", "excluded relays", "excluded regions",
)  # fmt: skip
VERDICTS = [PathVerdict(rule=rule, state="passed", sentence=f"The rule {rule} holds.") for rule in RULES]
LATELY = timedelta(minutes=1)


@transaction.atomic
def fill(now: datetime) -> None:
    """Changes nothing where it was done before."""
    if Relay.objects.exists():
        return
    nodes = list(Node.objects.filter(archived_at=None, approved_at__isnull=False).order_by("id"))
    for number, node in enumerate(nodes):
        node.flags = ["compute", "relay", *_granted(number)]
    Node.objects.bulk_update(nodes, ["flags"], batch_size=500)
    Relay.objects.bulk_create((_relay(node, now) for node in nodes), batch_size=500)
    assert publish(now) is not None
    for first in range(0, TELLING, 500):
        part = nodes[first : first + 500]
        told = [(node.id, _status(nodes, first + index)) for index, node in enumerate(part)]
        store_overlay_status(told, now)
    _trials(nodes, now)
    _tunnels(nodes, now)


def _granted(number: int) -> list[str]:
    exits = ["exit"] if number % EXIT_EVERY == 0 else []
    return [*exits, "entry"] if number % ENTRY_EVERY == 0 else exits


def _relay(node: Node, now: datetime) -> Relay:
    digest = hashlib.sha256(str(node.id).encode())
    return Relay(
        node=node,
        onion_key=digest.hexdigest(),
        certificate=digest.digest() * 10,
        certificate_sha256=hashlib.sha256(digest.digest()).hexdigest(),
        address=f"192.0.2.{node.id % 250 + 1}:{9000 + node.id % 1000}",
        said_at=now,
        bandwidth_kbps=1000 * (node.id % 997 + 1),
    )


def _path(nodes: Sequence[Node], start: int) -> list[bytes]:
    return [bytes.fromhex(nodes[(start * 7 + hop * 101) % len(nodes)].public_key) for hop in range(HOPS)]


def _status(nodes: Sequence[Node], number: int) -> OverlayStatus:
    circuits = [
        CircuitState(path=_path(nodes, number + index), age_s=10.0 * index, build_ms=20.0, verdicts=VERDICTS)
        for index in range(CIRCUITS)
    ]
    [guard, *_] = _path(nodes, number)
    guards = [GuardState(identity=guard, since=1.0, until=2.0, reached=True)]
    return OverlayStatus(
        directory=1, links=5, circuits=circuits, guards=guards, builds=[(10, 3), (20, 40), (50, 7)]
    )


def _trials(nodes: Sequence[Node], now: datetime) -> None:
    """Some over paths that nodes chose, and the last measurement of each relay."""
    for number, node in enumerate(islice(nodes, TRIALS)):
        path = [identity.hex() for identity in _path(nodes, number)]
        Trial.objects.create(
            node=node, hops=HOPS, size=1000, asked_at=now, deadline_at=now, ended_at=now, ok=True, path=path,
            build_ms=20.0, echo_ms=5.0, kbps=3000,
        )  # fmt: skip
        one = nodes[number + TRIALS]
        Trial.objects.create(
            node=node, relay=one, hops=1, size=2**20, asked_at=now, deadline_at=now, ended_at=now, ok=True,
            path=[one.public_key], build_ms=8.0, echo_ms=20.0, kbps=800_000,
        )  # fmt: skip
    by = nodes[0]
    Measurement.objects.bulk_create(
        (Measurement(relay=node, due_at=now, trial=0, at=now, by=by, ok=True) for node in nodes),
        batch_size=500,
    )


def _tunnels(nodes: Sequence[Node], now: datetime) -> None:
    for number, node in enumerate(islice(nodes, 0, TUNNELS * ENTRY_EVERY, ENTRY_EVERY)):
        Tunnel.objects.create(
            name=f"tunnel-{number}", entry=node, hops=number % 5 + 1, created_at=now - LATELY, told_at=now,
            is_open=True, port=20_000 + number, clients=number % 3, sent_bytes=1000, received_bytes=10**6,
            used_exit=nodes[EXIT_EVERY],
        )  # fmt: skip

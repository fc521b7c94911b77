"""What tests of carriages share: a node with its keys, gateways, and attempts whose orders are carried."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from django.contrib.auth.models import User
from django.db import transaction

from conftest import MakeNode
from fogagent.identity import Identity
from fogagent.messages import Blob, Carried, Carry, Run, Sealed
from nodes import outbox
from nodes.locks import with_nodes
from nodes.models import Node, Order
from nodes.relay_directory.publishing import publish
from nodes.tests.relays import listen, say
from services.vpn_coordinator.carried import note_carried
from services.vpn_coordinator.carrying import carry_orders
from services.vpn_coordinator.models import Carriage
from tasks.capacity import take
from tasks.models import Attempt, Task
from tasks.routing_view import needs_of
from tasks.states import TaskState

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
CONTENT = b"sealed" * 700


class Fog:
    """A node that runs tasks and some gateways, all relays in the directory."""

    def __init__(self, make_node: MakeNode, submitter: User, gateways: int = 2, **columns: Any) -> None:
        listen(NOW)
        self._make_node, self._submitter = make_node, submitter
        self.identity = Identity.generate()
        self.node = make_node(
            name="worker",
            public_key=self.identity.public_key.hex(),
            sealing_key=self.identity.sealing_key.hex(),
            flags=["compute", "relay"],
        )
        self.gateways = [self.add(f"gate-{number}", **columns) for number in range(gateways)]
        say_address(self.node)
        publish(NOW)

    def add(self, name: str, **columns: Any) -> Node:
        """One more gateway. In the directory once that is published anew."""
        node = self._make_node(
            **{"name": name, "flags": ["relay", "entry"], "node_type": "gateway", **columns}
        )
        say_address(node)
        return node

    def attempt(self, node: Node | None = None, now: datetime = NOW) -> Attempt:
        node = node or self.node
        task = Task.objects.create(
            name="secret recipe",
            owner=self._submitter,
            driver="wasm",
            cpu_millis=10,
            memory_mb=8,
            state=TaskState.ASSIGNED,
            node=node,
            attempts_made=1,
            created_at=now,
        )
        assert take(node.id, needs_of(task), 1, now)
        return Attempt.objects.create(task=task, node=node, number=1, created_at=now)

    def carry(self, *attempts: Attempt, now: datetime = NOW) -> list[Carriage]:
        """Have their orders carried, as the commit of their placement does."""
        with transaction.atomic():
            outbox.put(carry_orders([(one.node_id, order(one)) for one in attempts], now), now)
        return [Carriage.objects.get(attempt=one) for one in attempts]

    def one(self, now: datetime = NOW) -> Carriage:
        return self.carry(self.attempt(now=now), now=now)[0]


def say_address(node: Node, **different: Any) -> None:
    """Each in a network of its own."""
    assert say(node, **{"address": f"10.{node.id % 250}.0.1:9001", **different}) == []


def order(attempt: Attempt, content: bytes | None = CONTENT) -> Run:
    return Run(
        attempt=attempt.id,
        task=attempt.task_id,
        driver="wasm",
        timeout_s=10,
        payload=Blob(sha256="ab" * 32, size=len(CONTENT), inline=content),
        sealed=Sealed(reservation=7, wrapped=b"w" * 80),
    )


def pending() -> list[tuple[int, int, Carry]]:
    """(number, node, order) of what gateways are to bring, neither answered nor withdrawn."""
    orders = Order.objects.filter(kind="carry", acked_at=None, withdrawn_at=None).order_by("id")
    return [(one.id, one.node_id, msgspec.json.decode(bytes(one.body), type=Carry)) for one in orders]


def answer(carriage: Carriage, now: datetime, ok: bool = True, **different: Any) -> None:
    """What the present gateway of this carriage tells, unless something else is given."""
    number, node_id, _ = next(one for one in pending() if one[2].attempt == carriage.attempt_id)
    say_carried(node_id, now, **{"order": number, "attempt": carriage.attempt_id, "ok": ok, **different})


def say_carried(node_id: int, now: datetime, **fields: Any) -> None:
    usual = {"build_ms": 40.0, "took_ms": 8.0} if fields["ok"] else {"sentence": "No way."}
    with_nodes([node_id], lambda: note_carried([(node_id, Carried(**(usual | fields)))], now))

"""What tests of tunnels share: exits that are ready, and tunnels as a user creates them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.utils import timezone

from conftest import MakeNode
from fogagent.messages import SetTunnels, decode_from_panel, join_frame
from nodes.models import Node, Order, Relay
from services.vpn_coordinator import operations
from services.vpn_coordinator.models import Tunnel
from services.vpn_coordinator.wishes import Wish

MakeRelay = Callable[..., Node]
MakeTunnel = Callable[..., Tunnel]


@pytest.fixture
def entry(make_node: MakeNode) -> Node:
    return make_node(name="atlas", flags=["compute", "entry"])


@pytest.fixture
def make_relay(make_node: MakeNode) -> MakeRelay:
    """A node that circuits can be built through, and leave at."""

    def make(**columns: Any) -> Node:
        node = make_node(**{"flags": ["relay", "exit"], **columns})
        Relay.objects.create(
            node=node,
            onion_key=node.public_key,
            certificate_sha256=node.public_key,
            address=f"10.0.{node.id}.1:9001",
            said_at=timezone.now(),
            since=timezone.now(),
        )
        return node

    return make


@pytest.fixture
def make_tunnel(entry: Node, submitter: User) -> MakeTunnel:
    """``make_tunnel(by=…, **wish)``: of the submitter, from ``atlas``, unless said otherwise."""

    def make(by: User | None = None, **wish: Any) -> Tunnel:
        wished = Wish(**{"name": "browsing", "entry": entry, **wish})
        return operations.create(by or submitter, wished, timezone.now())

    return make


@pytest.fixture
def other_submitter(db: None) -> User:
    user = User.objects.create_user("ann")
    user.groups.add(Group.objects.get(name="submitter"))
    return user


def pending(node: Node) -> list[SetTunnels]:
    """The orders about tunnels that a node would get now, oldest first."""
    orders = Order.objects.filter(node=node, kind="settunnels", acked_at=None, withdrawn_at=None).order_by(
        "id"
    )
    found = [decode_from_panel(join_frame([bytes(order.body)]))[0] for order in orders]
    return [order for order in found if isinstance(order, SetTunnels)]

"""Nodes whose connection keeps breaking, or on which attempts fail, get no new work for a while."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone
from pytest_django.fixtures import Settings

from conftest import MakeFleet, MakeNode
from coordinator.values import NodeStatus
from fogpanel.models import Event
from fogpanel.parameters import changing, store
from nodes import behaviour, leases
from nodes.jobs import lose_silent_nodes
from nodes.models import Node
from nodes.routing_view import as_fog_node
from nodes.status import status_of

SECOND = timedelta(seconds=1)


@pytest.fixture(autouse=True)
def rules(settings: Settings) -> None:
    settings.FLAPS_MAX, settings.STEADY_S, settings.COOL_S = 3, 60, 10


@pytest.fixture
def node(make_node: MakeNode) -> Node:
    """One of two, so that it may be held back."""
    make_node()
    return make_node(name="kiosk-3")


def connect(node: Node, now: datetime) -> leases.Lease:
    answer = leases.take([leases.Claim(node.public_key, None)], now)[node.public_key]
    assert isinstance(answer, leases.Lease)
    return answer


def flap(node: Node, now: datetime) -> None:
    """Connect, and lose the connection."""
    lease = connect(node, now)
    leases.release([(node.id, lease.epoch)], now)


def flap_often(node: Node, now: datetime) -> None:
    for _ in range(4):
        flap(node, now)
    node.refresh_from_db()


def kinds() -> list[str]:
    return list(Event.objects.exclude(kind="node.connected").order_by("id").values_list("kind", flat=True))


def test_what_counts_as_misbehaviour_are_parameters(node: Node, make_node: MakeNode) -> None:
    for _ in range(2):
        make_node()  # of four, two may be held back
    now = timezone.now()
    changing.change({"flaps_max": 1, "steady_s": 7, "cool_s": 20}, None, now)
    store.copy.forget()
    behaviour.note_work([node.id], [], now)
    for _ in range(2):
        flap(node, now)
    node.refresh_from_db()
    assert (node.unstable_until, node.cooling_until) == (now + 7 * SECOND, now + 20 * SECOND)


def test_breaking_too_often_makes_a_node_unstable_and_is_told_once(node: Node) -> None:
    now = timezone.now()
    flap_often(node, now)
    assert as_fog_node(node).unstable_until == pytest.approx(now.timestamp() + 60)
    flap_often(node, now)
    assert kinds() == ["node.unstable"]
    assert Event.objects.get(kind="node.unstable").sentence == (
        "kiosk-3 is unstable: its connection broke 4 times within 10 min. "
        "It gets no new work until it was steady for 1 min"
    )


def test_while_it_is_unstable_its_comings_and_goings_are_no_events(node: Node) -> None:
    now = timezone.now()
    flap_often(node, now)
    told = Event.objects.count()
    connect(node, now)
    late = now + timedelta(hours=1)
    assert node.id in lose_silent_nodes(late, now - timedelta(hours=1))
    connect(node, late)
    assert Event.objects.exclude(subject_id__lt=node.id).count() == told


def test_it_gets_work_again_when_it_was_steady_and_connected(node: Node) -> None:
    now = timezone.now()
    flap_often(node, now)
    assert behaviour.release_due(now + 61 * SECOND) == []  # it is not connected
    back = now + 100 * SECOND
    connect(node, back)
    assert behaviour.release_due(back + 59 * SECOND) == []
    assert behaviour.release_due(back + 60 * SECOND) == [node.id]
    node.refresh_from_db()
    assert as_fog_node(node).unstable_until is None
    assert kinds() == ["node.unstable", "node.steady"]


def test_the_next_time_it_has_to_be_steady_for_longer(node: Node) -> None:
    now = timezone.now()
    flap_often(node, now)
    back = now + SECOND
    connect(node, back)
    behaviour.release_due(back + 60 * SECOND)
    flap_often(node, back + 61 * SECOND)
    assert node.hold_s == pytest.approx(120, rel=0.01)


def test_leaving_in_order_is_no_break(node: Node) -> None:
    now = timezone.now()
    for _ in range(6):
        lease = connect(node, now)
        Node.objects.filter(id=node.id).update(said_goodbye=True)
        leases.release([(node.id, lease.epoch)], now)
    node.refresh_from_db()
    assert (node.flaps, node.unstable_since) == ([], None)


def test_a_connection_that_another_took_over_is_no_break(node: Node) -> None:
    now = timezone.now()
    older = connect(node, now)
    connect(node, now)
    leases.release([(node.id, older.epoch)], now)
    node.refresh_from_db()
    assert node.flaps == []


def test_at_most_half_of_the_fleet_is_held_back(node: Node) -> None:
    now = timezone.now()
    other = Node.objects.exclude(id=node.id).get()
    flap_often(node, now)
    flap_often(other, now)
    assert (node.unstable_since is not None, other.unstable_since) == (True, None)


def test_of_many_that_break_at_once_half_are_held_back_by_a_few_statements(
    make_fleet: MakeFleet, django_assert_max_num_queries: Any
) -> None:
    now = timezone.now()
    make_fleet(100, flaps=[now.timestamp() - 1] * 3)
    nodes = list(Node.objects.all())
    with django_assert_max_num_queries(6):  # one of them the parameters', when their copy is old
        behaviour.note_flaps(nodes, now)
    assert Node.objects.exclude(unstable_since=None).count() == 50
    assert [len(flaps) for flaps in Node.objects.values_list("flaps", flat=True)] == [4] * 100
    assert kinds() == ["node.unstable"] * 50


def test_failures_cool_a_node_down_and_twice_as_long_the_next_time(node: Node) -> None:
    now = timezone.now()
    behaviour.note_work([node.id], [], now)
    behaviour.note_work([node.id], [], now)  # begun before it cooled down
    node.refresh_from_db()
    assert node.cooling_until == now + 10 * SECOND
    status = status_of(node, now)
    assert (status.status, "it cools down" in status.reason) == (NodeStatus.IDLE, True)
    assert behaviour.release_due(now + 9 * SECOND) == []
    assert behaviour.release_due(now + 10 * SECOND) == [node.id]
    behaviour.note_work([node.id], [], now + 11 * SECOND)
    node.refresh_from_db()
    assert node.cool_s == 20
    assert kinds() == ["node.cooling", "node.cooling"]


def test_success_makes_the_next_time_shorter(node: Node) -> None:
    now = timezone.now()
    Node.objects.filter(id=node.id).update(cool_s=40)
    behaviour.note_work([], [node.id], now)
    behaviour.note_work([node.id], [], now)
    node.refresh_from_db()
    assert node.cool_s == 40


def test_the_only_node_never_cools_down(make_node: MakeNode) -> None:
    only = make_node()
    behaviour.note_work([only.id], [], timezone.now())
    only.refresh_from_db()
    assert only.cooling_until is None

"""Host names of relays: looked up without waiting for those that hang, and published as networks."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from threading import Event

import pytest

from conftest import MakeNode
from fogagent.overlay.directory import MAX_NETWORKS
from nodes.models import HostName, Node
from nodes.relay_directory import names
from nodes.relay_directory.names import EVERY, KEPT, UNDER_WAY, look_up, look_up_due
from nodes.relay_directory.publishing import publish
from nodes.tests.relays import HOUR, NOW, directory, listen, say

pytestmark = pytest.mark.django_db


class Resolver:
    """Leads to what it was told, and counts."""

    def __init__(self, **leads_to: list[str]) -> None:
        self.leads_to = leads_to
        self.asked: list[str] = []

    def __call__(self, name: str) -> Iterable[str]:
        self.asked.append(name)
        if name not in self.leads_to:
            raise OSError("no such name")
        return self.leads_to[name]


def published(node: Node, now: datetime) -> list[str]:
    listen(now)
    publish(now)
    return next(relay.networks for relay in directory(now=now).relays.values() if relay.node == node.id)


@pytest.fixture
def node(make_node: MakeNode) -> Node:
    node = make_node(flags=["relay"])
    say(node, address="relay:9001")
    return node


def test_all_networks_of_a_name_are_signed(node: Node) -> None:
    look_up_due(NOW, Resolver(relay=["192.0.2.1", "192.0.9.9", "2001:db8::1", "::ffff:198.51.100.1"]))
    assert published(node, NOW) == ["192.0.0.0/16", "198.51.0.0/16", "2001:0db8::/32"]


def test_addresses_are_not_looked_up(make_node: MakeNode) -> None:
    resolver = Resolver()
    say(make_node(), address="192.0.2.1:9001")
    say(make_node(), address="[2001:db8::1]:9001")
    look_up_due(NOW, resolver)
    assert resolver.asked == []


def test_a_thousand_addresses_are_none_that_is_believed(node: Node) -> None:
    many = [f"10.{number % 250}.0.{number // 250}" for number in range(1000)]
    look_up_due(NOW, Resolver(relay=many))
    assert published(node, NOW) == []
    row = HostName.objects.get()
    assert len(row.seen) == MAX_NETWORKS + 1
    assert "more than 4 networks" in names.doubt(row, NOW)


def test_a_name_that_goes_back_and_forth_changes_its_entry_once(node: Node) -> None:
    seen = []
    for turn in range(6):
        now = NOW + turn * HOUR
        look_up_due(now, Resolver(relay=[f"10.{turn % 2}.0.1"]))
        seen.append(published(node, now))
    assert seen == [["10.0.0.0/16"], *[["10.0.0.0/16", "10.1.0.0/16"]] * 5]


def test_what_a_name_led_to_is_forgotten_after_a_day(node: Node) -> None:
    look_up_due(NOW, Resolver(relay=["10.0.0.1"]))
    look_up_due(NOW + KEPT - HOUR, Resolver())
    assert published(node, NOW + KEPT - HOUR) == ["10.0.0.0/16"]
    assert published(node, NOW + KEPT) == []
    assert (
        names.doubt(HostName.objects.get(), NOW + KEPT) == "Its name leads nowhere that the panel could find."
    )


def test_a_name_is_looked_up_now_and_then_while_a_relay_says_it(node: Node) -> None:
    resolver = Resolver(relay=["10.0.0.1"])
    for now in (NOW, NOW + EVERY / 2, NOW + EVERY):
        look_up_due(now, resolver)
    assert resolver.asked == ["relay"] * 2
    say(node, NOW + EVERY, address="192.0.2.1:9001")
    look_up_due(NOW + 2 * EVERY, resolver)
    assert not HostName.objects.exists()


def test_names_that_hang_hold_up_no_other_and_take_no_more_than_their_share() -> None:
    go_on, begun = Event(), []

    def hang(name: str) -> Iterable[str]:
        begun.append(name)
        go_on.wait()
        return []

    try:
        quick = look_up(["quick"], lambda name: ["10.0.0.1"], 60.0)
        hanging = look_up([f"slow-{number}" for number in range(2 * UNDER_WAY)], hang, 0.1)
        assert quick == {"quick": ["10.0.0.0/16"]}
        assert 0 < len(hanging) <= UNDER_WAY
        assert not any(hanging.values())
    finally:
        go_on.set()

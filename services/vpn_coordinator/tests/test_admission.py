"""Which privacy levels can be had, and why not."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.utils.module_loading import import_string

from conftest import MakeNode
from nodes.models import Node
from nodes.relay_directory.publishing import PAUSE_S, publish
from services.models import ServiceState
from services.vpn_coordinator.admission import DISABLED, NO_MIXNET, NOBODY_LISTED, refusal
from services.vpn_coordinator.carrying import NO_GATEWAY
from services.vpn_coordinator.tests.carriages import NOW, Fog, say_address

pytestmark = pytest.mark.django_db
LATER = NOW + timedelta(seconds=PAUSE_S)


@pytest.fixture
def fog(make_node: MakeNode, submitter: User) -> Fog:
    """As small as a fog can be in which a gateway finds three hops, and the node is the last of them."""
    return Fog(make_node, submitter, gateways=3)


def change(node: Node, **columns: Any) -> None:
    Node.objects.filter(id=node.id).update(**columns)


def test_it_is_what_tasks_ask() -> None:
    assert import_string(settings.TASK_ADMISSION) is refusal


def test_all_that_can_be_had_is_served(fog: Fog) -> None:
    assert [refusal(level, NOW) for level in ("public", "private", "confidential")] == ["", "", ""]
    assert refusal("secret", NOW) == NO_MIXNET


def test_without_nodes_only_public_is_served(db: None) -> None:
    assert refusal("public", NOW) == ""
    assert refusal("private", NOW) == refusal("confidential", NOW) == NOBODY_LISTED


def test_nodes_that_are_not_listed_or_not_connected_do_not_count(fog: Fog, make_node: MakeNode) -> None:
    Node.objects.update(connected=False)
    make_node()
    assert refusal("private", NOW) == NOBODY_LISTED


def test_a_gateway_is_needed(make_node: MakeNode, submitter: User) -> None:
    fog = Fog(make_node, submitter, gateways=3, flags=["relay"])
    assert refusal("confidential", NOW) == NO_GATEWAY
    change(fog.gateways[0], flags=["relay", "entry"])
    assert refusal("confidential", NOW) == ""


def test_three_relays_are_needed_besides_the_gateway(fog: Fog) -> None:
    change(fog.gateways[1], connected=False)
    sentence = refusal("confidential", NOW)
    assert sentence.startswith("A gateway needs 3 connected relays besides itself")
    assert "of these 2 not excluded" in sentence
    assert refusal("private", NOW) == ""


def test_another_gateway_may_find_what_the_first_does_not(fog: Fog) -> None:
    """Where one gateway is no relay, the others have too few without themselves, and it has enough."""
    change(fog.gateways[1], flags=["entry"], node_type="edge_device")
    publish(LATER)
    sentence = refusal("confidential", LATER)
    assert sentence == ""


def test_relays_of_one_owner_are_not_enough(fog: Fog) -> None:
    for node in fog.gateways:
        say_address(node, family="lab")
    publish(LATER)
    assert "of another family" in refusal("confidential", LATER)


def test_the_rule_about_networks_is_waived_on_one_machine(fog: Fog) -> None:
    nodes = [fog.node, *fog.gateways]
    for node in nodes:
        say_address(node, address=f"10.7.0.{node.id % 250}:9001")
    publish(LATER)
    assert "in another network" in refusal("confidential", LATER)
    Node.objects.update(address="127.0.0.1")
    for node in nodes:
        say_address(node, address=f"127.0.0.1:{9000 + node.id}")
    publish(LATER + timedelta(seconds=PAUSE_S))
    assert refusal("confidential", LATER) == ""


def test_an_operator_can_switch_it_off(fog: Fog) -> None:
    ServiceState.objects.create(slug="vpn_coordinator", enabled=False)
    assert refusal("confidential", NOW) == DISABLED
    assert refusal("private", NOW) == ""

"""Each thing that cannot be asked for has its sentence, which begins with the field."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from conftest import MakeNode
from nodes.models import Node
from services.vpn_coordinator.tests.conftest import MakeRelay
from services.vpn_coordinator.wishes import read
from tasks.specification import SpecError

pytestmark = pytest.mark.django_db


@pytest.fixture
def fog(entry: Node, make_node: MakeNode, make_relay: MakeRelay, viewer: User) -> None:
    make_relay(name="exit-1", region="eu-north")
    make_node(name="plain")
    make_node(name="away", connected=False)
    make_node(name="gone", flags=["entry", "exit"], archived_at=timezone.now())
    make_node(name="newcomer", flags=["entry"], approved_at=None)


GOOD = {"name": "browsing", "entry": "atlas"}


@pytest.mark.usefixtures("fog")
@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"name": " "}, "name: must be given, such as “browsing”."),
        ({"name": "n" * 101}, "name: must be at most 100 characters, was 101."),
        ({"name": "a\nb"}, "name: must be one line of text without control characters."),
        ({"entry": None}, "entry: must be the name of the node whose programs are to use the tunnel."),
        ({"entry": "nowhere"}, "entry: there is no node “nowhere”."),
        ({"entry": 987654}, "entry: there is no node 987654."),
        ({"entry": 2**70}, f"entry: there is no node {2**70}."),
        ({"entry": "nul\x00"}, "entry: there is no node “nul·”."),
        ({"entry": ["atlas"]}, "entry: must be the name or the number of a node, was ['atlas']."),
        ({"entry": True}, "entry: must be the name or the number of a node, was True."),
        ({"entry": "gone"}, "entry: gone has left the fog; choose a node that is part of it."),
        ({"entry": "newcomer"}, "entry: newcomer still waits for an operator's approval."),
        (
            {"entry": "away"},
            "entry: away is not connected now and grants no entry; choose a node that is.",
        ),
        ({"exit_node": "nowhere"}, "exit_node: there is no node “nowhere”."),
        ({"exit_node": "gone"}, "exit_node: gone has left the fog; choose a node that is part of it."),
        (
            {"exit_node": "plain"},
            "exit_node: the owner of plain does not grant exit; the exit map shows the nodes that are exits.",
        ),
        (
            {"exit_node": "exit-1", "exit_region": "eu-north"},
            "exit_node: must be empty where exit_region is given: one of the two decides.",
        ),
        ({"entry": "exit-1", "exit_node": "exit-1"}, "exit_node: must be another node than the entry."),
        ({"exit_region": "r" * 61}, "exit_region: must be at most 60 characters, was 61."),
        ({"hops": 0}, "hops: must be between 1 and 8, was 0."),
        ({"hops": 9}, "hops: must be between 1 and 8, was 9."),
        ({"hops": 2.5}, "hops: must be a whole number, was 2.5."),
        ({"hops": "three"}, "hops: must be a number, was “three”."),
        ({"rotate_s": 1}, "rotate_s: must be between 10 and 86400 seconds, was 1."),
        ({"port": 80}, "port: must be between 1024 and 65535, was 80."),
        ({"port": 70_000}, "port: must be between 1024 and 65535, was 70000."),
        ({"allowed": ["nobody-i-know"]}, "allowed: there is no user “nobody-i-know”."),
        (
            {"allowed": "some-viewer"},
            "allowed: some-viewer cannot use tunnels: that needs the role submitter.",
        ),
        ({"allowed": [1]}, "allowed: must be a list of user names, was [1]."),
        ({"allowed": ["u"] * 51}, "allowed: must be at most 50 users, were 51."),
        (
            {"colour": "red"},
            "colour: is not a field of a tunnel; known are name, entry, exit_region, exit_node, hops, "
            "rotate_s, port, allowed, require_password.",
        ),
    ],
)
def test_what_cannot_be_asked_for(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SpecError) as caught:
        read(GOOD | given)
    assert [error.message for error in caught.value.errors] == [sentence]


@pytest.mark.usefixtures("fog")
def test_everything_wrong_is_told_at_once() -> None:
    with pytest.raises(SpecError) as caught:
        read({"hops": 12, "port": 1, "entry": "nowhere"})
    assert {error.field for error in caught.value.errors} == {"name", "entry", "hops", "port"}


@pytest.mark.usefixtures("fog")
def test_what_can_be_asked_for(other_submitter: User) -> None:
    by_name = read(GOOD | {"exit_node": "exit-1", "hops": "2", "allowed": "ann, ann"})
    assert (by_name.hops, by_name.rotate_s, by_name.port) == (2, 600, 0)
    assert by_name.exit_node is not None and by_name.exit_node.name == "exit-1"
    assert by_name.allowed == [other_submitter]
    by_number = read(GOOD | {"entry": by_name.entry.id, "port": 0})
    assert by_number.entry == by_name.entry
    # Any connected agent will do, and a region that has no exit: both are remarked upon.
    assert read(GOOD | {"entry": "plain", "exit_region": "atlantis"}).exit_region == "atlantis"

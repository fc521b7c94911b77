"""The status of a node: the same in Python and in SQL, whatever the facts."""

from __future__ import annotations

from datetime import timedelta
from itertools import product

from django.utils import timezone

from conftest import MakeNode
from coordinator.values import Availability, NodeStatus
from nodes.models import Node
from nodes.status import status_of, with_status


def test_lists_and_details_say_the_same_of_every_kind_of_node(make_node: MakeNode) -> None:
    now = timezone.now()
    contacts = (None, now - timedelta(seconds=89), now - timedelta(seconds=91))
    free: tuple[dict[str, int], ...] = (
        {},
        {"free_cpu_millis": 400},
        {"free_cpu_millis": 0},
        {"free_memory_mb": 0},
        {"free_cpu_millis": -5},
    )
    for availability, contact, room, goodbye, connected in product(
        Availability, contacts, free, (False, True), (False, True)
    ):
        make_node(
            availability=availability,
            last_contact_at=contact,
            deadline_at=contact and contact + timedelta(seconds=90),
            said_goodbye=goodbye,
            connected=connected,
            **room,
        )
    in_sql = dict(with_status(Node.objects.all(), now).values_list("id", "status"))
    in_python = {node.id: status_of(node, now).status.value for node in Node.objects.all()}
    assert in_sql == in_python
    assert set(in_sql.values()) == set(NodeStatus)

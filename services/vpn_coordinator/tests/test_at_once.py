"""Gateways answer, sweeps look after what they do not, nodes begin and end, on one PostgreSQL all at once."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import count

import pytest
from django.conf import LazySettings, settings
from django.contrib.auth.models import User
from django.db.models import Q
from django.utils import timezone

from conftest import MakeNode
from fogagent.messages import Carried, FromAgent, Started
from nodes.inbox import Arrival, store
from nodes.models import Node, Order
from nodes.relay_directory.publishing import publish
from nodes.tests.relays import listen, say
from services.vpn_coordinator.models import Carriage
from services.vpn_coordinator.sweeping import sweep
from services.vpn_coordinator.tries import WAITED_FOR
from tasks import resealing
from tasks.models import Attempt, Task
from tasks.operations import cancel
from tasks.tests.fog_model import Planner, Socket
from tasks.tests.invariants import check_capacity, check_results, check_tasks
from tasks.tests.test_at_once import NEWEST, all_at_once, ended, everything_ended, place, sealed_task

TASKS = 80
NODES = 6

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(settings.ON_SQLITE, reason="SQLite has one writer at a time"),
    pytest.mark.django_db(transaction=True),
]


def test_what_is_carried_ends_once(
    make_node: MakeNode, submitter: User, operator: User, settings: LazySettings
) -> None:
    nodes = relays(make_node)
    tasks = [sealed_task(submitter, nodes, "confidential").id for _ in range(TASKS)]
    numbers = count(1)

    def say_as(node_id: int, message: FromAgent) -> Arrival:
        return Arrival(Socket(node_id, NEWEST), [message])

    def gateways() -> None:
        pending = Order.objects.filter(kind="carry", acked_at=None, withdrawn_at=None).order_by("?")[:10]
        carried = [
            Carried(order=order.id, attempt=int(order.subject.partition(":")[2]), ok=random.random() < 0.5)
            for order in pending
        ]
        store([say_as(order.node_id, each) for order, each in zip(pending, carried, strict=True)])

    def what_comes_of(attempt: int) -> FromAgent:
        if random.random() < 0.5:
            return Started(seq=next(numbers), attempt=attempt, at=0.0)
        return ended(attempt, next(numbers))

    def workers() -> None:
        """Of what was brought some begins, and some is over before that is told."""
        there = Q(carriage__brought_at__isnull=False) | Q(started_at__isnull=False)
        brought = Attempt.objects.filter(there, ended_at=None).order_by("?")[:5]
        store([say_as(a.node_id, what_comes_of(a.id)) for a in brought])

    def people() -> None:
        for attempt in Attempt.objects.filter(ended_at=None).select_related("task").order_by("?")[:1]:
            cancel(attempt.task, operator)

    def submitters() -> None:
        """They seal nothing again that was brought to none of its nodes."""
        resealing.look_after(timezone.now())
        for task in Task.objects.filter(state="queued", reseal_wanted_at__isnull=False)[:3]:
            cancel(task, operator)

    def look_after() -> None:
        sweep(timezone.now())
        sweep(timezone.now() + WAITED_FOR)

    planners = [Planner(1), Planner(2)]
    works = [
        *(lambda planner=planner: place(planner) for planner in planners),
        *(gateways for _ in range(2)),
        *(workers for _ in range(2)),
        look_after,
        people,
        submitters,
    ]
    all_at_once(works, until_done=everything_ended)
    check_capacity()
    check_tasks(tasks)
    assert set(check_results()) == set(tasks), "not all tasks have ended"
    sweep(timezone.now())
    assert not Carriage.objects.filter(ended_at=None).exists()
    assert not Order.objects.filter(kind="carry", acked_at=None, withdrawn_at=None).exists()
    assert Task.objects.filter(state="succeeded").exists()


def relays(make_node: MakeNode) -> Sequence[Node]:
    """Nodes that run tasks and carry those of others."""
    now = timezone.now()
    listen(now)
    nodes = [make_node(cpu_millis=2000, flags=["compute", "relay", "entry"]) for _ in range(NODES)]
    for node in nodes:
        assert say(node, now, address=f"10.{node.id % 250}.0.1:9001") == []
    assert publish(now) is not None
    return nodes

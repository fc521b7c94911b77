"""Drains: what runs may end until the deadline, the rest moves, and every step can be seen."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from conftest import MakeNode
from coordinator.values import Availability
from fogpanel.models import Event
from nodes import draining, operations
from nodes.models import Node
from nodes.presenting import view_of
from tasks.closing import open_attempts, stop
from tasks.models import Attempt, Task
from tasks.placement import Placer
from tasks.specification import validate
from tasks.submission import submit

Busy = Callable[[int], Node]


@pytest.fixture
def busy(make_node: MakeNode, submitter: User) -> Busy:
    """``busy(2)``: a node with two tasks."""

    def make(tasks: int) -> Node:
        node = make_node(name="kiosk-3", cpu_millis=4000)
        for _ in range(tasks):
            submit(submitter, validate({"driver": "python", "source": "print(1)", "cores": 0.5}))
        assert Placer().place_waiting(timezone.now()) == tasks
        return Node.objects.get(id=node.id)

    return make


def end_one(node: Node) -> None:
    [first, *_] = open_attempts(node_id=node.id)
    stop([first], "succeeded", "", timezone.now())


def drain(node: Node, operator: User, drain_s: float | None = 60) -> None:
    operations.set_availability(node, Availability.DRAINING, operator, drain_s)
    node.refresh_from_db()


def told() -> str:
    return Event.objects.get(kind="node.drained").sentence


def test_what_runs_goes_on_and_nothing_new_comes(busy: Busy, operator: User, submitter: User) -> None:
    node = busy(2)
    drain(node, operator)
    assert (node.open_attempts, node.drain_total) == (2, 2)
    submit(submitter, validate({"driver": "python", "source": "print(1)", "cores": 0.5}))
    assert Placer().place_waiting(timezone.now()) == 0
    assert draining.end_due(timezone.now()) == []


def test_it_is_over_when_all_has_ended(busy: Busy, operator: User) -> None:
    node = busy(2)
    drain(node, operator)
    end_one(node)
    node.refresh_from_db()
    assert view_of(node, timezone.now()).drained == 1
    end_one(node)
    assert draining.end_due(timezone.now()) == [node.id]
    node.refresh_from_db()
    assert (node.availability, node.drain_deadline_at) == ("draining", None)
    assert told() == "kiosk-3 is drained: 2 of 2 tasks ended there, 0 moved"


def test_at_the_deadline_the_rest_moves_and_costs_no_try(busy: Busy, operator: User) -> None:
    node = busy(2)
    drain(node, operator, 60)
    end_one(node)
    assert draining.end_due(timezone.now() + timedelta(seconds=61)) == [node.id]
    assert told() == "kiosk-3 is drained: 1 of 2 tasks ended there, 1 moved"
    assert sorted(Task.objects.values_list("state", flat=True)) == ["queued", "succeeded"]
    assert sorted(Attempt.objects.values_list("outcome", flat=True)) == ["moved", "succeeded"]
    assert draining.end_due(timezone.now() + timedelta(seconds=62)) == []


def test_no_time_moves_it_at_once(busy: Busy, operator: User) -> None:
    node = busy(1)
    drain(node, operator, 0)
    assert (node.drain_deadline_at, node.open_attempts) == (None, 0)
    assert told() == "kiosk-3 is drained: 0 of 1 tasks ended there, 1 moved"


def test_an_idle_node_is_drained_at_once(busy: Busy, operator: User) -> None:
    drain(busy(0), operator)
    assert told() == "kiosk-3 is drained: nothing ran there"


def test_the_time_is_that_of_the_setting_unless_said(busy: Busy, operator: User, settings: Settings) -> None:
    settings.DRAIN_S = 1200
    node = busy(1)
    before = timezone.now()
    operations.set_availability(node, Availability.MAINTENANCE, operator)
    node.refresh_from_db()
    assert node.drain_deadline_at is not None
    assert 1200 <= (node.drain_deadline_at - before).total_seconds() < 1260


@pytest.mark.parametrize("instead", [Availability.SCHEDULABLE, Availability.CORDONED])
def test_a_drain_is_called_off(busy: Busy, operator: User, instead: Availability) -> None:
    node = busy(1)
    drain(node, operator, 60)
    operations.set_availability(node, instead, operator)
    assert draining.end_due(timezone.now() + timedelta(seconds=61)) == []
    node.refresh_from_db()
    assert (node.drain_deadline_at, node.open_attempts) == (None, 1)
    assert Event.objects.order_by("-id")[0].sentence.endswith("its drain is called off")


def test_draining_and_then_maintaining_keeps_the_deadline(busy: Busy, operator: User) -> None:
    node = busy(1)
    drain(node, operator, 60)
    deadline = node.drain_deadline_at
    operations.set_availability(node, Availability.MAINTENANCE, operator)
    node.refresh_from_db()
    assert (node.availability, node.drain_deadline_at) == ("maintenance", deadline)


def test_another_deadline_counts(busy: Busy, operator: User) -> None:
    node = busy(1)
    drain(node, operator, 3600)
    drain(node, operator, 0)
    assert node.open_attempts == 0


def test_saying_it_again_changes_nothing(busy: Busy, operator: User) -> None:
    node = busy(1)
    drain(node, operator)
    events = Event.objects.count()
    operations.set_availability(node, Availability.DRAINING, operator)
    assert Event.objects.count() == events


def test_the_page_asks_first_and_shows_how_far_it_is(client: Client, busy: Busy, operator: User) -> None:
    node = busy(2)
    client.force_login(operator)
    question = client.get(f"/nodes/{node.id}/drain").content.decode()
    assert "(2 tasks)" in question
    assert '<option value="600" selected>10 minutes</option>' in question
    client.post(f"/nodes/{node.id}/availability", {"availability": "draining", "drain_s": "3600"})
    end_one(node)
    for address in (f"/nodes/{node.id}", "/nodes"):
        assert "1 of 2 left, deadline" in client.get(address).content.decode()
    assert "Call the drain off" in client.get(f"/nodes/{node.id}").content.decode()


@pytest.mark.parametrize(
    ("drain_s", "problem"),
    [("-1", "drain_s: must not be negative."), ("soon", "drain_s: must be a number of seconds.")],
)
def test_a_wrong_time_is_named(
    client: Client, busy: Busy, operator: User, drain_s: str, problem: str
) -> None:
    node = busy(1)
    client.force_login(operator)
    response = client.post(
        f"/nodes/{node.id}/availability", {"availability": "draining", "drain_s": drain_s}, follow=True
    )
    assert problem in response.content.decode()
    node.refresh_from_db()
    assert node.availability == "schedulable"

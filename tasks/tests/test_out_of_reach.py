"""Confidential tasks whose nodes are there, but where no circuit ends any more, or no gateway got through."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

import pytest
from django.conf import LazySettings
from django.contrib.auth.models import User
from django.utils import timezone

from conftest import MakeNode
from fogagent.sealing.task import MAX_RESERVED
from nodes.models import DirectoryVersion, Node
from nodes.relay_directory.publishing import publish
from nodes.tests.relays import say
from tasks import resealing, reservations
from tasks.closing import open_attempts, stop
from tasks.models import Attempt, Task
from tasks.outcomes import LOST, UNDELIVERED
from tasks.placement import Placer
from tasks.reach import sealed_for, within_reach
from tasks.reservations import CannotReserve
from tasks.tests.sealing import SealingFleet, Submitter

Place = Callable[[], int]


@pytest.fixture(autouse=True)
def everything_is_served(settings: LazySettings) -> None:
    settings.TASK_ADMISSION = "tasks.tests.sealing.not_refused"
    settings.PLACING_HELD_BACK = "tasks.tests.sealing.none_held_back"
    settings.TASK_TRANSPORTS = {"confidential": "tasks.tests.test_sealed.by_way_of_another"}


@pytest.fixture
def fleet(make_node: MakeNode) -> SealingFleet:
    return SealingFleet(make_node, MAX_RESERVED + 1)


@pytest.fixture
def sender(submitter: User) -> Submitter:
    return Submitter(submitter)


def grant(node_ids: Iterable[int], *flags: str) -> None:
    """What the owners of these nodes allow from now on; the directory follows."""
    now = timezone.now() + DirectoryVersion.objects.count() * timedelta(minutes=1)
    nodes = list(Node.objects.filter(id__in=list(node_ids)))
    for node in nodes:
        node.flags = list(flags)
        node.save(update_fields=["flags"])
        assert say(node, now) == []
    assert publish(now) is not None


def give_up(place: Place) -> int:
    """Place the task, and have its order brought nowhere; the node."""
    assert place() == 1
    attempt = Attempt.objects.get(ended_at=None)
    stop(open_attempts(id=attempt.id), UNDELIVERED, "its order was not brought there", timezone.now())
    return attempt.node_id


def looked_after(task: Task) -> Task:
    resealing.look_after(timezone.now())
    task.refresh_from_db()
    return task


def reseal(sender: Submitter, task: Task) -> set[int]:
    """Seal it anew; for which nodes."""
    now = timezone.now()
    again = reservations.reserve(sender.user, reservations.choose_again(task, now), now)
    reservations.reseal(task, again.reservation, sender.wraps(again), now)
    task.refresh_from_db()
    return {node.id for node in again.nodes}


def test_no_order_is_carried_to_what_is_a_relay_no_more(fleet: SealingFleet, sender: Submitter) -> None:
    """Also by a placer that has read the task before."""
    reserved = sender.reserve(privacy="confidential")
    *others, last = [node.id for node in reserved.nodes]
    Node.objects.filter(id=last).update(free_cpu_millis=0, changed_at=timezone.now())
    task, placer = sender.hand_in(reserved), Placer()
    grant(others, "compute")
    assert placer.place_waiting(timezone.now()) == 0
    assert not looked_after(task).needs_resealing  # it waits for room on the last
    grant(others[:1], "compute", "relay")
    assert placer.place_waiting(timezone.now() + timedelta(seconds=1)) == 1
    assert Attempt.objects.get().node_id == others[0]


def test_private_tasks_go_to_who_is_no_relay(fleet: SealingFleet, sender: Submitter, place: Place) -> None:
    sender.hand_in(sender.reserve(privacy="private"))
    grant(fleet.identities, "compute")
    assert place() == 1


def test_one_whose_nodes_are_all_relays_no_more_needs_resealing(
    fleet: SealingFleet, sender: Submitter, place: Place
) -> None:
    reserved = sender.reserve(privacy="confidential")
    task, nodes = sender.hand_in(reserved), {node.id for node in reserved.nodes}
    grant(nodes, "compute")
    assert place() == 0
    assert looked_after(task).needs_resealing
    assert reseal(sender, task) == set(fleet.identities) - nodes
    assert not task.needs_resealing and place() == 1


def test_one_whose_node_is_a_relay_again_needs_no_resealing(fleet: SealingFleet, sender: Submitter) -> None:
    reserved = sender.reserve(privacy="confidential")
    task = sender.hand_in(reserved)
    grant((node.id for node in reserved.nodes), "compute")
    assert looked_after(task).needs_resealing
    grant([reserved.nodes[0].id], "compute", "relay")
    assert not looked_after(task).needs_resealing


def test_one_that_was_brought_to_none_of_its_nodes_needs_resealing(
    fleet: SealingFleet, sender: Submitter, place: Place
) -> None:
    """Whatever its number of attempts: nothing of it has run, and others may be reached."""
    reserved = sender.reserve(privacy="confidential", max_attempts=1)
    task, nodes = sender.hand_in(reserved), {node.id for node in reserved.nodes}
    assert {give_up(place) for _ in nodes} == nodes
    assert place() == 0
    assert looked_after(task).needs_resealing and task.state == "queued"
    [other] = set(fleet.identities) - nodes
    assert other in reseal(sender, task)
    assert place() == 1
    assert Attempt.objects.latest("id").node_id == other


def test_for_whom_it_was_sealed_stays(fleet: SealingFleet, sender: Submitter) -> None:
    """Whoever ran it can have run it, whatever became of that node."""
    reserved = sender.reserve(privacy="confidential")
    number, nodes = reserved.reservation.id, frozenset(node.id for node in reserved.nodes)
    grant(nodes, "compute")
    assert (sealed_for([number]), within_reach([number])) == ({number: nodes}, {number: frozenset()})


def test_looking_after_many_costs_few_queries(
    fleet: SealingFleet, submitter: User, django_assert_num_queries: Any
) -> None:
    for _ in range(3):
        sender = Submitter(submitter)
        sender.hand_in(sender.reserve(privacy="confidential"))
    with django_assert_num_queries(5):  # which wait, for whom, who relays, what was in vain, who is there
        resealing.look_after(timezone.now())


def test_who_reseals_in_vain_comes_to_an_end(fleet: SealingFleet, sender: Submitter, place: Place) -> None:
    task = sender.hand_in(sender.reserve(privacy="confidential", max_attempts=1))
    give_up(place)
    assert reseal(sender, task)
    give_up(place)
    task.refresh_from_db()
    assert (task.state, task.reason) == (
        "failed",
        "All 1 attempts were lost; the last: its order was not brought there",
    )


def test_what_was_brought_and_lost_counts_as_ever(
    fleet: SealingFleet, sender: Submitter, place: Place
) -> None:
    task = sender.hand_in(sender.reserve(privacy="confidential", max_attempts=1))
    give_up(place)
    assert place() == 1
    stop(open_attempts(), LOST, "its node went", timezone.now())
    task.refresh_from_db()
    assert task.state == "failed"


def test_a_canary_that_is_brought_nowhere_fails(fleet: SealingFleet, sender: Submitter, place: Place) -> None:
    """It is to tell so, and nobody seals it again."""
    reserved = sender.reserve(privacy="confidential", max_attempts=1)
    task = reservations.hand_in(
        reserved.reservation, sender.content, sender.wraps(reserved), timezone.now(), canary=True
    )
    give_up(place)
    task.refresh_from_db()
    assert task.state == "failed"


def test_where_no_circuit_ends_anywhere_there_is_nobody_to_seal_for(
    fleet: SealingFleet, sender: Submitter
) -> None:
    task = sender.hand_in(sender.reserve(privacy="confidential"))
    grant(fleet.identities, "compute")
    with pytest.raises(CannotReserve, match="No node can take such a task now"):
        reseal(sender, task)

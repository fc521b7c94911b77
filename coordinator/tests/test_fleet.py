"""The fleet holds what it was told, hands out what is free, and grows, shrinks and forgets."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from coordinator.errors import NotEnoughRoom, UnknownNode
from coordinator.fleet import KEPT_AT_MOST, Fleet
from coordinator.planning import Explain, Others, plan
from coordinator.tests.fleets import BIG, NOW, SMALL, a_node, a_task
from coordinator.values import FogNode, Resources, RoutingStrategy


def free_of(fleet: Fleet, node_id: int) -> Resources:
    node = fleet.get(node_id)
    assert node is not None
    return node.free


def test_a_node_comes_back_as_it_was_stated() -> None:
    fleet = Fleet()
    node = a_node(1, region="eu-west", labels={"a": "b"}, last_assigned=5.0, measured_load=0.25)
    fleet.upsert([node])
    assert fleet.get(1) == node
    assert fleet.nodes() == [node]
    assert 1 in fleet and len(fleet) == 1


def test_stating_a_node_again_replaces_everything() -> None:
    fleet = Fleet()
    fleet.upsert([a_node(1, labels={"old": "label"})])
    fleet.reserve(1, SMALL)
    fleet.upsert([a_node(1, labels={"new": "label"})])
    assert free_of(fleet, 1) == BIG
    asked = [a_task(1, labels={"old": "label"}), a_task(2, labels={"new": "label"})]
    assert [each.chosen for each in plan(fleet, asked, NOW, random.Random(0)).decisions] == [None, 1]


def test_nodes_that_may_take_more_than_before_can_be_asked_for() -> None:
    fleet = Fleet()
    fleet.upsert([a_node(1), a_node(2), a_node(3)])
    everything, cursor = fleet.changed_since(None)
    assert everything is None
    fleet.reserve(1, SMALL)
    fleet.reserve(2, SMALL)
    assert fleet.changed_since(cursor)[0] == set()
    fleet.release(2, SMALL)
    fleet.upsert([a_node(3), a_node(4)])
    changed, later = fleet.changed_since(cursor)
    assert changed == {2, 3, 4}
    assert fleet.changed_since(later)[0] == set()
    for _ in range(3000):
        fleet.upsert([a_node(1)])
    assert fleet.changed_since(later)[0] is None


def test_room_is_reserved_and_released_but_never_beyond_what_there_is() -> None:
    fleet = Fleet()
    fleet.upsert([a_node(1)])
    fleet.reserve(1, SMALL)
    assert free_of(fleet, 1) == BIG - SMALL
    with pytest.raises(NotEnoughRoom):
        fleet.reserve(1, BIG)
    with pytest.raises(UnknownNode):
        fleet.reserve(2, SMALL)
    fleet.release(1, SMALL)
    fleet.release(1, SMALL)
    fleet.release(2, SMALL)
    assert free_of(fleet, 1) == BIG


def test_removed_nodes_are_gone_and_their_rows_serve_others() -> None:
    fleet = Fleet()
    fleet.upsert(a_node(each) for each in range(3))
    fleet.remove([1, 99])
    assert [node.node_id for node in fleet.nodes()] == [0, 2]
    fleet.upsert([a_node(7)])
    assert fleet.get(1) is None
    assert fleet.table.used == 3
    chosen = [
        each.chosen
        for each in plan(fleet, [a_task(each) for each in range(3)], NOW, random.Random(0)).decisions
    ]
    assert set(chosen) == {0, 2, 7}


def test_every_change_moves_the_version() -> None:
    fleet = Fleet()
    versions = [fleet.version]
    changes: tuple[Callable[[], None], ...] = (
        lambda: fleet.upsert([a_node(1)]),
        lambda: fleet.reserve(1, SMALL),
        lambda: fleet.release(1, SMALL),
        lambda: fleet.remove([1]),
    )
    for change in changes:
        change()
        versions.append(fleet.version)
    assert versions == sorted(set(versions))


def test_it_grows_past_its_first_arrays_with_shapes_in_use() -> None:
    fleet = Fleet()
    placed = 0
    for number in range(300):
        fleet.upsert([a_node(number, total=SMALL)])
        made = plan(
            fleet, [a_task(number, strategy=strategy) for strategy in RoutingStrategy], NOW, random.Random(0)
        )
        placed += len(made.placed)
    assert placed == 300
    assert all(node.free == Resources() for node in fleet.nodes())


def test_many_shapes_do_not_pile_up() -> None:
    fleet = Fleet()
    fleet.upsert([a_node(1)])
    tasks = [a_task(number, needs=Resources(memory_mb=number)) for number in range(KEPT_AT_MOST + 50)]
    plan(fleet, tasks, NOW, random.Random(0), explain=Explain(candidates=False, others=Others.NEVER))
    assert len(fleet._shapes) == len(fleet._rankings) == KEPT_AT_MOST


def test_time_alone_makes_a_node_silent_and_being_heard_brings_it_back() -> None:
    fleet = Fleet()
    fleet.upsert([a_node(1)])

    def chosen(now: float) -> object:
        return plan(fleet, [a_task(1, needs=Resources())], now, random.Random(0)).decisions[0].chosen

    assert chosen(NOW + 90) == 1
    assert chosen(NOW + 90.5) is None
    assert chosen(NOW + 90) == 1  # a clock set back
    assert chosen(NOW + 500) is None
    fleet.upsert([a_node(1, last_contact=NOW + 500)])
    assert chosen(NOW + 501) == 1


def test_overdue_names_the_silent() -> None:
    fleet = Fleet()
    fleet.upsert(
        [a_node(1), a_node(2, last_contact=NOW - 91), a_node(3, last_contact=NOW - 91, timeout_s=100)]
    )
    overdue: list[FogNode] = fleet.overdue(NOW)
    assert [node.node_id for node in overdue] == [2]

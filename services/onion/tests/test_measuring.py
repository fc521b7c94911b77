"""Relays are measured one at a time, each in its turn, by others; what comes of it reaches the directory."""

from __future__ import annotations

from datetime import datetime
from random import Random

import pytest

from conftest import MakeNode
from nodes.models import Node, Relay
from services.models import ServiceState
from services.onion import measuring
from services.onion.measuring import AGAIN_KNOWN, AGAIN_UNKNOWN, SIZE
from services.onion.models import Measurement, Trial
from services.onion.tests.cast import DEADLINE, SECOND, START, answer, key, make_builder, make_relays, orders

pytestmark = pytest.mark.django_db


def step(now: datetime) -> Trial | None:
    """One run of the job; the trial that is under way after it."""
    measuring.step(now, Random(1))
    return Trial.objects.filter(ended_at=None).first()


def asked(now: datetime) -> Trial:
    trial = step(now)
    assert trial is not None
    return trial


def bandwidth(node: Node) -> int:
    return Relay.objects.get(node=node).bandwidth_kbps


def test_a_relay_is_measured_through_itself_alone_by_another(make_node: MakeNode) -> None:
    [relay] = make_relays(make_node, 1)
    Node.objects.update(flags=["relay", "compute"])
    assert step(START) is None  # only itself could
    builder = make_builder(make_node, START)
    trial = asked(START)
    [(node_id, order)] = orders()
    assert (node_id, order.through, order.hops, order.size) == (builder.id, [key(relay)], 1, SIZE)
    assert (trial.relay_id, trial.path) == (relay.id, [relay.public_key])


def test_one_at_a_time_and_each_in_its_turn(make_node: MakeNode) -> None:
    relays = make_relays(make_node, 3)
    make_builder(make_node, START)
    turns, now = [], START
    for _ in relays:
        trial = asked(now)
        assert asked(now + SECOND) == trial
        assert trial.relay is not None
        turns.append(trial.relay)
        answer(trial, now + 2 * SECOND, [trial.relay], kbps=1000 * len(turns))
        now += 3 * SECOND
    assert step(now) is None
    assert set(turns) == set(relays)
    assert [bandwidth(relay) for relay in turns] == [1000, 2000, 3000]
    assert step(START + AGAIN_KNOWN) is None
    again = asked(START + AGAIN_KNOWN + 4 * SECOND)
    assert again.relay == turns[0]


def test_what_was_measured_is_smoothed_and_counted_once(make_node: MakeNode) -> None:
    [relay] = make_relays(make_node, 1)
    make_builder(make_node, START)
    answer(asked(START), START, [relay], kbps=1000)
    step(START)
    answer(asked(START + 2 * AGAIN_KNOWN), START + 2 * AGAIN_KNOWN, [relay], kbps=2000)
    for second in range(3):
        step(START + 2 * AGAIN_KNOWN + second * SECOND)
    assert bandwidth(relay) == 1300
    measured = Measurement.objects.get()
    assert (measured.relay, measured.ok, measured.kbps) == (relay, True, 2000)


def test_one_that_is_not_reached_keeps_its_bandwidth_and_is_tried_sooner(make_node: MakeNode) -> None:
    [relay] = make_relays(make_node, 1)
    make_builder(make_node, START)
    answer(asked(START), START, [relay], kbps=1000)
    step(START)
    again = START + 2 * AGAIN_KNOWN
    asked(again)
    late = again + DEADLINE + SECOND
    assert step(late) is None
    measured = Measurement.objects.get()
    assert (measured.ok, measured.due_at, bandwidth(relay)) == (False, late + AGAIN_UNKNOWN, 1000)
    assert "did not tell" in measured.sentence
    assert step(late + AGAIN_UNKNOWN - SECOND) is None
    assert asked(late + AGAIN_UNKNOWN).relay == relay


@pytest.mark.parametrize("columns", [{"flags": ["mix"]}, {"connected": False}])
def test_who_is_no_relay_or_away_is_left_alone(make_node: MakeNode, columns: dict[str, object]) -> None:
    [relay] = make_relays(make_node, 1)
    Node.objects.filter(id=relay.id).update(**columns)
    make_builder(make_node, START)
    assert step(START) is None


def test_one_without_address_is_left_alone(make_node: MakeNode) -> None:
    make_relays(make_node, 1, address="")
    make_builder(make_node, START)
    assert step(START) is None


def test_none_is_measured_while_the_service_is_disabled(make_node: MakeNode) -> None:
    make_relays(make_node, 1)
    make_builder(make_node, START)
    ServiceState.objects.create(slug="onion", enabled=False)
    assert step(START) is None

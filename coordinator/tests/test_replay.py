"""What if: waits, spread and moves of cases small enough to be worked out by hand."""

from __future__ import annotations

import random

import pytest

from coordinator.replay import Arrival, Outcome, as_it_was, gini, replay
from coordinator.tests.fleets import a_node, a_task
from coordinator.values import FogNode, Resources, RoutingStrategy

CORE = Resources(cpu_millis=1000)


def came(number: int, at: float, held_s: float = 10.0, ran_on: int = 1, **asked: object) -> Arrival:
    return Arrival(a_task(number, needs=CORE, **asked), at, waited_s=3.0, held_s=held_s, ran_on=ran_on)


def single(number: int, **facts: object) -> FogNode:
    return a_node(number, total=Resources(cpu_millis=1000, memory_mb=1000), **facts)


def run(nodes: list[FogNode], arrivals: list[Arrival], strategy: str = "round_robin") -> Outcome:
    return replay(nodes, arrivals, RoutingStrategy(strategy), random.Random(0))


def test_one_after_the_other_on_one_node() -> None:
    found = run([single(1)], [came(1, 0.0), came(2, 1.0), came(3, 2.0)])
    assert (found.placed, found.unplaced, found.moves) == (3, 0, 0)
    assert found.waited_median_s == 9.0  # 0, 9 and 18 seconds
    assert found.waited_p95_s == pytest.approx(17.1)


def test_a_second_node_spreads_them_and_moves_one() -> None:
    found = run([single(1), single(2)], [came(1, 0.0), came(2, 1.0)])
    assert (found.moves, found.gini, found.busiest, found.waited_p95_s) == (1, 0.0, 1.0, 0.0)


def test_what_fits_nowhere_is_unplaced_and_blocks_nobody() -> None:
    large = Arrival(a_task(9, needs=Resources(cpu_millis=64_000)), 0.0, 0.0, 5.0, 1)
    found = run([single(1)], [large, came(1, 1.0)])
    assert (found.placed, found.unplaced) == (1, 1)


def test_a_more_urgent_task_goes_first() -> None:
    tasks = [came(1, 0.0), came(2, 1.0, held_s=100.0), came(3, 2.0, priority=10)]
    assert run([single(1)], tasks).waited_median_s == 8.0  # 0, 8 for the urgent one, 19
    assert run([single(1)], tasks).waited_p95_s == pytest.approx(17.9)


def test_how_the_nodes_are_now_does_not_matter() -> None:
    busy = single(1, free=Resources(), connected=False, last_contact=0.0, measured_load=1.0)
    assert run([busy], [came(1, 0.0)]).placed == 1


@pytest.mark.parametrize("strategy", list(RoutingStrategy))
def test_every_strategy_places_what_it_can_and_repeats(strategy: RoutingStrategy) -> None:
    nodes = [a_node(number, onion_capable=True) for number in range(5)]
    tasks = [came(number, number / 10, held_s=20.0) for number in range(200)]
    told: list[int] = []
    found = replay(nodes, tasks, strategy, random.Random(0), progress=told.append)
    assert (found.placed, found.unplaced, told) == (200, 0, [100, 200])
    assert found == replay(nodes, tasks, strategy, random.Random(0))
    # 20 cores, 4,000 core-seconds: nobody can end before 200 s have passed, so the last waited for long.
    assert found.waited_p95_s > 100


def test_as_it_was_counts_nodes_that_are_gone() -> None:
    found = as_it_was([single(1)], [came(1, 0.0, ran_on=7)])
    assert (found.placed, found.moves, found.waited_median_s, found.gini) == (1, 0, 3.0, 0.5)


@pytest.mark.parametrize(
    ("shares", "expected"), [([], 0), ([0, 0], 0), ([2, 2, 2], 0), ([0, 0, 0, 8], 0.75), ([1, 3], 0.25)]
)
def test_gini(shares: list[float], expected: float) -> None:
    assert gini(shares) == pytest.approx(expected)

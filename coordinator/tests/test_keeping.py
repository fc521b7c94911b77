"""A large task gets its turn under a stream of small ones, and holds nobody up who comes before it."""

from __future__ import annotations

import random
from typing import Any

import pytest

from coordinator.fleet import Fleet
from coordinator.keeping import Keeper
from coordinator.planning import plan
from coordinator.tests.fleets import BIG, NOW, SMALL, a_node, a_task
from coordinator.values import Resources, Task

PATIENCE_S = 300.0
HALF = Resources(cpu_millis=2000, memory_mb=1024)


def a_fleet(*frees: Resources, **facts: Any) -> Fleet:
    fleet = Fleet()
    fleet.upsert(a_node(number, free=free, **facts) for number, free in enumerate(frees, start=1))
    return fleet


def large(waited_s: float = PATIENCE_S) -> Task:
    return a_task("large", needs=Resources(cpu_millis=4000), submitted_at=NOW - waited_s)


def chosen(fleet: Fleet, task: Task) -> object:
    return plan(fleet, [task], NOW, random.Random(0)).decisions[0].chosen


def test_the_node_with_the_least_to_do_is_kept() -> None:
    fleet = a_fleet(SMALL, BIG - SMALL)
    assert Keeper().keep_for(fleet, large(), NOW, PATIENCE_S) == 2
    assert chosen(fleet, a_task("small", needs=SMALL)) == 1
    assert chosen(fleet, a_task("smaller", needs=SMALL)) is None


def test_it_is_kept_for_one_task_until_that_is_lifted() -> None:
    fleet, keeper = a_fleet(SMALL, HALF), Keeper()
    assert keeper.keep_for(fleet, large(), NOW, PATIENCE_S) == 2
    assert keeper.keep_for(fleet, large(), NOW, PATIENCE_S) is None
    keeper.lift(fleet)
    assert chosen(fleet, a_task("small", needs=SMALL)) == 2


def test_a_node_once_chosen_is_stuck_to() -> None:
    fleet, keeper = a_fleet(SMALL, HALF), Keeper()
    keeper.keep_for(fleet, large(), NOW, PATIENCE_S)
    keeper.lift(fleet)
    fleet.release(1, BIG - SMALL - SMALL)
    assert keeper.keep_for(fleet, large(), NOW, PATIENCE_S) == 2


def test_who_has_not_waited_long_gets_no_node_kept() -> None:
    assert Keeper().keep_for(a_fleet(HALF), large(PATIENCE_S - 1), NOW, PATIENCE_S) is None


@pytest.mark.parametrize("facts", [{"total": HALF}, {"connected": False}], ids=["too small", "not there"])
def test_a_node_that_could_not_serve_is_not_kept(facts: dict[str, Any]) -> None:
    assert Keeper().keep_for(a_fleet(HALF, **facts), large(), NOW, PATIENCE_S) is None


def test_a_large_task_is_placed_under_a_stream_of_small_ones() -> None:
    """Every second a small task comes and one ends, so that a node is never empty by itself."""
    fleet, keeper, running = a_fleet(BIG, last_contact=NOW + 1000), Keeper(), []
    waiting = a_task("large", needs=Resources(cpu_millis=4000), submitted_at=NOW)
    for second in range(1000):
        now = NOW + second
        keeper.lift(fleet)
        queue = [waiting, a_task(second, needs=SMALL, submitted_at=now)]
        for task in queue if second else queue[1:]:
            [decision] = plan(fleet, [task], now, random.Random(0)).decisions
            if decision.chosen is None:
                keeper.keep_for(fleet, task, now, PATIENCE_S)
            elif task is waiting:
                assert PATIENCE_S <= second <= PATIENCE_S + 10
                return
            else:
                running.append(task)
        if len(running) > 2 or second >= PATIENCE_S:
            fleet.release(1, running.pop(0).needs)
    pytest.fail("the large task was starved")

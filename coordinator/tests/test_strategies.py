"""Each strategy chooses what its sentence says; and adding one is a file and a line."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from coordinator import strategies
from coordinator.fleet import Fleet
from coordinator.planning import BY_COUNTS, FULLY, plan
from coordinator.tests.fleets import BIG, NOW, a_node, a_task
from coordinator.values import Decision, FogNode, NodeId, Resources, RoutingStrategy, Task
from coordinator.weights import Weights


def a_fleet(*nodes: FogNode, tie_seed: int | None = None) -> Fleet:
    fleet = Fleet(tie_seed=tie_seed)
    fleet.upsert(nodes)
    return fleet


def choices(fleet: Fleet, strategy: RoutingStrategy, *tasks: Task) -> list[NodeId | None]:
    return [each.chosen for each in decisions(fleet, strategy, *tasks)]


def decisions(fleet: Fleet, strategy: RoutingStrategy, *tasks: Task) -> tuple[Decision, ...]:
    asked = [replace(task, strategy=strategy) for task in tasks]
    return plan(fleet, asked, NOW, random.Random(0), explain=FULLY).decisions


def test_round_robin_takes_turns_and_stays_even_as_nodes_come_and_go() -> None:
    fleet = a_fleet(a_node(1, last_assigned=NOW - 5), a_node(2, last_assigned=NOW - 9), a_node(3))
    assert choices(fleet, RoutingStrategy.ROUND_ROBIN, *[a_task(each) for each in range(5)]) == [
        3,
        2,
        1,
        3,
        2,
    ]
    fleet.remove([1])
    fleet.upsert([a_node(4, last_assigned=NOW - 1)])
    assert choices(fleet, RoutingStrategy.ROUND_ROBIN, *[a_task(each) for each in range(3)]) == [4, 3, 2]


def test_least_loaded_looks_at_the_larger_of_measured_and_reserved() -> None:
    reserved = a_node("reserved", free=Resources(cpu_millis=1000, memory_mb=8192))
    measured = a_node("measured", measured_load=0.5)
    filled = a_node("memory full", free=Resources(cpu_millis=4000, memory_mb=3000))
    fleet = a_fleet(reserved, measured, filled)
    assert choices(fleet, RoutingStrategy.LEAST_LOADED, a_task(1)) == ["measured"]


def test_least_loaded_spreads_a_batch() -> None:
    fleet = a_fleet(a_node(1), a_node(2), a_node(3))
    tasks = [a_task(each) for each in range(6)]
    assert choices(fleet, RoutingStrategy.LEAST_LOADED, *tasks) == [1, 2, 3, 1, 2, 3]


def test_affinity_takes_the_tightest_fit_and_keeps_gpus_for_those_who_need_them() -> None:
    small = a_node("small", total=Resources(cpu_millis=1000, memory_mb=512))
    big = a_node("big")
    with_gpu = a_node("gpu", total=Resources(cpu_millis=1000, memory_mb=512, gpus=1))
    fleet = a_fleet(big, with_gpu, small)
    assert choices(fleet, RoutingStrategy.AFFINITY_BASED, a_task(1)) == ["small"]


def test_affinity_prefers_matching_labels_and_cached_inputs_among_equal_fits() -> None:
    fleet = a_fleet(
        a_node(1), a_node(2, labels={"disk": "ssd"}), a_node(3, cached_inputs=frozenset({"hash"}))
    )
    ssd = a_task(1, prefers={"disk": "ssd"})
    blob = a_task(2, inputs=frozenset({"hash"}))
    assert choices(fleet, RoutingStrategy.AFFINITY_BASED, ssd) == [2]
    fleet.upsert([a_node(2, labels={"disk": "ssd"})])
    assert choices(fleet, RoutingStrategy.AFFINITY_BASED, blob) == [3]


def test_proximity_puts_the_region_first_then_the_great_circle() -> None:
    fleet = a_fleet(
        a_node("tokyo", region="ap-east"),
        a_node("dublin", region="eu-west"),
        a_node("nearby", region="eu-central"),
        a_node("vienna", latitude=48.2, longitude=16.4),
    )
    by_region = a_task(1, region="eu-west", latitude=35.0, longitude=139.0)
    from_vienna = a_task(2, latitude=48.2, longitude=16.3)
    from_region = a_task(3, region="eu-south")  # nobody is there: Frankfurt is nearest to Milan
    fleet_for = RoutingStrategy.PROXIMITY_BASED
    assert choices(fleet, fleet_for, by_region, from_vienna, from_region) == ["dublin", "vienna", "nearby"]


def test_proximity_goes_by_the_round_trip_where_a_task_names_no_place() -> None:
    fleet = a_fleet(
        a_node("unknown", region="eu-west"),
        a_node("far", round_trip_ms=80.0),
        a_node("near", round_trip_ms=9.0, measured_load=0.2),
        a_node("near too", round_trip_ms=6.0, measured_load=0.4),
    )
    here, there = a_task(1), a_task(2, region="eu-west")
    assert choices(fleet, RoutingStrategy.PROXIMITY_BASED, here, there) == ["near", "unknown"]


def test_proximity_spreads_over_nodes_at_the_same_place() -> None:
    fleet = a_fleet(a_node(1, region="eu-west"), a_node(2, region="eu-west"))
    tasks = [a_task(each, region="eu-west") for each in range(4)]
    assert choices(fleet, RoutingStrategy.PROXIMITY_BASED, *tasks) == [1, 2, 1, 2]


def test_privacy_admits_only_onion_capable_nodes_and_looks_at_reputation_first() -> None:
    fleet = a_fleet(
        a_node("open", reputation=1.0),
        a_node("shady", reputation=0.2, onion_capable=True),
        a_node("good", reputation=0.9, onion_capable=True),
    )
    (decision,) = decisions(fleet, RoutingStrategy.PRIVACY_AWARE, a_task(1))
    assert decision.chosen == "good"
    assert decision.rejected == {"onion": 1}


def test_privacy_keeps_away_from_the_submitter_and_from_networks_used_last() -> None:
    fleet = a_fleet(
        a_node("beside", network="10.1", onion_capable=True),
        a_node("away", network="10.2", onion_capable=True),
        a_node("also away", network="10.3", onion_capable=True),
        a_node("same as away", network="10.2", onion_capable=True),
    )
    tasks = [a_task(each, network="10.1") for each in range(5)]
    chosen = choices(fleet, RoutingStrategy.PRIVACY_AWARE, *tasks)
    assert set(chosen) == {"away", "also away", "same as away"}


def test_privacy_comes_back_to_a_network_only_when_others_had_their_turn() -> None:
    fleet = a_fleet(
        a_node(1, network="10.1", onion_capable=True),
        a_node(2, network="10.2", onion_capable=True),
        a_node("2 too", network="10.2", onion_capable=True),
        a_node(3, network="10.3", onion_capable=True),
    )
    tasks = [a_task(each) for each in range(6)]
    assert choices(fleet, RoutingStrategy.PRIVACY_AWARE, *tasks) == [1, 2, 3, 1, "2 too", 3]


@pytest.mark.parametrize("strategy", RoutingStrategy)
def test_nodes_without_room_or_gpu_or_onion_are_not_chosen(strategy: RoutingStrategy) -> None:
    full = a_node("full", free=Resources(), onion_capable=True)
    no_gpu = a_node("no gpu", onion_capable=True)
    no_onion = a_node("no onion", total=Resources(cpu_millis=9000, memory_mb=9000, gpus=1))
    fleet = a_fleet(full, no_gpu, no_onion)
    task = a_task(1, needs=Resources(cpu_millis=10, memory_mb=10, gpus=1), onion_required=True)
    (decision,) = decisions(fleet, strategy, task)
    assert decision.chosen is None
    assert decision.rejected == {"cpu": 1, "gpu": 1, "onion": 1}
    fleet.upsert([a_node("right", total=Resources(cpu_millis=10, memory_mb=10, gpus=1), onion_capable=True)])
    assert choices(fleet, strategy, task) == ["right"]
    assert choices(fleet, strategy, task) == [None]


@pytest.mark.parametrize("strategy", RoutingStrategy)
def test_avoided_nodes_are_used_only_when_nothing_else_is_eligible(strategy: RoutingStrategy) -> None:
    fleet = a_fleet(a_node(1, onion_capable=True), a_node(2, onion_capable=True, measured_load=0.9))
    assert choices(fleet, strategy, a_task(1, avoid=frozenset({1, 77}))) == [2]
    assert choices(fleet, strategy, a_task(2, avoid=frozenset({1, 2}))) != [None]


@pytest.mark.parametrize("strategy", RoutingStrategy)
def test_parts_sum_to_the_score_and_the_chosen_one_comes_first(strategy: RoutingStrategy) -> None:
    fleet = a_fleet(
        *[
            a_node(
                each,
                onion_capable=True,
                reputation=each / 10,
                last_assigned=NOW - 40 * each,
                network=str(each),
            )
            for each in range(6)
        ]
    )
    task = a_task(1, region="eu-west", network="1")
    (decision,) = decisions(fleet, strategy, task)
    scores = [each.score or 0.0 for each in decision.candidates]
    assert decision.candidates[0].node_id == decision.chosen
    assert scores == sorted(scores, reverse=True)
    for candidate in decision.candidates:
        assert sum(candidate.parts.values()) == pytest.approx(candidate.score)
        assert 0 <= (candidate.score or 0.0) <= 1


def test_weights_add_up_and_names_differ() -> None:
    for name, strategy in strategies.strategies(Weights()).items():
        parts = strategy.parts + strategy.moving
        assert strategy.name is name
        assert strategy.sentence.endswith(".")
        assert sum(part.weight for part in parts) == pytest.approx(1.0)
        assert len({part.score.name for part in parts}) == len(parts)


def test_a_strategy_is_one_file_and_one_line() -> None:
    folder = Path(strategies.__file__).parent
    files = {path.stem for path in folder.glob("*.py")} - {"__init__", "strategy"}
    assert (
        files
        == {name.value for name in RoutingStrategy}
        == {name.value for name in strategies.strategies(Weights())}
    )


def test_processes_with_different_seeds_differ_among_equals() -> None:
    nodes = [a_node(each) for each in range(50)]
    first = {
        choices(a_fleet(*nodes, tie_seed=seed), RoutingStrategy.LEAST_LOADED, a_task(1))[0]
        for seed in range(8)
    }
    assert len(first) > 1
    again = [choices(a_fleet(*nodes, tie_seed=3), RoutingStrategy.LEAST_LOADED, a_task(1)) for _ in range(2)]
    assert again[0] == again[1]


def test_what_is_released_is_found_again_at_once() -> None:
    fleet = a_fleet(a_node(1), a_node(2, measured_load=0.6))
    task = a_task(1, needs=BIG)
    made = plan(fleet, [task, a_task(2)], NOW, random.Random(0), explain=BY_COUNTS)
    assert [each.chosen for each in made.decisions] == [1, 2]
    fleet.release(1, task.needs)
    assert choices(fleet, RoutingStrategy.LEAST_LOADED, a_task(3)) == [1]

"""Weights decide between nodes by their proportions, from the next decision on."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from coordinator.errors import BadField
from coordinator.fleet import Fleet
from coordinator.planning import FULLY, plan, preview
from coordinator.strategies import strategies
from coordinator.tests.fleets import NOW, a_node, a_task
from coordinator.values import Decision, FogNode, NodeId, Resources, RoutingStrategy, Task
from coordinator.weights import NAMES, TOGETHER, Weights

AFFINITY = RoutingStrategy.AFFINITY_BASED


def decide(fleet: Fleet, task: Task, strategy: RoutingStrategy) -> Decision:
    asked = replace(task, strategy=strategy)
    (decision,) = plan(fleet, [asked], NOW, random.Random(0), explain=FULLY).decisions
    if decision.chosen is not None:
        fleet.release(decision.chosen, asked.needs)
    return decision


def fleet_of(*nodes: FogNode, weights: Weights | None = None) -> Fleet:
    fleet = Fleet(weights=weights)
    fleet.upsert(nodes)
    return fleet


def test_only_proportions_matter() -> None:
    for size in (1, 2, 25):
        affinity = strategies(Weights(affinity_fit=3 * size, affinity_match=size))[AFFINITY]
        assert [part.weight for part in affinity.parts] == [0.75, 0.25]


def test_a_changed_weight_counts_from_the_next_decision_on() -> None:
    fleet = fleet_of(
        a_node("tight", total=Resources(cpu_millis=1000, memory_mb=512)),
        a_node("labelled", labels={"disk": "ssd"}),
    )
    task = a_task(1, prefers={"disk": "ssd"})
    assert decide(fleet, task, AFFINITY).chosen == "tight"
    fleet.weigh_by(Weights(affinity_fit=10, affinity_match=90))
    decision = decide(fleet, task, AFFINITY)
    assert decision.chosen == "labelled"
    assert decision.candidates[0].parts["match"] == pytest.approx(0.9)
    assert preview(fleet, task, NOW, random.Random(0))[AFFINITY].chosen == "labelled"
    fleet.weigh_by(Weights())
    assert decide(fleet, task, AFFINITY).chosen == "tight"


@pytest.mark.parametrize(
    ("weights", "chosen"),
    [
        ({"affinity_fit_cpu": 1}, "few cores"),
        ({"affinity_fit_memory": 1}, "little memory"),
        ({"affinity_fit_disk": 1}, "little disk"),
        ({"affinity_fit_gpu": 1}, "no gpu"),
    ],
)
def test_each_resource_counts_in_the_fit_by_its_weight(weights: dict[str, float], chosen: NodeId) -> None:
    usual = Resources(cpu_millis=4000, memory_mb=4096, disk_mb=10_000, gpus=1)
    fleet = fleet_of(
        a_node("usual", total=usual),
        a_node("few cores", total=replace(usual, cpu_millis=600)),
        a_node("little memory", total=replace(usual, memory_mb=300)),
        a_node("little disk", total=replace(usual, disk_mb=500)),
        a_node("no gpu", total=replace(usual, gpus=0)),
        weights=Weights(**dict.fromkeys(TOGETHER["affinity_fit"], 0.0) | weights),
    )
    needs = Resources(cpu_millis=500, memory_mb=256, disk_mb=450)
    assert decide(fleet, a_task(1, needs=needs), AFFINITY).chosen == chosen


def test_proximity_can_be_told_to_look_at_load_first() -> None:
    near = a_node("near", region="eu-west", measured_load=0.9)
    far = a_node("far", region="ap-east")
    task = a_task(1, region="eu-west")
    assert decide(fleet_of(near, far), task, RoutingStrategy.PROXIMITY_BASED).chosen == "near"
    by_load = Weights(proximity_region=1, proximity_nearness=1, proximity_load=98)
    decision = decide(fleet_of(near, far, weights=by_load), task, RoutingStrategy.PROXIMITY_BASED)
    assert decision.chosen == "far"


def test_privacy_can_be_told_to_look_away_from_the_submitter_first() -> None:
    near = a_node("beside", network="10.1", onion_capable=True, reputation=1.0)
    away = a_node("away", network="10.2", onion_capable=True, reputation=0.5)
    task = a_task(1, network="10.1")
    apart = Weights(privacy_reputation=1, privacy_apart=97, privacy_fresh=1, privacy_load=1)
    strategy = RoutingStrategy.PRIVACY_AWARE
    assert decide(fleet_of(near, away), task, strategy).chosen == "beside"
    assert decide(fleet_of(near, away, weights=apart), task, strategy).chosen == "away"


@pytest.mark.parametrize("names", TOGETHER.values(), ids=TOGETHER)
def test_a_strategy_must_weigh_something(names: tuple[str, ...]) -> None:
    with pytest.raises(BadField, match=f"^{names[0]}: at least one of .* must be more than 0"):
        Weights(**dict.fromkeys(names, 0.0))


@pytest.mark.parametrize("value", [-1.0, float("nan")])
def test_a_weight_is_never_negative(value: float) -> None:
    with pytest.raises(BadField, match="privacy_load: must not be negative"):
        Weights(privacy_load=value)


def test_every_weight_belongs_to_one_whole() -> None:
    assert sorted(name for names in TOGETHER.values() for name in names) == sorted(NAMES)

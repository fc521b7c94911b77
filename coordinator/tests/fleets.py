"""Nodes, tasks and whole fleets for tests, and the hypothesis strategies that make them up."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from coordinator.values import Availability, FogNode, Resources, RoutingStrategy, Task

NOW = 1_000_000.0

BIG = Resources(cpu_millis=4000, memory_mb=8192, disk_mb=100_000, gpus=0)
SMALL = Resources(cpu_millis=500, memory_mb=256)


def a_node(node_id: int | str = 1, **facts: Any) -> FogNode:
    """An idle node with four cores, heard of just now."""
    total = facts.pop("total", BIG)
    defaults: dict[str, Any] = {
        "name": f"node-{node_id}",
        "total": total,
        "free": total,
        "drivers": frozenset({"wasm"}),
        "last_contact": NOW,
    }
    return FogNode(node_id=node_id, **{**defaults, **facts})


def a_task(task_id: int | str = 1, **asked: Any) -> Task:
    return Task(task_id=task_id, **{"needs": SMALL, **asked})


REGIONS = ["", "eu-west", "us-east", "nowhere"]
NETWORKS = ["", "10.1", "10.2", "10.3"]
ZONES = ["a", "b"]
# Most draws below are of nodes that can work and of tasks that fit: where hardly anything is eligible,
# nothing is ever chosen between.
TOTALS = [
    Resources(cpu_millis=1000, memory_mb=512, disk_mb=1000),
    Resources(cpu_millis=4000, memory_mb=2048, disk_mb=1000, gpus=1),
    Resources(cpu_millis=4000, memory_mb=1024, disk_mb=1000),
    Resources(cpu_millis=2000, memory_mb=4096),
    Resources(),
]
NEEDS = [
    Resources(cpu_millis=100, memory_mb=64),
    Resources(cpu_millis=100, memory_mb=400),
    Resources(cpu_millis=1000, memory_mb=256),
    Resources(cpu_millis=300, memory_mb=1000, disk_mb=400),
    Resources(cpu_millis=100, memory_mb=64, gpus=1),
    Resources(),
]


@st.composite
def nodes(draw: st.DrawFn) -> FogNode:
    total = draw(st.sampled_from(TOTALS))
    used = draw(st.sampled_from([0, 0, 0, 3, 5, 10]))  # tenths
    free = Resources(
        cpu_millis=total.cpu_millis * (10 - used) // 10,
        memory_mb=total.memory_mb * (10 - used) // 10,
        disk_mb=total.disk_mb,
        gpus=total.gpus if used < 10 else 0,
    )
    placed = draw(st.booleans())
    return a_node(
        draw(st.integers(0, 12)),
        total=total,
        free=free,
        region=draw(st.sampled_from(REGIONS)),
        latitude=draw(st.sampled_from([0.0, 48.2])) if placed else None,
        longitude=draw(st.sampled_from([0.0, 16.4])) if placed else None,
        network=draw(st.sampled_from(NETWORKS)),
        drivers=draw(st.sampled_from([frozenset({"wasm", "python"}), frozenset({"wasm"}), frozenset[str]()])),
        labels={"zone": draw(st.sampled_from(ZONES))} if draw(st.booleans()) else {},
        cached_inputs=draw(st.frozensets(st.sampled_from(["x", "y"]))),
        onion_capable=draw(st.sampled_from([True, True, False])),
        round_trip_ms=draw(st.sampled_from([None, 0.4, 2.0, 31.0])),
        reputation=draw(st.sampled_from([0.0, 0.5, 1.0])),
        measured_load=draw(st.sampled_from([0.0, 0.2, 0.9])),
        availability=draw(st.sampled_from([Availability.SCHEDULABLE] * 12 + list(Availability))),
        connected=draw(st.sampled_from([True] * 9 + [False])),
        said_goodbye=draw(st.sampled_from([False] * 9 + [True])),
        unstable_until=draw(st.sampled_from([None] * 9 + [NOW + 60])),
        cooling_until=draw(st.sampled_from([None] * 9 + [NOW + 10])),
        kept=draw(st.sampled_from([False] * 9 + [True])),
        computes=draw(st.sampled_from([True] * 9 + [False])),
        last_contact=NOW - draw(st.sampled_from([0.0, 0.0, 50.0, 60.0, 200.0])),
        last_assigned=draw(st.sampled_from([0.0, NOW - 500, NOW - 20])),
    )


@st.composite
def tasks(draw: st.DrawFn) -> Task:
    placed = draw(st.booleans())
    return a_task(
        draw(st.integers(0, 10**9)),
        needs=draw(st.sampled_from(NEEDS)),
        driver=draw(st.sampled_from(["", "", "wasm", "python"])),
        strategy=draw(st.sampled_from(list(RoutingStrategy))),
        region=draw(st.sampled_from(REGIONS)),
        region_required=draw(st.sampled_from([False, False, False, True])),
        latitude=50.1 if placed else None,
        longitude=8.7 if placed else None,
        network=draw(st.sampled_from(NETWORKS)),
        labels={"zone": draw(st.sampled_from(ZONES))} if draw(st.sampled_from([False, False, True])) else {},
        prefers={"zone": draw(st.sampled_from(ZONES))} if draw(st.booleans()) else {},
        inputs=draw(st.frozensets(st.sampled_from(["x", "y"]))),
        onion_required=draw(st.sampled_from([False, False, True])),
        avoid=draw(st.frozensets(st.integers(0, 12), max_size=3)),
        among=draw(st.none() | st.frozensets(st.integers(0, 12), min_size=1, max_size=4)),
    )

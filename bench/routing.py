"""How many tasks a second routing places, in memory, each with its recorded decision.

Tasks of 24 shapes come in batches of 500; one in ten needs a GPU, which one node in twenty has; some ask
for a label or a region; one node in ten is full. Between batches work ends and nodes send heartbeats:
that is not timed, but following those changes is. The peer is what Celery needs to hand one task to a
broker, before any worker has seen it: the least that routing through a queue costs.

Seconds are those that this process had a core for: planning waits for nothing, and what else runs on
the machine should not show. The cost against the size of the fleet is drawn to `var/bench/routing.svg`.
"""

from __future__ import annotations

import os
import random
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from celery import Celery

from bench.local_broker import broker_url
from bench.plot import loglog
from bench.report import Better, Report, Row
from coordinator.fleet import Fleet
from coordinator.planning import plan
from coordinator.values import Decision, FogNode, Resources, RoutingStrategy, Task
from fogpanel.supervisor.places import ROOT
from fogpanel.supervisor.problems import CannotStart

FLEET_SIZES = (10, 1_000, 10_000, 100_000)
SMALL_FLEET, BAR_FLEET, LARGE_FLEET = 1_000, 10_000, 100_000
BATCH = 500
BATCHES_RUNNING = 4  # work ends after so many batches
HEARTBEATS_PER_BATCH = 10
SHAPES = 24
ORDERED = (RoutingStrategy.ROUND_ROBIN, RoutingStrategy.LEAST_LOADED)
BARS = {strategy: 20_000 if strategy in ORDERED else 2_000 for strategy in RoutingStrategy}
GROWTH_BAR = 2.0
PUBLISHED = 2_000
MICROSECONDS = 1e6

NOW = 1_000_000.0
REGIONS = ("eu-west", "eu-north", "us-east", "us-west", "sa-east", "ap-south", "ap-east", "af-south")


def measure() -> Report:
    costs = {
        (strategy, size): _cost(strategy, nodes)
        for size in FLEET_SIZES
        for nodes in [_nodes(size)]
        for strategy in RoutingStrategy
    }
    peer, published = _celery()
    rows = [
        Row(
            what=f"{strategy}@{size}",
            value=1 / cost,
            unit="decisions/s of core time",
            bar=BARS[strategy] if size == BAR_FLEET else None,
            peer=peer,
            peer_value=published,
        )
        for (strategy, size), cost in costs.items()
    ]
    rows += [
        Row(
            what=f"growth {strategy}",
            value=costs[strategy, LARGE_FLEET] / costs[strategy, SMALL_FLEET],
            unit=f"cost @{LARGE_FLEET} over @{SMALL_FLEET}",
            bar=GROWTH_BAR if strategy in ORDERED else None,
            better=Better.LOWER,
            peer="bound: reading every node" if strategy in ORDERED else None,
            peer_value=LARGE_FLEET / SMALL_FLEET if strategy in ORDERED else None,
        )
        for strategy in RoutingStrategy
    ]
    return Report(
        bench="routing", rows=rows, note=f"The plot of cost against fleet size is in {_plot(costs)}."
    )


def _plot(costs: Mapping[tuple[RoutingStrategy, int], float]) -> Path:
    """Draw the cost of a decision over the size of the fleet; where the drawing is."""
    lines = {
        str(strategy): [(size, MICROSECONDS * costs[strategy, size]) for size in FLEET_SIZES]
        for strategy in RoutingStrategy
    }
    path = ROOT / "var" / "bench" / "routing.svg"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(loglog("Cost of a routing decision", "nodes", "µs of core time", lines))
    return path


def _cost(strategy: RoutingStrategy, nodes: list[FogNode]) -> float:
    """Seconds for one decision."""
    rng = random.Random(2)
    fleet = Fleet()
    fleet.upsert(nodes)
    shapes = _shapes(rng, strategy)
    running: deque[list[tuple[Task, Decision]]] = deque()
    recorded: list[Decision] = []
    batches = 40 if strategy in ORDERED else 8
    spent_s = 0.0
    for number in range(batches + BATCHES_RUNNING):
        tasks = [replace(_shape(rng, shapes), task_id=number * BATCH + each) for each in range(BATCH)]
        started = time.process_time()
        made = plan(fleet, tasks, NOW + number, rng)
        if (
            number >= BATCHES_RUNNING
        ):  # the first batches fill the fleet and meet each shape for the first time
            spent_s += time.process_time() - started
        recorded += made.decisions
        running.append(
            [pair for pair in zip(tasks, made.decisions, strict=True) if pair[1].chosen is not None]
        )
        if len(running) >= BATCHES_RUNNING:
            _end(fleet, running.popleft())
        _beat(fleet, rng, nodes, NOW + number)
    assert len({each.task_id for each in recorded}) == (batches + BATCHES_RUNNING) * BATCH
    return spent_s / (batches * BATCH)


def _end(fleet: Fleet, work: list[tuple[Task, Decision]]) -> None:
    for task, decision in work:
        assert decision.chosen is not None
        fleet.release(decision.chosen, task.needs)


def _beat(fleet: Fleet, rng: random.Random, nodes: list[FogNode], now: float) -> None:
    for node in rng.sample(nodes, min(len(nodes), HEARTBEATS_PER_BATCH)):
        known = fleet.get(node.node_id)
        assert known is not None
        fleet.upsert([replace(known, last_contact=now, measured_load=rng.random() / 10)])


def _nodes(count: int) -> list[FogNode]:
    rng = random.Random(1)
    return [_node(rng, number) for number in range(count)]


def _node(rng: random.Random, number: int) -> FogNode:
    total = Resources(
        cpu_millis=rng.choice([16_000, 32_000, 64_000]),
        memory_mb=rng.choice([32_768, 65_536, 131_072]),
        disk_mb=1_000_000,
        gpus=8 if number % 20 == 0 else 0,
    )
    return FogNode(
        node_id=number,
        name=f"node-{number}",
        total=total,
        free=Resources() if number % 10 == 7 else total,
        region=rng.choice(REGIONS),
        latitude=rng.uniform(-60, 70),
        longitude=rng.uniform(-180, 180),
        network=f"10.{rng.randrange(250)}.0.0/16",
        drivers=frozenset(["wasm", "python"]),
        labels={"zone": rng.choice("abcd"), "owner": f"owner-{number % 97}"},
        onion_capable=rng.random() < 0.6,
        reputation=rng.random(),
        last_contact=NOW,
        timeout_s=10_000.0,
    )


def _shapes(rng: random.Random, strategy: RoutingStrategy) -> list[Task]:
    """``SHAPES`` kinds of task; the first two need a GPU."""
    return [
        Task(
            task_id=number,
            needs=Resources(
                cpu_millis=rng.choice([50, 100, 200]), memory_mb=64 + number, gpus=1 if number < 2 else 0
            ),
            driver=rng.choice(["wasm", "python"]),
            strategy=strategy,
            region=rng.choice(REGIONS),
            region_required=number % 8 == 3,
            labels={"zone": "a"} if number % 4 == 2 else {},
            prefers={"zone": "b"},
            network="10.7.0.0/16",
        )
        for number in range(SHAPES)
    ]


def _shape(rng: random.Random, shapes: list[Task]) -> Task:
    return rng.choice(shapes[:2] if rng.random() < 0.1 else shapes[2:])


def _celery() -> tuple[str, float | None]:
    """Celery's name and the tasks a second that it publishes, or why there is no figure."""
    try:
        with broker_url() as url:
            return "Celery apply_async to a local broker, tasks/s of core time", _published_per_second(url)
    except CannotStart as problem:
        return f"none ({problem})", None


def _published_per_second(url: str) -> float:
    app = Celery("bench", broker=url)
    app.conf.task_ignore_result = True
    same = app.task(_same)
    queue = f"bench-{os.getpid()}"
    for number in range(50):
        same.apply_async((number,), queue=queue)
    started = time.process_time()
    for number in range(PUBLISHED):
        same.apply_async((number,), queue=queue)
    took = time.process_time() - started
    with app.connection_for_write() as connection:
        app.amqp.queues[queue].bind(connection).purge()
    app.close()
    return PUBLISHED / took


def _same(number: int) -> int:
    return number

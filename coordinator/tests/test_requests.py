"""Requests in plain values: everything given is honoured, everything wrong is named."""

from __future__ import annotations

from typing import Any

import pytest

from coordinator.fog_coordinator import FogCoordinator
from coordinator.requests import COMPUTE_FIELDS, RESOURCE_FIELDS
from coordinator.tests.fleets import NOW, a_node
from coordinator.values import Resources, Task

pytestmark = pytest.mark.asyncio


@pytest.fixture
def fog() -> FogCoordinator:
    return FogCoordinator(clock=lambda: NOW)


async def test_compute_task_honours_every_requirement(fog: FogCoordinator) -> None:
    asked: dict[str, Any] = {
        "task_id": "job",
        "cpu_millis": 500,
        "memory_mb": 300,
        "disk_mb": 10,
        "gpus": 1,
        "driver": "container",
        "region": "eu-west",
        "region_required": True,
        "labels": {"gpu": "a100"},
        "onion_required": True,
        "strategy": "round_robin",
    }
    right: dict[str, Any] = {
        "total": Resources(cpu_millis=1000, memory_mb=1000, disk_mb=10, gpus=1),
        "drivers": frozenset({"container"}),
        "region": "eu-west",
        "labels": {"gpu": "a100"},
        "onion_capable": True,
    }
    wrong: dict[str, dict[str, Any]] = {
        "cpu": {"total": Resources(cpu_millis=499, memory_mb=1000, disk_mb=10, gpus=1)},
        "memory": {"total": Resources(cpu_millis=1000, memory_mb=299, disk_mb=10, gpus=1)},
        "disk": {"total": Resources(cpu_millis=1000, memory_mb=1000, disk_mb=9, gpus=1)},
        "gpu": {"total": Resources(cpu_millis=1000, memory_mb=1000, disk_mb=10)},
        "driver": {"drivers": frozenset({"wasm"})},
        "region": {"region": "us-east"},
        "label": {"labels": {"gpu": "h100"}},
        "onion": {"onion_capable": False},
        "compute": {"computes": False},
    }
    for name, flaw in wrong.items():
        await fog.register_node(a_node(name, **{**right, **flaw}))
    waiting = await fog.process_fog_request("compute_task", asked)
    assert waiting["status"] == "queued"
    assert waiting["decision"]["rejected"] == dict.fromkeys(wrong, 1)
    await fog.register_node(a_node("right", **right))
    assert await fog.process_fog_request("query_status", {"task_id": "job"}) == {
        "task_id": "job",
        "status": "assigned",
        "node_id": "right",
    }


async def test_every_field_of_a_task_can_be_asked_for() -> None:
    assert set(COMPUTE_FIELDS) - set(RESOURCE_FIELDS) == set(Task.__dataclass_fields__) - {"needs"}
    assert set(RESOURCE_FIELDS) == set(Resources.__dataclass_fields__)


async def test_query_status_of_the_whole_of_a_node_and_of_the_unknown(fog: FogCoordinator) -> None:
    assert (await fog.process_fog_request("query_status", {}))["status"] == "degraded"
    await fog.register_node(a_node(1))
    whole = await fog.process_fog_request("query_status", {})
    assert (whole["status"], whole["by_status"]) == ("ok", {"idle": 1})
    node = await fog.process_fog_request("query_status", {"node_id": 1})
    assert (node["status"], node["free"]["cpu_millis"]) == ("idle", 4000)
    assert "no task x" in (await fog.process_fog_request("query_status", {"task_id": "x"}))["error"]
    assert "no node 9" in (await fog.process_fog_request("query_status", {"node_id": 9}))["error"]
    both = await fog.process_fog_request("query_status", {"node_id": 1, "task_id": 1})
    assert both["field"] == "task_id"


async def test_update_metrics_is_a_heartbeat_with_a_load(fog: FogCoordinator) -> None:
    await fog.register_node(a_node(1))
    await fog.handle_node_failure(1)
    answered = await fog.process_fog_request("update_metrics", {"node_id": 1, "measured_load": 0.5})
    assert answered["measured_load"] == 0.5
    node = await fog.get_node(1)
    assert node is not None and node.connected and node.measured_load == 0.5
    assert "error" in await fog.process_fog_request("update_metrics", {"node_id": 2, "measured_load": 0.5})


async def test_an_unknown_type_is_told_the_known_ones(fog: FogCoordinator) -> None:
    answered = await fog.process_fog_request("dance", {})
    assert answered["known"] == ["compute_task", "query_status", "update_metrics"]
    assert "'dance' is not known" in answered["error"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("task_id", None),
        ("task_id", ""),
        ("cpu_millis", -1),
        ("memory_mb", 1.5),
        ("gpus", True),
        ("driver", 7),
        ("strategy", "fastest"),
        ("priority", 11),
        ("latitude", float("nan")),
        ("latitude", 10),  # without a longitude
        ("labels", ["gpu"]),
        ("labels", {"gpu": 1}),
        ("inputs", "abc"),
        ("onion_required", "yes"),
        ("avoid", [None]),
        ("colour", "red"),
    ],
)
async def test_a_wrong_field_is_named_and_nothing_is_queued(
    fog: FogCoordinator, field: str, value: object
) -> None:
    answered = await fog.process_fog_request("compute_task", {"task_id": "job", field: value})
    assert answered["field"] == field
    assert answered["error"].startswith(f"{field}: ")
    assert await fog.find_task("job") is None


async def test_what_must_be_given_is_asked_for(fog: FogCoordinator) -> None:
    assert (await fog.process_fog_request("compute_task", {}))["error"] == "task_id: must be given."
    wishful = {"task_id": 1, "region_required": True}
    assert (await fog.process_fog_request("compute_task", wishful))["field"] == "region"
    await fog.process_fog_request("compute_task", {"task_id": 1})
    assert "already" in (await fog.process_fog_request("compute_task", {"task_id": 1}))["error"]

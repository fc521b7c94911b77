"""Requests in plain values (say, decoded JSON), checked field by field: nothing given is ignored."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from typing import Any, TypeAlias

from coordinator.errors import BadField, CoordinatorError, UnknownNode, UnknownTask
from coordinator.interface import IFogCoordinator
from coordinator.status import derive_status, status_reason
from coordinator.values import Decision, NodeId, Resources, RoutingStrategy, Task

Answer: TypeAlias = dict[str, Any]
Read: TypeAlias = Callable[[str, Any], Any]

LONGEST_TEXT = 255
LARGEST_AMOUNT = 2**40


async def answer(coordinator: IFogCoordinator, request_type: str, data: Mapping[str, Any]) -> Answer:
    handler = HANDLERS.get(request_type) if isinstance(request_type, str) else None
    if handler is None:
        known = sorted(HANDLERS)
        return {
            "error": f"type: {request_type!r} is not known; use one of {', '.join(known)}.",
            "known": known,
        }
    try:
        return await handler(coordinator, data)
    except BadField as error:
        return {"error": str(error), "field": error.field}
    except CoordinatorError as error:
        return {"error": str(error)}


async def _compute_task(coordinator: IFogCoordinator, data: Mapping[str, Any]) -> Answer:
    """Route one task. Fields as in ``Task``, its needs one by one."""
    given = _read(data, COMPUTE_FIELDS, required=("task_id",))
    needs = Resources(**{name: given.pop(name) for name in RESOURCE_FIELDS if name in given})
    if (given.get("latitude") is None) != (given.get("longitude") is None):
        raise BadField("latitude", "must be given together with longitude.")
    if given.get("region_required") and not given.get("region"):
        raise BadField("region", "must be given when region_required is true.")
    task = Task(needs=needs, **given)
    node = await coordinator.route_task(task)
    decision = await coordinator.last_decision(task.task_id)
    assert decision is not None, "routing leaves a decision"
    return {
        "task_id": task.task_id,
        "status": "queued" if node is None else "assigned",
        "node_id": None if node is None else node.node_id,
        "decision": _decision_out(decision),
    }


async def _query_status(coordinator: IFogCoordinator, data: Mapping[str, Any]) -> Answer:
    """One task, one node, or, with neither, the whole."""
    given = _read(data, QUERY_FIELDS)
    if len(given) > 1:
        raise BadField("task_id", "cannot be asked together with node_id; ask for one of them.")
    if "task_id" in given:
        place = await coordinator.find_task(given["task_id"])
        if place is None:
            raise UnknownTask(given["task_id"])
        status = "queued" if place.node_id is None else "assigned"
        return {"task_id": given["task_id"], "status": status, "node_id": place.node_id}
    if "node_id" in given:
        return await _node_out(coordinator, given["node_id"])
    health = await coordinator.health_check()
    return {
        "status": "ok" if health.ok else "degraded",
        "sentence": health.sentence,
        "nodes": health.nodes,
        "by_status": {status.value: count for status, count in health.by_status.items()},
        "queued": health.queued,
        "running": health.running,
    }


async def _update_metrics(coordinator: IFogCoordinator, data: Mapping[str, Any]) -> Answer:
    """A node reports how busy it is; this counts as a heartbeat."""
    given = _read(data, METRICS_FIELDS, required=("node_id", "measured_load"))
    await coordinator.heartbeat(given["node_id"], given["measured_load"])
    return await _node_out(coordinator, given["node_id"])


async def _node_out(coordinator: IFogCoordinator, node_id: NodeId) -> Answer:
    node = await coordinator.get_node(node_id)
    if node is None:
        raise UnknownNode(node_id)
    now = (await coordinator.health_check()).as_of
    return {
        "node_id": node.node_id,
        "status": derive_status(node, now).value,
        "reason": status_reason(node, now),
        "measured_load": node.measured_load,
        "free": asdict(node.free),
    }


def _decision_out(decision: Decision) -> Answer:
    return {
        "strategy": decision.strategy.value,
        "considered": decision.considered,
        "eligible": decision.eligible,
        "rejected": dict(decision.rejected),
        "others": {strategy.value: chosen for strategy, chosen in decision.others.items()},
        "took_us": decision.took_us,
    }


def _read(
    data: Mapping[str, Any], fields: Mapping[str, Read], required: tuple[str, ...] = ()
) -> dict[str, Any]:
    if not isinstance(data, Mapping):
        raise BadField("data", f"must be an object of fields, was {type(data).__name__}.")
    for name in data:
        if name not in fields:
            raise BadField(
                str(name), f"is not a field of this request; known are {', '.join(sorted(fields))}."
            )
    for name in required:
        if name not in data:
            raise BadField(name, "must be given.")
    return {name: fields[name](name, value) for name, value in data.items()}


def _identity(name: str, value: Any) -> int | str:
    if isinstance(value, bool) or not isinstance(value, int | str) or value == "":
        raise BadField(name, f"must be a whole number or a text, was {value!r}.")
    return value


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or len(value) > LONGEST_TEXT:
        raise BadField(name, f"must be a text of at most {LONGEST_TEXT} characters.")
    return value


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise BadField(name, f"must be true or false, was {value!r}.")
    return value


def _whole(least: int, most: int) -> Read:
    def read(name: str, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise BadField(name, f"must be a whole number between {least} and {most}, was {value!r}.")
        return value

    return read


def _number(least: float, most: float) -> Read:
    def read(name: str, value: Any) -> float:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not least <= value <= most:
            raise BadField(name, f"must be a number between {least:g} and {most:g}, was {value!r}.")
        return float(value)

    return read


def _strategy(name: str, value: Any) -> RoutingStrategy:
    try:
        return RoutingStrategy(value)
    except ValueError:
        known = ", ".join(RoutingStrategy)
        raise BadField(name, f"must be one of {known}, was {value!r}.") from None


def _labels(name: str, value: Any) -> Mapping[str, str]:
    if not isinstance(value, Mapping):
        raise BadField(name, "must be an object of texts.")
    return {_text(name, key): _text(name, each) for key, each in value.items()}


def _set_of(read: Read) -> Read:
    def read_all(name: str, value: Any) -> frozenset[Any]:
        if not isinstance(value, list | tuple | set | frozenset):
            raise BadField(name, "must be a list.")
        return frozenset(read(name, each) for each in value)

    return read_all


RESOURCE_FIELDS: Mapping[str, Read] = {
    "cpu_millis": _whole(0, LARGEST_AMOUNT),
    "memory_mb": _whole(0, LARGEST_AMOUNT),
    "disk_mb": _whole(0, LARGEST_AMOUNT),
    "gpus": _whole(0, LARGEST_AMOUNT),
}

COMPUTE_FIELDS: Mapping[str, Read] = {
    **RESOURCE_FIELDS,
    "task_id": _identity,
    "driver": _text,
    "strategy": _strategy,
    "region": _text,
    "region_required": _flag,
    "latitude": _number(-90, 90),
    "longitude": _number(-180, 180),
    "network": _text,
    "labels": _labels,
    "prefers": _labels,
    "inputs": _set_of(_text),
    "onion_required": _flag,
    "priority": _whole(1, 10),
    "submitted_at": _number(0, LARGEST_AMOUNT),
    "avoid": _set_of(_identity),
    "among": _set_of(_identity),
}
QUERY_FIELDS: Mapping[str, Read] = {"task_id": _identity, "node_id": _identity}
METRICS_FIELDS: Mapping[str, Read] = {"node_id": _identity, "measured_load": _number(0, 1)}

HANDLERS: Mapping[str, Callable[[IFogCoordinator, Mapping[str, Any]], Awaitable[Answer]]] = {
    "compute_task": _compute_task,
    "query_status": _query_status,
    "update_metrics": _update_metrics,
}

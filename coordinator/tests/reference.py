"""The planner once more, written for reading only: plain loops over plain nodes, nothing kept."""

from __future__ import annotations

import math
from dataclasses import replace

from coordinator.geo import EARTH_RADIUS_KM, region_point
from coordinator.values import Availability, FogNode, NodeId, Resources, RoutingStrategy, Task


class ReferencePlanner:
    def __init__(self) -> None:
        self.nodes: dict[NodeId, FogNode] = {}
        self.order: list[NodeId] = []  # equals come in the order of their rows, which removed nodes free
        self.vacant: list[int] = []
        self.recent: list[str] = []  # networks used for private work, newest last
        self.last_assignment = -math.inf

    def upsert(self, nodes: list[FogNode]) -> None:
        for node in nodes:
            if node.node_id not in self.nodes:
                if self.vacant:
                    self.order[self.vacant.pop()] = node.node_id
                else:
                    self.order.append(node.node_id)
            self.nodes[node.node_id] = node

    def remove(self, node_id: NodeId) -> None:
        if node_id in self.nodes:
            del self.nodes[node_id]
            self.vacant.append(self.order.index(node_id))
            self.order[self.order.index(node_id)] = f"vacated by {node_id}"

    def release(self, node_id: NodeId, needs: Resources) -> None:
        if node := self.nodes.get(node_id):
            total, free = node.total, node.free + needs
            capped = Resources(
                cpu_millis=min(total.cpu_millis, free.cpu_millis),
                memory_mb=min(total.memory_mb, free.memory_mb),
                disk_mb=min(total.disk_mb, free.disk_mb),
                gpus=min(total.gpus, free.gpus),
            )
            self.nodes[node_id] = replace(node, free=capped)

    def place(self, task: Task, now: float) -> tuple[NodeId | None, dict[str, int]]:
        rejected: dict[str, int] = {}
        eligible: list[FogNode] = []
        for node_id in self.order:
            if node_id in self.nodes:
                reason = self.reason(self.nodes[node_id], task, now)
                if reason is None:
                    eligible.append(self.nodes[node_id])
                else:
                    rejected[reason] = rejected.get(reason, 0) + 1
        welcome = [node for node in eligible if node.node_id not in task.avoid] or eligible
        if not welcome:
            return None, rejected
        best = max(welcome, key=lambda node: self.worth(node, task))  # the first among equals
        self.last_assignment = max(now, self.last_assignment + 1e-6, best.last_assigned)
        self.nodes[best.node_id] = replace(
            best, free=best.free - task.needs, last_assigned=self.last_assignment
        )
        if task.strategy is RoutingStrategy.PRIVACY_AWARE:
            self.recent.append(network(best))
        return best.node_id, rejected

    def reason(self, node: FogNode, task: Task, now: float) -> str | None:
        wants_onion = task.onion_required or task.strategy is RoutingStrategy.PRIVACY_AWARE
        checks = [
            ("sealed", task.among is not None and node.node_id not in task.among),
            ("maintenance", node.availability is Availability.MAINTENANCE),
            ("draining", node.availability is Availability.DRAINING),
            ("cordoned", node.availability is Availability.CORDONED),
            ("goodbye", node.said_goodbye),
            ("silent", now > node.last_contact + node.timeout_s),
            ("disconnected", not node.connected),
            ("unstable", node.unstable_until is not None),
            ("cooling", node.cooling_until is not None),
            ("kept", node.kept),
            ("compute", not node.computes),
            ("driver", task.driver != "" and task.driver not in node.drivers),
            ("onion", wants_onion and not node.onion_capable),
            ("region", task.region_required and task.region not in ("", node.region)),
            ("label", any(node.labels.get(key) != value for key, value in task.labels.items())),
            ("cpu", node.free.cpu_millis < task.needs.cpu_millis),
            ("memory", node.free.memory_mb < task.needs.memory_mb),
            ("disk", node.free.disk_mb < task.needs.disk_mb),
            ("gpu", node.free.gpus < task.needs.gpus),
        ]
        return next((name for name, failed in checks if failed), None)

    def worth(self, node: FogNode, task: Task) -> float:
        match task.strategy:
            case RoutingStrategy.ROUND_ROBIN:
                return -node.last_assigned
            case RoutingStrategy.LEAST_LOADED:
                return 1 - load(node)
            case RoutingStrategy.AFFINITY_BASED:
                return part(0.7, fit(node, task)) + part(0.3, match(node, task))
            case RoutingStrategy.PROXIMITY_BASED:
                same = task.region != "" and task.region == node.region
                return part(0.6, same) + part(0.39, nearness(node, task)) + part(0.01, 1 - load(node))
            case RoutingStrategy.PRIVACY_AWARE:
                apart = 0.5 if not task.network else float(task.network != network(node))
                lasting = part(0.5, node.reputation) + part(0.2, apart) + part(0.1, 1 - load(node))
                return lasting + part(0.2, self.freshness(node))

    def freshness(self, node: FogNode) -> float:
        newest_first = self.recent[::-1][:8]
        return newest_first.index(network(node)) / 8 if network(node) in newest_first else 1.0


def network(node: FogNode) -> str:
    return node.network or f"node {node.node_id}"


def part(weight: float, score: float) -> float:
    return round(weight * score, 6)


def load(node: FogNode) -> float:
    shares = [round(node.measured_load * 1_000_000)]
    for total, free in (
        (node.total.cpu_millis, node.free.cpu_millis),
        (node.total.memory_mb, node.free.memory_mb),
    ):
        shares.append((total - free) * 1_000_000 // max(total, 1))
    return min(max(shares), 1_000_000) / 1_000_000


def fit(node: FogNode, task: Task) -> float:
    left = node.free - task.needs
    pairs = [
        (left.cpu_millis, node.total.cpu_millis),
        (left.memory_mb, node.total.memory_mb),
        (left.disk_mb, node.total.disk_mb),
        (left.gpus, node.total.gpus),
    ]
    unused = sum(min(1.0, max(0.0, free / max(total, 1))) for free, total in pairs)
    return 1 - unused / max(1, sum(total > 0 for _, total in pairs))


def match(node: FogNode, task: Task) -> float:
    hits = [node.labels.get(key) == value for key, value in task.prefers.items()]
    hits += [each in node.cached_inputs for each in task.inputs]
    return sum(hits) / len(hits) if hits else 1.0


def nearness(node: FogNode, task: Task) -> float:
    there = _point(node.latitude, node.longitude, node.region)
    here = _point(task.latitude, task.longitude, task.region)
    if here is None and not task.region:
        return 0.0 if node.round_trip_ms is None else 20 / (20 + 5 * math.ceil(node.round_trip_ms / 5))
    if there is None or here is None:
        return 0.0
    return 1000 / (1000 + _angle(there, here) * EARTH_RADIUS_KM)


def _point(latitude: float | None, longitude: float | None, region: str) -> tuple[float, float] | None:
    if latitude is None or longitude is None:
        return region_point(region)
    return latitude, longitude


def _angle(there: tuple[float, float], here: tuple[float, float]) -> float:
    # By vectors rather than haversines: another formula than the one it checks.
    (x1, y1, z1), (x2, y2, z2) = _unit(there), _unit(here)
    cross = (y1 * z2 - z1 * y2, z1 * x2 - x1 * z2, x1 * y2 - y1 * x2)
    return math.atan2(math.hypot(*cross), x1 * x2 + y1 * y2 + z1 * z2)


def _unit(point: tuple[float, float]) -> tuple[float, float, float]:
    latitude, longitude = math.radians(point[0]), math.radians(point[1])
    return (
        math.cos(latitude) * math.cos(longitude),
        math.cos(latitude) * math.sin(longitude),
        math.sin(latitude),
    )

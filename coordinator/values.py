"""The values that routing speaks in: nodes, tasks, resources and decisions. All immutable.

Amounts are whole numbers with the unit in their name, so that adding and subtracting
reservations never drifts. Times are seconds since the Unix epoch (``float``), always passed in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import TypeAlias

NodeId: TypeAlias = int | str
TaskId: TypeAlias = int | str

NO_LABELS: Mapping[str, str] = MappingProxyType({})


def no_labels() -> Mapping[str, str]:
    return NO_LABELS


class NodeType(StrEnum):
    """What a machine mainly is. What it may do is a matter of its flags."""

    EDGE_DEVICE = "edge_device"
    RELAY_NODE = "relay_node"
    MIXNODE = "mixnode"
    COMPUTE_NODE = "compute_node"
    GATEWAY = "gateway"


class NodeStatus(StrEnum):
    """Derived from stored facts (last contact, load, what the operator asked for), never set."""

    ACTIVE = "active"  # works and has room
    IDLE = "idle"  # no work
    BUSY = "busy"  # no room
    OFFLINE = "offline"  # silent past its timeout, or said goodbye
    MAINTENANCE = "maintenance"  # taken out by its operator


class Availability(StrEnum):
    """What the operator wants of a node."""

    SCHEDULABLE = "schedulable"
    CORDONED = "cordoned"  # keeps its work, gets no more
    DRAINING = "draining"  # finishes its work until a deadline, then the rest moves
    MAINTENANCE = "maintenance"  # drained, and shown as such


class RoutingStrategy(StrEnum):
    ROUND_ROBIN = "round_robin"
    LEAST_LOADED = "least_loaded"
    AFFINITY_BASED = "affinity_based"
    PROXIMITY_BASED = "proximity_based"
    PRIVACY_AWARE = "privacy_aware"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """An amount of machine. A thousand ``cpu_millis`` are one core."""

    cpu_millis: int = 0
    memory_mb: int = 0
    disk_mb: int = 0
    gpus: int = 0

    def __add__(self, other: Resources) -> Resources:
        return Resources(
            cpu_millis=self.cpu_millis + other.cpu_millis,
            memory_mb=self.memory_mb + other.memory_mb,
            disk_mb=self.disk_mb + other.disk_mb,
            gpus=self.gpus + other.gpus,
        )

    def __sub__(self, other: Resources) -> Resources:
        return Resources(
            cpu_millis=self.cpu_millis - other.cpu_millis,
            memory_mb=self.memory_mb - other.memory_mb,
            disk_mb=self.disk_mb - other.disk_mb,
            gpus=self.gpus - other.gpus,
        )

    def fits_in(self, free: Resources) -> bool:
        return (
            self.cpu_millis <= free.cpu_millis
            and self.memory_mb <= free.memory_mb
            and self.disk_mb <= free.disk_mb
            and self.gpus <= free.gpus
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FogNode:
    """One machine of the fog as routing sees it.

    ``total`` is what the machine (or its owner's share of it) offers, ``free`` what no open attempt
    has reserved. ``network`` groups addresses that fail or spy together (an IPv4 /16, an IPv6 /32).
    ``measured_load`` is the share of all cores busy at the last heartbeat, 0 to 1.
    """

    node_id: NodeId
    name: str
    node_type: NodeType = NodeType.COMPUTE_NODE
    total: Resources
    free: Resources
    region: str = ""
    latitude: float | None = None  # degrees
    longitude: float | None = None  # degrees
    network: str = ""
    computes: bool = True  # its owner lets it run tasks
    drivers: frozenset[str] = frozenset()
    labels: Mapping[str, str] = field(default_factory=no_labels)
    cached_inputs: frozenset[str] = frozenset()  # hashes of the blobs it already holds
    onion_capable: bool = False
    reputation: float = 1.0  # 0 to 1
    measured_load: float = 0.0
    round_trip_ms: float | None = None  # measured to the panel and back; None: not measured
    availability: Availability = Availability.SCHEDULABLE
    connected: bool = True
    last_contact: float = 0.0
    timeout_s: float = 90.0  # silence after which the node counts as offline
    last_assigned: float = 0.0  # when it last got work
    said_goodbye: bool = False
    unstable_until: float | None = None  # its connection broke too often: no new work before it was steady
    cooling_until: float | None = None  # attempts failed there by its own fault: no new work before then
    kept: bool = False  # free for a large task that has waited long (`coordinator.keeping`)


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What routing needs to know of a task.

    ``region`` is where the work should be near to; with ``region_required`` it runs there or waits.
    ``latitude`` and ``longitude`` place the submitter more finely when known, ``network`` says where
    the submitter sits (privacy-aware routing keeps away from it). ``avoid`` names nodes it just
    failed on: they are used only when nothing else is eligible. ``among`` names the only nodes that can
    run it, where it is sealed for them; ``None``: any.
    """

    task_id: TaskId
    needs: Resources
    driver: str = ""  # empty: any node will do
    strategy: RoutingStrategy = RoutingStrategy.LEAST_LOADED
    region: str = ""
    region_required: bool = False
    latitude: float | None = None
    longitude: float | None = None
    network: str = ""
    labels: Mapping[str, str] = field(default_factory=no_labels)  # all of these must match
    prefers: Mapping[str, str] = field(default_factory=no_labels)  # affinity counts how many match
    inputs: frozenset[str] = frozenset()  # hashes of the blobs it reads; affinity counts the cached ones
    onion_required: bool = False
    priority: int = 5  # 1 to 10, 10 first
    submitted_at: float = 0.0
    avoid: frozenset[NodeId] = frozenset()
    among: frozenset[NodeId] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One node's row in a decision: eligible with a score and its parts, or rejected by name.

    ``parts`` are weighted and sum to ``score`` (0 to 1, higher is better). ``reason`` is the name of
    the filter that rejected the node and ``detail`` the sentence a person reads.
    """

    node_id: NodeId
    name: str
    region: str
    score: float | None = None
    parts: Mapping[str, float] = field(default_factory=dict)
    reason: str | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Why a task went where it went, or why it waits.

    ``rejected`` counts nodes by the filter they fell at. ``candidates`` holds every node up to 200,
    above that the best and the nearest misses. ``others`` is what each other strategy would have
    chosen (``None``: nothing), empty where it was not asked.
    """

    task_id: TaskId
    strategy: RoutingStrategy
    chosen: NodeId | None
    considered: int
    eligible: int
    rejected: Mapping[str, int]
    candidates: tuple[Candidate, ...] = ()
    others: Mapping[RoutingStrategy, NodeId | None] = field(default_factory=dict)
    shape: str = ""  # tasks with equal requirements share one
    fleet_version: int = 0
    decided_at: float = 0.0
    took_us: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkTopology:
    """The fleet at one moment, as counts and totals."""

    taken_at: float
    version: int
    nodes_total: int
    by_status: Mapping[NodeStatus, int]
    by_type: Mapping[NodeType, int]
    by_region: Mapping[str, int]
    total: Resources
    free: Resources
    queued: int = 0
    running: int = 0

"""What a coordinator offers. Refusals are ``coordinator.errors``; times are seconds since the epoch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from coordinator.values import (
    Decision,
    FogNode,
    NetworkTopology,
    NodeId,
    NodeStatus,
    NodeType,
    RoutingStrategy,
    Task,
    TaskId,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """``ok`` means that sweeps are punctual (when looped) and there is a node to route to."""

    ok: bool
    sentence: str
    as_of: float
    sweeping: bool  # whether ``start`` was called and its loop is alive
    last_sweep_at: float | None
    nodes: int
    by_status: Mapping[NodeStatus, int]
    queued: int
    running: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskPlace:
    """A task at this moment: on a node, or (``None``) waiting in the queue."""

    task: Task
    node_id: NodeId | None


class IFogCoordinator(ABC):
    @abstractmethod
    async def register_node(self, node: FogNode) -> FogNode:
        """Add a node, heard of now, and place what waited for it. Raises ``DuplicateNode``."""

    @abstractmethod
    async def unregister_node(self, node_id: NodeId) -> tuple[TaskId, ...]:
        """Forget a node; what ran there returns to the queue and is routed anew.

        Returns the tasks moved. Raises ``UnknownNode``.
        """

    @abstractmethod
    async def update_node_status(self, node_id: NodeId, status: NodeStatus) -> FogNode:
        """Take out (maintenance), resume (active) or say goodbye (offline); what ran on it moves.

        Raises ``DerivedStatus`` for idle and busy, ``UnknownNode``.
        """

    @abstractmethod
    async def get_node(self, node_id: NodeId) -> FogNode | None: ...

    @abstractmethod
    async def list_nodes(
        self, status: NodeStatus | None = None, node_type: NodeType | None = None
    ) -> list[FogNode]: ...

    @abstractmethod
    async def route_task(self, task: Task, strategy: RoutingStrategy | None = None) -> FogNode | None:
        """Place a task, by ``strategy`` where given, else by its own; ``None``: it waits in the queue.

        Raises ``DuplicateTask``.
        """

    @abstractmethod
    async def route_tasks(self, tasks: Sequence[Task]) -> tuple[Decision, ...]:
        """Place many in one plan, in their turn: by priority, and by how long they have waited.

        The decisions come in the order of ``tasks``. Raises ``DuplicateTask`` before anything is placed.
        """

    @abstractmethod
    async def find_task(self, task_id: TaskId) -> TaskPlace | None:
        """``None``: it is unknown, or has ended."""

    @abstractmethod
    async def last_decision(self, task_id: TaskId) -> Decision | None:
        """Why this task went where it went or still waits; the latest of its decisions."""

    @abstractmethod
    async def preview(self, task: Task) -> Mapping[RoutingStrategy, Decision]:
        """What each strategy would choose now. Nothing is placed."""

    @abstractmethod
    async def heartbeat(self, node_id: NodeId, measured_load: float | None = None) -> FogNode:
        """The node is alive, and this busy (0 to 1) where it says so. Raises ``UnknownNode``."""

    @abstractmethod
    async def complete_task(self, task_id: TaskId, node_id: NodeId | None = None) -> bool:
        """Work has ended: its capacity returns.

        ``False``, and nothing changes, when it does not run, or not on ``node_id``.
        """

    @abstractmethod
    async def handle_node_failure(self, node_id: NodeId) -> tuple[TaskId, ...]:
        """The node is unreachable until its next heartbeat; what ran there is routed anew.

        Returns the tasks moved. Raises ``UnknownNode``.
        """

    @abstractmethod
    async def sweep(self, now: float | None = None) -> tuple[NodeId, ...]:
        """Fail the nodes silent past their timeout, place what waits, and keep a snapshot.

        Returns the nodes failed. Safe to call twice, or late.
        """

    @abstractmethod
    async def get_topology(self) -> NetworkTopology: ...

    @abstractmethod
    async def topology_history(self) -> tuple[NetworkTopology, ...]:
        """The last hundred snapshots, oldest first."""

    @abstractmethod
    async def process_fog_request(self, request_type: str, data: Mapping[str, Any]) -> dict[str, Any]:
        """compute_task, query_status or update_metrics as plain values; never raises for bad input.

        What is refused answers ``{"error": sentence}``, an unknown type also ``"known": [...]``.
        """

    @abstractmethod
    async def health_check(self) -> Health: ...

    @abstractmethod
    async def start(self) -> None:
        """Sweep every ``sweep_interval_s`` until ``stop``. Calling it again changes nothing."""

    @abstractmethod
    async def stop(self) -> None:
        """End the loop of ``start``. Calling it again changes nothing."""

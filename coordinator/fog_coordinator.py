"""The async face of routing: in memory a library and a simulator; with a commit function, part of a system.

No locks: everything between two awaits happens at once, and the only thing awaited is the commit. What
was planned is reserved before the commit starts, so whatever runs meanwhile sees it; what the commit
loses is returned and planned again.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from coordinator.errors import DerivedStatus, DuplicateNode, UnknownNode
from coordinator.fleet import Fleet
from coordinator.interface import Health, IFogCoordinator, TaskPlace
from coordinator.planning import BY_COUNTS, FULLY, Explain, plan, preview
from coordinator.queueing import in_turn
from coordinator.requests import answer
from coordinator.status import derive_status, status_counts
from coordinator.sweeping import INTERVAL_S, Sweeping
from coordinator.topology import take_topology
from coordinator.values import (
    Availability,
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
from coordinator.workload import Workload

# Stores the placements and returns the tasks whose placement holds; the others are planned again.
Commit: TypeAlias = Callable[[Sequence[Decision]], Awaitable[Collection[TaskId]]]

SNAPSHOTS_KEPT = 100
COMMIT_ROUNDS = 3  # a placement that loses so often waits for the next sweep


async def keep_all(placements: Sequence[Decision]) -> Collection[TaskId]:
    return [each.task_id for each in placements]


class FogCoordinator(IFogCoordinator):
    """Used from one event loop. ``heartbeat_timeout_s``, where given, replaces the nodes' own timeouts.

    When ``commit`` raises, the tasks wait in the queue, the reservations are returned, and the caller
    gets the exception.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        rng: random.Random | None = None,
        commit: Commit = keep_all,
        heartbeat_timeout_s: float | None = None,
        sweep_interval_s: float = INTERVAL_S,
    ) -> None:
        self.fleet = Fleet()
        self._clock = clock
        self._rng = rng or random.Random()
        self._commit = commit
        self._heartbeat_timeout_s = heartbeat_timeout_s
        self._work = Workload(self.fleet)
        self._sweeping = Sweeping(self.sweep, clock, sleep, sweep_interval_s)
        self._snapshots: deque[NetworkTopology] = deque(maxlen=SNAPSHOTS_KEPT)

    # Nodes

    async def register_node(self, node: FogNode) -> FogNode:
        if node.node_id in self.fleet:
            raise DuplicateNode(node.node_id)
        timeout_s = node.timeout_s if self._heartbeat_timeout_s is None else self._heartbeat_timeout_s
        self._state(replace(node, last_contact=self._clock(), timeout_s=timeout_s))
        await self._place_waiting()
        return self._known(node.node_id)

    async def unregister_node(self, node_id: NodeId) -> tuple[TaskId, ...]:
        self._known(node_id)
        moved = self._work.requeue(node_id)
        self.fleet.remove([node_id])
        await self._place_waiting()
        return moved

    async def update_node_status(self, node_id: NodeId, status: NodeStatus) -> FogNode:
        node = self._known(node_id)
        match status:
            case NodeStatus.ACTIVE:
                wanted = replace(node, availability=Availability.SCHEDULABLE, said_goodbye=False)
            case NodeStatus.MAINTENANCE:
                wanted = replace(node, availability=Availability.MAINTENANCE)
            case NodeStatus.OFFLINE:
                wanted = replace(node, said_goodbye=True)
            case NodeStatus.IDLE | NodeStatus.BUSY:
                raise DerivedStatus(status)
        self._state(wanted)
        if status is not NodeStatus.ACTIVE:
            self._work.requeue(node_id)
        await self._place_waiting()
        return self._known(node_id)

    async def get_node(self, node_id: NodeId) -> FogNode | None:
        return self.fleet.get(node_id)

    async def list_nodes(
        self, status: NodeStatus | None = None, node_type: NodeType | None = None
    ) -> list[FogNode]:
        now = self._clock()
        return [
            node
            for node in self.fleet.nodes()
            if (status is None or derive_status(node, now) is status)
            and (node_type is None or node.node_type is node_type)
        ]

    async def heartbeat(self, node_id: NodeId, measured_load: float | None = None) -> FogNode:
        node = self._known(node_id)
        load = node.measured_load if measured_load is None else measured_load
        beaten = replace(
            node, connected=True, said_goodbye=False, last_contact=self._clock(), measured_load=load
        )
        self._state(beaten)
        if node.said_goodbye or not node.connected or self._clock() > node.last_contact + node.timeout_s:
            await self._place_waiting()
        return self._known(node_id)

    async def handle_node_failure(self, node_id: NodeId) -> tuple[TaskId, ...]:
        moved = self._fail(node_id)
        await self._place_waiting()
        return moved

    # Tasks

    async def route_task(self, task: Task, strategy: RoutingStrategy | None = None) -> FogNode | None:
        if strategy is not None:
            task = replace(task, strategy=strategy)
        self._work.enqueue([task])
        await self._place([task], FULLY)
        attempt = self._work.running.get(task.task_id)
        return None if attempt is None else self.fleet.get(attempt.node_id)

    async def route_tasks(self, tasks: Sequence[Task]) -> tuple[Decision, ...]:
        self._work.enqueue(tasks)
        made = await self._place(in_turn(tasks), BY_COUNTS)
        return tuple(made[task.task_id] for task in tasks)

    async def find_task(self, task_id: TaskId) -> TaskPlace | None:
        if attempt := self._work.running.get(task_id):
            return TaskPlace(task=attempt.task, node_id=attempt.node_id)
        task = self._work.queued.get(task_id)
        return None if task is None else TaskPlace(task=task, node_id=None)

    async def last_decision(self, task_id: TaskId) -> Decision | None:
        return self._work.last_decision(task_id)

    async def preview(self, task: Task) -> Mapping[RoutingStrategy, Decision]:
        return preview(self.fleet, task, self._clock(), self._rng)

    async def complete_task(self, task_id: TaskId, node_id: NodeId | None = None) -> bool:
        completed = self._work.complete(task_id, node_id)
        if completed:
            await self._place_waiting()
        return completed

    # The whole

    async def sweep(self, now: float | None = None) -> tuple[NodeId, ...]:
        now = self._clock() if now is None else now
        failed = tuple(node.node_id for node in self.fleet.overdue(now) if self._timed_out(node, now))
        for node_id in failed:
            self._fail(node_id)
        self._sweeping.note(now)
        await self._place_waiting()
        self._snapshots.append(self._topology(now))
        return failed

    async def get_topology(self) -> NetworkTopology:
        return self._topology(self._clock())

    async def topology_history(self) -> tuple[NetworkTopology, ...]:
        return tuple(self._snapshots)

    async def process_fog_request(self, request_type: str, data: Mapping[str, Any]) -> dict[str, Any]:
        return await answer(self, request_type, data)

    async def health_check(self) -> Health:
        now = self._clock()
        sentence = self._complaint(now)
        return Health(
            ok=sentence is None,
            sentence=sentence or "Routing.",
            as_of=now,
            sweeping=self._sweeping.on,
            last_sweep_at=self._sweeping.last_at,
            nodes=len(self.fleet),
            by_status=status_counts(self.fleet.table, now),
            queued=len(self._work.queued),
            running=len(self._work.running),
        )

    async def start(self) -> None:
        self._sweeping.start()

    async def stop(self) -> None:
        await self._sweeping.stop()

    # Inside

    def _known(self, node_id: NodeId) -> FogNode:
        node = self.fleet.get(node_id)
        if node is None:
            raise UnknownNode(node_id)
        return node

    def _state(self, node: FogNode) -> None:
        self.fleet.upsert([node])

    def _fail(self, node_id: NodeId) -> tuple[TaskId, ...]:
        self._state(replace(self._known(node_id), connected=False))
        return self._work.requeue(node_id)

    async def _place_waiting(self) -> None:
        if self._work.queued:
            await self._place(in_turn(self._work.queued.values()), BY_COUNTS)

    async def _place(self, tasks: Sequence[Task], explain: Explain) -> dict[TaskId, Decision]:
        """Plan and commit queued tasks; losers are planned again a few times, then wait.

        Returns the last decision on each.
        """
        made: dict[TaskId, Decision] = {}
        for _ in range(COMMIT_ROUNDS):
            decisions = plan(self.fleet, tasks, self._clock(), self._rng, explain=explain).decisions
            made.update((each.task_id, each) for each in decisions)
            self._work.remember(decisions)
            lost = await self._commit_placements([each for each in decisions if each.chosen is not None])
            tasks = [self._work.queued[task_id] for task_id in lost if task_id in self._work.queued]
            if not tasks:
                break
        return made

    async def _commit_placements(self, placements: Sequence[Decision]) -> list[TaskId]:
        """Open an attempt for each placement, and take back those that the commit did not keep."""
        attempts = [self._work.open(each) for each in placements]
        won: Collection[TaskId] = ()
        try:
            if placements:
                won = set(await self._commit(placements))
        finally:
            # Also when the commit fails or is cancelled: nothing stays reserved that does not run.
            lost = [each for each in attempts if each.task.task_id not in won and self._work.is_open(each)]
            for attempt in lost:
                self._work.take_back(attempt)
        return [attempt.task.task_id for attempt in lost]

    def _timed_out(self, node: FogNode, now: float) -> bool:
        # A node that failed or said goodbye was dealt with then.
        heard = max(node.last_contact, self._sweeping.trusted_since)
        return node.connected and not node.said_goodbye and now > heard + node.timeout_s

    def _topology(self, now: float) -> NetworkTopology:
        return take_topology(self.fleet, now, queued=len(self._work.queued), running=len(self._work.running))

    def _complaint(self, now: float) -> str | None:
        if not len(self.fleet):
            return "No node is registered."
        if not any(each in status_counts(self.fleet.table, now) for each in REACHABLE):
            return "No node can be reached."
        return self._sweeping.complaint(now)


REACHABLE = (NodeStatus.ACTIVE, NodeStatus.IDLE, NodeStatus.BUSY)

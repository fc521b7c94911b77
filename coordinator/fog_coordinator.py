"""The async face of routing: in memory a library and a simulator; with a commit function, part of a system.

No locks: everything between two awaits happens at once, and the only thing awaited is the commit. What
was planned is reserved before the commit starts, so whatever runs meanwhile sees it; what the commit
loses is returned and planned again.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from coordinator.errors import DerivedStatus, DuplicateNode, DuplicateTask, UnknownNode
from coordinator.fleet import Fleet
from coordinator.interface import Health, IFogCoordinator, TaskPlace
from coordinator.planning import BY_COUNTS, FULLY, Explain, plan, preview
from coordinator.queueing import in_turn
from coordinator.requests import answer
from coordinator.status import derive_status, status_counts
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

logger = logging.getLogger(__name__)

# Stores the placements and returns the tasks whose placement holds; the others are planned again.
Commit: TypeAlias = Callable[[Sequence[Decision]], Awaitable[Collection[TaskId]]]

SWEEP_INTERVAL_S = 10.0
SNAPSHOTS_KEPT = 100
DECISIONS_KEPT = 10_000
COMMIT_ROUNDS = 3  # a placement that loses so often waits for the next sweep
LATE_SWEEPS = 3  # so many intervals without a sweep mean that we were away ourselves


@dataclass(frozen=True, slots=True)
class Attempt:
    task: Task
    node_id: NodeId
    started_at: float


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
        sweep_interval_s: float = SWEEP_INTERVAL_S,
    ) -> None:
        self.fleet = Fleet()
        self._clock = clock
        self._sleep = sleep
        self._rng = rng or random.Random()
        self._commit = commit
        self._heartbeat_timeout_s = heartbeat_timeout_s
        self._sweep_interval_s = sweep_interval_s
        self._queued: dict[TaskId, Task] = {}
        self._running: dict[TaskId, Attempt] = {}
        self._decisions: OrderedDict[TaskId, Decision] = OrderedDict()
        self._snapshots: deque[NetworkTopology] = deque(maxlen=SNAPSHOTS_KEPT)
        self._last_sweep_at: float | None = None
        self._trusted_since = float("-inf")  # silence before it may have been our own absence
        self._loop: asyncio.Task[None] | None = None

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
        moved = self._requeue(node_id)
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
            self._requeue(node_id)
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
        self._enqueue([task])
        await self._place([task], FULLY)
        attempt = self._running.get(task.task_id)
        return None if attempt is None else self.fleet.get(attempt.node_id)

    async def route_tasks(self, tasks: Sequence[Task]) -> tuple[Decision, ...]:
        self._enqueue(tasks)
        made = await self._place(in_turn(tasks), BY_COUNTS)
        return tuple(made[task.task_id] for task in tasks)

    async def find_task(self, task_id: TaskId) -> TaskPlace | None:
        if attempt := self._running.get(task_id):
            return TaskPlace(task=attempt.task, node_id=attempt.node_id)
        task = self._queued.get(task_id)
        return None if task is None else TaskPlace(task=task, node_id=None)

    async def last_decision(self, task_id: TaskId) -> Decision | None:
        return self._decisions.get(task_id)

    async def preview(self, task: Task) -> Mapping[RoutingStrategy, Decision]:
        return preview(self.fleet, task, self._clock(), self._rng)

    async def complete_task(self, task_id: TaskId, node_id: NodeId | None = None) -> bool:
        attempt = self._running.get(task_id)
        if attempt is None or node_id not in (None, attempt.node_id):
            return False
        del self._running[task_id]
        self.fleet.release(attempt.node_id, attempt.task.needs)
        await self._place_waiting()
        return True

    # The whole

    async def sweep(self, now: float | None = None) -> tuple[NodeId, ...]:
        now = self._clock() if now is None else now
        failed = tuple(node.node_id for node in self.fleet.overdue(now) if self._timed_out(node, now))
        for node_id in failed:
            self._fail(node_id)
        self._last_sweep_at = now
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
            sweeping=self._is_looping(),
            last_sweep_at=self._last_sweep_at,
            nodes=len(self.fleet),
            by_status=status_counts(self.fleet.table, now),
            queued=len(self._queued),
            running=len(self._running),
        )

    async def start(self) -> None:
        if not self._is_looping():
            self._loop = asyncio.create_task(self._sweep_for_ever(), name="fog coordinator sweep")

    async def stop(self) -> None:
        loop, self._loop = self._loop, None
        if loop is not None:
            loop.cancel()
            with suppress(asyncio.CancelledError):
                await loop

    # Inside

    def _known(self, node_id: NodeId) -> FogNode:
        node = self.fleet.get(node_id)
        if node is None:
            raise UnknownNode(node_id)
        return node

    def _state(self, node: FogNode) -> None:
        self.fleet.upsert([node])

    def _enqueue(self, tasks: Sequence[Task]) -> None:
        seen: set[TaskId] = set()
        for task in tasks:
            if task.task_id in self._queued or task.task_id in self._running or task.task_id in seen:
                raise DuplicateTask(task.task_id)
            seen.add(task.task_id)
        self._queued.update((task.task_id, task) for task in tasks)

    def _fail(self, node_id: NodeId) -> tuple[TaskId, ...]:
        self._state(replace(self._known(node_id), connected=False))
        return self._requeue(node_id)

    def _requeue(self, node_id: NodeId) -> tuple[TaskId, ...]:
        """Return what runs on the node to the queue, to be kept off it where possible."""
        lost = [attempt for attempt in self._running.values() if attempt.node_id == node_id]
        for attempt in lost:
            self._take_back(attempt)
            task = attempt.task
            self._queued[task.task_id] = replace(task, avoid=task.avoid | {node_id})
        return tuple(attempt.task.task_id for attempt in lost)

    async def _place_waiting(self) -> None:
        if self._queued:
            await self._place(in_turn(self._queued.values()), BY_COUNTS)

    async def _place(self, tasks: Sequence[Task], explain: Explain) -> dict[TaskId, Decision]:
        """Plan and commit queued tasks; losers are planned again a few times, then wait.

        Returns the last decision on each.
        """
        made: dict[TaskId, Decision] = {}
        for _ in range(COMMIT_ROUNDS):
            decisions = plan(self.fleet, tasks, self._clock(), self._rng, explain=explain).decisions
            made.update((each.task_id, each) for each in decisions)
            self._remember(decisions)
            lost = await self._commit_placements([each for each in decisions if each.chosen is not None])
            tasks = [self._queued[task_id] for task_id in lost if task_id in self._queued]
            if not tasks:
                break
        return made

    async def _commit_placements(self, placements: Sequence[Decision]) -> list[TaskId]:
        """Open an attempt for each placement, and take back those that the commit did not keep."""
        attempts = [self._open_attempt(each) for each in placements]
        won: Collection[TaskId] = ()
        try:
            if placements:
                won = set(await self._commit(placements))
        finally:
            # Also when the commit fails or is cancelled: nothing stays reserved that does not run.
            lost = [each for each in attempts if each.task.task_id not in won and self._is_open(each)]
            for attempt in lost:
                self._take_back(attempt)
        return [attempt.task.task_id for attempt in lost]

    def _open_attempt(self, placement: Decision) -> Attempt:
        assert placement.chosen is not None, "only what was placed is committed"
        task = self._queued.pop(placement.task_id)
        attempt = Attempt(task, placement.chosen, placement.decided_at)
        self._running[task.task_id] = attempt
        return attempt

    def _is_open(self, attempt: Attempt) -> bool:
        # While its commit was awaited the node may have failed, and the task may run elsewhere by now.
        return self._running.get(attempt.task.task_id) is attempt

    def _take_back(self, attempt: Attempt) -> None:
        del self._running[attempt.task.task_id]
        self.fleet.release(attempt.node_id, attempt.task.needs)
        self._queued[attempt.task.task_id] = attempt.task

    def _remember(self, decisions: Iterable[Decision]) -> None:
        for each in decisions:
            self._decisions[each.task_id] = each
            self._decisions.move_to_end(each.task_id)
        while len(self._decisions) > max(DECISIONS_KEPT, len(self._queued) + len(self._running)):
            self._decisions.popitem(last=False)

    def _timed_out(self, node: FogNode, now: float) -> bool:
        # A node that failed or said goodbye was dealt with then.
        heard = max(node.last_contact, self._trusted_since)
        return node.connected and not node.said_goodbye and now > heard + node.timeout_s

    def _topology(self, now: float) -> NetworkTopology:
        return take_topology(self.fleet, now, queued=len(self._queued), running=len(self._running))

    def _complaint(self, now: float) -> str | None:
        if not len(self.fleet):
            return "No node is registered."
        if not any(each in status_counts(self.fleet.table, now) for each in REACHABLE):
            return "No node can be reached."
        since = None if self._last_sweep_at is None else now - self._last_sweep_at
        if self._is_looping() and since is not None and since > LATE_SWEEPS * self._sweep_interval_s:
            return f"The last sweep was {since:.0f} s ago; one is due every {self._sweep_interval_s:g} s."
        return None

    def _is_looping(self) -> bool:
        return self._loop is not None and not self._loop.done()

    async def _sweep_for_ever(self) -> None:
        while True:
            now = self._clock()
            before = self._last_sweep_at
            if before is not None and now - before > LATE_SWEEPS * self._sweep_interval_s:
                self._trusted_since = now
            try:
                await self.sweep(now)
            except Exception:
                logger.exception("The sweep failed; the next one tries again.")
            await self._sleep(self._sweep_interval_s)


REACHABLE = (NodeStatus.ACTIVE, NodeStatus.IDLE, NodeStatus.BUSY)

"""Tasks by where they are, queued or running, and the last decision on each."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from coordinator.errors import DuplicateTask
from coordinator.fleet import Fleet
from coordinator.values import Decision, NodeId, Task, TaskId

DECISIONS_KEPT = 10_000


@dataclass(frozen=True, slots=True)
class Attempt:
    task: Task
    node_id: NodeId
    started_at: float


class Workload:
    """Whatever runs has its room reserved in the fleet, and what ends gives it back."""

    def __init__(self, fleet: Fleet) -> None:
        self.queued: dict[TaskId, Task] = {}
        self.running: dict[TaskId, Attempt] = {}
        self._fleet = fleet
        self._decisions: OrderedDict[TaskId, Decision] = OrderedDict()

    def enqueue(self, tasks: Sequence[Task]) -> None:
        """Raises DuplicateTask, and takes none then."""
        seen: set[TaskId] = set()
        for task in tasks:
            if task.task_id in self.queued or task.task_id in self.running or task.task_id in seen:
                raise DuplicateTask(task.task_id)
            seen.add(task.task_id)
        self.queued.update((task.task_id, task) for task in tasks)

    def open(self, placement: Decision) -> Attempt:
        """A queued task runs where it was placed. Planning has reserved the room for it."""
        assert placement.chosen is not None, "only what was placed is committed"
        task = self.queued.pop(placement.task_id)
        attempt = Attempt(task, placement.chosen, placement.decided_at)
        self.running[task.task_id] = attempt
        return attempt

    def is_open(self, attempt: Attempt) -> bool:
        """Whether it is this one still: its node may have failed, and the task run elsewhere by now."""
        return self.running.get(attempt.task.task_id) is attempt

    def take_back(self, attempt: Attempt) -> None:
        """It runs no more; its task is queued again."""
        self._end(attempt)
        self.queued[attempt.task.task_id] = attempt.task

    def requeue(self, node_id: NodeId) -> tuple[TaskId, ...]:
        """Return what runs on the node to the queue, to be kept off it where possible."""
        lost = [attempt for attempt in self.running.values() if attempt.node_id == node_id]
        for attempt in lost:
            self.take_back(attempt)
            task = attempt.task
            self.queued[task.task_id] = replace(task, avoid=task.avoid | {node_id})
        return tuple(attempt.task.task_id for attempt in lost)

    def complete(self, task_id: TaskId, node_id: NodeId | None) -> bool:
        """Whether it ran, and there, where a node is named."""
        attempt = self.running.get(task_id)
        if attempt is None or node_id not in (None, attempt.node_id):
            return False
        self._end(attempt)
        return True

    def _end(self, attempt: Attempt) -> None:
        del self.running[attempt.task.task_id]
        self._fleet.release(attempt.node_id, attempt.task.needs)

    def last_decision(self, task_id: TaskId) -> Decision | None:
        return self._decisions.get(task_id)

    def remember(self, decisions: Iterable[Decision]) -> None:
        for each in decisions:
            self._decisions[each.task_id] = each
            self._decisions.move_to_end(each.task_id)
        while len(self._decisions) > max(DECISIONS_KEPT, len(self.queued) + len(self.running)):
            self._decisions.popitem(last=False)

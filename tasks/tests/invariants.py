"""What must be true of the database between any two transactions, whatever happened before.

Nothing here knows how the panel goes about it: only rows are looked at.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass

from nodes.models import Node
from tasks.models import Attempt, Task
from tasks.states import FINAL

RESOURCES = ("cpu_millis", "memory_mb", "disk_mb", "gpu_count")


@dataclass(frozen=True)
class Result:
    """How a task ended. Once there it never changes."""

    state: str
    accepted: int | None
    exit_code: int | None


def check_capacity(may_be_short: Collection[int] = ()) -> None:
    """What is free is what is offered less what open attempts need, and that is never less than nothing.

    ``may_be_short``: nodes whose owners shrank their share below what was reserved.
    """
    reserved: dict[int, list[int]] = defaultdict(lambda: [0] * len(RESOURCES))
    counts: dict[int, int] = defaultdict(int)
    open_attempts = Attempt.objects.filter(ended_at=None)
    for node_id, *needs in open_attempts.values_list("node_id", *(f"task__{name}" for name in RESOURCES)):
        counts[node_id] += 1
        reserved[node_id] = [had + more for had, more in zip(reserved[node_id], needs, strict=True)]
    for node in Node.objects.all():
        offered = [getattr(node, name) for name in RESOURCES]
        free = [getattr(node, f"free_{name}") for name in RESOURCES]
        adds_up = [had - taken for had, taken in zip(offered, reserved[node.id], strict=True)]
        assert free == adds_up, f"node {node.id}: free {free}, but by its open attempts {adds_up}"
        assert node.open_attempts == counts[node.id], f"node {node.id}: {node.open_attempts} attempts counted"
        assert min(free) >= 0 or node.id in may_be_short, f"node {node.id} is oversubscribed: {free}"


def check_tasks(acknowledged: Collection[int]) -> None:
    """No acknowledged task is missing, and each is in a state from which it gets on, or at its end."""
    with_open_attempt = set(Attempt.objects.filter(ended_at=None).values_list("task_id", flat=True))
    states = dict(Task.objects.values_list("id", "state"))
    assert set(states) == set(acknowledged)
    for task_id, state in states.items():
        is_open = task_id in with_open_attempt
        if state in FINAL:
            assert not is_open, f"task {task_id} is {state}, and an attempt is open"
        else:
            assert is_open or state == "queued", f"task {task_id} is {state} without an open attempt"


def check_results() -> dict[int, Result]:
    """An accepted attempt is one of its task's own and has ended as its task did; gives all results."""
    results = {}
    for task in Task.objects.filter(state__in=FINAL).select_related("accepted_attempt"):
        accepted = task.accepted_attempt
        if task.state == "succeeded":
            assert accepted is not None, f"task {task.id} succeeded without a result"
            assert accepted.outcome == "succeeded"
        if accepted is not None:
            assert (accepted.task_id, accepted.exit_code) == (task.id, task.exit_code)
        results[task.id] = Result(task.state, task.accepted_attempt_id, task.exit_code)
    wasted = Task.objects.filter(attempts__outcome="succeeded", accepted_attempt=None)
    assert not wasted.exists(), f"results were taken in and nothing was accepted: {list(wasted)}"
    return results

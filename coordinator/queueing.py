"""Whose turn it is: priority first, but waiting counts too, so that nothing starves.

A task's turn is a moment fixed when it is handed in: each step of priority puts it as much earlier as if
it had waited ``ageing_s`` longer. So the order never has to be worked out anew, and a task of the lowest
priority goes before whatever is handed in more than nine such steps after it, however urgent.
"""

from __future__ import annotations

from collections.abc import Iterable

from coordinator.values import Task

AGEING_S = 300.0  # how long to wait is worth one step of priority


def turn_of(task: Task, ageing_s: float = AGEING_S) -> float:
    """Tasks are placed in the order of this number, lowest first."""
    return task.submitted_at - task.priority * ageing_s


def in_turn(tasks: Iterable[Task], ageing_s: float = AGEING_S) -> list[Task]:
    return sorted(tasks, key=lambda task: turn_of(task, ageing_s))

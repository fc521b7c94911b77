"""What a strategy is: a name, weighted scores, and which of the task's wishes it looks at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from coordinator.asked import Asked, Wishes, no_wishes, requirements_of
from coordinator.scores import Score
from coordinator.table import NodeTable
from coordinator.values import RoutingStrategy, Task
from coordinator.weights import shares


@dataclass(frozen=True, slots=True)
class Part:
    weight: float
    score: Score


@dataclass(frozen=True, slots=True, kw_only=True)
class Strategy:
    """The best eligible node is that with the highest sum of weighted ``parts``, weights adding up to 1.

    ``moving`` parts change with every choice, for all rows, and are computed anew each time; the others
    are kept and follow the rows that changed. A strategy with an ``order`` takes the eligible row with
    the lowest key of that order instead, which its parts must agree with; this costs the same
    whatever the size of the fleet, but the order must not depend on the task, and reserving on a row
    must never lower its key.
    """

    name: RoutingStrategy
    sentence: str
    parts: tuple[Part, ...]
    moving: tuple[Part, ...] = ()
    order: Callable[[NodeTable], list[int]] | None = None
    onion_only: bool = False
    wishes: Callable[[Task], Wishes] = no_wishes
    note_choice: Callable[[NodeTable, int], None] | None = None

    def asked(self, task: Task) -> Asked:
        return Asked(requirements_of(task, self.onion_only), self.wishes(task))


def weighed(*scores: tuple[float, Score]) -> tuple[Part, ...]:
    """Parts out of weights whose proportions alone matter."""
    weights = shares(weight for weight, _ in scores)
    return tuple(Part(weight, score) for weight, (_, score) in zip(weights, scores, strict=True))

"""The tightest fit over cores, memory, storage and GPUs, then preferred labels and cached inputs."""

from coordinator.asked import Wishes, pairs
from coordinator.scores import MATCHING, TIGHT
from coordinator.strategies.strategy import Part, Strategy
from coordinator.values import RoutingStrategy, Task


def _wishes(task: Task) -> Wishes:
    return Wishes(prefers=pairs(task.prefers), inputs=tuple(sorted(task.inputs)))


STRATEGY = Strategy(
    name=RoutingStrategy.AFFINITY_BASED,
    sentence="The node left with the least unused, then the one that has what the task prefers.",
    parts=(Part(0.7, TIGHT), Part(0.3, MATCHING)),
    wishes=_wishes,
)

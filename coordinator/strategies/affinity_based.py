"""The tightest fit over cores, memory, storage and GPUs, then preferred labels and cached inputs.

Each kind of resource counts in the fit by its own weight, among those that the node has at all.
"""

from coordinator.asked import Wishes, pairs
from coordinator.scores import MATCHING, fit
from coordinator.strategies.strategy import Strategy, weighed
from coordinator.values import RoutingStrategy, Task
from coordinator.weights import Weights


def _wishes(task: Task) -> Wishes:
    return Wishes(prefers=pairs(task.prefers), inputs=tuple(sorted(task.inputs)))


def strategy(weights: Weights) -> Strategy:
    tight = fit(
        cpu=weights.affinity_fit_cpu,
        memory=weights.affinity_fit_memory,
        disk=weights.affinity_fit_disk,
        gpu=weights.affinity_fit_gpu,
    )
    return Strategy(
        name=RoutingStrategy.AFFINITY_BASED,
        sentence="The node left with the least unused, then the one that has what the task prefers.",
        parts=weighed((weights.affinity_fit, tight), (weights.affinity_match, MATCHING)),
        wishes=_wishes,
    )

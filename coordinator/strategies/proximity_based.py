"""The nearest node: region first, then the great circle; among equally near ones the least loaded.

The weight of load is small enough that it decides only between neighbours.
"""

from coordinator.asked import Wishes, point_of
from coordinator.scores import NEAR, SAME_REGION, UNLOADED
from coordinator.strategies.strategy import Part, Strategy
from coordinator.values import RoutingStrategy, Task


def _wishes(task: Task) -> Wishes:
    return Wishes(region=task.region, point=point_of(task))


STRATEGY = Strategy(
    name=RoutingStrategy.PROXIMITY_BASED,
    sentence="The node in the region asked for, then the nearest one.",
    parts=(Part(0.6, SAME_REGION), Part(0.39, NEAR), Part(0.01, UNLOADED)),
    wishes=_wishes,
)

"""The nearest node: region first, then the great circle; among equally near ones the least loaded.

A task's place is its coordinates, else its region. A task that names neither is where it was handed in, at
the panel: then the measured round trip between node and panel stands in for the distance, in steps of
5 ms. A node whose distance or round trip is not known counts as far away.

The weight of load is small enough that it decides only between neighbours.
"""

from coordinator.asked import Wishes, point_of
from coordinator.scores import NEAR, SAME_REGION, UNLOADED
from coordinator.strategies.strategy import Strategy, weighed
from coordinator.values import RoutingStrategy, Task
from coordinator.weights import Weights


def _wishes(task: Task) -> Wishes:
    point = point_of(task)
    return Wishes(region=task.region, point=point, near_panel=point is None and not task.region)


def strategy(weights: Weights) -> Strategy:
    return Strategy(
        name=RoutingStrategy.PROXIMITY_BASED,
        sentence="The node in the region asked for, then the nearest one.",
        parts=weighed(
            (weights.proximity_region, SAME_REGION),
            (weights.proximity_nearness, NEAR),
            (weights.proximity_load, UNLOADED),
        ),
        wishes=_wishes,
    )

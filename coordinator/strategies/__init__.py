"""The strategies. A new one is a file beside these and a line in this table."""

from __future__ import annotations

from collections.abc import Mapping

from coordinator.strategies import (
    affinity_based,
    least_loaded,
    privacy_aware,
    proximity_based,
    round_robin,
)
from coordinator.strategies.strategy import Strategy
from coordinator.values import RoutingStrategy

STRATEGIES: Mapping[RoutingStrategy, Strategy] = {
    RoutingStrategy.ROUND_ROBIN: round_robin.STRATEGY,
    RoutingStrategy.LEAST_LOADED: least_loaded.STRATEGY,
    RoutingStrategy.AFFINITY_BASED: affinity_based.STRATEGY,
    RoutingStrategy.PROXIMITY_BASED: proximity_based.STRATEGY,
    RoutingStrategy.PRIVACY_AWARE: privacy_aware.STRATEGY,
}

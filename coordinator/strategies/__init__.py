"""The strategies. A new one is a file beside these and a line in this table."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from coordinator.strategies import (
    affinity_based,
    least_loaded,
    privacy_aware,
    proximity_based,
    round_robin,
)
from coordinator.strategies.strategy import Strategy
from coordinator.values import RoutingStrategy
from coordinator.weights import Weights

_MADE_BY: Mapping[RoutingStrategy, Callable[[Weights], Strategy]] = {
    RoutingStrategy.ROUND_ROBIN: round_robin.strategy,
    RoutingStrategy.LEAST_LOADED: least_loaded.strategy,
    RoutingStrategy.AFFINITY_BASED: affinity_based.strategy,
    RoutingStrategy.PROXIMITY_BASED: proximity_based.strategy,
    RoutingStrategy.PRIVACY_AWARE: privacy_aware.strategy,
}


def strategies(weights: Weights) -> Mapping[RoutingStrategy, Strategy]:
    """Every strategy, weighing as ``weights`` says."""
    return {name: make(weights) for name, make in _MADE_BY.items()}

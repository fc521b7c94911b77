"""Everyone in turn: the eligible node that got work longest ago, so it stays even as nodes come and go."""

from coordinator.scores import WAITED
from coordinator.strategies.strategy import Part, Strategy
from coordinator.values import RoutingStrategy
from coordinator.weights import Weights


def strategy(weights: Weights) -> Strategy:
    return Strategy(
        name=RoutingStrategy.ROUND_ROBIN,
        sentence="The node that got work longest ago.",
        parts=(Part(1.0, WAITED),),
        order=lambda table: table.turn_keys,
    )

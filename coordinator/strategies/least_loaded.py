"""The node with the least to do: the larger of its measured load and its reserved share decides."""

from coordinator.scores import UNLOADED
from coordinator.strategies.strategy import Part, Strategy
from coordinator.values import RoutingStrategy
from coordinator.weights import Weights


def strategy(weights: Weights) -> Strategy:
    return Strategy(
        name=RoutingStrategy.LEAST_LOADED,
        sentence="The node with the smallest load, measured or reserved, whichever is larger.",
        parts=(Part(1.0, UNLOADED),),
        order=lambda table: table.load_keys,
    )

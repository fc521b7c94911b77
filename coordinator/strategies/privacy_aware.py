"""The node that learns least: onion-capable ones only, by reputation, then away from the submitter and from
the networks used last, then by load."""

from coordinator.asked import Wishes
from coordinator.scores import APART, FRESH, REPUTATION, UNLOADED
from coordinator.strategies.strategy import Strategy, weighed
from coordinator.table import NodeTable
from coordinator.values import RoutingStrategy, Task
from coordinator.weights import Weights


def _wishes(task: Task) -> Wishes:
    return Wishes(network=task.network)


def _note_choice(table: NodeTable, row: int) -> None:
    table.recent.note(int(table.columns.network[row]))


def strategy(weights: Weights) -> Strategy:
    *kept, fresh = weighed(
        (weights.privacy_reputation, REPUTATION),
        (weights.privacy_apart, APART),
        (weights.privacy_load, UNLOADED),
        (weights.privacy_fresh, FRESH),
    )
    return Strategy(
        name=RoutingStrategy.PRIVACY_AWARE,
        sentence="An onion-capable node of good reputation, away from the submitter and the nodes used last.",
        parts=tuple(kept),
        moving=(fresh,),
        onion_only=True,
        wishes=_wishes,
        note_choice=_note_choice,
    )

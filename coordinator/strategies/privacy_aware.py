"""The node that learns least: onion-capable ones only, by reputation, then away from the submitter and from
the networks used last, then by load."""

from coordinator.asked import Wishes
from coordinator.scores import APART, FRESH, REPUTATION, UNLOADED
from coordinator.strategies.strategy import Part, Strategy
from coordinator.table import NodeTable
from coordinator.values import RoutingStrategy, Task


def _wishes(task: Task) -> Wishes:
    return Wishes(network=task.network)


def _note_choice(table: NodeTable, row: int) -> None:
    table.recent.note(int(table.columns.network[row]))


STRATEGY = Strategy(
    name=RoutingStrategy.PRIVACY_AWARE,
    sentence="An onion-capable node of good reputation, away from the submitter and the nodes used last.",
    parts=(Part(0.5, REPUTATION), Part(0.2, APART), Part(0.1, UNLOADED)),
    moving=(Part(0.2, FRESH),),
    onion_only=True,
    wishes=_wishes,
    note_choice=_note_choice,
)

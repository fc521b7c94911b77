"""Why: candidates with their scores in parts, near misses with a reason, what other strategies would choose.

Computed straight from filters and scores, not from what routing keeps, so it also is a second opinion.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

import numpy as np

from coordinator.asked import Asked, Requirements
from coordinator.columns import Rows, Vector
from coordinator.filters import ABSENT, ELIGIBLE, FILTERS
from coordinator.fleet import Fleet
from coordinator.ranking import add_up, weigh
from coordinator.shapes import Shape
from coordinator.strategies.strategy import Strategy
from coordinator.table import NodeTable
from coordinator.values import Candidate, NodeId, RoutingStrategy, Task

SHOW_ALL_UP_TO = 200  # nodes
BEST_SHOWN = 20
NEAREST_MISSES_SHOWN = 20

NOT_ASKED: Mapping[RoutingStrategy, NodeId | None] = MappingProxyType({})


class Standings:
    """Every node in the order of one task: the eligible from the best on, then the misses.

    A miss is nearer the later the filter it fell at: one that is merely full comes before one that
    could never serve. Scores are worked out at once, a node's row in words when it is asked for.
    """

    def __init__(self, fleet: Fleet, strategy: Strategy, asked: Asked, shape: Shape, now: float) -> None:
        self._fleet = fleet
        self._asked = asked
        self._shape = shape
        self._now = now
        self._parts = strategy.parts + strategy.moving
        rows = shape.eligible_rows()
        self._weighed = weigh(fleet.table, rows, asked, self._parts)
        self._totals = add_up(rows, self._weighed)
        self._positions = _best_first(fleet.table, strategy, rows, self._totals)
        self._rows: list[int] = rows[self._positions].tolist()
        self.eligible = len(self._rows)
        self._rows += _misses(shape)

    def __len__(self) -> int:
        return len(self._rows)

    def name(self, place: int) -> str:
        return self._fleet.table.stated(self._rows[place]).name

    def place_of(self, row: int) -> int:
        """Where the node of this row of the table is."""
        return self._rows.index(row)

    def candidate(self, place: int) -> Candidate:
        """The node at this place, counted from 0."""
        if place >= self.eligible:
            return _miss(self._fleet, self._rows[place], self._shape, self._asked.requirements, self._now)
        position = self._positions[place]
        node = self._fleet.table.stated(self._rows[place])
        return Candidate(
            node_id=node.node_id,
            name=node.name,
            region=node.region,
            score=float(self._totals[position]),
            parts={
                part.score.name: float(vector[position])
                for part, vector in zip(self._parts, self._weighed, strict=True)
            },
        )


def candidates(
    fleet: Fleet, strategy: Strategy, asked: Asked, shape: Shape, now: float
) -> tuple[Candidate, ...]:
    """Every node, best first, up to 200 nodes; above that the 20 best and the 20 nearest misses."""
    standings = Standings(fleet, strategy, asked, shape, now)
    places = range(len(standings))
    shown: Iterable[int] = places
    if len(standings) > SHOW_ALL_UP_TO:
        eligible, misses = places[: standings.eligible], places[standings.eligible :]
        shown = (*eligible[:BEST_SHOWN], *misses[:NEAREST_MISSES_SHOWN])
    return tuple(standings.candidate(place) for place in shown)


def others(fleet: Fleet, task: Task) -> Mapping[RoutingStrategy, NodeId | None]:
    """What each strategy but the task's own would choose now."""
    return {
        name: _choice(fleet, task, each)
        for name, each in fleet.strategies.items()
        if name is not task.strategy
    }


def _misses(shape: Shape) -> list[int]:
    codes = shape.code_column
    rows = np.flatnonzero((codes != ELIGIBLE) & (codes != ABSENT))
    by_nearness = np.argsort(-codes[rows].astype(np.int64), kind="stable")
    nearest: list[int] = rows[by_nearness].tolist()
    return nearest


def _best_first(table: NodeTable, strategy: Strategy, rows: Rows, totals: Vector) -> list[int]:
    """Positions in ``rows`` from the best to the worst."""
    if strategy.order is not None:
        keys = strategy.order(table)
        by_row = [keys[row] for row in rows.tolist()]
        return sorted(range(len(rows)), key=by_row.__getitem__)
    positions: list[int] = np.lexsort((rows, table.columns.tie[rows], -totals)).tolist()
    return positions


def _miss(fleet: Fleet, row: int, shape: Shape, asked: Requirements, now: float) -> Candidate:
    node = fleet.table.node(row)
    fallen_at = FILTERS[shape.codes[row] - 1]
    return Candidate(
        node_id=node.node_id,
        name=node.name,
        region=node.region,
        reason=fallen_at.name,
        detail=fallen_at.sentence(node, asked, now),
    )


def _choice(fleet: Fleet, task: Task, strategy: Strategy) -> NodeId | None:
    table = fleet.table
    asked = strategy.asked(task)
    rows = fleet.shape(asked.requirements).eligible_rows()
    welcome = rows[~np.isin(rows, list(fleet.rows_of(task.avoid)))]
    rows = welcome if len(welcome) else rows
    if not len(rows):
        return None
    if strategy.order is not None:
        first: int = min(rows.tolist(), key=strategy.order(table).__getitem__)
        return table.ids[first]
    totals = add_up(rows, weigh(table, rows, asked, strategy.parts + strategy.moving))
    equals = rows[totals == totals.max()]
    return table.ids[int(equals[table.columns.tie[equals].argmin()])]

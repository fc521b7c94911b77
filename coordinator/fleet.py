"""The fleet as routing holds it: nodes by id, and what was worked out for the shapes of tasks seen lately."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterable, Set
from typing import NamedTuple, TypeVar

import numpy as np

from coordinator.asked import Asked, Requirements
from coordinator.errors import NotEnoughRoom, UnknownNode
from coordinator.ranking import HeapRanking, Ranking, ScoreRanking
from coordinator.shapes import Shape
from coordinator.strategies import strategies
from coordinator.strategies.strategy import Strategy
from coordinator.table import NodeTable
from coordinator.values import FogNode, NodeId, Resources
from coordinator.weights import Weights

KEPT_ROWS = 8_000_000  # over all shapes: bounds memory to some hundred MB however many shapes there are
KEPT_AT_LEAST = 32
KEPT_AT_MOST = 1000

NO_ROWS: Set[int] = frozenset()

Kept = TypeVar("Kept")


class Cursor(NamedTuple):
    """How far the changes of a fleet were read."""

    restated: int
    released: int


class Fleet:
    """Owned by one thread. Nothing here does I/O, locks, or looks at a clock.

    Nodes that are equally good come in the order of their registration, or, with ``tie_seed``, in a
    shuffled one: processes that plan for the same fleet side by side should differ in their seed, so
    that they do not all pick the same node.

    ``strategies`` are those that plan for this fleet; they weigh as `weigh_by` said last.
    """

    def __init__(self, *, tie_seed: int | None = None, weights: Weights | None = None) -> None:
        self.table = NodeTable(tie_seed)
        self._weights = weights or Weights()
        self.strategies = strategies(self._weights)
        self._shapes: OrderedDict[Hashable, Shape] = OrderedDict()
        self._rankings: OrderedDict[Hashable, Ranking] = OrderedDict()

    def __len__(self) -> int:
        return len(self.table.row_of)

    def __contains__(self, node_id: object) -> bool:
        return node_id in self.table.row_of

    @property
    def version(self) -> int:
        """Grows with every change to any node."""
        return self.table.version

    def weigh_by(self, weights: Weights) -> None:
        """Have all decisions from now on weighed so. What was ranked by other weights is forgotten."""
        if weights != self._weights:
            self._weights = weights
            self.strategies = strategies(weights)
            self._rankings.clear()

    def upsert(self, nodes: Iterable[FogNode]) -> None:
        """Add nodes, or replace all facts of those known, what is free included."""
        self.table.put(nodes)

    def remove(self, node_ids: Iterable[NodeId]) -> None:
        """Forget nodes; unknown ones are ignored."""
        for node_id in node_ids:
            row = self.table.row_of.get(node_id)
            if row is not None:
                self.table.drop(row)

    def get(self, node_id: NodeId) -> FogNode | None:
        """The node with what is free of it at this moment."""
        row = self.table.row_of.get(node_id)
        return None if row is None else self.table.node(row)

    def nodes(self) -> list[FogNode]:
        return [self.table.node(row) for row in self.table.row_of.values()]

    def overdue(self, now: float) -> list[FogNode]:
        """Nodes that were not heard of within their timeout."""
        columns = self.table.columns
        return [
            self.table.node(int(row)) for row in np.flatnonzero(columns.present & (columns.deadline < now))
        ]

    def rows_of(self, node_ids: Set[NodeId]) -> Set[int]:
        """The rows of those of these nodes that are known."""
        if not node_ids:
            return NO_ROWS
        rows = self.table.row_of
        return {rows[each] for each in node_ids if each in rows}

    def reserve(self, node_id: NodeId, needs: Resources) -> None:
        """Take ``needs`` from what is free, as of the time planned at last.

        Raises ``UnknownNode`` or ``NotEnoughRoom``.
        """
        row = self.table.row_of.get(node_id)
        if row is None:
            raise UnknownNode(node_id)
        free = self.table.free(row)
        if not needs.fits_in(free):
            raise NotEnoughRoom(node_id, needs, free)
        self.table.take(row, needs, self.table.now)

    def release(self, node_id: NodeId, needs: Resources) -> None:
        """Return ``needs``, never beyond what the node offers. A node that is gone took its room with it."""
        row = self.table.row_of.get(node_id)
        if row is not None:
            self.table.give_back(row, needs)

    def changed_since(self, cursor: Cursor | None) -> tuple[Set[NodeId] | None, Cursor]:
        """The nodes that may take what they could not take before: they came, have more room, or other facts.
        None: perhaps all. With it from where to ask the next time."""
        table = self.table
        now = Cursor(table.restated.end, table.released.end)
        if cursor is None:
            return None, now
        at_most = 1024 + len(self)
        restated = table.restated.since(cursor.restated, at_most)
        released = table.released.since(cursor.released, at_most)
        if restated is None or released is None:
            return None, now
        return {table.ids[row] for row in (*restated, *released)}, now

    def shape(self, asked: Requirements) -> Shape:
        """The shape of these requirements, caught up with every change."""
        shape = self._shapes.get(asked)
        if shape is None:
            shape = self._keep(self._shapes, asked, Shape(self.table, asked))
        else:
            self._shapes.move_to_end(asked)
            shape.catch_up()
        return shape

    def ranking(self, strategy: Strategy, asked: Asked, shape: Shape) -> Ranking:
        """The order of ``shape``'s nodes for this strategy. ``shape`` is what ``self.shape`` just gave."""
        key = (strategy.name, asked, id(shape))
        ranking = self._rankings.get(key)
        if ranking is None:
            return self._keep(self._rankings, key, self._new_ranking(strategy, asked, shape))
        self._rankings.move_to_end(key)
        return ranking

    def _new_ranking(self, strategy: Strategy, asked: Asked, shape: Shape) -> Ranking:
        if strategy.order is not None:
            return HeapRanking(self.table, shape, strategy.order(self.table))
        return ScoreRanking(self.table, shape, asked, strategy)

    def _keep(self, kept: OrderedDict[Hashable, Kept], key: Hashable, value: Kept) -> Kept:
        kept[key] = value
        by_memory = KEPT_ROWS // max(1, self.table.used)
        while len(kept) > min(max(KEPT_AT_LEAST, by_memory), KEPT_AT_MOST):
            kept.popitem(last=False)
        return value

"""The order in which a shape's eligible nodes come, kept up by change: a heap or a vector of scores."""

from __future__ import annotations

from collections.abc import Set
from heapq import heapify, heappop, heappush, heapreplace
from typing import Protocol

import numpy as np

from coordinator.asked import Asked
from coordinator.columns import Rows, Vector
from coordinator.filters import ELIGIBLE
from coordinator.shapes import Shape
from coordinator.strategies.strategy import Part, Strategy
from coordinator.table import ROW_MASK, NodeTable

FINEST_SCORE = 6  # decimals; rounding makes equal what only the order of additions told apart


class Ranking(Protocol):
    def best(self, avoid: Set[int]) -> int | None:
        """The best eligible row; one of ``avoid`` only when there is no other. The shape is caught up."""


def weigh(table: NodeTable, rows: Rows, asked: Asked, parts: tuple[Part, ...]) -> list[Vector]:
    return [np.round(part.weight * part.score.compute(table, rows, asked), FINEST_SCORE) for part in parts]


def add_up(rows: Rows, parts: list[Vector]) -> Vector:
    return sum(parts, np.zeros(len(rows)))


class HeapRanking:
    """A heap of keys for strategies with an order of their own.

    Every eligible row has an entry at or below its key. Reserving only raises keys, so nothing is done
    then: an entry that is too low is mended when it comes to the top. Rows that may have come nearer
    (released, restated) are pushed again.
    """

    def __init__(self, table: NodeTable, shape: Shape, keys: list[int]) -> None:
        self._table = table
        self._shape = shape
        self._keys = keys
        self._heap: list[int] = []
        self._released = self._restated = 0  # how far each change log was read
        self._rebuild()

    def best(self, avoid: Set[int]) -> int | None:
        self._catch_up()
        row = self._top()
        return row if row is None or row not in avoid else self._best_beyond(avoid)

    def _best_beyond(self, avoid: Set[int]) -> int:
        aside = []
        row = self._top()
        while row is not None and row in avoid:
            aside.append(heappop(self._heap))
            row = self._top()
        for key in aside:
            heappush(self._heap, key)
        return aside[0] & ROW_MASK if row is None else row

    def _top(self) -> int | None:
        heap, keys, codes = self._heap, self._keys, self._shape.codes
        while heap:
            entry = heap[0]
            row = entry & ROW_MASK
            if codes[row] != ELIGIBLE:
                heappop(heap)
            elif keys[row] == entry:
                return row
            else:
                heapreplace(heap, keys[row])
        return None

    def _catch_up(self) -> None:
        table, shape = self._table, self._shape
        if shape.generation != self._generation or len(self._heap) > 2 * table.used + 64:
            return self._rebuild()
        at_most = table.used
        released = table.released.since(self._released, at_most)
        restated = table.restated.since(self._restated, at_most)
        if released is None or restated is None:
            return self._rebuild()
        self._released, self._restated = table.released.end, table.restated.end
        heap, keys, codes = self._heap, self._keys, shape.codes
        for row in released + restated:
            if codes[row] == ELIGIBLE:
                heappush(heap, keys[row])
        return None

    def _rebuild(self) -> None:
        table, shape = self._table, self._shape
        self._generation = shape.generation
        self._released, self._restated = table.released.end, table.restated.end
        keys = self._keys
        self._heap = [keys[row] for row in shape.eligible_rows().tolist()]
        heapify(self._heap)


class ScoreRanking:
    """A score for every row, minus infinity for those that are not eligible."""

    def __init__(self, table: NodeTable, shape: Shape, asked: Asked, strategy: Strategy) -> None:
        self._table = table
        self._shape = shape
        self._asked = asked
        self._strategy = strategy
        self._cursors: tuple[int, ...] = ()  # how far each change log was read
        self._rebuild()

    def best(self, avoid: Set[int]) -> int | None:
        self._catch_up()
        if not self._shape.eligible:
            return None
        scores = self._scores
        if moving := self._strategy.moving:
            rows = np.arange(len(scores))
            for part in weigh(self._table, rows, self._asked, moving):
                scores = scores + part
        if avoid:
            kept = scores.copy()
            kept[list(avoid)] = -np.inf
            if kept.max() > -np.inf:
                scores = kept
        equals = np.flatnonzero(scores == scores.max())
        return int(equals[self._table.columns.tie[equals].argmin()])

    def _catch_up(self) -> None:
        table, shape = self._table, self._shape
        if shape.generation != self._generation:
            return self._rebuild()
        at_most = 64 + table.used // 4
        logs = table.reserved, table.released, table.restated
        changed: list[int] = []
        for log, cursor in zip(logs, self._cursors, strict=True):
            rows = log.since(cursor, at_most)
            if rows is None:
                return self._rebuild()
            changed += rows
        if changed:
            self._cursors = tuple(log.end for log in logs)
            self._score(np.array(sorted(set(changed)), np.int64))
        return None

    def _rebuild(self) -> None:
        table = self._table
        self._generation = self._shape.generation
        self._cursors = table.reserved.end, table.released.end, table.restated.end
        self._scores = np.full(table.used, -np.inf)
        self._score(np.arange(table.used))

    def _score(self, rows: Rows) -> None:
        self._scores[rows] = -np.inf
        open_rows = rows[self._shape.code_column[rows] == ELIGIBLE]
        parts = weigh(self._table, open_rows, self._asked, self._strategy.parts)
        self._scores[open_rows] = add_up(open_rows, parts)

"""The fleet's rows: who is in which, what is free, and what changed since when.

Everything that ranks nodes reads this table and catches up by its three change logs, so the cost of
a decision follows what changed, not how many nodes there are.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from dataclasses import replace
from typing import cast

import numpy as np

from coordinator.columns import MILLION, Codes, Columns, Rows, Tags, tags_of
from coordinator.recent import RecentNetworks
from coordinator.values import FogNode, NodeId, Resources

FIRST_CAPACITY = 64
TIE_BITS = 24
ROW_BITS = 24  # 16 million nodes
ROW_MASK = (1 << ROW_BITS) - 1
MICROSECOND = 1e-6


class ChangeLog:
    """Rows in the order in which they changed. Readers keep a cursor and ask what came after it."""

    __slots__ = ("_rows", "_start", "end")

    def __init__(self) -> None:
        self._rows: list[int] = []
        self._start = 0
        self.end = 0

    def add(self, row: int, nodes: int) -> None:
        """``nodes``, the size of the fleet, bounds what is kept: beyond it, reading all is cheaper."""
        self._rows.append(row)
        self.end += 1
        if len(self._rows) > 1024 + nodes:
            excess = len(self._rows) // 2
            del self._rows[:excess]
            self._start += excess

    def since(self, cursor: int, at_most: int) -> list[int] | None:
        """The rows changed after ``cursor``; ``None`` when they are more than ``at_most`` or forgotten."""
        if cursor < self._start or self.end - cursor > at_most:
            return None
        return self._rows[cursor - self._start :]


class NodeTable:
    """One row a node. Rows of removed nodes are given out again.

    ``turn_keys`` and ``load_keys`` order rows by longest unused and by least load. Each key is a whole
    number whose lowest bits are the row itself, so a heap of plain integers is a heap of rows.
    """

    def __init__(self, tie_seed: int | None) -> None:
        self.columns = Columns(FIRST_CAPACITY)
        self.tags = Tags()
        self.regions = Codes()
        self.networks = Codes()
        self.recent = RecentNetworks()
        self.row_of: dict[NodeId, int] = {}
        self.ids: list[NodeId] = []  # by row; of a vacant row, its last node
        self._stated: list[FogNode | None] = []
        self.turn_keys: list[int] = []
        self.load_keys: list[int] = []
        self.reserved = ChangeLog()  # less room, a higher key
        self.released = ChangeLog()  # more room, a lower key
        self.restated = ChangeLog()  # anything may differ
        self.version = 0
        self.now = -math.inf
        self._next_silence = math.inf  # no row falls silent before it
        self._last_assignment = -math.inf
        self._vacant: list[int] = []
        self._ties = random.Random(tie_seed) if tie_seed is not None else None
        self._map_room()

    @property
    def used(self) -> int:
        """Rows ever given out: those beyond have no node."""
        return len(self.ids)

    def stated(self, row: int) -> FogNode:
        """The node as it was last put; what is free of it and when it got work may be out of date."""
        node = self._stated[row]
        assert node is not None, f"row {row} is vacant"
        return node

    def node(self, row: int) -> FogNode:
        return replace(
            self.stated(row), free=self.free(row), last_assigned=float(self.columns.last_assigned[row])
        )

    def free(self, row: int) -> Resources:
        return Resources(
            cpu_millis=self._free_cpu[row],
            memory_mb=self._free_memory[row],
            disk_mb=self._free_disk[row],
            gpus=self._free_gpus[row],
        )

    def put(self, nodes: Iterable[FogNode]) -> None:
        latest = {node.node_id: node for node in nodes}
        if not latest:
            return
        stated = list(latest.values())
        rows = [self._row_for(node.node_id) for node in stated]
        index = np.array(rows, np.int64)
        columns = self.columns
        columns.write(index, stated)
        columns.region[index] = [self.regions.give(node.region) for node in stated]
        columns.network[index] = [
            self.networks.give(node.network or f"node {node.node_id}") for node in stated
        ]
        columns.silent[index] = columns.deadline[index] < self.now
        self._next_silence = min(self._next_silence, float(columns.deadline[index].min()))
        for row, node in zip(rows, stated, strict=True):
            self._stated[row] = node
            self.tags.set(row, tags_of(node))
        self._order(index)
        self._restate(rows)

    def drop(self, row: int) -> None:
        del self.row_of[self.ids[row]]
        self._stated[row] = None
        self.columns.present[row] = False
        self.tags.set(row, frozenset())
        self._vacant.append(row)
        self._restate([row])

    def take(self, row: int, needs: Resources, now: float) -> None:
        """Reserve on ``row``, which the caller knows to have room.

        Assignments are kept a microsecond apart, so that those of one plan stay in their order.
        """
        self._change_free(row, needs, -1)
        assigned = max(now, self._last_assignment + MICROSECOND, self._last_assigned[row])
        self._last_assignment = assigned
        self._last_assigned[row] = assigned
        self.turn_keys[row] = self._turn_key(row)
        self.load_keys[row] = self._load_key(row)
        self.version += 1
        self.reserved.add(row, len(self.ids))

    def give_back(self, row: int, needs: Resources) -> None:
        """Return a reservation; never more than the node offers."""
        self._change_free(row, needs, +1)
        columns = self.columns
        self._free_cpu[row] = min(self._free_cpu[row], int(columns.total_cpu_millis[row]))
        self._free_memory[row] = min(self._free_memory[row], int(columns.total_memory_mb[row]))
        self._free_disk[row] = min(self._free_disk[row], int(columns.total_disk_mb[row]))
        self._free_gpus[row] = min(self._free_gpus[row], int(columns.total_gpus[row]))
        self.load_keys[row] = self._load_key(row)
        self.version += 1
        self.released.add(row, len(self.ids))

    def advance(self, now: float) -> None:
        """Let time pass: rows whose silence begins (or ends, when time is set back) count as restated."""
        if self.now <= now < self._next_silence:
            self.now = now
            return
        self.now = now
        columns, used = self.columns, self.used
        present = columns.present[:used]
        deadlines = columns.deadline[:used]
        silent = deadlines < now
        flipped = np.flatnonzero((silent != columns.silent[:used]) & present)
        columns.silent[:used] = silent
        ahead = deadlines[~silent & present]
        self._next_silence = float(ahead.min()) if len(ahead) else math.inf
        self._restate(flipped.tolist())

    def _restate(self, rows: list[int]) -> None:
        self.version += len(rows)
        for row in rows:
            self.restated.add(row, len(self.ids))

    def _row_for(self, node_id: NodeId) -> int:
        row = self.row_of.get(node_id)
        if row is not None:
            return row
        if self._vacant:
            row = self._vacant.pop()
        else:
            row = len(self.ids)
            self._stated.append(None)
            self.ids.append(node_id)
            self.turn_keys.append(0)
            self.load_keys.append(0)
            if row == self.columns.capacity:
                self._grow()
        self.row_of[node_id] = row
        self.ids[row] = node_id
        self.columns.tie[row] = self._ties.getrandbits(TIE_BITS) if self._ties else 0
        return row

    def _grow(self) -> None:
        self.columns = self.columns.grown()
        self._map_room()

    def _map_room(self) -> None:
        # Reading one number through a memoryview costs a third of reading it from the array.
        columns = self.columns
        self._free_cpu = columns.free_cpu_millis.data
        self._free_memory = columns.free_memory_mb.data
        self._free_disk = columns.free_disk_mb.data
        self._free_gpus = columns.free_gpus.data
        self._total_cpu = columns.total_cpu_millis.data
        self._total_memory = columns.total_memory_mb.data
        self._measured = columns.measured_millionths.data
        self._last_assigned = cast("memoryview[float]", columns.last_assigned.data)
        self._tie = columns.tie.data

    @property
    def room(self) -> tuple[memoryview, memoryview, memoryview, memoryview]:
        """What is free of cores, memory, disk and GPUs, for reading row by row."""
        return self._free_cpu, self._free_memory, self._free_disk, self._free_gpus

    def _change_free(self, row: int, needs: Resources, sign: int) -> None:
        self._free_cpu[row] += sign * needs.cpu_millis
        self._free_memory[row] += sign * needs.memory_mb
        if needs.disk_mb:
            self._free_disk[row] += sign * needs.disk_mb
        if needs.gpus:
            self._free_gpus[row] += sign * needs.gpus

    def _order(self, index: Rows) -> None:
        loads = self.columns.load_millionths(index).tolist()
        for row, load in zip(index.tolist(), loads, strict=True):
            self.turn_keys[row] = self._turn_key(row)
            self.load_keys[row] = self._key(load, row)

    def _key(self, first: int, row: int) -> int:
        return (first << TIE_BITS | self._tie[row]) << ROW_BITS | row

    def _turn_key(self, row: int) -> int:
        return self._key(int(self._last_assigned[row] * MILLION), row)

    def _load_key(self, row: int) -> int:
        cpu, memory = self._total_cpu[row], self._total_memory[row]
        load = max(
            (cpu - self._free_cpu[row]) * MILLION // (cpu or 1),
            (memory - self._free_memory[row]) * MILLION // (memory or 1),
            self._measured[row],
            0,
        )
        return self._key(min(load, MILLION), row)

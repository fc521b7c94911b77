"""A shape: all tasks with equal requirements, who is eligible for them and why the rest is not.

Worked out once for all rows, then kept up by the rows that changed. What remains between decisions is
so little that plain Python over the changed rows is faster than numpy.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from coordinator.asked import Requirements, shape_name
from coordinator.columns import Rows
from coordinator.filters import ABSENT, ELIGIBLE, FILTERS, FIRST_ROOM_CODE, failure_codes
from coordinator.table import NodeTable

CPU, MEMORY, DISK, GPU = range(FIRST_ROOM_CODE, FIRST_ROOM_CODE + 4)


class Shape:
    """``codes[row]`` is the code of the filter at which a row falls, see ``filters.failure_codes``.

    ``generation`` changes whenever everything was worked out anew.
    """

    def __init__(self, table: NodeTable, asked: Requirements) -> None:
        self.asked = asked
        self.name = shape_name(asked)
        self.generation = 0
        self._table = table
        self._rejected: Mapping[str, int] | None = None
        self._restated = self._released = self._reserved = 0  # how far each change log was read
        self._rebuild()

    @property
    def eligible(self) -> int:
        return self._counts[ELIGIBLE]

    def eligible_rows(self) -> Rows:
        rows: Rows = np.flatnonzero(self.code_column == ELIGIBLE)
        return rows

    def rejected(self) -> Mapping[str, int]:
        """Nodes by the name of the filter they fell at. Shared by decisions until a count changes."""
        if self._rejected is None:
            counts = enumerate(self._counts)
            named = {FILTERS[code - 1].name: count for code, count in counts if count and 0 < code < ABSENT}
            self._rejected = MappingProxyType(named)
        return self._rejected

    def catch_up(self) -> None:
        table = self._table
        if table.used != self._used:
            return self._rebuild()
        at_most = 64 + self._used // 4
        if table.restated.end != self._restated:
            restated = table.restated.since(self._restated, at_most)
            if restated is None:
                return self._rebuild()
            self._restated = table.restated.end
            self._follow_facts(restated)
        if table.released.end != self._released:
            released = table.released.since(self._released, at_most)
            if released is None:
                return self._rebuild()
            self._released = table.released.end
            self._follow_room(released)
        if table.reserved.end != self._reserved:
            reserved = table.reserved.since(self._reserved, at_most)
            if reserved is None:
                return self._rebuild()
            self._reserved = table.reserved.end
            self._follow_room(reserved)
        return None

    def _rebuild(self) -> None:
        table = self._table
        self._used = table.used
        self._restated, self._released = table.restated.end, table.released.end
        self._reserved = table.reserved.end
        found = failure_codes(table, np.arange(table.used), self.asked)
        self.codes = bytearray(found.tobytes())
        self.code_column = np.frombuffer(self.codes, np.uint8)
        self._counts: list[int] = np.bincount(found, minlength=ABSENT + 1).tolist()
        self._rejected = None
        self.generation += 1

    def _follow_facts(self, changed: list[int]) -> None:
        rows = np.array(sorted(set(changed)), np.int64)
        found = failure_codes(self._table, rows, self.asked).tolist()
        for row, code in zip(rows.tolist(), found, strict=True):
            self._set(row, code)

    def _follow_room(self, changed: list[int]) -> None:
        # The room filters once more, row by row; a test compares them with the table of filters.
        codes = self.codes
        cpu, memory, disk, gpus = self._table.room
        cpu_millis, memory_mb, disk_mb, gpu_count = self.asked[:4]
        for row in changed:
            before = codes[row]
            if before != ELIGIBLE and (before < FIRST_ROOM_CODE or before == ABSENT):
                continue
            if cpu[row] < cpu_millis:
                code = CPU
            elif memory[row] < memory_mb:
                code = MEMORY
            elif disk[row] < disk_mb:
                code = DISK
            elif gpus[row] < gpu_count:
                code = GPU
            else:
                code = ELIGIBLE
            if code != before:
                self._set(row, code)

    def _set(self, row: int, code: int) -> None:
        self._counts[self.codes[row]] -= 1
        self._counts[code] += 1
        self.codes[row] = code
        self._rejected = None

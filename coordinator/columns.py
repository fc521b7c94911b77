"""The facts of all nodes as columns: one numpy array a fact, one row a node."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from coordinator.geo import region_point
from coordinator.values import Availability, FogNode

Rows: TypeAlias = NDArray[np.int64]
Mask: TypeAlias = NDArray[np.bool_]
Vector: TypeAlias = NDArray[np.float64]

AVAILABILITY_CODES: Mapping[Availability, int] = {each: code for code, each in enumerate(Availability)}
MILLION = 1_000_000


def _position(node: FogNode) -> tuple[float, float]:
    if node.latitude is not None and node.longitude is not None:
        return node.latitude, node.longitude
    return region_point(node.region) or (np.nan, np.nan)


# What each column holds and how it is read off a node. Absent rows hold zeros.
_READERS: Mapping[str, tuple[Any, Callable[[FogNode], Any]]] = {
    "present": (np.bool_, lambda node: True),
    "total_cpu_millis": (np.int64, lambda node: node.total.cpu_millis),
    "total_memory_mb": (np.int64, lambda node: node.total.memory_mb),
    "total_disk_mb": (np.int64, lambda node: node.total.disk_mb),
    "total_gpus": (np.int64, lambda node: node.total.gpus),
    "free_cpu_millis": (np.int64, lambda node: node.free.cpu_millis),
    "free_memory_mb": (np.int64, lambda node: node.free.memory_mb),
    "free_disk_mb": (np.int64, lambda node: node.free.disk_mb),
    "free_gpus": (np.int64, lambda node: node.free.gpus),
    "measured_millionths": (np.int64, lambda node: round(node.measured_load * MILLION)),
    "latitude": (np.float64, lambda node: _position(node)[0]),
    "longitude": (np.float64, lambda node: _position(node)[1]),
    "round_trip_ms": (np.float64, lambda node: np.nan if node.round_trip_ms is None else node.round_trip_ms),
    "reputation": (np.float64, lambda node: node.reputation),
    "availability": (np.uint8, lambda node: AVAILABILITY_CODES[node.availability]),
    "onion_capable": (np.bool_, lambda node: node.onion_capable),
    "connected": (np.bool_, lambda node: node.connected),
    "said_goodbye": (np.bool_, lambda node: node.said_goodbye),
    "unstable": (np.bool_, lambda node: node.unstable_until is not None),
    "cooling": (np.bool_, lambda node: node.cooling_until is not None),
    "kept": (np.bool_, lambda node: node.kept),
    "computes": (np.bool_, lambda node: node.computes),
    "deadline": (np.float64, lambda node: node.last_contact + node.timeout_s),
    "last_assigned": (np.float64, lambda node: node.last_assigned),
}


class Codes:
    """Whole numbers for names, given in the order in which they were first seen."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._codes)

    def give(self, name: str) -> int:
        return self._codes.setdefault(name, len(self._codes))

    def find(self, name: str) -> int:
        """The code of ``name``, or -1 when no node ever had it."""
        return self._codes.get(name, -1)


class Tags:
    """Which rows carry what: labels, drivers and cached inputs, indexed both ways."""

    def __init__(self) -> None:
        self._rows: dict[Hashable, set[int]] = {}
        self._tags: dict[int, frozenset[Hashable]] = {}

    def set(self, row: int, tags: frozenset[Hashable]) -> None:
        before = self._tags.get(row, frozenset())
        for tag in before - tags:
            self._rows[tag].discard(row)
            if not self._rows[tag]:
                del self._rows[tag]
        for tag in tags - before:
            self._rows.setdefault(tag, set()).add(row)
        if tags:
            self._tags[row] = tags
        else:
            self._tags.pop(row, None)

    def mask(self, tag: Hashable, rows: Rows) -> Mask:
        holders = self._rows.get(tag)
        if not holders:
            return np.zeros(len(rows), np.bool_)
        return np.fromiter(map(holders.__contains__, rows.tolist()), np.bool_, len(rows))


def tags_of(node: FogNode) -> frozenset[Hashable]:
    return frozenset(
        [("label", key, value) for key, value in node.labels.items()]
        + [("driver", driver) for driver in node.drivers]
        + [("input", digest) for digest in node.cached_inputs]
    )


class Columns:
    """Arrays of equal length. Rows are given out by the table that owns them."""

    present: Mask
    total_cpu_millis: NDArray[np.int64]
    total_memory_mb: NDArray[np.int64]
    total_disk_mb: NDArray[np.int64]
    total_gpus: NDArray[np.int64]
    free_cpu_millis: NDArray[np.int64]
    free_memory_mb: NDArray[np.int64]
    free_disk_mb: NDArray[np.int64]
    free_gpus: NDArray[np.int64]
    measured_millionths: NDArray[np.int64]
    latitude: Vector  # degrees; NaN: unknown
    longitude: Vector
    round_trip_ms: Vector  # NaN: not measured
    reputation: Vector
    availability: NDArray[np.uint8]
    onion_capable: Mask
    connected: Mask
    said_goodbye: Mask
    unstable: Mask
    cooling: Mask
    kept: Mask
    computes: Mask
    deadline: Vector  # the moment at which silence becomes offline
    last_assigned: Vector
    # Not read off a node:
    region: NDArray[np.int64]
    network: NDArray[np.int64]
    silent: Mask  # deadline passed, as of the table's ``now``
    tie: NDArray[np.int64]  # orders what is otherwise equal

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        for name, (dtype, _) in _READERS.items():
            setattr(self, name, np.zeros(capacity, dtype))
        self.region = np.zeros(capacity, np.int64)
        self.network = np.zeros(capacity, np.int64)
        self.silent = np.zeros(capacity, np.bool_)
        self.tie = np.zeros(capacity, np.int64)

    def grown(self) -> Columns:
        """The same rows with as many empty ones after them."""
        wider = Columns(2 * self.capacity)
        for name, column in vars(self).items():
            if isinstance(column, np.ndarray):
                getattr(wider, name)[: self.capacity] = column
        return wider

    def write(self, rows: Rows, nodes: list[FogNode]) -> None:
        for name, (dtype, read) in _READERS.items():
            getattr(self, name)[rows] = np.fromiter(map(read, nodes), dtype, len(nodes))

    def load_millionths(self, rows: Rows) -> NDArray[np.int64]:
        """The larger of measured load and reserved share (of cores or memory), 0 to a million.

        Whole numbers, so that a row updated alone and a column computed at once agree exactly.
        """
        cpu = _reserved_millionths(self.total_cpu_millis[rows], self.free_cpu_millis[rows])
        memory = _reserved_millionths(self.total_memory_mb[rows], self.free_memory_mb[rows])
        load = np.maximum(self.measured_millionths[rows], np.maximum(cpu, memory))
        clipped: NDArray[np.int64] = np.clip(load, 0, MILLION)
        return clipped


def _reserved_millionths(total: NDArray[np.int64], free: NDArray[np.int64]) -> NDArray[np.int64]:
    share: NDArray[np.int64] = (total - free) * MILLION // np.maximum(total, 1)
    return share

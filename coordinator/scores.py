"""What makes one eligible node better than another: each score takes columns and returns 0 to 1 a row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from coordinator.asked import Asked
from coordinator.columns import MILLION, Rows, Vector
from coordinator.geo import great_circle_km
from coordinator.table import NodeTable

HALF_TURN_S = 60.0  # waiting this long is worth half a point
HALF_NEAR_KM = 1000.0  # being this far away costs half a point
HALF_NEAR_MS = 20.0  # and so does a round trip this long: what a thousand kilometres of network take
ROUND_TRIP_STEP_MS = 5.0  # finer differences come and go by themselves
UNKNOWN = 0.5  # neither good nor bad

RESOURCES = ("cpu_millis", "memory_mb", "disk_mb", "gpus")


@dataclass(frozen=True, slots=True)
class Score:
    """``name`` and ``sentence`` are what users see."""

    name: str
    sentence: str
    compute: Callable[[NodeTable, Rows, Asked], Vector]


def _waited(table: NodeTable, rows: Rows, asked: Asked) -> Vector:
    waited = np.maximum(table.now - table.columns.last_assigned[rows], 0)
    return _vector(waited / (waited + HALF_TURN_S))


def _unloaded(table: NodeTable, rows: Rows, asked: Asked) -> Vector:
    return _vector(1 - table.columns.load_millionths(rows) / MILLION)


def fit(*, cpu: float, memory: float, disk: float, gpu: float) -> Score:
    """How tightly a task fits, each kind of resource that the node has counting by its weight.

    A node that has none of the kinds that count leaves nothing unused.
    """
    weights = tuple(zip(RESOURCES, (cpu, memory, disk, gpu), strict=True))

    def tight(table: NodeTable, rows: Rows, asked: Asked) -> Vector:
        columns = table.columns
        unused = np.zeros(len(rows))
        counted = np.zeros(len(rows))
        for resource, weight in weights:
            total = getattr(columns, f"total_{resource}")[rows]
            left = getattr(columns, f"free_{resource}")[rows] - getattr(asked.requirements, resource)
            unused += weight * np.clip(left / np.maximum(total, 1), 0, 1)
            counted += weight * (total > 0)
        return _vector(1 - unused / np.where(counted > 0, counted, 1))

    sentence = "how little of its cores, memory, storage and GPUs would be left unused"
    return Score("fit", sentence, tight)


def _matching(table: NodeTable, rows: Rows, asked: Asked) -> Vector:
    tags = [("label", key, value) for key, value in asked.wishes.prefers] + [
        ("input", each) for each in asked.wishes.inputs
    ]
    if not tags:
        return np.ones(len(rows))
    matched = sum((table.tags.mask(tag, rows).astype(np.float64) for tag in tags), np.zeros(len(rows)))
    return _vector(matched / len(tags))


def _same_region(table: NodeTable, rows: Rows, asked: Asked) -> Vector:
    if not asked.wishes.region:
        return np.zeros(len(rows))
    return _vector(table.columns.region[rows] == table.regions.find(asked.wishes.region))


def _near(table: NodeTable, rows: Rows, asked: Asked) -> Vector:
    columns = table.columns
    if asked.wishes.near_panel:
        steps = np.ceil(columns.round_trip_ms[rows] / ROUND_TRIP_STEP_MS)
        return np.nan_to_num(HALF_NEAR_MS / (HALF_NEAR_MS + steps * ROUND_TRIP_STEP_MS), nan=0.0)
    if asked.wishes.point is None:
        return np.zeros(len(rows))
    distance = great_circle_km(columns.latitude[rows], columns.longitude[rows], asked.wishes.point)
    return np.nan_to_num(HALF_NEAR_KM / (HALF_NEAR_KM + distance), nan=0.0)


def _reputation(table: NodeTable, rows: Rows, asked: Asked) -> Vector:
    return np.clip(table.columns.reputation[rows], 0, 1)


def _apart(table: NodeTable, rows: Rows, asked: Asked) -> Vector:
    if not asked.wishes.network:
        return np.full(len(rows), UNKNOWN)
    return _vector(table.columns.network[rows] != table.networks.find(asked.wishes.network))


def _fresh(table: NodeTable, rows: Rows, asked: Asked) -> Vector:
    return table.recent.freshness(table.columns.network[rows])


def _vector(values: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> Vector:
    return values.astype(np.float64)


WAITED = Score("waited", "how long ago it last got work", _waited)
UNLOADED = Score("unloaded", "how little of it is in use, measured or reserved, whichever is more", _unloaded)
MATCHING = Score("match", "how many of the preferred labels and of the inputs it has already", _matching)
SAME_REGION = Score("region", "whether it is in the region asked for", _same_region)
NEAR = Score("nearness", "how near it is on the great circle, or by its measured round trip", _near)
REPUTATION = Score("reputation", "how well it kept its word so far", _reputation)
APART = Score("apart", "whether its network is another than the submitter's", _apart)
FRESH = Score("fresh", "how long its network was not used for private work", _fresh)

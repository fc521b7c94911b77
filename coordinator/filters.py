"""Why a node may not get a task: one small function a reason, in one table.

Each filter takes columns and returns a mask of the rows that pass, and has a sentence for a person.
A node counts under the first filter in the table that it fails. Facts come before room: a node that
could never serve is not reported as merely full.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coordinator.asked import Requirements
from coordinator.columns import AVAILABILITY_CODES, Mask, Rows
from coordinator.table import NodeTable
from coordinator.values import Availability, FogNode

ELIGIBLE = 0  # the code of a row that passed everything; filter number n has code n
ABSENT = 255  # the code of a row without a node


@dataclass(frozen=True, slots=True)
class Filter:
    """``passes`` gives the mask; ``sentence`` says why this node, which fails, does (times in seconds)."""

    name: str
    passes: Callable[[NodeTable, Rows, Requirements], Mask]
    sentence: Callable[[FogNode, Requirements, float], str]


def _sealed_for(table: NodeTable, rows: Rows, asked: Requirements) -> Mask:
    if asked.among is None:
        return _all(rows)
    mask: Mask = np.isin(rows, [table.row_of[each] for each in asked.among if each in table.row_of])
    return mask


def _asked_for(availability: Availability) -> Callable[[NodeTable, Rows, Requirements], Mask]:
    code = AVAILABILITY_CODES[availability]

    def passes(table: NodeTable, rows: Rows, asked: Requirements) -> Mask:
        mask: Mask = table.columns.availability[rows] != code
        return mask

    return passes


def _stayed(table: NodeTable, rows: Rows, asked: Requirements) -> Mask:
    return ~table.columns.said_goodbye[rows]


def _heard(table: NodeTable, rows: Rows, asked: Requirements) -> Mask:
    return ~table.columns.silent[rows]


def _connected(table: NodeTable, rows: Rows, asked: Requirements) -> Mask:
    return table.columns.connected[rows]


def _steady(table: NodeTable, rows: Rows, asked: Requirements) -> Mask:
    return ~table.columns.unstable[rows]


def _cool(table: NodeTable, rows: Rows, asked: Requirements) -> Mask:
    return ~table.columns.cooling[rows]


def _not_kept(table: NodeTable, rows: Rows, asked: Requirements) -> Mask:
    return ~table.columns.kept[rows]


def _computes(table: NodeTable, rows: Rows, asked: Requirements) -> Mask:
    return table.columns.computes[rows]


def _still(until: float | None, now: float) -> str:
    return f"another {max(0, round((until or now) - now))} s"


def _has_driver(table: NodeTable, rows: Rows, asked: Requirements) -> Mask:
    return table.tags.mask(("driver", asked.driver), rows) if asked.driver else _all(rows)


def _onion_capable(table: NodeTable, rows: Rows, asked: Requirements) -> Mask:
    return table.columns.onion_capable[rows] if asked.onion else _all(rows)


def _in_region(table: NodeTable, rows: Rows, asked: Requirements) -> Mask:
    if not asked.region:
        return _all(rows)
    mask: Mask = table.columns.region[rows] == table.regions.find(asked.region)
    return mask


def _has_labels(table: NodeTable, rows: Rows, asked: Requirements) -> Mask:
    mask = _all(rows)
    for key, value in asked.labels:
        mask &= table.tags.mask(("label", key, value), rows)
    return mask


def _missing_label(node: FogNode, asked: Requirements, now: float) -> str:
    missing = [f"{key}={value}" for key, value in asked.labels if node.labels.get(key) != value]
    return f"label {', '.join(missing)} missing"


def _all(rows: Rows) -> Mask:
    return np.ones(len(rows), np.bool_)


def silence(node: FogNode, now: float) -> str:
    return f"silent for {max(0, round(now - node.last_contact))} s"


FACT_FILTERS: tuple[Filter, ...] = (
    # First, so that the reasons of a sealed task are those of the few nodes that could run it.
    Filter(
        "sealed",
        _sealed_for,
        lambda node, asked, now: "the task is not sealed for it, or cannot be brought there",
    ),
    Filter(
        "maintenance",
        _asked_for(Availability.MAINTENANCE),
        lambda node, asked, now: "taken out for maintenance by its operator",
    ),
    Filter(
        "draining",
        _asked_for(Availability.DRAINING),
        lambda node, asked, now: "being drained by its operator",
    ),
    Filter(
        "cordoned", _asked_for(Availability.CORDONED), lambda node, asked, now: "cordoned by its operator"
    ),
    Filter("goodbye", _stayed, lambda node, asked, now: "said goodbye"),
    Filter(
        "silent",
        _heard,
        lambda node, asked, now: f"{silence(node, now)}, longer than its timeout of {node.timeout_s:g} s",
    ),
    Filter("disconnected", _connected, lambda node, asked, now: f"{silence(node, now)} (disconnected)"),
    Filter(
        "unstable",
        _steady,
        lambda node, asked, now: (
            f"its connection broke too often: must be steady for {_still(node.unstable_until, now)}"
        ),
    ),
    Filter(
        "cooling",
        _cool,
        lambda node, asked, now: (
            f"attempts failed there by its own fault: cools down for {_still(node.cooling_until, now)}"
        ),
    ),
    Filter(
        "kept", _not_kept, lambda node, asked, now: "kept free for a larger task that has waited for long"
    ),
    Filter("compute", _computes, lambda node, asked, now: "its owner does not let it run tasks"),
    Filter("driver", _has_driver, lambda node, asked, now: f"driver {asked.driver} is not available there"),
    Filter("onion", _onion_capable, lambda node, asked, now: "not onion-capable"),
    Filter(
        "region",
        _in_region,
        lambda node, asked, now: f"region {asked.region} asked, is in {node.region or 'no known region'}",
    ),
    Filter("label", _has_labels, _missing_label),
)

ROOM_FILTERS: tuple[Filter, ...] = (
    Filter(
        "cpu",
        lambda table, rows, asked: table.columns.free_cpu_millis[rows] >= asked.cpu_millis,
        lambda node, asked, now: (
            f"cpu: {node.free.cpu_millis} of {node.total.cpu_millis} millicores free, "
            f"{asked.cpu_millis} asked"
        ),
    ),
    Filter(
        "memory",
        lambda table, rows, asked: table.columns.free_memory_mb[rows] >= asked.memory_mb,
        lambda node, asked, now: (
            f"memory: {node.free.memory_mb} of {node.total.memory_mb} MB free, {asked.memory_mb} asked"
        ),
    ),
    Filter(
        "disk",
        lambda table, rows, asked: table.columns.free_disk_mb[rows] >= asked.disk_mb,
        lambda node, asked, now: (
            f"disk: {node.free.disk_mb} of {node.total.disk_mb} MB free, {asked.disk_mb} asked"
        ),
    ),
    Filter(
        "gpu",
        lambda table, rows, asked: table.columns.free_gpus[rows] >= asked.gpus,
        lambda node, asked, now: f"gpu: {node.free.gpus} of {node.total.gpus} free, {asked.gpus} asked",
    ),
)

FILTERS: tuple[Filter, ...] = FACT_FILTERS + ROOM_FILTERS
FIRST_ROOM_CODE = len(FACT_FILTERS) + 1
ROOM = frozenset(each.name for each in ROOM_FILTERS)


def failure_codes(table: NodeTable, rows: Rows, asked: Requirements) -> NDArray[np.uint8]:
    """For each row the code of the first filter it fails, ``ELIGIBLE`` or ``ABSENT``."""
    codes = np.full(len(rows), ELIGIBLE, np.uint8)
    # Backwards, so that the first filter of the table has the last word.
    for code in range(len(FILTERS), 0, -1):
        codes[~FILTERS[code - 1].passes(table, rows, asked)] = code
    codes[~table.columns.present[rows]] = ABSENT
    return codes

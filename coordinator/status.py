"""What state a node is in, from stored facts. The one rule that lists, pages, API and sockets share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from coordinator.columns import AVAILABILITY_CODES
from coordinator.table import NodeTable
from coordinator.values import Availability, FogNode, NodeStatus

STATUSES = tuple(NodeStatus)


def derive_status(node: FogNode, now: float) -> NodeStatus:
    return _derive(node, now)[0]


def status_reason(node: FogNode, now: float) -> str:
    """One sentence that says why the node is in the state that ``derive_status`` gives."""
    return _derive(node, now)[1]


def _derive(node: FogNode, now: float) -> tuple[NodeStatus, str]:
    silent_s = max(0, round(now - node.last_contact))
    if node.availability is Availability.MAINTENANCE:
        return NodeStatus.MAINTENANCE, "Taken out for maintenance by its operator."
    if node.said_goodbye:
        return NodeStatus.OFFLINE, "Said goodbye."
    if now > node.last_contact + node.timeout_s:
        if node.last_contact == 0:
            return NodeStatus.OFFLINE, "Never heard of yet."
        return (
            NodeStatus.OFFLINE,
            f"Silent for {silent_s} s, longer than its timeout of {node.timeout_s:g} s.",
        )
    status, reason = _from_work(node)
    if not node.connected:
        left = f"its work goes on. Offline after {node.timeout_s:g} s"
        reason = f"Disconnected, silent for {silent_s} s: {left}. {reason}"
    elif node.availability is not Availability.SCHEDULABLE:
        reason = f"Gets no new work: {node.availability} by its operator. {reason}"
    elif node.unstable_until is not None:
        reason = f"Gets no new work: its connection broke too often. {reason}"
    elif node.cooling_until is not None:
        reason = f"Gets no new work: it cools down, attempts failed there by its own fault. {reason}"
    return status, reason


def _from_work(node: FogNode) -> tuple[NodeStatus, str]:
    total, free = node.total, node.free
    if total.fits_in(free):
        return NodeStatus.IDLE, "Nothing is reserved on it."
    if free.cpu_millis <= 0 or free.memory_mb <= 0:
        full = "cores are" if free.cpu_millis <= 0 else "memory is"
        return NodeStatus.BUSY, f"No room: all its {full} reserved."
    return (
        NodeStatus.ACTIVE,
        f"Working, with {free.cpu_millis} of {total.cpu_millis} millicores "
        f"and {free.memory_mb} of {total.memory_mb} MB free.",
    )


def status_counts(table: NodeTable, now: float) -> dict[NodeStatus, int]:
    """How many nodes are in each state; the same rule over columns (a test holds them equal)."""
    columns, rows = table.columns, slice(0, table.used)
    idle = np.ones(table.used, np.bool_)
    for resource in ("cpu_millis", "memory_mb", "disk_mb", "gpus"):
        idle &= getattr(columns, f"free_{resource}")[rows] >= getattr(columns, f"total_{resource}")[rows]
    full = (columns.free_cpu_millis[rows] <= 0) | (columns.free_memory_mb[rows] <= 0)
    offline = columns.said_goodbye[rows] | (columns.deadline[rows] < now)
    maintenance = columns.availability[rows] == AVAILABILITY_CODES[Availability.MAINTENANCE]
    # From the weakest claim to the strongest: the last one written stays.
    codes: NDArray[np.int64] = np.full(table.used, STATUSES.index(NodeStatus.ACTIVE))
    codes[full] = STATUSES.index(NodeStatus.BUSY)
    codes[idle] = STATUSES.index(NodeStatus.IDLE)
    codes[offline] = STATUSES.index(NodeStatus.OFFLINE)
    codes[maintenance] = STATUSES.index(NodeStatus.MAINTENANCE)
    counts = np.bincount(codes[columns.present[rows]], minlength=len(STATUSES)).tolist()
    return {status: count for status, count in zip(STATUSES, counts, strict=True) if count}

"""What nodes tell of their part in the overlay: the last of each, stored; and read again.

A handler like those of `nodes.handlers`. What they tell of tunnels is for the service that keeps those.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple, TypeVar

import msgspec

from fogagent.messages import CircuitState, GuardState, OverlayStatus
from fogpanel import live
from fogpanel.rows import as_time, insert_each, select, update_each
from services.onion.models import OverlayState

COMPARED_EVERY = timedelta(seconds=1)
"""Statuses come at any moment when something happens; a rate over less than this would say nothing."""

TOLD = (
    "at",
    "directory",
    "links",
    "relayed_circuits",
    "relayed_bytes",
    "exit_streams",
    "circuits",
    "circuits_open",
    "guards",
    "builds",
    "trouble",
    "counted_at",
    "counted_bytes",
    "relayed_bytes_per_s",
)


class Counted(NamedTuple):
    """The bytes that a node had relayed when they were last compared, and the rate since the time before."""

    at: datetime
    relayed_bytes: int
    per_s: float | None


def store_overlay_status(received: Sequence[tuple[int, OverlayStatus]], now: datetime) -> None:
    """Replace what these nodes told before; the inbox has locked them."""
    told = dict(received)  # the last of each
    known = _counted_before(told)
    new = [(node_id, *_row(told[node_id], None, now)) for node_id in sorted(told) if node_id not in known]
    again = [(*_row(told[node_id], before, now), node_id) for node_id, before in sorted(known.items())]
    insert_each(OverlayState, ("node", *TOLD), new)
    update_each(OverlayState, TOLD, again)
    live.changed("relays", "circuits")


_COUNTED = """
SELECT node_id, counted_at, counted_bytes, relayed_bytes_per_s FROM onion_overlaystate WHERE node_id IN {ids}
"""


def _counted_before(node_ids: Mapping[int, object]) -> dict[int, Counted]:
    rows = select(_COUNTED, ids=list(node_ids))
    return {node_id: Counted(as_time(at), amount, per_s) for node_id, at, amount, per_s in rows}


def _row(status: OverlayStatus, before: Counted | None, now: datetime) -> tuple[Any, ...]:
    return (
        now,
        status.directory,
        status.links,
        status.relayed_circuits,
        status.relayed_bytes,
        status.exit_streams,
        msgspec.to_builtins([one for one in status.circuits if not _has_nul(*_said(one))]),
        len(status.circuits),
        msgspec.to_builtins([one for one in status.guards if not _has_nul(one.sentence)]),
        msgspec.to_builtins(status.builds),
        status.trouble.replace("\0", ""),
        *compared(before, status.relayed_bytes, now),
    )


def _said(circuit: CircuitState) -> Iterator[str]:
    for verdict in circuit.verdicts:
        yield from (verdict.rule, verdict.state, verdict.sentence)


def _has_nul(*texts: str) -> bool:
    """Which PostgreSQL does not store, and no agent of ours says: one row must not hold up all of a batch."""
    return any("\0" in text for text in texts)


def compared(before: Counted | None, relayed_bytes: int, now: datetime) -> Counted:
    """With what was counted ``before``. Fewer bytes than then mean that the agent was started anew."""
    if before is None or relayed_bytes < before.relayed_bytes:
        return Counted(now, relayed_bytes, None)
    elapsed = now - before.at
    if elapsed < COMPARED_EVERY:
        return before
    return Counted(now, relayed_bytes, (relayed_bytes - before.relayed_bytes) / elapsed.total_seconds())


# --- Reading -----------------------------------------------------------------------------------------

T = TypeVar("T")


def circuits_of(state: OverlayState, most: int | None = None) -> list[CircuitState]:
    return _read(state.circuits[:most], CircuitState)


def guards_of(state: OverlayState) -> list[GuardState]:
    return _read(state.guards, GuardState)


def _read(stored: Any, kind: type[T]) -> list[T]:
    """What another version of the panel stored may not be readable; the node's next word replaces it."""
    try:
        return msgspec.convert(stored, list[kind])  # type: ignore[valid-type]
    except msgspec.ValidationError:
        return []

"""How a tunnel stands: one state, in a word and a sentence, and what may surprise its user."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from services.vpn_coordinator.models import Tunnel


class Standing(StrEnum):
    ORDERED = "ordered"
    OPEN = "open"
    STUCK = "stuck"  # its port is open, and no circuit can be built for it
    BROKEN = "broken"
    SILENT = "silent"  # its entry is not connected
    GONE = "gone"  # its entry has left the fog
    STOPPED = "stopped"


PILLS = {
    Standing.ORDERED: ("waiting", "Ordered"),
    Standing.OPEN: ("operational", "Open"),
    Standing.STUCK: ("degraded", "No circuit"),
    Standing.BROKEN: ("down", "Not open"),
    Standing.SILENT: ("offline", "Entry silent"),
    Standing.GONE: ("offline", "Entry gone"),
    Standing.STOPPED: ("cancelled", "Stopped"),
}
"""The component's state and word for each."""


@dataclass(frozen=True, slots=True)
class Stands:
    standing: Standing
    sentence: str = ""

    @property
    def pill(self) -> str:
        return PILLS[self.standing][0]

    @property
    def word(self) -> str:
        return PILLS[self.standing][1]


def stands(tunnel: Tunnel) -> Stands:
    """Reads its entry."""
    entry = tunnel.entry
    if tunnel.stopped_at is not None:
        return Stands(Standing.STOPPED)
    if entry.archived_at is not None:
        return Stands(
            Standing.GONE,
            f"{entry.name} has left the fog. Stop this tunnel and make one that enters elsewhere.",
        )
    if not entry.connected:
        sentence = (
            f"The panel does not hear {entry.name} now. What is open there may go on without it; if its "
            "agent has ended, start it again."
        )
        return Stands(Standing.SILENT, sentence)
    if tunnel.is_open is None:
        return Stands(Standing.ORDERED, f"{entry.name} has not told yet that it is open.")
    if not tunnel.is_open:
        return Stands(Standing.BROKEN, tunnel.sentence or f"{entry.name} does not say why.")
    if tunnel.sentence:
        return Stands(Standing.STUCK, f"Its port is open, and nothing gets through: {tunnel.sentence}")
    return Stands(Standing.OPEN)


def bytes_per_s_now(tunnel: Tunnel, now: datetime) -> float | None:
    """What the last two statuses tell, as long as the last is no older than its entry's timeout."""
    if tunnel.told_at is None or (now - tunnel.told_at).total_seconds() > tunnel.entry.timeout_s:
        return None
    return tunnel.bytes_per_s


def remarks(tunnel: Tunnel, regions: Collection[str], relays: Collection[int]) -> list[str]:
    """What its user should know and may change: no grant, no exit, too few relays.

    ``regions`` are those with an exit that is ready, ``relays`` ids as of `gateways.some_relays`; the tunnel
    was read with its nodes.
    """
    found = []
    entry, left = tunnel.entry, tunnel.exit_node
    if "entry" not in entry.flags:
        found.append(
            f"The owner of {entry.name} does not grant entry, so none opens there: its agent must be started "
            "with entry among its --flags."
        )
    if left is not None and left.archived_at is not None:
        found.append(f"Its exit {left.name} has left the fog; nothing can leave there.")
    elif left is not None and not left.connected:
        found.append(f"Its exit {left.name} is not connected now.")
    elif left is None and tunnel.exit_region and tunnel.exit_region not in regions:
        found.append(f"No exit in {tunnel.exit_region} is ready now; until one is, nothing can leave.")
    elif left is None and not regions:
        found.append("No exit is ready anywhere now; until one is, nothing can leave.")
    if tunnel.require_password and not tunnel.entry_asks_passwords:
        found.append(
            f"The agent of {entry.name} is too old to ask for passwords, so it does not open this tunnel: "
            "update it."
        )
    others = len(set(relays) - {entry.id})
    if others < tunnel.hops:
        found.append(f"{tunnel.hops} hops need as many relays besides {entry.name}; ready now: {others}.")
    return found

"""When a link should say that it is alive, and when it is over. Knows no clock: any will do, in seconds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True)
class LinkTimes:
    """Both ends of a network should have the same."""

    keep_alive_s: float = 30.0
    """Having said nothing for so long, an end says that it is there."""
    silent_s: float = 90.0
    """Having heard nothing for so long, it takes the link for dead: three keep-alives were lost."""
    unused_s: float = 300.0
    """A link that carried nothing but keep-alives for so long is closed, unless somebody keeps it."""
    dial_s: float = 10.0
    """For all from the connection to the first word of the peer."""
    handshake_s: float = 10.0
    """For the handshake of a peer that dials us."""

    def __post_init__(self) -> None:
        if self.silent_s < 2 * self.keep_alive_s:
            raise ValueError("silent_s must be at least twice keep_alive_s, or one late packet ends a link.")

    @property
    def check_s(self) -> float:
        """How often links are looked at."""
        return min(self.keep_alive_s, self.unused_s) / 4


class Due(Enum):
    NOTHING = "nothing"
    KEEP_ALIVE = "keep-alive"
    SILENT = "silent"
    UNUSED = "unused"


@dataclass
class Liveness:
    """What a link notes of itself, besides what is passed to `due`."""

    heard_at: float
    said_at: float
    used_at: float

    @classmethod
    def from_now(cls, now: float) -> Liveness:
        return cls(now, now, now)

    def due(self, now: float, times: LinkTimes, *, kept: bool, held: bool, blocked: bool) -> Due:
        """What is to be done with the link now.

        Args:
            kept: somebody wants it open, used or not.
            held: we do not read, so that hearing nothing means nothing, and more may wait to be read.
            blocked: bytes wait for the peer to read; it will hear from us as soon as it does.
        """
        if not held and now - self.heard_at >= times.silent_s:
            return Due.SILENT
        if not (kept or held or blocked) and now - self.used_at >= times.unused_s:
            return Due.UNUSED
        if not blocked and now - self.said_at >= times.keep_alive_s:
            return Due.KEEP_ALIVE
        return Due.NOTHING

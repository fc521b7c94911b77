"""What can happen to an agent. `fogagent.state` turns these into instructions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from fogagent.drivers.base import Result
from fogagent.messages import (
    Carried,
    CircuitTried,
    Facts,
    FromPanel,
    OverlayFacts,
    Piece,
    Problem,
    Run,
    Welcome,
)
from fogagent.overlay.directory import BadDirectory, Changes, Directory


class Moment(NamedTuple):
    """Now, twice: ``at`` for people (seconds since the epoch), ``tick`` for waiting (never jumps)."""

    at: float
    tick: float


@dataclass(frozen=True, slots=True)
class Began:
    """The process is up, its spool is open."""


@dataclass(frozen=True, slots=True)
class Connected:
    """Both ends have proved who they are."""

    welcome: Welcome


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The connection ended, or could not be made."""

    sentence: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The panel would not let us in."""

    problem: Problem


@dataclass(frozen=True, slots=True)
class Imposter:
    """Whoever answers at the panel's address cannot prove to be the panel we joined."""

    sentence: str


@dataclass(frozen=True, slots=True)
class Received:
    """One frame from the panel."""

    messages: list[FromPanel]


@dataclass(frozen=True, slots=True)
class JobBegan:
    """A worker has begun with it; until then it waited for one."""

    attempt: int


@dataclass(frozen=True, slots=True)
class Output:
    attempt: int
    piece: Piece


@dataclass(frozen=True, slots=True)
class Ended:
    """``sealed``: the result of a sealed task that was opened; then ``result`` is what all may see of it."""

    attempt: int
    result: Result
    sealed: bytes = b""


@dataclass(frozen=True, slots=True)
class BlobReady:
    """The blob is in the cache, whole and with the right hash."""

    sha256: str


@dataclass(frozen=True, slots=True)
class BlobWanted:
    """The blob is not in the cache; chunks from ``index`` on are missing."""

    sha256: str
    index: int


@dataclass(frozen=True, slots=True)
class BlobFailed:
    sha256: str
    sentence: str


@dataclass(frozen=True, slots=True)
class FactsChanged:
    facts: Facts


@dataclass(frozen=True, slots=True)
class CacheChanged:
    """These blobs are in the cache now, the one used last first."""

    blobs: list[str]


@dataclass(frozen=True, slots=True)
class DirectoryAccepted:
    """The panel's answer gives this directory; ``whole`` is what of it may be kept on disk."""

    directory: Directory
    whole: Changes


@dataclass(frozen=True, slots=True)
class DirectoryRefused:
    error: BadDirectory


@dataclass(frozen=True, slots=True)
class OverlayStarted:
    """This node takes part in the overlay from now on; others reach it by these facts."""

    facts: OverlayFacts


@dataclass(frozen=True, slots=True)
class OverlayChanged:
    """The panel should hear how the overlay is before the next heartbeat."""


@dataclass(frozen=True, slots=True)
class CircuitTrialEnded:
    tried: CircuitTried


@dataclass(frozen=True, slots=True)
class CarryEnded:
    """What came of bringing an order to another node."""

    carried: Carried


@dataclass(frozen=True, slots=True)
class Brought:
    """A gateway has brought an order of our panel, and its content, which is in the cache."""

    run: Run


@dataclass(frozen=True, slots=True)
class Ticked:
    """The time that `AgentState.wake_at` named has come."""


@dataclass(frozen=True, slots=True)
class StopAsked:
    sentence: str


Event: TypeAlias = (
    Began
    | Connected
    | Disconnected
    | Refused
    | Imposter
    | Received
    | JobBegan
    | Output
    | Ended
    | BlobReady
    | BlobWanted
    | BlobFailed
    | FactsChanged
    | CacheChanged
    | DirectoryAccepted
    | DirectoryRefused
    | OverlayStarted
    | OverlayChanged
    | CircuitTrialEnded
    | CarryEnded
    | Brought
    | Ticked
    | StopAsked
)

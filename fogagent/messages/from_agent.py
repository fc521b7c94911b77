"""What an agent says once it is let in: what its machine is and does, how attempts go, how its overlay is."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from msgspec import Meta

from fogagent.messages.fields import (
    Certificate,
    Count,
    HostPort,
    Identifier,
    Key,
    Message,
    Seconds,
    Sentence,
    Sha256,
    Short,
)
from fogagent.messages.limits import MAX_CACHED
from fogagent.messages.values import (
    CircuitState,
    DriverFact,
    GpuFact,
    GuardState,
    NotCarried,
    Outcome,
    Piece,
    TunnelState,
    Usage,
)


class Facts(Message, frozen=True):
    """What the machine is and offers, sent on connect and when it changes."""

    hostname: Short
    platform: Short
    version: Short
    cpu_millis: Annotated[int, Meta(ge=1, le=10_000_000)]
    memory_mb: Annotated[int, Meta(ge=1, le=100_000_000)]
    disk_mb: Count
    gpus: Annotated[list[GpuFact], Meta(max_length=64)] = []
    drivers: Annotated[list[DriverFact], Meta(max_length=16)] = []
    region: Short = ""
    latitude: Annotated[float, Meta(ge=-90, le=90)] | None = None
    longitude: Annotated[float, Meta(ge=-180, le=180)] | None = None
    node_type: Short = "compute_node"
    flags: Annotated[list[Short], Meta(max_length=16)] = []  # compute, relay, mix, exit, entry
    labels: dict[Short, Short] = {}
    cached: Annotated[list[Sha256], Meta(max_length=MAX_CACHED)] = []
    """Blobs that need not be fetched again, the one used last first."""


class Holding(Message, frozen=True):
    """Sent once on every connect: the attempts this agent runs or has unreported results for.

    Whatever the panel thinks is here but is not named was lost with an earlier life of the agent.
    """

    attempts: Annotated[list[Identifier], Meta(max_length=10_000)]


class Heartbeat(Message, frozen=True):
    """``round_trip_ms`` to the panel and back, where it differs from what was told before."""

    at: float
    cpu_percent: Annotated[float, Meta(ge=0, le=100)]  # of all cores the machine has
    memory_used_mb: Count
    memory_total_mb: Count
    disk_free_mb: Count = 0
    load_1m: Seconds = 0.0
    running: Count = 0
    uptime_s: Seconds = 0.0
    round_trip_ms: Annotated[float, Meta(ge=0)] | None = None


class Acknowledge(Message, frozen=True):
    """These orders are safe with the agent."""

    orders: Annotated[list[Identifier], Meta(min_length=1, max_length=10_000)]


class Started(Message, frozen=True):
    seq: Identifier
    attempt: Identifier
    at: float


class Log(Message, frozen=True):
    seq: Identifier
    attempt: Identifier
    pieces: Annotated[list[Piece], Meta(min_length=1, max_length=64)]


class Finished(Message, frozen=True):
    """The last report of an attempt; ``pieces`` is the output not yet sent in a Log."""

    seq: Identifier
    attempt: Identifier
    at: float
    outcome: Outcome
    started_at: float = 0.0
    exit_code: int | None = None
    sentence: Sentence = ""
    usage: Usage = Usage()
    pieces: Annotated[list[Piece], Meta(max_length=64)] = []
    truncated: bool = False


class Fetch(Message, frozen=True):
    """Asks for a blob that an open attempt of this node needs, from chunk ``index`` on."""

    attempt: Identifier
    sha256: Sha256
    index: Count = 0


class OverlayFacts(Message, frozen=True):
    """By what others reach this node in the overlay, sent on connect and when it changes."""

    onion_key: Key
    certificate: Certificate
    address: HostPort = ""  # empty: nobody can dial it
    family: Short = ""
    asks_passwords: bool = False  # whether it knows tunnels with passwords; an older agent does not say so


class DirectoryWanted(Message, frozen=True):
    """Asks for what changed in the relay directory since that version; 0: for everything.

    Sent on connect and upon a `DirectoryNews`. `DirectoryPart`s answer it, or a `DirectoryNews` where
    nothing is newer. For a version that the panel knows no changes since, it may answer with everything.
    """

    since: Count = 0


class OverlayStatus(Message, frozen=True):
    """How this node's part in the overlay is, told with heartbeats and when tunnels change; the last counts.

    ``relayed_bytes`` are those of others' circuits since the agent started. ``builds`` is a histogram:
    (up to so many ms, circuits).
    """

    directory: Count = 0  # version
    links: Count = 0
    relayed_circuits: Count = 0
    relayed_bytes: Count = 0
    exit_streams: Count = 0
    circuits: Annotated[list[CircuitState], Meta(max_length=100)] = []
    tunnels: Annotated[list[TunnelState], Meta(max_length=100)] = []
    guards: Annotated[list[GuardState], Meta(max_length=100)] = []
    builds: Annotated[list[tuple[Count, Count]], Meta(max_length=50)] = []
    trouble: Sentence = ""  # why the last circuit could not be built; empty since one was


class CircuitTried(Message, frozen=True):
    """The answer to a `TryCircuit`. Where something failed, ``sentence`` says what, and the rest may be 0.

    ``kbps`` is of the bytes that were echoed, both ways together.
    """

    trial: Identifier
    ok: bool
    sentence: Sentence = ""
    path: Annotated[list[Key], Meta(max_length=8)] = []
    build_ms: Seconds = 0.0
    echo_ms: Seconds = 0.0
    kbps: Count = 0


class Carried(Message, frozen=True):
    """The answer to a `Carry`: whether the node has taken the order, and else why not: ``kind`` for programs,
    ``sentence`` for people, and where the node refused it, by which of its named reasons (``reason``).

    ``build_ms``: of the circuit; ``took_ms``: from there until the node had answered, for ``size`` bytes.
    """

    order: Identifier
    attempt: Identifier
    ok: bool
    sentence: Sentence = ""
    kind: NotCarried = NotCarried.UNSAID
    reason: Short = ""
    build_ms: Seconds = 0.0
    took_ms: Seconds = 0.0
    size: Count = 0


class Goodbye(Message, frozen=True):
    """The agent stops in order; what it runs may be given to others at once."""

    sentence: Sentence = ""


FromAgent: TypeAlias = (
    Facts
    | Holding
    | Heartbeat
    | Acknowledge
    | Started
    | Log
    | Finished
    | Fetch
    | OverlayFacts
    | DirectoryWanted
    | OverlayStatus
    | CircuitTried
    | Carried
    | Goodbye
)

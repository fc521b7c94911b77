"""Parts of messages: what an attempt brings and leaves, and how the overlay is."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from msgspec import Meta

from fogagent.messages.fields import Count, Identifier, Key, Seconds, Sentence, Sha256, Short, Value
from fogagent.messages.limits import LOG_PIECE_BYTES


class Stream(StrEnum):
    STDOUT = "stdout"
    STDERR = "stderr"
    SEALED = "sealed"  # a sealed result, which has both others inside (`fogagent.sealing.result`)


class Outcome(StrEnum):
    """How an attempt ended, as its node saw it. Everything but SUCCEEDED has a sentence beside it."""

    SUCCEEDED = "succeeded"
    EXIT_CODE = "exit_code"  # the program ended with a code other than 0
    TIMEOUT = "timeout"  # wall time used up, the worker was killed
    MEMORY = "memory"  # memory limit hit
    FUEL = "fuel"  # instruction budget used up
    TRAP = "trap"  # the WebAssembly module trapped
    INVALID = "invalid"  # the payload cannot be run: not a module, bad argv
    CANCELLED = "cancelled"
    UNAVAILABLE = "unavailable"  # this node cannot run that driver (any more)
    CRASHED = "crashed"  # the worker died: the node's fault, worth another attempt
    UNKNOWN = "unknown"  # the agent has no memory of it (it was restarted)


class NotCarried(StrEnum):
    """Why a gateway did not bring an order to its node."""

    UNSAID = ""  # an agent of before, or one of later with a kind that is not known here
    NO_CIRCUIT = "no-circuit"  # none to the node could be built
    LOST = "lost"  # the circuit broke on the way
    REFUSED = "refused"  # the node did not take it; its reason is beside this
    TIMEOUT = "timeout"  # the node did not have it in time
    NO_CONTENT = "no-content"  # the gateway did not get it from the panel
    BUSY = "busy"  # the gateway had too much to do
    WITHDRAWN = "withdrawn"
    NO_PART = "no-part"  # the gateway has no part in the overlay, or its owner does not grant entry
    UNFIT = "unfit"  # the order itself cannot be brought by anybody
    FAILED = "failed"  # the gateway failed at it; its log says more

    @classmethod
    def _missing_(cls, value: object) -> NotCarried:
        return cls.UNSAID


class DriverFact(Value, frozen=True):
    """Whether a driver can be used here, and in words why not."""

    name: Short
    available: bool
    reason: Sentence = ""
    version: Short = ""


class GpuFact(Value, frozen=True):
    name: Short
    memory_mb: Count


class Blob(Value, frozen=True):
    """A payload: inline up to INLINE_BLOB_BYTES, else to be fetched by its hash."""

    sha256: Sha256
    size: Count
    inline: bytes | None = None


class Sealed(Value, frozen=True):
    """The key of a sealed payload for one node, and the reservation it was made for."""

    reservation: Identifier
    wrapped: Annotated[bytes, Meta(min_length=80, max_length=80)]


class Piece(Value, frozen=True):
    """A stretch of one output stream; ``offset`` counts its bytes from the start of the stream."""

    stream: Stream
    offset: Count
    data: Annotated[bytes, Meta(max_length=LOG_PIECE_BYTES)]


class Usage(Value, frozen=True):
    """What an attempt used. ``fuel`` counts executed WebAssembly instructions."""

    wall_s: Seconds = 0.0
    cpu_s: Seconds = 0.0
    memory_peak_mb: Count = 0
    fuel: Count = 0
    stdout_bytes: Count = 0
    stderr_bytes: Count = 0


class TunnelSpec(Value, frozen=True):
    """A SOCKS port that a node is to have open on loopback, and where its streams leave the overlay."""

    tunnel: Identifier
    port: Annotated[int, Meta(ge=0, le=65535)] = (
        0  # 0: one that is free, the same after a restart if possible
    )
    hops: Annotated[int, Meta(ge=1, le=8)] = 3
    exit_region: Short = ""
    exit_node: Key | None = None
    rotate_s: Seconds = 600.0  # how long a circuit takes new streams


class SocksPassword(Value, frozen=True):
    """By what an entry knows a user's password for a tunnel (`fogagent.overlay.socks_passwords`)."""

    user: Short
    salt: Annotated[bytes, Meta(min_length=16, max_length=16)]
    digest: Annotated[bytes, Meta(min_length=32, max_length=32)]


class GuardedTunnel(TunnelSpec, frozen=True, kw_only=True):
    """A tunnel whose port is only for who gives one of these passwords."""

    passwords: Annotated[list[SocksPassword], Meta(max_length=500)]


class TunnelState(Value, frozen=True):
    """A tunnel as its entry sees it. ``sentence`` says why it is not open. Bytes are since it was opened.

    So are the clients that were refused, for a password that is wrong or because they gave none.
    """

    tunnel: Identifier
    open: bool
    port: Count = 0
    sentence: Sentence = ""
    clients: Count = 0
    sent_bytes: Count = 0
    received_bytes: Count = 0
    wrong_passwords: Count = 0
    missing_passwords: Count = 0


class PathVerdict(Value, frozen=True):
    """What one rule says of a path: passed, failed or waived, and why in words."""

    rule: Short
    state: Short
    sentence: Sentence = ""


class CircuitState(Value, frozen=True):
    """A circuit of this node's own that is open. ``path`` names its relays, the entry first."""

    path: Annotated[list[Key], Meta(max_length=8)]
    age_s: Seconds
    build_ms: Seconds
    streams: Count = 0
    sent_bytes: Count = 0
    received_bytes: Count = 0
    rotates_in_s: Seconds | None = None  # None: no stream has used it yet
    tunnels: Annotated[list[Identifier], Meta(max_length=100)] = []  # those that it can serve
    verdicts: Annotated[list[PathVerdict], Meta(max_length=20)] = []


class GuardState(Value, frozen=True):
    """A relay that this node's circuits enter by. Times are seconds since the epoch. ``sentence`` says why it
    was set aside, if it was."""

    identity: Key
    since: Seconds
    until: Seconds
    reached: bool
    sentence: Sentence = ""

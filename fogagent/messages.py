"""Every message that agents and the panel exchange over `/ws/agent/`, for both ends.

A frame is one JSON text: a list of messages, each an object whose ``type`` names its struct. Frames
stay below MAX_FRAME_BYTES. Bytes travel as base64 (msgspec's JSON encoding of ``bytes``). Times are
seconds since the Unix epoch by the sender's clock.

Reports (the agent's messages with a ``seq``) are kept by the agent until an ``Ack`` names them;
storing one twice changes nothing. Orders (the panel's messages with an ``order``) are kept by the
panel until an ``Acknowledge`` names them; an agent ignores an order it has seen.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, TypeAlias, TypeVar

import msgspec
from msgspec import Meta

PROTOCOL = 1

MAX_FRAME_BYTES = 512 * 1024
"""Largest frame either end sends or accepts; Daphne silently drops frames above 1 MiB."""
MAX_MESSAGES_PER_FRAME = 256
COALESCE_S = 0.005
"""How long a sender may hold a message back to put others in the same frame."""

INLINE_BLOB_BYTES = 32 * 1024
"""Payloads up to this size travel inside their order; larger ones are fetched by hash."""
BLOB_CHUNK_BYTES = 192 * 1024
MAX_SOURCE_BYTES = 1024 * 1024
MAX_MODULE_BYTES = 16 * 1024 * 1024
MAX_STDIN_BYTES = 1024 * 1024
MAX_ARGS_BYTES = MAX_ENV_BYTES = 32 * 1024
"""Both travel inside the order, whose frame is limited, or inside what is sealed."""
MAX_SEALED_BYTES = 16 * 1024 * 1024
"""A sealed task or a sealed result, padding included."""
MAX_LETTER_BYTES = 64 * 1024
MAX_OUTPUT_BYTES = 1024 * 1024
"""Standard output and standard error are each cut at this size; the cut is reported."""
LOG_PIECE_BYTES = 64 * 1024
DIRECTORY_PART_BYTES = 192 * 1024
MAX_CACHED = 50
"""So many of the blobs on its disk a node tells of: those used last."""

Short = Annotated[str, Meta(max_length=200)]
MAX_SENTENCE = 2000
Sentence = Annotated[str, Meta(max_length=MAX_SENTENCE)]
Key = Annotated[bytes, Meta(min_length=32, max_length=32)]
Nonce = Annotated[bytes, Meta(min_length=32, max_length=32)]
Signature = Annotated[bytes, Meta(min_length=64, max_length=64)]
Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
Count = Annotated[int, Meta(ge=0, lt=2**53)]
Identifier = Annotated[int, Meta(ge=1, le=2**63 - 1)]
Seconds = Annotated[float, Meta(ge=0)]
Certificate = Annotated[bytes, Meta(min_length=1, max_length=2048)]
"""DER of a self-signed link certificate."""
HostPort = Annotated[
    str, Meta(max_length=262, pattern=r"^(?:(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):[1-9][0-9]{0,4})?\Z")
]
"""``host:port``, an IPv6 address in brackets; empty: none."""


class Value(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A part of a message."""


class Message(Value, frozen=True, tag_field="type", tag=str.lower):
    """Something sent on its own. ``type`` is the lower-cased name of the struct."""


# --- Parts ---------------------------------------------------------------------------------------


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


# --- Handshake -----------------------------------------------------------------------------------


class Challenge(Message, frozen=True):
    """The panel speaks first: its key (agents pin it) and a fresh nonce."""

    panel_key: Key
    nonce: Nonce
    protocol: int = PROTOCOL


class Hello(Message, frozen=True):
    """The agent's answer. ``signature`` covers the transcript of `fogagent.identity`."""

    agent_key: Key
    nonce: Nonce
    url: Sentence
    signature: Signature
    version: Short
    protocol: int = PROTOCOL


class Welcome(Message, frozen=True):
    """The panel proves itself in turn and tells the node its beat.

    ``spread_s``: when the connection is lost, the first try to return is due at a random moment of this time.
    """

    signature: Signature
    node: Identifier
    name: Short
    epoch: Count
    heartbeat_s: Seconds
    timeout_s: Seconds
    spread_s: Seconds = 0.0


# --- From the agent ------------------------------------------------------------------------------


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
    """The answer to a `Carry`: whether the node has taken the order, and else why not.

    ``build_ms``: of the circuit; ``took_ms``: from there until the node had answered, for ``size`` bytes.
    """

    order: Identifier
    attempt: Identifier
    ok: bool
    sentence: Sentence = ""
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


# --- From the panel ------------------------------------------------------------------------------


class Run(Message, frozen=True, kw_only=True):
    """Run one attempt of a task. ``payload`` is a script or a module; ``args`` is the argv of a command.

    With ``sealed``, what is to run, its arguments and its input are inside the payload, which only the node
    can open (`fogagent.sealing`); ``image``, ``args``, ``env`` and ``stdin`` are empty then.
    """

    order: Count = 0  # the outbox puts its number in when it sends
    attempt: Identifier
    task: Identifier
    driver: Short
    timeout_s: Seconds
    payload: Blob | None = None
    image: Sentence = ""
    args: Annotated[list[str], Meta(max_length=256)] = []
    env: dict[str, str] = {}
    stdin: Blob | None = None
    cpu_millis: Count = 1000
    memory_mb: Count = 256
    network: bool = False
    sealed: Sealed | None = None


class Carry(Message, frozen=True, kw_only=True):
    """Bring an order to run and its sealed content to another node, over a circuit that ends there.

    ``letter`` is for that node alone (`fogagent.overlay.letters`). `Carried` answers in place of an
    `Acknowledge`: until then the order is repeated, and given to another gateway when this one is gone.
    """

    order: Count = 0  # the outbox puts its number in when it sends
    attempt: Identifier
    to: Key
    content: Blob
    letter: Annotated[bytes, Meta(max_length=MAX_LETTER_BYTES)]
    hops: Annotated[int, Meta(ge=1, le=8)] = 3
    timeout_s: Seconds = 60.0


class Cancel(Message, frozen=True, kw_only=True):
    order: Count = 0  # the outbox puts its number in when it sends
    attempt: Identifier
    sentence: Sentence = ""


class Configure(Message, frozen=True, kw_only=True):
    """The beat this node is to keep, and the name it is known by."""

    order: Count = 0  # the outbox puts its number in when it sends
    heartbeat_s: Seconds
    timeout_s: Seconds


class SetTunnels(Message, frozen=True, kw_only=True):
    """The tunnels that this node is to have open from now on: these and no others.

    Those with passwords are apart: an agent too old to ask for them does not see them, and so opens no port
    that everybody could use.
    """

    order: Count = 0  # the outbox puts its number in when it sends
    tunnels: Annotated[list[TunnelSpec], Meta(max_length=100)]
    guarded: Annotated[list[GuardedTunnel], Meta(max_length=100)] = []


class TryCircuit(Message, frozen=True, kw_only=True):
    """Build a circuit, have some bytes echoed by its last relay, tell how that went, and let it go.

    ``through`` names the relays, the entry first; empty: ``hops`` of the node's own choice, of which the
    last is an exit (in ``exit_region``, unless that is empty) where ``to_exit`` says so.
    """

    order: Count = 0  # the outbox puts its number in when it sends
    trial: Identifier
    hops: Annotated[int, Meta(ge=1, le=8)] = 3
    through: Annotated[list[Key], Meta(max_length=8)] = []
    to_exit: bool = False
    exit_region: Short = ""
    size: Annotated[int, Meta(ge=1, le=16 * 1024 * 1024)] = 1000
    timeout_s: Seconds = 20.0


class Ack(Message, frozen=True):
    """These reports are stored; the agent may forget them."""

    seqs: Annotated[list[Identifier], Meta(max_length=10_000)]


class Chunk(Message, frozen=True):
    """One stretch of a blob. ``count`` is the number of chunks it has in all."""

    sha256: Sha256
    index: Count
    count: Count
    data: bytes


class Watch(Message, frozen=True):
    """Somebody looks at this node: beat every ``every_s`` for the next ``for_s`` seconds."""

    every_s: Seconds
    for_s: Seconds


class DirectoryNews(Message, frozen=True):
    """The relay directory has this version now; 0: there is none yet."""

    version: Count


class DirectoryPart(Message, frozen=True):
    """One stretch of encoded `fogagent.overlay.directory.Changes` to ``version``.

    The parts of an answer come in their order and make it whole together; one with the index 0 begins an
    answer anew.
    """

    version: Count
    index: Count
    count: Count
    data: Annotated[bytes, Meta(max_length=DIRECTORY_PART_BYTES)]


class Problem(Message, frozen=True):
    """Something the other end sent was refused. ``fatal`` says that the socket closes with it.

    ``retry`` tells whether coming back later can help.
    """

    code: Short
    sentence: Sentence
    fatal: bool = False
    retry: bool = True


FromPanel: TypeAlias = (
    Welcome
    | Challenge
    | Run
    | Carry
    | Cancel
    | Configure
    | SetTunnels
    | TryCircuit
    | Ack
    | Chunk
    | Watch
    | DirectoryNews
    | DirectoryPart
    | Problem
)


# --- Frames --------------------------------------------------------------------------------------


class FrameError(Exception):
    """A frame that the sender should not have sent. ``str`` is a sentence that says what is wrong."""


Decoded = TypeVar("Decoded")

_encoder = msgspec.json.Encoder()
_from_agent = msgspec.json.Decoder(list[FromAgent | Hello])
_from_panel = msgspec.json.Decoder(list[FromPanel])


def encode_message(message: Message) -> bytes:
    """One message as JSON, ready to be put in a frame by `join_frame`."""
    return _encoder.encode(message)


def join_frame(encoded: list[bytes]) -> str:
    """A frame out of messages that are encoded already."""
    return (b"[" + b",".join(encoded) + b"]").decode()


def encode_frame(messages: list[Message]) -> str:
    return _encoder.encode(messages).decode()


def split_frames(encoded: list[bytes]) -> list[str]:
    """Pack encoded messages, in order, into as few frames as the two limits allow."""
    frames: list[str] = []
    batch: list[bytes] = []
    size = 2
    for one in encoded:
        if batch and (size + len(one) + 1 > MAX_FRAME_BYTES or len(batch) >= MAX_MESSAGES_PER_FRAME):
            frames.append(join_frame(batch))
            batch, size = [], 2
        batch.append(one)
        size += len(one) + 1
    if batch:
        frames.append(join_frame(batch))
    return frames


def decode_from_agent(text: str) -> list[FromAgent | Hello]:
    """Decode what an agent sent.

    Raises:
        FrameError: too long, not JSON, nested too deeply, not a list, an unknown type, or a field that breaks
            its rule.
    """
    messages = _decoded(_from_agent, text)
    if len(messages) > MAX_MESSAGES_PER_FRAME:
        raise FrameError(
            f"A frame holds at most {MAX_MESSAGES_PER_FRAME} messages, this one {len(messages)}."
        )
    return messages


def decode_from_panel(text: str) -> list[FromPanel]:
    """Decode what the panel sent. Raises FrameError as `decode_from_agent` does."""
    return _decoded(_from_panel, text)


def _decoded(decoder: msgspec.json.Decoder[Decoded], text: str) -> Decoded:
    _check_length(text)
    try:
        return decoder.decode(text)
    except msgspec.ValidationError as error:
        raise FrameError(f"A message breaks its rules: {error}.") from error
    except msgspec.DecodeError as error:
        raise FrameError(f"The frame is not JSON: {error}.") from error
    except RecursionError as error:  # also in a field that nobody knows, which is skipped
        raise FrameError("A message is nested too deeply.") from error


def _check_length(text: str) -> None:
    # Characters never outnumber bytes, so a text that is short enough needs no second look.
    if len(text) > MAX_FRAME_BYTES or (not text.isascii() and len(text.encode()) > MAX_FRAME_BYTES):
        raise FrameError(f"A frame holds at most {MAX_FRAME_BYTES} bytes.")

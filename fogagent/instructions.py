"""What the state machine wants done. `fogagent.shell` does it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeAlias

from fogagent.messages import (
    Blob,
    Carry,
    Chunk,
    Finished,
    FromAgent,
    Goodbye,
    Log,
    Run,
    Started,
    TryCircuit,
    TunnelSpec,
)
from fogagent.overlay.directory import Changes, Directory

Report: TypeAlias = Started | Log | Finished


class ExitCode(IntEnum):
    """How the agent's process ends. 2 is left to wrong usage, as argparse has it."""

    STOPPED = 0
    FAILED = 1
    REFUSED = 3  # the panel does not want this node
    IMPOSTER = 4  # the panel could not prove to be the one we joined
    LOCKED = 5  # another agent uses the same state folder


@dataclass(frozen=True, slots=True)
class Send:
    """Send on the present connection; it is worth nothing on a later one."""

    message: FromAgent


@dataclass(frozen=True, slots=True)
class Keep:
    """Put the report in the spool and, once it is safe there, send it after all before it."""

    report: Report


@dataclass(frozen=True, slots=True)
class Replay:
    """Send everything in the spool again, oldest first, before any newer report."""


@dataclass(frozen=True, slots=True)
class Forget:
    seqs: list[int]


@dataclass(frozen=True, slots=True)
class Beat:
    """Measure the machine and send a heartbeat."""

    running: int


@dataclass(frozen=True, slots=True)
class StartJob:
    """Run it; its payloads are inline or in the cache. `JobBegan`, `Output` and one `Ended` follow."""

    run: Run


@dataclass(frozen=True, slots=True)
class CancelJob:
    attempt: int
    sentence: str


@dataclass(frozen=True, slots=True)
class Obtain:
    """Look for the blob in the cache; `BlobReady` or `BlobWanted` follows."""

    blob: Blob


@dataclass(frozen=True, slots=True)
class KeepChunk:
    """The next chunk of a blob; after the last one `BlobReady` or `BlobFailed` follows."""

    chunk: Chunk
    size: int  # of the whole blob


@dataclass(frozen=True, slots=True)
class DropBlob:
    """Nobody here will read this blob again: it need not be in the cache. `CacheChanged` follows."""

    sha256: str


@dataclass(frozen=True, slots=True)
class JudgeDirectory:
    """Apply these encoded changes; `DirectoryAccepted` or `DirectoryRefused` follows."""

    held: Directory | None
    encoded: bytes


@dataclass(frozen=True, slots=True)
class UseDirectory:
    """From now on the overlay goes by this directory; None: by none, as the last one is too old."""

    directory: Directory | None


@dataclass(frozen=True, slots=True)
class KeepDirectory:
    """Put it on disk, in place of the one there."""

    whole: Changes


@dataclass(frozen=True, slots=True)
class OpenTunnels:
    """Have these tunnels open, and no others."""

    specs: Sequence[TunnelSpec]


@dataclass(frozen=True, slots=True)
class RunTrial:
    """Try a circuit; `CircuitTrialEnded` follows."""

    order: TryCircuit


@dataclass(frozen=True, slots=True)
class Bring:
    """Bring this order, whose content is inline or in the cache, to its node; `CarryEnded` follows."""

    order: Carry
    within_s: float


@dataclass(frozen=True, slots=True)
class AnswerGateway:
    """What the gateway is told that has `Brought` an order; empty: it is taken on, or was known before."""

    refusal: str = ""


@dataclass(frozen=True, slots=True)
class TellOverlay:
    """Tell the panel how this node's part in the overlay is, if it takes part."""


@dataclass(frozen=True, slots=True)
class ConnectAfter:
    delay_s: float


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """Regard the connection as dead when the panel has not answered for this long."""

    timeout_s: float


@dataclass(frozen=True, slots=True)
class Close:
    """Drop the present connection, if there is one. No `Disconnected` follows."""


@dataclass(frozen=True, slots=True)
class Say:
    """Tell the person who reads the log."""

    text: str
    warning: bool = False


@dataclass(frozen=True, slots=True)
class Exit:
    """End the process. ``farewell`` goes last, after the reports that are in hand."""

    code: ExitCode
    farewell: Goodbye | None = None


Instruction: TypeAlias = (
    Send
    | Keep
    | Replay
    | Forget
    | Beat
    | StartJob
    | CancelJob
    | Obtain
    | KeepChunk
    | DropBlob
    | JudgeDirectory
    | UseDirectory
    | KeepDirectory
    | OpenTunnels
    | RunTrial
    | Bring
    | AnswerGateway
    | TellOverlay
    | ConnectAfter
    | KeepAlive
    | Close
    | Say
    | Exit
)

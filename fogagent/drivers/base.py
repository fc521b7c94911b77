"""What a driver is, and what passes between the agent and its workers.

A job runs in a *worker*: a warm child process that runs one job at a time and is killed when the
job's wall time is used up. `pool.Pool` owns the workers; drivers know how to run one job inside one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from fogagent.messages import Outcome, Piece, Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One attempt, ready to run: every payload is here, none has to be fetched any more.

    ``payload`` is the script (python), the module (wasm) or empty (command, container), where
    ``args`` is the argv. ``network`` is the submitter's wish; the owner's permission is asked too.
    """

    attempt: int
    driver: str
    payload: bytes = b""
    payload_sha256: str = ""
    image: str = ""
    args: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    stdin: bytes = b""
    timeout_s: float = 60.0
    cpu_millis: int = 1000
    memory_mb: int = 256
    network: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How a job ended. ``sentence`` says so in words whenever the outcome is not SUCCEEDED."""

    outcome: Outcome
    started_at: float  # seconds since the epoch
    finished_at: float
    exit_code: int | None = None
    sentence: str = ""
    usage: Usage = field(default_factory=Usage)
    truncated: bool = False


OnOutput = Callable[[int, Piece], None]
"""Called on the event loop with the attempt and the next piece of its output, in order."""

"""What a driver is, and what passes between the agent and its workers.

A job runs in a *worker*: a warm child process that runs one job at a time and is killed when the
job's wall time is used up. `pool.Pool` owns the workers; drivers know how to run one job inside one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from fogagent.messages import Outcome, Piece, Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Permissions:
    """What this machine's owner allows beyond WebAssembly, which can reach nothing of the machine."""

    allow_command: bool = False
    allow_container: bool = False
    allow_network: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One attempt, ready to run: every payload is here, none has to be fetched any more.

    ``payload`` is the script (python), the module (wasm) or empty (command, container), where
    ``args`` is the argv. ``network`` is the submitter's wish; the owner's permission is asked too.
    ``sealed``: it came sealed, so drivers keep everything of it in memory and write nothing to disk.
    """

    attempt: int
    driver: str
    payload: bytes = b""
    image: str = ""
    args: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    stdin: bytes = b""
    timeout_s: float = 60.0
    cpu_millis: int = 1000
    memory_mb: int = 256
    network: bool = False
    sealed: bool = False


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """What a driver tells its worker about a job that ended; the worker adds times and output.

    ``cpu_s`` is what processes other than the worker used, ``memory_peak_mb`` what the program had
    at most, ``fuel`` the WebAssembly instructions it executed.
    """

    outcome: Outcome
    exit_code: int | None = None
    sentence: str = ""
    cpu_s: float = 0.0
    memory_peak_mb: int = 0
    fuel: int = 0


def ending_of_exit(code: int, *, cpu_s: float = 0.0, memory_peak_mb: int = 0, fuel: int = 0) -> Ending:
    """The ending of a program that ran and said ``code``; negative is the signal that killed it."""
    if code == 0:
        outcome, sentence = Outcome.SUCCEEDED, ""
    elif code > 0:
        outcome, sentence = Outcome.EXIT_CODE, f"The program exited with code {code}."
    else:
        outcome, sentence = Outcome.EXIT_CODE, f"The program was killed by signal {-code}."
    return Ending(
        outcome=outcome,
        exit_code=code,
        sentence=sentence,
        cpu_s=cpu_s,
        memory_peak_mb=memory_peak_mb,
        fuel=fuel,
    )


OnOutput = Callable[[int, Piece], None]
"""Called on the event loop with the attempt and the next piece of its output, in order."""

OnStart = Callable[[int], None]
"""Called on the event loop with the attempt, once, when a worker begins with it."""


def ignore_start(attempt: int) -> None:
    """For those who do not care when a job begins."""

"""What an agent keeps of each attempt: the order, the work while it lasts, that it has ended."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import NamedTuple

from fogagent.messages import MAX_MODULE_BYTES, MAX_STDIN_BYTES, Blob, Run
from fogagent.output import OutputBuffer

REMEMBERED_ATTEMPTS = 100_000
"""Ended attempts kept in mind, so that a late repetition of their orders is not carried out."""


class Kept(NamedTuple):
    """A report found in the spool when the agent starts."""

    seq: int
    attempt: int
    final: bool  # it is the attempt's Finished


@dataclass(slots=True)
class Work:
    """An attempt taken on and not ended: waiting for blobs or a worker, or running."""

    run: Run
    since: float | None = None  # the tick at which a worker began with it
    missing: set[str] = field(default_factory=set)
    announced: bool = False
    output: OutputBuffer = field(default_factory=OutputBuffer)


class Memory:
    """The last attempts that ended, oldest forgotten first."""

    def __init__(self, attempts: Iterable[int] = ()) -> None:
        self._attempts = dict.fromkeys(attempts)

    def __contains__(self, attempt: int) -> bool:
        return attempt in self._attempts

    def add(self, attempt: int) -> None:
        self._attempts[attempt] = None
        if len(self._attempts) > REMEMBERED_ATTEMPTS:
            del self._attempts[next(iter(self._attempts))]


def complaint(run: Run) -> str:
    """Why the order cannot be right, as a sentence for the task's owner, or nothing."""
    for what, blob, most in (
        ("payload", run.payload, MAX_MODULE_BYTES),
        ("stdin", run.stdin, MAX_STDIN_BYTES),
    ):
        if blob is None:
            continue
        if blob.size > most:
            return f"{what}: must have at most {most} bytes, has {blob.size}."
        if blob.inline is not None and not _fits(blob, blob.inline):
            return f"{what}: its content does not fit its hash {blob.sha256[:12]}…"
    return ""


def _fits(blob: Blob, content: bytes) -> bool:
    # A wrong hash would poison the cache of compiled modules, which is keyed by it.
    return len(content) == blob.size and sha256(content).hexdigest() == blob.sha256

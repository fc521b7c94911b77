"""What an agent keeps of each attempt: the order, the work while it lasts, that it has ended."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import NamedTuple

from fogagent.messages import MAX_MODULE_BYTES, MAX_SEALED_BYTES, MAX_STDIN_BYTES, Blob, Run
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


class Unacknowledged:
    """The reports that the panel has not acknowledged.

    The end of an attempt is forgotten last, whatever is acknowledged first: a restart that found other
    reports of an attempt but no end of it would take it for interrupted, and end it once more.
    """

    def __init__(self, kept: Iterable[Kept] = ()) -> None:
        self._attempts: dict[int, int] = {}  # by report
        self._left: dict[int, set[int]] = defaultdict(set)  # reports that are to be acknowledged, by attempt
        self._ends: dict[int, int] = {}  # by attempt
        for report in kept:
            self.add(report.seq, report.attempt, final=report.final)

    def add(self, seq: int, attempt: int, *, final: bool = False) -> None:
        self._attempts[seq] = attempt
        self._left[attempt].add(seq)
        if final:
            self._ends[attempt] = seq

    def attempts(self) -> Iterable[int]:
        """Those of which there are reports, by the oldest of them."""
        return dict.fromkeys(self._attempts.values())

    def ended(self) -> Collection[int]:
        return self._ends.keys()

    def unfinished(self) -> list[int]:
        """Those of which there are reports, but not of their end."""
        return sorted(self._left.keys() - self._ends.keys())

    def acknowledge(self, seqs: Iterable[int]) -> list[int]:
        """The panel has stored these; returns which reports may be forgotten."""
        forgotten: list[int] = []
        for seq in seqs:
            if (attempt := self._attempts.get(seq)) is not None:
                forgotten += self._stored(seq, attempt)
        return forgotten

    def _stored(self, seq: int, attempt: int) -> list[int]:
        left, end = self._left[attempt], self._ends.get(attempt)
        left.discard(seq)
        forgotten = [] if seq == end else [seq]
        if not left:
            del self._left[attempt]
            if end is not None:
                forgotten.append(self._ends.pop(attempt))
        for each in forgotten:
            del self._attempts[each]
        return forgotten


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
    if run.sealed is not None and (wrong := _wrong_beside_sealed(run)):
        return wrong
    for what, blob, most in (
        ("payload", run.payload, MAX_MODULE_BYTES if run.sealed is None else MAX_SEALED_BYTES),
        ("stdin", run.stdin, MAX_STDIN_BYTES),
    ):
        if blob is None:
            continue
        if blob.size > most:
            return f"{what}: must have at most {most} bytes, has {blob.size}."
        if blob.inline is not None and not _fits(blob, blob.inline):
            return f"{what}: its content does not fit its hash {blob.sha256[:12]}…"
    return ""


def _wrong_beside_sealed(run: Run) -> str:
    if run.payload is None:
        return "payload: must be the sealed task."
    for what in ("image", "args", "env", "stdin"):
        if getattr(run, what):
            return f"{what}: must be inside the sealed task, not beside it."
    return ""


def _fits(blob: Blob, content: bytes) -> bool:
    # As with what is fetched: by its hash the panel, and a submitter who is told, know what ran.
    return len(content) == blob.size and sha256(content).hexdigest() == blob.sha256

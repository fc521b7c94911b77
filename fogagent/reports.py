"""The numbers of an agent's reports, from when they are given until the panel has stored what has them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from typing import NamedTuple


class Kept(NamedTuple):
    """A report found in the spool when the agent starts."""

    seq: int
    attempt: int
    final: bool  # it is the attempt's Finished


class Unacknowledged:
    """The reports that the panel has not acknowledged.

    The end of an attempt is forgotten last, whatever is acknowledged first: a restart that found other
    reports of an attempt but no end of it would take it for interrupted, and end it once more.
    """

    def __init__(self, first_seq: int, kept: Iterable[Kept] = ()) -> None:
        """New reports are numbered from ``first_seq`` on, above all that are ``kept``."""
        self._seq = first_seq
        self._attempts: dict[int, int] = {}  # by report
        self._left: dict[int, set[int]] = defaultdict(set)  # reports that are to be acknowledged, by attempt
        self._ends: dict[int, int] = {}  # by attempt
        for report in kept:
            self._add(report.seq, report.attempt, report.final)

    def number(self, attempt: int, *, final: bool = False) -> int:
        """One for the attempt's next report, which counts as unacknowledged from now on."""
        seq = self._seq
        self._seq += 1
        self._add(seq, attempt, final)
        return seq

    def _add(self, seq: int, attempt: int, final: bool) -> None:
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

"""How long to wait for a circuit to be built: learned from how long the ones before it took.

In the spirit of Tor's path specification, "Learning when to give up on circuit construction"
(https://spec.torproject.org/path-spec/learning-timeouts.html). Kept of it: the 1000 most recent builds, a
quantile of them, a floor, a ceiling, a long wait until enough is known, and, when too many builds run out
of time, a doubled wait and learning from the beginning.

Left out: that the slowest fifth of all paths is given up. It buys Tor fast circuits, but a fog has few
paths and needs them all, so we wait for twice the 95 % quantile. Tor must go on building what it has given
up, or its quantile, taken of ever fewer slow builds, would shrink with every turn. Twice the quantile does
not: even for a tail as heavy as that of Pareto with exponent 1 it settles, where 5 % are given up.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import deque
from typing import Annotated, NamedTuple, TypeAlias

import msgspec
from msgspec import Meta

KEPT = 1000
ENOUGH = 20
"""So many builds must be known before they count: fewer have no 95 % quantile."""
QUANTILE = 0.95
MARGIN = 2.0
FLOOR_S = 1.0
"""Below it a processor that is busy for a moment, not the network, would decide."""
CEILING_S = 60.0
FIRST_S = 10.0
"""For three hops, while nothing is known."""
IN_A_ROW = 3
"""So many failures with no success between them double the wait, and as many again double it again."""
MAX_HOPS = 8
BOUNDS_MS = (5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 60_000)


def round_trips(hops: int) -> int:
    """Round trips over single links that a circuit of ``hops`` needs at most.

    The n-th hop is reached over n links; and the last of them may have to be opened first, which takes
    TCP and TLS 1.3 a round trip each. So 1 hop needs 3, 3 hops need 12 and 8 hops need 52.
    """
    return hops * (hops + 1) // 2 + 2 * hops


Hops: TypeAlias = Annotated[int, Meta(ge=1, le=MAX_HOPS)]
Build: TypeAlias = tuple[Hops, Annotated[float, Meta(ge=0, le=CEILING_S)]]
"""Hops and seconds of a circuit that was built."""


class Bucket(NamedTuple):
    """``builds`` of the kept ones took longer than the bucket before, and up to ``up_to_ms``."""

    up_to_ms: int
    builds: int


class Saved(msgspec.Struct):
    builds: list[Build]
    first_s: Annotated[float, Meta(gt=0)] = FIRST_S / round_trips(3)


class BuildTimes:
    """Builds of all lengths teach each other, as seconds for a round trip.

    Most circuits have three hops: one with eight would else wait for twenty like it before anything is
    known of it. What a hop costs depends on how far along it is, hence round trips and not hops.
    """

    def __init__(self, saved: Saved | None = None) -> None:
        saved = saved or Saved([])
        self._builds = deque(saved.builds, maxlen=KEPT)
        self._first_s = saved.first_s  # for a round trip, until enough is known
        self._learned_s: float | None = None  # for a round trip, without margin; None: to be worked out
        self._failures = 0  # since the last success

    def timeout_s(self, hops: int = 3) -> float:
        """How long to wait for a circuit of so many hops before another path is tried."""
        doublings = min(self._failures // IN_A_ROW, 16)
        return min(CEILING_S, self._settled_s(hops) * 2.0**doublings)

    def note(self, seconds: float, hops: int = 3) -> None:
        """A circuit was built, in so many seconds.

        One that only a doubled wait let through shows that the network, not a path, has become slow:
        what is known of the time before would cut off all that follow, and is forgotten.
        """
        seconds = min(max(seconds, 0.0), CEILING_S)
        if seconds > self._settled_s(hops):
            self._first_s = max(self.timeout_s(hops), MARGIN * seconds) / round_trips(hops)
            self._builds.clear()
        self._builds.append((hops, seconds))
        self._learned_s = None
        self._failures = 0

    def note_failure(self) -> None:
        """A circuit was not built in time.

        Not for one that was refused, which says nothing about time, and not while the guard cannot be
        reached: `Guards.failed` is for that.
        """
        self._failures += 1

    def histogram(self, hops: int | None = None) -> list[Bucket]:
        """The kept builds by how long they took, of one length or of all."""
        counts = [0] * len(BOUNDS_MS)
        for length, seconds in self._builds:
            if hops in (None, length):
                counts[bisect_left(BOUNDS_MS, min(1000 * seconds, BOUNDS_MS[-1]))] += 1
        return [Bucket(bound, count) for bound, count in zip(BOUNDS_MS, counts, strict=True)]

    def encode(self) -> bytes:
        """JSON, to be given to `decode`. A row of failures is not in it: a restart begins calmly."""
        builds = [(hops, round(seconds, 6)) for hops, seconds in self._builds]
        return msgspec.json.encode(Saved(builds, self._first_s))

    @classmethod
    def decode(cls, raw: bytes) -> BuildTimes:
        """What `encode` gave; when it is damaged, as if nothing were known."""
        try:
            return cls(msgspec.json.decode(raw, type=Saved))
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return cls()

    def _settled_s(self, hops: int) -> float:
        """The wait while nothing goes wrong."""
        return min(CEILING_S, max(FLOOR_S, self._round_trip_s() * round_trips(hops)))

    def _round_trip_s(self) -> float:
        if len(self._builds) < ENOUGH:
            return self._first_s
        if self._learned_s is None:
            self._learned_s = _quantile([seconds / round_trips(hops) for hops, seconds in self._builds])
        return MARGIN * self._learned_s


def _quantile(values: list[float]) -> float:
    """The smallest value that at least QUANTILE of all do not exceed."""
    ordered = sorted(values)
    return ordered[math.ceil(QUANTILE * len(ordered)) - 1]

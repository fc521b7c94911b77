"""When to try again: soon, then ever more slowly, never in step with others."""

from __future__ import annotations

from random import Random

FIRST_S = 0.5
CAP_S = 30.0
STEADY_S = 10.0
"""A connection that lasted this long was a good one; the next failure starts from nothing again."""


class Backoff:
    """Exponential with jitter, up to ``cap_s``. Chance comes from ``rng``, so that tests repeat.

    The first retry comes within ``spread_s``, which grows with the fleet: a panel that is started anew loses
    all connections at the same moment, and cannot let all in at the next.
    """

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._failures = 0
        self.cap_s = CAP_S
        self.spread_s = 0.0

    def next_delay(self, lasted_s: float) -> float:
        """Seconds to wait after a connection that lasted ``lasted_s`` (0: it was never made)."""
        if lasted_s >= STEADY_S:
            self._failures = 0
        self._failures += 1
        if self._failures == 1:
            return self._rng.uniform(0.0, self.spread_s)
        ceiling = min(self.cap_s, max(self.spread_s, FIRST_S * 2.0 ** min(self._failures - 2, 16)))
        return ceiling * self._rng.uniform(0.5, 1.0)

"""When to try again: at once, then ever more slowly, never in step with others."""

from __future__ import annotations

from random import Random

FIRST_S = 0.5
CAP_S = 30.0
STEADY_S = 10.0
"""A connection that lasted this long was a good one; the next failure starts from nothing again."""


class Backoff:
    """Exponential with jitter, up to ``cap_s``. Chance comes from ``rng``, so that tests repeat."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._failures = 0
        self.cap_s = CAP_S

    def next_delay(self, lasted_s: float) -> float:
        """Seconds to wait after a connection that lasted ``lasted_s`` (0: it was never made)."""
        if lasted_s >= STEADY_S:
            self._failures = 0
        self._failures += 1
        if self._failures == 1:
            return 0.0
        ceiling = min(self.cap_s, FIRST_S * 2.0 ** min(self._failures - 2, 16))
        return ceiling * self._rng.uniform(0.5, 1.0)

"""A token bucket: how long to rest after so much, or whether more may be taken. Time is passed in."""

from __future__ import annotations


class RateLimit:
    """At most ``per_s`` in the long run, and ``burst`` at once after a rest, of whatever is counted.

    Bytes that have come cannot be sent back, so `take` always takes them; the bucket may go into debt, and
    whoever takes from it rests until the debt is paid. Several streams may share one: each rests for the
    debt of all. What can be refused is taken by `take_if_allowed`, which makes no debts.
    """

    def __init__(self, per_s: float, burst: float, now: float) -> None:
        if per_s <= 0 or burst < 0:
            raise ValueError("A rate limit must let something through.")
        self.per_s, self.burst = per_s, burst
        self._tokens = burst
        self._at = now

    def take(self, size: int, now: float) -> float:
        """Seconds to rest before taking more, after ``size``.

        ``now`` in seconds, of any clock; one that went back counts as standing still.
        """
        self._tokens = self._filled(now) - size
        return max(0.0, -self._tokens / self.per_s)

    def take_if_allowed(self, size: int, now: float) -> bool:
        """Take ``size`` if there is as much, else nothing; whether it was taken. ``now`` as for `take`."""
        self._tokens = self._filled(now)
        if self._tokens < size:
            return False
        self._tokens -= size
        return True

    def has_rested(self, now: float) -> bool:
        """Whether it is as full as a new one."""
        self._tokens = self._filled(now)
        return self._tokens >= self.burst

    def _filled(self, now: float) -> float:
        elapsed_s = max(0.0, now - self._at)
        self._at = max(self._at, now)
        return min(self.burst, self._tokens + elapsed_s * self.per_s)

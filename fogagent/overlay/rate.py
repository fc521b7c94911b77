"""A token bucket: how long to rest after so many bytes. Time is passed in."""

from __future__ import annotations


class RateLimit:
    """At most ``bytes_per_s`` in the long run, and ``burst_bytes`` at once after a rest.

    Bytes that have come cannot be sent back, so `take` always takes them; the bucket may go into debt, and
    whoever takes from it rests until the debt is paid. Several streams may share one: each rests for the
    debt of all.
    """

    def __init__(self, bytes_per_s: float, burst_bytes: float, now: float) -> None:
        if bytes_per_s <= 0 or burst_bytes < 0:
            raise ValueError("A rate limit must let something through.")
        self.bytes_per_s, self.burst_bytes = bytes_per_s, burst_bytes
        self._tokens = burst_bytes
        self._at = now

    def take(self, size: int, now: float) -> float:
        """Seconds to rest before taking more, after ``size`` bytes.

        ``now`` in seconds, of any clock; one that went back counts as standing still.
        """
        elapsed_s = max(0.0, now - self._at)
        self._at = max(self._at, now)
        self._tokens = min(self.burst_bytes, self._tokens + elapsed_s * self.bytes_per_s) - size
        return max(0.0, -self._tokens / self.bytes_per_s)

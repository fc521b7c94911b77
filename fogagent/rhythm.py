"""When to send the next heartbeat."""

from __future__ import annotations

from random import Random

LEAST_S = 0.1


class Rhythm:
    """The beat that the panel asks for, faster while somebody watches. All times are ticks."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._every_s = 30.0
        self._watch_every_s = 0.0
        self._watch_until = 0.0
        self.next_at = 0.0

    def keep(self, every_s: float) -> None:
        self._every_s = max(every_s, LEAST_S)

    def connected(self, tick: float) -> None:
        """Just now there was a beat. Agents that all came back at once must not go on in step."""
        self._watch_until = 0.0
        self.next_at = tick + self._every_s * self._rng.uniform(0.5, 1.0)

    def watch(self, every_s: float, for_s: float, tick: float) -> None:
        self._watch_every_s, self._watch_until = max(every_s, LEAST_S), tick + for_s
        self.quicken(tick)

    def quicken(self, tick: float) -> None:
        """A shorter interval holds from now on, not from the next beat on."""
        self.next_at = min(self.next_at, tick + self._interval(tick))

    def is_due(self, tick: float) -> bool:
        """Whether to beat now; if so, the next is due an interval later."""
        if tick < self.next_at:
            return False
        self.next_at = tick + self._interval(tick)
        return True

    def _interval(self, tick: float) -> float:
        watched = tick < self._watch_until
        return min(self._watch_every_s, self._every_s) if watched else self._every_s

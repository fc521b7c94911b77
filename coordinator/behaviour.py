"""When a node that misbehaves is left alone for a while, and for how long.

A node is *unstable* when its connection broke too often: it gets no new work until it has stayed connected
for a while. It *cools down* after attempts failed there by its own fault. Both times double with each
repetition, up to sixty times the first, and shrink again when it behaves (as outlier ejection does in
Envoy). At most half of a fleet is held back at once: when more than that misbehaves, it is not the nodes.

Times are seconds since the Unix epoch, durations seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

GROWTH_MOST = 60


def may_hold_back(held: int, nodes: int) -> bool:
    """Whether one more of ``nodes`` may be held back, of which ``held`` are already."""
    return 2 * (held + 1) <= nodes


def _grown(before_s: float, first_s: float) -> float:
    return min(GROWTH_MOST * first_s, max(first_s, 2 * before_s))


@dataclass(frozen=True, slots=True)
class FlapRule:
    """More than ``most`` breaks within ``window_s`` make a node unstable, the first time for ``steady_s``."""

    most: int
    window_s: float
    steady_s: float


@dataclass(frozen=True, slots=True)
class Flapping:
    """``flaps`` are the breaks of late. ``since`` is set while the node is unstable; ``until`` is when it
    has been steady for ``hold_s``, and stays afterwards: from it on the node behaves."""

    flaps: tuple[float, ...] = ()
    since: float | None = None
    until: float | None = None
    hold_s: float = 0.0

    def broke(self, now: float, rule: FlapRule, may_hold: Callable[[], bool] = lambda: True) -> Flapping:
        """Its connection broke. ``may_hold`` is asked only when that makes it unstable (`may_hold_back`)."""
        recent = [flap for flap in self.flaps if flap > now - rule.window_s]
        flaps = (*recent[-rule.most :], now)
        if self.since is not None:
            return replace(self, flaps=flaps, until=now + self.hold_s)
        if len(flaps) <= rule.most or not may_hold():
            return replace(self, flaps=flaps)
        hold_s = _grown(self._decayed_s(now, rule), rule.steady_s)
        return Flapping(flaps=flaps, since=now, until=now + hold_s, hold_s=hold_s)

    def connected(self, now: float) -> Flapping:
        """It is connected again: from now on it has to be steady."""
        return self if self.since is None else replace(self, until=now + self.hold_s)

    def is_steady(self, now: float) -> bool:
        return self.until is None or self.until <= now

    def steadied(self) -> Flapping:
        """It may get work again; only breaks to come count."""
        return replace(self, flaps=(), since=None)

    def _decayed_s(self, now: float, rule: FlapRule) -> float:
        """Half as long for every window in which it behaved."""
        if self.until is None:
            return 0.0
        return self.hold_s / float(2 ** (max(0.0, now - self.until) / rule.window_s))


@dataclass(frozen=True, slots=True)
class Cooling:
    """``until`` is set while the node cools down; ``cool_s`` is how long it did, or does."""

    cool_s: float = 0.0
    until: float | None = None

    def failed(self, now: float, first_s: float) -> Cooling:
        """Attempts failed by its fault. What fails while it cools down was begun before, and adds nothing."""
        if self.until is not None:
            return self
        cool_s = _grown(self.cool_s, first_s)
        return Cooling(cool_s, now + cool_s)

    def succeeded(self, first_s: float) -> Cooling:
        """Half as long the next time; below the first time it is forgotten."""
        half_s = self.cool_s / 2
        return replace(self, cool_s=half_s if half_s >= first_s else 0.0)

    def is_over(self, now: float) -> bool:
        return self.until is None or self.until <= now

"""Guards that carry on only what suits them.

A guard that means ill can claim that the next relay cannot be reached unless that is one of its own, and so
decide which paths there are; one that is merely cut off from the others keeps its clients waiting for ever.
In the spirit of Tor's path bias (https://spec.torproject.org/path-spec/): of the circuits that came as far as
a guard those are counted that it carried on, and one with extremely few of them is set aside.

They are counted by the relays that come next, each of which weighs the same. For a while we keep away from a
relay that could not be reached, so most circuits would soon go through those that the guard lets us have, and
succeed. Where a relay behind the guard says that it cannot go on, which the guard can neither read nor make
up, the guard has done its part. So an exit that is down is nobody's bias, and fewer circuits than Tor's 150
are enough. The share is the one that Tor calls extreme.

Lest whoever can make all circuits fail drives us from guard to guard: where most of those that were tried
look the same, it is the network, and none is set aside. With a single one nobody can tell; it is set aside
until there is another to compare it with. Not seen: circuits that a guard lets be built and ends later.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta

ENOUGH = 20
"""Circuits, before anything is concluded: one that loses a third by chance looks extreme once in 6,000."""
EXTREME = 0.3
RELAYS_KEPT = 200
"""Those that came next last."""
TRIES_KEPT = 20
"""With more of one relay both counts are halved, so that what is long ago does not hide what is now."""
COUNTED_S = 7 * 86_400.0
"""A count begins anew after so long. A guard that was set aside has another chance then."""


class Tally(NamedTuple):
    """Circuits that were to go on to one relay, of which the guard ``carried`` some."""

    tried: Annotated[int, Meta(ge=1)] = 0
    carried: Annotated[int, Meta(ge=0)] = 0

    def plus(self, carried: bool) -> Tally:
        tried, more = self.tried + 1, self.carried + carried
        return Tally(tried // 2, more // 2) if tried > TRIES_KEPT else Tally(tried, more)


class Count(msgspec.Struct, frozen=True):
    """``circuits`` that came as far as the guard ``since`` then, in seconds since the epoch, and a tally of
    each relay that they were to go on to, by its identity in hexadecimal; the last one is last."""

    circuits: int = 0
    beyond: dict[str, Tally] = {}
    since: float = 0.0

    def plus(self, next_relay: bytes, carried: bool, now: float) -> Count:
        """With one more circuit."""
        before = Count(since=now) if self.is_old(now) else self
        beyond = dict(before.beyond)
        beyond[next_relay.hex()] = beyond.pop(next_relay.hex(), Tally()).plus(carried)
        if len(beyond) > RELAYS_KEPT:
            del beyond[next(iter(beyond))]
        return Count(before.circuits + 1, beyond, before.since)

    @property
    def share(self) -> float:
        """Of what it was to carry on, how much it did."""
        each = [tally.carried / tally.tried for tally in self.beyond.values()]
        return sum(each) / len(each) if each else 1.0

    def is_old(self, now: float) -> bool:
        return not 0 <= now - self.since < COUNTED_S  # negative: the clock was set back


def set_aside(counts: Mapping[bytes, Count], now: float) -> frozenset[bytes]:
    """The guards that carry extremely little, unless most do."""
    judged = {
        guard: count for guard, count in counts.items() if count.circuits >= ENOUGH and not count.is_old(now)
    }
    few = frozenset(guard for guard, count in judged.items() if count.share < EXTREME)
    return frozenset() if len(judged) > 1 and 2 * len(few) > len(judged) else few

"""Which relays are fit to be the first of circuits for weeks: the panel's judgement, as a rule over figures.

After Tor's guard flag: seen without break for long, and fast. A network that is too young for that must
work, too, so where too few qualify, the steadiest of the others fill up; newcomers displace none of them. And
where too few of these are there just now, others stand in until they are back.
"""

from __future__ import annotations

from collections.abc import Collection
from statistics import median
from typing import NamedTuple

GUARDS_LEAST = 3
"""With fewer, an agent whose only guard is the exit that it needs could build no circuit."""
GUARDS_SHARE = 3
"""At least one relay in so many is a guard: of three hops one is the first."""


class Candidate(NamedTuple):
    """A relay that may be one. ``since``: seen without break, in seconds since the epoch."""

    node: int
    since: float
    bandwidth_kbps: int  # 0: not measured yet, and taken for the median
    is_there: bool = True  # else it went lately, and may come back


def choose_guards(candidates: Collection[Candidate], now: float, steady_s: float) -> frozenset[int]:
    """The nodes of those that are guards."""
    enough = _median_kbps(candidates)

    def rank(one: Candidate) -> tuple[bool, float, int]:
        return 0 < one.bandwidth_kbps < enough, one.since, one.node

    ranked = sorted(candidates, key=rank)
    qualified = sum(one.since <= now - steady_s and not rank(one)[0] for one in ranked)
    # The first: within the fast, those seen longest come first.
    least = max(GUARDS_LEAST, -(-len(ranked) // GUARDS_SHARE))
    cut = max(qualified, least)
    lacking = GUARDS_LEAST - sum(one.is_there for one in ranked[:cut])
    stand_ins = [one for one in ranked[cut:] if one.is_there][: max(0, lacking)]
    return frozenset(one.node for one in (*ranked[:cut], *stand_ins))


def _median_kbps(candidates: Collection[Candidate]) -> float:
    measured = [one.bandwidth_kbps for one in candidates if one.bandwidth_kbps]
    return median(measured) if measured else 0.0

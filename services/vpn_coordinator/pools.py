"""Privacy levels of tunnels: how many relays stand between the two ends, and what that hides from whom."""

from __future__ import annotations

from dataclasses import dataclass

HOPS_LEAST, HOPS_MOST = 1, 8


@dataclass(frozen=True, slots=True)
class Pool:
    """Tunnels of one privacy level. ``hides`` says what the level hides from whom, and what it does not."""

    name: str
    hops_least: int
    hops_most: int
    hides: str

    @property
    def hops_in_words(self) -> str:
        if self.hops_least == self.hops_most:
            return "1 hop" if self.hops_least == 1 else f"{self.hops_least} hops"
        return f"{self.hops_least} to {self.hops_most} hops"


POOLS = (
    Pool(
        "public",
        1,
        1,
        "Sites see the exit's address and not the entry's; the exit itself knows both the entry and where "
        "each stream goes.",
    ),
    Pool(
        "private",
        2,
        2,
        "No single relay knows both ends: the first knows the entry, the exit knows the destination. The two "
        "together know all of it.",
    ),
    Pool(
        "confidential",
        3,
        HOPS_MOST,
        "No relay knows both ends, and no two neighbours do: those in the middle know neither. Who watches "
        "the traffic of both ends can still match it by its times.",
    ),
)


def pool_of(hops: int) -> Pool:
    return next(pool for pool in POOLS if pool.hops_least <= hops <= pool.hops_most)

"""What privacy costs, from the tunnels' own figures: how long circuits take and how fast tunnels were."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median

from services.vpn_coordinator.models import Tunnel
from services.vpn_coordinator.pools import HOPS_LEAST, HOPS_MOST, POOLS, Pool, pool_of

OVER = timedelta(days=7)
TUNNELS_MOST = 2000  # the newest are enough


@dataclass(frozen=True, slots=True)
class Measured:
    """One tunnel's figures; None where there was nothing to measure."""

    hops: int
    build_ms: float | None
    best_bytes_per_s: float | None


@dataclass(frozen=True, slots=True)
class Cost:
    """The median of builds and the best throughput of so many ``tunnels``; None: nothing was measured."""

    build_ms: float | None
    best_bytes_per_s: float | None
    tunnels: int


def measured(now: datetime) -> list[Measured]:
    """The figures of tunnels that were heard of in the last days."""
    told = Tunnel.objects.filter(told_at__gte=now - OVER).order_by("-told_at")[:TUNNELS_MOST]
    return [Measured(*row) for row in told.values_list("hops", "build_ms", "best_bytes_per_s")]


def cost(figures: Sequence[Measured]) -> Cost:
    builds = [one.build_ms for one in figures if one.build_ms is not None]
    rates = [one.best_bytes_per_s for one in figures if one.best_bytes_per_s is not None]
    known = sum(one.build_ms is not None or one.best_bytes_per_s is not None for one in figures)
    return Cost(median(builds) if builds else None, max(rates, default=None), known)


def by_hops(figures: Sequence[Measured]) -> list[tuple[int, Pool, Cost]]:
    """For each number of hops that a tunnel can have."""
    return [
        (hops, pool_of(hops), cost([one for one in figures if one.hops == hops]))
        for hops in range(HOPS_LEAST, HOPS_MOST + 1)
    ]


def by_pool(figures: Sequence[Measured]) -> list[tuple[Pool, Cost]]:
    return [(pool, cost([one for one in figures if pool_of(one.hops) is pool])) for pool in POOLS]

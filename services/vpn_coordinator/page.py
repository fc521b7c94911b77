"""What the pages show of tunnels, pools and exits. Nothing in here depends on who looks, so no ports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from fogpanel.models import Event
from services.topology import SHAPES_MAX, Picture, draw
from services.vpn_coordinator import costs
from services.vpn_coordinator.costs import Cost
from services.vpn_coordinator.gateways import Exit, exits, ready_regions, regions_of, some_relays
from services.vpn_coordinator.models import Tunnel
from services.vpn_coordinator.pools import Pool, pool_of
from services.vpn_coordinator.standing import Standing, Stands, bytes_per_s_now, remarks, stands

EVENTS_SHOWN = 20


@dataclass(frozen=True, slots=True)
class TunnelView:
    """A tunnel with what is derived from its facts at one moment."""

    tunnel: Tunnel
    stands: Stands
    pool: Pool
    bytes_per_s: float | None
    remarks: list[str]

    @property
    def is_stopped(self) -> bool:
        return self.stands.standing is Standing.STOPPED


@dataclass(frozen=True, slots=True)
class PoolView:
    pool: Pool
    cost: Cost
    open: int
    tunnels: int


class Present(NamedTuple):
    """A tunnel that was not stopped."""

    hops: int
    is_open: bool | None
    used_exit_id: int | None


def views_of(
    tunnels: Iterable[Tunnel], now: datetime, regions: Collection[str] | None = None
) -> list[TunnelView]:
    """For tunnels that were read with their nodes (`with_nodes`).

    ``regions``: those with an exit that is ready at the same moment, from who has looked already.
    """
    found = list(tunnels)
    told = _remarks([tunnel for tunnel in found if tunnel.stopped_at is None], regions)
    return [
        TunnelView(
            tunnel,
            stands(tunnel),
            pool_of(tunnel.hops),
            bytes_per_s_now(tunnel, now),
            told.get(tunnel.id, []),
        )
        for tunnel in found
    ]


def _remarks(present: Sequence[Tunnel], regions: Collection[str] | None) -> dict[int, list[str]]:
    if not present:
        return {}
    ready = ready_regions() if regions is None else regions
    relays = some_relays()
    return {tunnel.id: remarks(tunnel, ready, relays) for tunnel in present}


def view_of(tunnel: Tunnel, now: datetime) -> TunnelView:
    return views_of([tunnel], now)[0]


def history(tunnel: Tunnel) -> list[Event]:
    """What happened to it, newest first."""
    return list(Event.objects.filter(subject_kind="tunnel", subject_id=tunnel.id)[:EVENTS_SHOWN])


def page(now: datetime) -> dict[str, Any]:
    """Pools and exits, for the service's page."""
    rows = Tunnel.objects.filter(stopped_at=None).order_by().values_list("hops", "is_open", "used_exit_id")
    present = [Present(*row) for row in rows]
    return {"pools": pools(present, now), **exit_map(present)}


def pools(present: Iterable[Present], now: datetime) -> list[PoolView]:
    """The privacy levels, what each hides and costs, and how many tunnels it has."""
    hops = Counter((pool_of(tunnel.hops).name, bool(tunnel.is_open)) for tunnel in present)
    return [
        PoolView(pool, cost, hops[pool.name, True], hops[pool.name, True] + hops[pool.name, False])
        for pool, cost in costs.by_pool(costs.measured(now))
    ]


def exit_map(present: Iterable[Present]) -> dict[str, Any]:
    found = exits([tunnel.used_exit_id for tunnel in present if tunnel.is_open])
    return {"exit_regions": regions_of(found), "map": draw(_picture(found))}


def _picture(found: Sequence[Exit]) -> Picture:
    """Exits as the fleet is drawn: one that is used is busy, one that is not ready looks as if offline."""
    counted = Counter((one.region, one.node_type, _status(one)) for one in found)
    groups = [(*group, number) for group, number in sorted(counted.items())]
    nodes = [(one.node_id, one.name, one.region, one.node_type, _status(one)) for one in found]
    return Picture(groups, nodes if len(nodes) <= SHAPES_MAX else [])


def _status(one: Exit) -> str:
    if not one.ready:
        return "offline"
    return "busy" if one.tunnels else "free"

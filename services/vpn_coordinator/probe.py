"""The coordinator's probe: every tunnel as its entry last told, whether one could be made, and a sealed task.

That a port is open does not mean that anything comes back through it: so the last circuit that the service
`onion` has had tried up to an exit, with bytes echoed there, counts as well.
"""

from __future__ import annotations

from datetime import datetime

from services.absent import absent
from services.exit_echo import last_echo
from services.record import Probed
from services.vpn_coordinator.gateways import entries, exits, some_relays
from services.vpn_coordinator.models import Tunnel
from services.vpn_coordinator.rules import Checked, Fog, judge
from services.vpn_coordinator.sealed_probe import look
from services.vpn_coordinator.sealed_rules import with_sealed
from services.vpn_coordinator.standing import bytes_per_s_now, stands


def probe(now: datetime, last_result_at: datetime | None) -> Probed | None:
    sealed = look(now, last_result_at)
    return None if sealed is None else with_sealed(of_tunnels(now), sealed)


def of_tunnels(now: datetime) -> Probed:
    tunnels = Tunnel.objects.filter(stopped_at=None).order_by("id").select_related("entry")
    return judge([checked(tunnel, now) for tunnel in tunnels], fog(now))


def fog(now: datetime) -> Fog:
    ready = [one for one in exits() if one.ready]
    entering = set(entries().values_list("id", flat=True))
    relaying = some_relays()
    return Fog(
        exits=len(ready),
        regions=len({one.region for one in ready}),
        entries=len(entering),
        relays=len(relaying),
        hops=max((len(relaying) - (entry in relaying) for entry in entering), default=0),
        echo=last_echo(now),
        absent_exits=absent("exit"),
        absent_entries=absent("entry"),
        absent_relays=absent("relay"),
    )


def checked(tunnel: Tunnel, now: datetime) -> Checked:
    stood = stands(tunnel)
    return Checked(
        name=tunnel.name,
        standing=stood.standing,
        sentence=stood.sentence,
        age_s=(now - tunnel.created_at).total_seconds(),
        clients=tunnel.clients,
        bytes_per_s=bytes_per_s_now(tunnel, now),
        hops=tunnel.hops,
    )

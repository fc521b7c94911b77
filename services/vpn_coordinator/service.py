"""The VPN coordinator as a service of the panel."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from fogpanel.parameters.catalogue import PROBE_S
from services.record import Service
from services.vpn_coordinator.models import SLUG
from services.vpn_coordinator.ordering import order_all
from services.vpn_coordinator.page import page as tunnel_page
from services.vpn_coordinator.private_page import private_part
from services.vpn_coordinator.probe import probe


def page(now: datetime) -> dict[str, Any]:
    return {**tunnel_page(now), **private_part()}


VPN_COORDINATOR = Service(
    slug=SLUG,
    title="VPN coordinator",
    category="Privacy",
    icon="waypoints",
    line="Opens tunnels into the fog that leave it where you choose, and has gateways bring private tasks.",
    probe_every=PROBE_S,
    probe=probe,
    template="services/vpn_coordinator/page.html",
    page=page,
    when_disabled="No new tunnel can be created and no confidential task handed in until it is enabled; what "
    "is open or under way goes on.",
    restart=order_all,
    when_restarted="Every entry is told its tunnels anew; a probe begins at once.",
)

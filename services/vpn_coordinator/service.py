"""The VPN coordinator as a service of the panel."""

from __future__ import annotations

from fogpanel.parameters.catalogue import PROBE_S
from services.record import Service
from services.vpn_coordinator.models import SLUG
from services.vpn_coordinator.ordering import order_all
from services.vpn_coordinator.page import page
from services.vpn_coordinator.probe import probe

VPN_COORDINATOR = Service(
    slug=SLUG,
    title="VPN coordinator",
    category="Privacy",
    icon="waypoints",
    line="Opens tunnels into the fog on machines that grant entry, and has them leave it where you choose.",
    probe_every=PROBE_S,
    probe=probe,
    template="services/vpn_coordinator/page.html",
    page=page,
    when_disabled="No new tunnel can be created until it is enabled; those that are open stay so.",
    restart=order_all,
    when_restarted="Every entry is told its tunnels anew; a probe begins at once.",
)

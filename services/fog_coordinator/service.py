"""FogCoordinator as a service of the panel."""

from __future__ import annotations

from fogpanel.parameters.catalogue import PROBE_S
from fogpanel.wakes import wake
from services.fog_coordinator.page import page
from services.fog_coordinator.probe import probe
from services.record import Service

FOG_COORDINATOR = Service(
    slug="fog_coordinator",
    title="Fog coordinator",
    category="Coordination",
    icon="locate-fixed",
    line="Keeps the registry of nodes, routes every task, and moves work away from nodes that fail.",
    probe_every=PROBE_S,
    probe=probe,
    template="services/fog_coordinator/page.html",
    page=page,
    when_disabled="New tasks wait until it is enabled; what runs goes on, and work of lost nodes waits too.",
    restart=lambda: wake("placer-anew"),
    when_restarted="Every process reads fleet and queue anew and ranks all nodes; a probe begins at once.",
)

"""Circuits over relays as a service of the panel."""

from __future__ import annotations

from fogpanel.parameters.catalogue import PROBE_S
from services.onion.page import page
from services.onion.probe import probe
from services.record import Service

ONION = Service(
    slug="onion",
    title="Onion circuits",
    category="Privacy",
    icon="layers",
    line="Carries bytes over several relays, each of which knows only its neighbours.",
    probe_every=PROBE_S,
    probe=probe,
    template="services/onion/page.html",
    page=page,
    when_disabled="No circuit is tried and no relay is measured; the circuits of nodes go on.",
    when_restarted="A circuit is tried at once.",
)

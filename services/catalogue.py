"""The services that exist, in the order of the grid. Nothing is discovered: a service is a line here."""

from __future__ import annotations

from services.fog_coordinator.service import FOG_COORDINATOR
from services.onion.service import ONION
from services.record import Service
from services.vpn_coordinator.service import VPN_COORDINATOR

SERVICES: tuple[Service, ...] = (FOG_COORDINATOR, ONION, VPN_COORDINATOR)
BY_SLUG = {service.slug: service for service in SERVICES}

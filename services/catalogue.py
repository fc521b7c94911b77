"""The services that exist, in the order of the grid. Nothing is discovered: a service is a line here."""

from __future__ import annotations

from services.fog_coordinator.service import FOG_COORDINATOR
from services.record import Service

SERVICES: tuple[Service, ...] = (FOG_COORDINATOR,)
BY_SLUG = {service.slug: service for service in SERVICES}

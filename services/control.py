"""What an operator may do to a service: switch it off and on, and have it start over."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from django.contrib.auth.models import User
from django.db import transaction

from fogpanel import audit, live
from fogpanel.wakes import wake
from services.models import ServiceSample, ServiceState, State
from services.record import Service


class Action(StrEnum):
    DISABLE = "disable"
    ENABLE = "enable"
    RESTART = "restart"


class NotNow(Exception):
    """The service is not in a state for this. ``str`` says so and what to do."""


def act(service: Service, action: Action, actor: User, now: datetime) -> str:
    """Do it, leave an event, and return the sentence that tells what was done.

    Raises:
        NotNow: it is switched off (or on) already, or is to be restarted while it is off.
    """
    with transaction.atomic():
        ServiceState.objects.get_or_create(slug=service.slug)
        row = ServiceState.objects.select_for_update().get(slug=service.slug)
        told = _ACTS[action](service, row, actor, now)
        row.save()
        level = "warning" if action is Action.DISABLE else "info"
        audit.record(f"service.{action}", told, actor=actor, level=level)
        wake("placer")
        live.changed("services", "service", "nav")
    return told


def want_probe(slug: str, now: datetime) -> None:
    """Have a service probed at once: what it measures has just changed."""
    ServiceState.objects.filter(slug=slug).update(probe_wanted_at=now)


def placing_is_paused() -> bool:
    """Whether no new task is to be placed. Named by `settings.PLACING_PAUSED`."""
    return ServiceState.objects.filter(slug="fog_coordinator", enabled=False).exists()


def _disable(service: Service, row: ServiceState, actor: User, now: datetime) -> str:
    if not row.enabled:
        raise NotNow(f"{service.title} is disabled already.")
    row.enabled, row.state, row.probed_at = False, State.DISABLED, now
    row.sentence = f"Disabled by {actor}. {service.when_disabled}"
    row.figures = []
    ServiceSample.objects.create(slug=service.slug, at=now, state=State.DISABLED)
    return f"{actor} disabled {service.title}"


def _enable(service: Service, row: ServiceState, actor: User, now: datetime) -> str:
    if row.enabled:
        raise NotNow(f"{service.title} is enabled already.")
    row.enabled, row.state, row.sentence, row.probed_at = True, "", "", None
    return f"{actor} enabled {service.title}"


def _restart(service: Service, row: ServiceState, actor: User, now: datetime) -> str:
    if not row.enabled:
        raise NotNow(f"{service.title} is disabled: enable it instead, which starts it anew.")
    row.probe_wanted_at = now
    service.restart()
    return f"{actor} restarted {service.title}"


_ACTS = {Action.DISABLE: _disable, Action.ENABLE: _enable, Action.RESTART: _restart}

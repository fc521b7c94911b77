"""Probing: each service is measured at its own pace, and the results are kept for some days."""

from __future__ import annotations

from datetime import datetime, timedelta

import structlog
from django.db import transaction

from fogpanel import live
from fogpanel.jobs import Run, job
from nodes.models import Node
from services.catalogue import SERVICES
from services.fog_coordinator import canary
from services.models import ServiceSample, ServiceState, State
from services.record import Probed, Service

TICK_S = 2.0
IMPATIENT_S = 5.0
SETTLING_S = 10.0
"""After the first node of all has joined others follow, and a service that lacks them is not unwell yet."""
KEPT = timedelta(days=7)

log = structlog.get_logger(__name__)


@job(every_s=TICK_S)
def probe_services(run: Run) -> None:
    probe_due(run.now)


@job(every_s=60.0)
def clean_up(run: Run) -> None:
    forget(run.now)


def probe_due(now: datetime) -> None:
    """Take one step with each service whose turn it is, and store what was found."""
    rows = ServiceState.objects.in_bulk()
    for service in SERVICES:
        row = rows.get(service.slug)
        if (row is None or row.enabled) and due(service, row, now):
            found = measure(service, row.probed_at if row else None, now)
            if found is not None and not _is_too_soon(row, found, now):
                store(service, found, now)


def _is_too_soon(row: ServiceState | None, found: Probed, now: datetime) -> bool:
    """Whether nothing is said of a service yet, whose fog is just coming together."""
    if found.state == State.OPERATIONAL or (row is not None and row.probed_at is not None):
        return False
    first = (
        Node.objects.exclude(approved_at=None).order_by("id").values_list("approved_at", flat=True).first()
    )
    return first is not None and now - first < timedelta(seconds=SETTLING_S)


def forget(now: datetime) -> None:
    canary.clean_up(now)
    ServiceSample.objects.filter(at__lt=now - KEPT).delete()


def due(service: Service, row: ServiceState | None, now: datetime) -> bool:
    """A service that is well is probed at its pace; one that is not, sooner: people wait for it."""
    if row is None or row.probed_at is None:
        return True
    if row.probe_wanted_at is not None and row.probe_wanted_at > row.probed_at:
        return True
    patient = row.state == State.OPERATIONAL
    pace_s = service.probe_every_s if patient else min(IMPATIENT_S, service.probe_every_s)
    return now - row.probed_at >= timedelta(seconds=pace_s)


def measure(service: Service, last_result_at: datetime | None, now: datetime) -> Probed | None:
    """A probe that breaks says nothing good about its service, and must not stop the others."""
    try:
        return service.probe(now, last_result_at)
    except Exception as error:
        log.exception("A probe broke", service=service.slug)
        return Probed(State.DEGRADED, f"Its probe broke: {type(error).__name__}: {error}"[:300])


def store(service: Service, found: Probed, now: datetime) -> None:
    figures = [{"label": f.label, "value": f.value, "unit": f.unit} for f in found.figures]
    with transaction.atomic():
        ServiceState.objects.get_or_create(slug=service.slug)
        stored = ServiceState.objects.filter(slug=service.slug, enabled=True).update(
            state=found.state, sentence=found.sentence, figures=figures, probed_at=now
        )
        if not stored:  # switched off while it was being probed
            return
        value = found.figures[0].value if found.figures else None
        ServiceSample.objects.create(slug=service.slug, at=now, state=found.state, value=value)
        live.changed("services", "service", "nav")

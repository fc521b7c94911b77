"""How fast relays are: each is measured now and then by another node, through it alone, one at a time.

What was measured becomes the bandwidth in the directory, by which agents weigh their choice of relays.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import chain
from random import Random

from django.db import transaction

from fogagent.overlay.directory import Relay
from fogagent.overlay.onion.roster import takes_part
from nodes import models as nodes
from nodes.relay_directory.publishing import published_entry
from services.models import ServiceState
from services.onion import trials
from services.onion.models import Measurement, Trial
from services.onion.rules import smoothed_kbps
from services.onion.standing import listed
from services.onion.trials import Builder, Wanted

SIZE = 1024 * 1024
AGAIN_KNOWN = timedelta(hours=4)
AGAIN_UNKNOWN = timedelta(minutes=10)
LOOKED_AT = 100


def step(now: datetime, rng: Random) -> None:
    """Count in what has ended, then have the next relay measured; nothing while one is under way."""
    trial = trials.of_relays().first()
    if trial is not None:
        if not trials.end_if_late(trial, now):
            return
        _count_in(trial, now)
    if not ServiceState.objects.filter(slug="onion", enabled=False).exists():
        _ask_next(now, rng)


def _count_in(trial: Trial, now: datetime) -> None:
    """Once only: a trial that is counted in is named by the measurement."""
    assert trial.relay_id is not None and trial.ended_at is not None
    with transaction.atomic():
        relay = nodes.Relay.objects.select_for_update().get(node_id=trial.relay_id)
        if Measurement.objects.filter(relay_id=trial.relay_id, trial__gte=trial.id).exists():
            return
        if trial.ok:
            relay.bandwidth_kbps = smoothed_kbps(relay.bandwidth_kbps, trial.kbps or 0)
            relay.save(update_fields=["bandwidth_kbps"])
        Measurement.objects.update_or_create(
            relay_id=trial.relay_id,
            defaults={
                "due_at": now + (AGAIN_KNOWN if trial.ok else AGAIN_UNKNOWN),
                "trial": trial.id,
                "at": trial.ended_at,
                "by": trial.node,
                "ok": trial.ok,
                "sentence": trial.sentence,
                "kbps": trial.kbps,
            },
        )


def _ask_next(now: datetime, rng: Random) -> None:
    relay = next(_due(now), None)
    if relay is None:
        return
    builder = _another(trials.builders(rng), relay)
    if builder is not None:
        wanted = Wanted(hops=1, size=SIZE, through=(relay.identity,), relay_id=relay.node)
        trials.ask(builder, wanted, now)


def _another(builders: list[Builder], relay: Relay) -> Builder | None:
    return next((builder for builder in builders if builder.identity != relay.identity), None)


def _due(now: datetime) -> Iterator[Relay]:
    """Relays that were never measured, then those whose turn it is again, the longest overdue first."""
    present = listed("relay").filter(node__connected=True).exclude(address="")
    measured = Measurement.objects.values("relay_id")
    never = present.exclude(node_id__in=measured).order_by("node_id")
    overdue = Measurement.objects.filter(due_at__lte=now).order_by("due_at")
    ids = list(overdue.values_list("relay_id", flat=True)[:LOOKED_AT])
    again = present.in_bulk(ids)
    for relay in chain(never.only("published").iterator(LOOKED_AT), (again[i] for i in ids if i in again)):
        entry = published_entry(relay)
        if entry is not None and takes_part(entry):
            yield entry

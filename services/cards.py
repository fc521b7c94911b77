"""A service as the grid, its page and /health show it: what the last probe measured, and how old that is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from services.catalogue import BY_SLUG, SERVICES
from services.models import ServiceSample, ServiceState, State
from services.record import Service

BEATS = 48
STALE_INTERVALS = 3
STALE_SLACK_S = 30.0


@dataclass(frozen=True, slots=True)
class Card:
    service: Service
    state: str  # of `State`, or "unknown" before the first probe
    sentence: str
    figures: list[dict[str, Any]]
    probed_at: datetime | None
    samples: list[ServiceSample]  # oldest first

    @property
    def key_figure(self) -> dict[str, Any] | None:
        return self.figures[0] if self.figures else None

    @property
    def states(self) -> list[str]:
        return [sample.state for sample in self.samples]

    @property
    def values(self) -> list[float | None]:
        return [sample.value for sample in self.samples]

    @property
    def beats_in_words(self) -> str:
        well = self.states.count(State.OPERATIONAL)
        return f"{well} of the last {len(self.states)} probes found it operational"


def cards(rows: Mapping[str, ServiceState], now: datetime) -> list[Card]:
    """``rows`` by slug, of all services."""
    samples = _samples([service.slug for service in SERVICES])
    return [_card(service, rows, samples[service.slug], now) for service in SERVICES]


def card(service: Service, rows: Mapping[str, ServiceState], now: datetime) -> Card:
    """``rows`` by slug: its own, and those of the services that it needs."""
    return _card(service, rows, _samples([service.slug])[service.slug], now)


def _card(
    service: Service, rows: Mapping[str, ServiceState], samples: list[ServiceSample], now: datetime
) -> Card:
    row = rows.get(service.slug)
    state, sentence = present_state(service, row, now)
    needed = [present for slug in service.needs if (present := BY_SLUG.get(slug))]
    sentence = (
        blame(state, [(one.title, present_state(one, rows.get(one.slug), now)[0]) for one in needed])
        or sentence
    )
    figures = row.figures if row else []
    return Card(service, state, sentence, figures, row.probed_at if row else None, samples)


def _samples(slugs: Sequence[str]) -> dict[str, list[ServiceSample]]:
    """The newest `BEATS` of each, oldest first; one statement for all, each part read from the index."""
    newest = "SELECT * FROM (SELECT * FROM {table} WHERE slug = %s ORDER BY at DESC LIMIT {beats}) AS newest"
    part = newest.format(table=ServiceSample._meta.db_table, beats=BEATS)
    found: dict[str, list[ServiceSample]] = {slug: [] for slug in slugs}
    for sample in ServiceSample.objects.raw(" UNION ALL ".join([part] * len(slugs)), slugs):
        found[sample.slug].append(sample)
    return {slug: sorted(samples, key=lambda sample: sample.at) for slug, samples in found.items()}


def blame(state: str, needed: Iterable[tuple[str, str]]) -> str:
    """Whose fault it is that a service is not well, by (title, state) of those it needs; empty: its own."""
    if state in (State.OPERATIONAL, State.DISABLED):
        return ""
    for title, theirs in needed:
        if theirs in (State.DOWN, State.DISABLED):
            return f"{title}, which it needs, is {theirs}."
    return ""


def present_state(service: Service, row: ServiceState | None, now: datetime) -> tuple[str, str]:
    """What can be said now. A result that nobody renewed for some intervals is no longer true."""
    if row is not None and not row.enabled:
        return State.DISABLED, row.sentence
    if row is None or not row.state or row.probed_at is None:
        return "unknown", "Not measured yet; the first probe is on its way."
    stale_after = timedelta(seconds=STALE_INTERVALS * service.probe_every_s + STALE_SLACK_S)
    if now - row.probed_at > stale_after:
        return State.DEGRADED, "Its probes have stopped, so this is old news; is the worker running?"
    return row.state, row.sentence

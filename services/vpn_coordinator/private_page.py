"""What the service's page shows of private tasks: each level as last quoted, and the last carriages."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import QuerySet

from fogpanel import live
from services.vpn_coordinator.carrying import TOPIC
from services.vpn_coordinator.models import Carriage, GatewayRecord, PrivacyLevel
from services.vpn_coordinator.quotes import HIDES, TRANSFERS, quotes
from tasks.privacy import IN_SHORT, Privacy

CARRIAGES_SHOWN = 4
FAILING_SHOWN = 4
SHOWN = (
    "attempt", "created_at", "gateway__name", "node__name", "hops", "tries", "trouble", "reason", "sentence",
    "ended_at", "ok", "build_ms", "took_ms", "size",
)  # fmt: skip
REFUSAL_MOST = 1000


@dataclass(frozen=True, slots=True)
class LevelView:
    """``now`` is None before it was looked at."""

    level: Privacy
    in_short: str
    hides: str
    transfers: int
    now: PrivacyLevel | None

    @property
    def state(self) -> str:
        if self.now is None:
            return "unknown"
        return "degraded" if self.now.refusal else "operational"

    @property
    def word(self) -> str:
        if self.now is None:
            return "Not looked yet"
        return "Not now" if self.now.refusal else "Can be had"


@dataclass(frozen=True, slots=True)
class CarriageView:
    """``state`` is one that pills know, ``word`` says it."""

    carriage: Carriage
    state: str
    word: str


@dataclass(frozen=True, slots=True)
class RecordView:
    """A gateway that failed last."""

    record: GatewayRecord

    @property
    def failures(self) -> int:
        return self.record.results.count("0")

    @property
    def of(self) -> int:
        return len(self.record.results)


def _failing() -> QuerySet[GatewayRecord]:
    """Those whose last order failed, the newest first."""
    failing = GatewayRecord.objects.filter(results__endswith="0", node__archived_at=None)
    return failing.select_related("node").order_by("-failed_at")


def note_quotes(now: datetime) -> None:
    """Write down what each level costs now, and whether it can be had."""
    columns = ("at", "refusal", "start_s", "samples", "bytes_per_s")
    rows = [
        PrivacyLevel(
            level=quote.level,
            at=now,
            refusal=quote.refusal[:REFUSAL_MOST],
            start_s=quote.start_s,
            samples=quote.samples,
            bytes_per_s=quote.bytes_per_s,
        )
        for quote in quotes(now)
    ]
    PrivacyLevel.objects.bulk_create(
        rows, update_conflicts=True, unique_fields=["level"], update_fields=columns
    )
    live.changed(TOPIC)


def private_part() -> dict[str, Any]:
    """What the topic pushes."""
    known = PrivacyLevel.objects.in_bulk()
    carriages = Carriage.objects.order_by("-id").select_related("gateway", "node").only(*SHOWN)
    levels = [
        LevelView(level, IN_SHORT[level], HIDES[level], TRANSFERS[level], known.get(level))
        for level in Privacy
    ]
    return {
        "levels": levels,
        "levels_at": max((one.at for one in known.values()), default=None),
        "failing": [RecordView(one) for one in _failing()[:FAILING_SHOWN]],
        "carriages": [CarriageView(one, *_standing(one)) for one in carriages[:CARRIAGES_SHOWN]],
    }


def _standing(carriage: Carriage) -> tuple[str, str]:
    if carriage.ok:
        return "succeeded", "Brought"
    if carriage.ok is False:
        return "failed", "Given up"
    if carriage.ended_at is not None:
        return "cancelled", "Over before"
    return ("running", "Under way") if carriage.gateway_id else ("waiting", "Waits")

"""What the page shows besides its card: relays, circuits hop by hop, and the trials of late."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.onion import circuits, relays, trials
from services.onion.circuits import Hop
from services.onion.models import Trial
from services.onion.standing import named

TRIALS_SHOWN = 5
MEASUREMENTS_SHOWN = 3
"""Besides: in a network of many relays one follows another, and trials of whole circuits are rarer."""


@dataclass(frozen=True, slots=True)
class TrialRow:
    trial: Trial
    state: str  # as pills know it
    word: str
    hops: list[Hop]


def page(now: datetime) -> dict[str, Any]:
    return {**relay_part(), "overview": circuits.overview(now)}


def relay_part() -> dict[str, Any]:
    """What the topic `relays` pushes."""
    return {"relays": relays.first(), "trials": recent_trials()}


def recent_trials() -> list[TrialRow]:
    newest = [*trials.of_choice()[:TRIALS_SHOWN], *trials.of_relays()[:MEASUREMENTS_SHOWN]]
    newest.sort(key=lambda trial: -trial.id)
    names = named(trials.hex_names(newest))
    return [TrialRow(trial, *_fared(trial), circuits.hops(trial.path, names)) for trial in newest]


def _fared(trial: Trial) -> tuple[str, str]:
    if trial.ended_at is None:
        return "running", "Under way"
    return ("succeeded", "Echoed") if trial.ok else ("failed", "Failed")

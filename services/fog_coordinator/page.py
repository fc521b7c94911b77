"""What the coordinator's page shows besides its card: strategies, the last canaries, the sweeps."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from coordinator.strategies import strategies
from coordinator.strategies.strategy import Strategy
from services.fog_coordinator.canary import latest_round
from services.fog_coordinator.picture import shown
from services.fog_coordinator.probe import sweeps
from services.fog_coordinator.rules import Canary
from services.fog_coordinator.snapshots import present, slider
from tasks.weighing import weights


@dataclass(frozen=True, slots=True)
class StrategyRow:
    name: str
    sentence: str
    parts: list[tuple[float, str]]  # (weight in percent, what is scored)
    state: str
    word: str
    placed_ms: float | None
    trouble: str


def page(now: datetime) -> dict[str, Any]:
    canaries = {one.strategy: one for one in latest_round()}
    rows = [_row(strategy, canaries.get(name)) for name, strategy in strategies(weights()).items()]
    return {"strategies": rows, "sweeps": sweeps(now), "slider": slider(), **shown(present(now))}


def _row(strategy: Strategy, canary: Canary | None) -> StrategyRow:
    state, word, trouble = _fared(canary)
    placed_s = canary.placed_after_s if canary else None
    return StrategyRow(
        name=strategy.name,
        sentence=strategy.sentence,
        parts=[(100 * part.weight, part.score.sentence) for part in (*strategy.parts, *strategy.moving)],
        state=state,
        word=word,
        placed_ms=None if placed_s is None else 1000 * placed_s,
        trouble=trouble,
    )


def _fared(canary: Canary | None) -> tuple[str, str, str]:
    """State, word, and what was wrong."""
    if canary is None:
        return "unknown", "None sent yet", ""
    if canary.right:
        return "succeeded", "Came back right", ""
    if not canary.over:
        return "running", "On its way", ""
    return "failed", "Failed", canary.trouble

"""What the coordinator's page shows besides its card: strategies, the last canaries, the sweeps."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from coordinator.values import RoutingStrategy
from services.fog_coordinator.canary import latest_round
from services.fog_coordinator.probe import sweeps
from services.fog_coordinator.rules import Canary

WHAT_THEY_DO = {
    RoutingStrategy.ROUND_ROBIN: "The eligible node that got work longest ago, so that work stays even as nodes come and go.",
    RoutingStrategy.LEAST_LOADED: "The node with the lowest load: measured load or reserved share, whichever is larger.",
    RoutingStrategy.AFFINITY_BASED: "The node on which the task wastes least of CPU, memory, storage and GPU; then labels and cached inputs.",
    RoutingStrategy.PROXIMITY_BASED: "The nearest node: its region first, then the distance to the submitter.",
    RoutingStrategy.PRIVACY_AWARE: "Onion-capable nodes only, by reputation, then far from the submitter and from the nodes used last, then by load.",
}


@dataclass(frozen=True, slots=True)
class StrategyRow:
    name: str
    what: str
    state: str
    word: str
    placed_ms: float | None
    trouble: str


def page(now: datetime) -> dict[str, Any]:
    canaries = {one.strategy: one for one in latest_round()}
    rows = [_row(strategy, canaries.get(strategy)) for strategy in RoutingStrategy]
    return {"strategies": rows, "sweeps": sweeps(now)}


def _row(strategy: RoutingStrategy, canary: Canary | None) -> StrategyRow:
    what = WHAT_THEY_DO[strategy]
    if canary is None:
        return StrategyRow(strategy, what, "unknown", "No canary sent yet", None, "")
    placed_ms = None if canary.placed_after_s is None else 1000 * canary.placed_after_s
    if canary.right:
        return StrategyRow(strategy, what, "succeeded", "Came back right", placed_ms, "")
    if not canary.over:
        return StrategyRow(strategy, what, "running", "On its way", placed_ms, "")
    return StrategyRow(strategy, what, "failed", "Failed", placed_ms, f"It {canary.trouble}.")

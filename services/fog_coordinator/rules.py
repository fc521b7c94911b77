"""How well the coordinator does, judged from what was measured. Pure: no clock, no database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import median

from coordinator.values import RoutingStrategy
from services.models import State
from services.record import Figure, Probed

LATE_INTERVALS = 3
LATE_SLACK_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Canary:
    """What became of one canary. ``trouble`` says why it is not ``right``, where it is not."""

    strategy: RoutingStrategy
    sent_at: datetime
    over: bool
    right: bool
    placed_after_s: float | None
    trouble: str


@dataclass(frozen=True, slots=True)
class Sweep:
    """A periodic job: how long after its time it still has not begun, and its last error."""

    name: str
    every_s: float
    lag_s: float
    error: str

    @property
    def late(self) -> bool:
        return self.lag_s > LATE_INTERVALS * self.every_s + LATE_SLACK_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    nodes: int
    decisions_per_s: float
    sweeps: Sequence[Sweep]
    canaries: Sequence[Canary]


def judge(measured: Measured) -> Probed:
    """State and sentence; the first thing that is wrong is the one that is told."""
    state, sentence = _verdict(measured)
    return Probed(state, sentence, _figures(measured))


def _verdict(measured: Measured) -> tuple[State, str]:
    if not measured.nodes:
        return State.DEGRADED, "No node has joined yet. Add one on the page Nodes."
    wrong = [canary for canary in measured.canaries if not canary.right]
    if wrong and len(wrong) == len(measured.canaries):
        return State.DOWN, f"No canary came back. {_told(wrong[0])}."
    if wrong:
        return State.DEGRADED, f"{len(wrong)} of {len(measured.canaries)} canaries failed. {_told(wrong[0])}."
    for sweep in measured.sweeps:
        if sweep.error:
            return State.DEGRADED, f"The job {sweep.name} failed: {sweep.error}"[:300]
        if sweep.late:
            return State.DEGRADED, f"The job {sweep.name} is {sweep.lag_s:.0f} s late; is the worker running?"
    slowest = max(canary.placed_after_s or 0.0 for canary in measured.canaries)
    return State.OPERATIONAL, f"Every strategy placed its canary within {_milliseconds(slowest)}"


def _told(canary: Canary) -> str:
    return f"{canary.strategy.replace('_', ' ').capitalize()}: {canary.trouble}"[:240]


def _figures(measured: Measured) -> tuple[Figure, ...]:
    placed = [canary.placed_after_s for canary in measured.canaries if canary.placed_after_s is not None]
    return (
        Figure("decisions", round(measured.decisions_per_s, 2), "/s"),
        Figure("placement, median", round(1000 * median(placed), 1) if placed else None, "ms"),
        Figure("sweep lag", round(max((s.lag_s for s in measured.sweeps), default=0.0), 1), "s"),
        Figure("nodes", measured.nodes),
    )


def _milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms" if seconds < 10 else f"{seconds:.0f} s"

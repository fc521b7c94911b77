"""Measuring relays, and letting old trials go."""

from __future__ import annotations

from fogpanel.jobs import Run, job
from services.onion import measuring, trials
from services.onion.probe import chance


@job(every_s=5.0)
def measure_relays(run: Run) -> None:
    measuring.step(run.now, chance)


@job(every_s=300.0)
def thin_trials(run: Run) -> None:
    trials.thin(run.now, run.previous)

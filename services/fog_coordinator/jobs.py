"""Snapshots of the fleet for the time slider, their thinning, and what-if."""

from __future__ import annotations

from fogpanel.jobs import Run, job
from services.fog_coordinator import snapshots, what_if


@job(every_s=10.0)
def take_snapshot(run: Run) -> None:
    snapshots.keep(run.now)


@job(every_s=300.0)
def thin_snapshots(run: Run) -> None:
    snapshots.thin(run.now)


@job(every_s=2.0, queue="work")
def answer_what_ifs(run: Run) -> None:
    what_if.answer_next(run.now)

"""Looking after orders that gateways bring, and letting old ones go."""

from __future__ import annotations

from fogpanel.jobs import Run, job
from services.vpn_coordinator import sweeping


@job(every_s=2.0)
def look_after_carriages(run: Run) -> None:
    sweeping.sweep(run.now)


@job(every_s=600.0, queue="work")
def forget_old_carriages(run: Run) -> None:
    sweeping.forget(run.now)

"""Looking after orders that gateways bring, and letting old ones and canaries go."""

from __future__ import annotations

from fogpanel.jobs import Run, job
from services.vpn_coordinator import sealed_canary, sweeping


@job(every_s=2.0)
def look_after_carriages(run: Run) -> None:
    sweeping.sweep(run.now)


@job(every_s=600.0, queue="work")
def forget_old_carriages(run: Run) -> None:
    sealed_canary.forget(run.now)
    sweeping.forget(run.now)

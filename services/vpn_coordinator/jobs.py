"""Looking after orders that gateways bring, noting what privacy costs, and letting old rows go."""

from __future__ import annotations

from fogpanel.jobs import Run, job
from services.vpn_coordinator import private_page, sealed_canary, sweeping


@job(every_s=2.0)
def look_after_carriages(run: Run) -> None:
    sweeping.sweep(run.now)


@job(every_s=15.0)
def note_quotes(run: Run) -> None:
    private_page.note_quotes(run.now)


@job(every_s=600.0, queue="work")
def forget_old_carriages(run: Run) -> None:
    sealed_canary.forget(run.now)
    sweeping.forget(run.now)

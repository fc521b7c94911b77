"""The probe: a circuit over relays, built by some node, with bytes echoed through it.

Each call does one step and returns at once: ask a node, or look what became of that. What it needs to
remember is in the trials' own rows, so any worker can take the next step.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from random import Random

from services.onion import trials
from services.onion.models import Trial
from services.onion.rules import FAILURES_DOWN, HOPS, Measured, Tried, judge
from services.onion.standing import Standing, named, open_circuits, standing
from services.onion.trials import Builder, Wanted
from services.record import Probed

OLD_NEWS = timedelta(minutes=2)
"""A trial that ended so long ago and was never looked at says nothing about now."""

chance = Random()


def probe(now: datetime, last_result_at: datetime | None, rng: Random = chance) -> Probed | None:
    there = standing()
    if not there.usable:
        return _judged(there, [])
    trial = trials.of_choice().first()
    if trial is None or _is_old(trial, now, last_result_at):
        return _asked(there, now, rng)
    if not trials.end_if_late(trial, now):
        return None
    return _judged(there, list(trials.of_choice().exclude(ended_at=None)[:FAILURES_DOWN]))


def _is_old(trial: Trial, now: datetime, last_result_at: datetime | None) -> bool:
    reported = last_result_at is not None and trial.asked_at <= last_result_at
    return reported or now > trial.deadline_at + OLD_NEWS


def _asked(there: Standing, now: datetime, rng: Random) -> Probed | None:
    """Have a node try; what can be said at once where none can."""
    builder = choose(trials.builders(rng), there)
    if builder is None:
        return _judged(there, [])
    # Up to an exit where there is one, since that is what tunnels need.
    to_exit = bool(there.exits - {builder.identity})
    trials.ask(builder, Wanted(hops=_hops(builder, there), to_exit=to_exit), now)
    return None


def choose(builders: list[Builder], there: Standing) -> Builder | None:
    """The first that finds relays enough, else the one that finds the most; None if none finds any."""
    best = max(builders, key=lambda builder: _hops(builder, there), default=None)
    return best if best is not None and _hops(best, there) else None


def _hops(builder: Builder, there: Standing) -> int:
    """No node relays for itself."""
    return min(HOPS, len(there.usable - {builder.identity}))


def _judged(there: Standing, ended: list[Trial]) -> Probed:
    names = {key: one.name for key, one in named(trials.hex_names(ended)).items()}
    return judge(
        Measured(
            relays=len(there.usable),
            by_flag=there.by_flag,
            circuits=open_circuits(),
            tried=[
                Tried(
                    ok=trial.ok,
                    node=trial.node.name,
                    route=trials.route(trial.path, names),
                    hops=trial.hops,
                    size=trial.size,
                    sentence=trial.sentence,
                    build_ms=trial.build_ms,
                    echo_ms=trial.echo_ms,
                )
                for trial in ended
            ],
        )
    )

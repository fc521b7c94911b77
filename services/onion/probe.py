"""The probe: a circuit over relays, built by some node, with bytes echoed through it.

Each call does one step and returns at once: ask a node, or look what became of that. What it needs to
remember is in the trials' own rows, so any worker can take the next step.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from random import Random

from services.absent import absent
from services.onion import trials
from services.onion.models import Trial
from services.onion.rules import FAILURES_DOWN, HOPS, Measured, Tried, judge
from services.onion.standing import Standing, named, open_circuits, standing, still_listed
from services.onion.trials import Builder, Wanted
from services.record import Probed

OLD_NEWS = timedelta(minutes=2)
"""A trial that ended so long ago and was never looked at says nothing about now."""

chance = Random()


def probe(now: datetime, last_result_at: datetime | None, rng: Random = chance) -> Probed | None:
    there = standing()
    builder = choose(trials.builders(rng), there)
    if builder is None:
        return _judged(there, 0, [])
    wanted = _wanted(builder.identity, there)
    trial = trials.of_choice().first()
    if trial is None or _is_old(trial, now, last_result_at) or trials.let_go_if_abandoned(trial, now):
        trials.ask(builder, wanted, now)
        return None
    if not trials.end_if_late(trial, now):
        return None
    if trial.hops < wanted.hops or _is_overtaken(trial, there):
        trials.ask(builder, wanted, now)
        return None
    return _judged(there, wanted.hops, list(trials.of_choice().exclude(ended_at=None)[:FAILURES_DOWN]))


def _is_old(trial: Trial, now: datetime, last_result_at: datetime | None) -> bool:
    reported = last_result_at is not None and trial.asked_at <= last_result_at
    return reported or now > trial.deadline_at + OLD_NEWS


def _is_overtaken(trial: Trial, there: Standing) -> bool:
    """Whether relays came or went since it was asked, so that its node would be asked for something else."""
    wanted = _wanted(bytes.fromhex(trial.node.public_key), there)
    return (trial.hops, trial.to_exit) != (wanted.hops, wanted.to_exit)


def _wanted(identity: bytes, there: Standing) -> Wanted:
    """What this node is to try: up to an exit where there is one, since that is what tunnels need."""
    return Wanted(hops=_hops(identity, there), to_exit=bool(there.exits - {identity}))


def choose(builders: list[Builder], there: Standing) -> Builder | None:
    """The first that finds relays enough, else the one that finds the most; None if none finds any."""
    best = max(builders, key=lambda builder: _hops(builder.identity, there), default=None)
    return best if best is not None and _hops(best.identity, there) else None


def _hops(identity: bytes, there: Standing) -> int:
    """No node relays for itself."""
    return min(HOPS, len(there.usable - {identity}))


def _judged(there: Standing, hops: int, ended: list[Trial]) -> Probed:
    names = {key: one.name for key, one in named(trials.hex_names(ended)).items()}
    return judge(
        Measured(
            relays=len(there.usable),
            hops=hops,
            absent=absent("relay"),
            listed=still_listed(),
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

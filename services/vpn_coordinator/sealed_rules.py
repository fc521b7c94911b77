"""How well private tasks can be had, judged from the last sealed canary. Pure: no clock, no database."""

from __future__ import annotations

from dataclasses import dataclass, replace

from services.models import State
from services.record import Figure, Probed
from services.vpn_coordinator.models import SealedCanary

SENTENCE_MOST = 300

WHAT_TO_DO = {
    SealedCanary.Step.RESERVE: "The page of nodes tells what each has free, and why one gets no work.",
    SealedCanary.Step.CARRY: "The page of onion circuits tells which relays are reached.",
    SealedCanary.Step.RUN: "Look at the page of {node}, and at its agent’s log.",
    SealedCanary.Step.OPEN: "The fault is {node}’s: update its agent, and trust it with nothing until then.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Came:
    """What became of the last canary; ``step`` and ``sentence`` say where it failed and why."""

    ok: bool
    step: str = ""
    sentence: str = ""
    node: str = ""
    took_ms: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """``refusal``: why confidential tasks cannot be taken, though private ones can; ``came``: None where no
    canary was sent."""

    refusal: str = ""
    came: Came | None = None


def with_sealed(tunnels: Probed, sealed: Sealed) -> Probed:
    """How the service does, with that of its tunnels. What is wrong with these is told first."""
    took_ms = sealed.came.took_ms if sealed.came and sealed.came.ok else None
    rounded = None if took_ms is None else round(took_ms)
    figures = (*tunnels.figures, Figure("sealed task", rounded, "ms"))
    sentence = _trouble(sealed)
    if sentence and tunnels.state == State.OPERATIONAL:
        return Probed(State.DEGRADED, _short(sentence), figures)
    return replace(tunnels, figures=figures)


def _trouble(sealed: Sealed) -> str:
    if sealed.refusal:
        return f"Tunnels work, but no confidential task can be taken. {sealed.refusal}"
    if sealed.came is None or sealed.came.ok:
        return ""
    came = sealed.came
    step = SealedCanary.Step(came.step)
    told = f"The last sealed task failed {_AT[step].format(node=came.node or 'its node')}: {came.sentence}"
    return f"{told} {WHAT_TO_DO[step].format(node=came.node or 'its node')}"


_AT = {
    SealedCanary.Step.RESERVE: "when nodes were to be reserved",
    SealedCanary.Step.CARRY: "on its way to {node}",
    SealedCanary.Step.RUN: "on {node}",
    SealedCanary.Step.OPEN: "when the result of {node} was opened",
}


def _short(sentence: str) -> str:
    return sentence if len(sentence) <= SENTENCE_MOST else sentence[: SENTENCE_MOST - 1] + "…"

"""Why a node gets work or none, in a sentence, and what can be done. Pure: no clock, no database."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from coordinator.standing import Standing
from coordinator.values import Candidate

# What can be done about a node that falls at a filter, by its name.
ADVICE: Mapping[str, str] = {
    "sealed": "These tasks were sealed for other nodes; new ones can be sealed for this one.",
    "maintenance": "Press “Resume” on its page when the maintenance is over.",
    "draining": "Press “Resume” or “Call the drain off” on its page to let it take work again.",
    "cordoned": "Press “Resume” on its page to let it take work again.",
    "goodbye": "Its agent was stopped in order; start it again on the machine.",
    "silent": "See whether the machine is on and its agent runs; the agent's output says what it waits for.",
    "disconnected": "See whether its agent runs and reaches the panel; its output says what it waits for.",
    "unstable": "See what breaks its connection; it gets work once it has stayed connected for long enough.",
    "cooling": "See in its tasks why attempts failed there; it gets work again in a while.",
    "kept": "Nothing needs to be done: it takes work again once the large task has its place.",
    "compute": "Its owner lets it run tasks by starting the agent with compute among its --flags.",
    "driver": "See “Drivers” on its page for why not. Its owner allows commands and containers by starting "
    "the agent with --allow.",
    "onion": "Its owner makes it a relay by starting the agent with the flag relay among its --flags.",
    "region": "These tasks must run elsewhere. Where that is wrong, start its agent with another --region.",
    "label": "Its owner gives it labels by starting the agent with --label.",
    "cpu": "It is too small or too busy for these. Its owner offers more by a larger --cores.",
    "memory": "It is too small or too busy for these. Its owner offers more by a larger --memory-mb.",
    "disk": "It is too small or too full for these.",
    "gpu": "It has no GPU, or others use it.",
}


@dataclass(frozen=True, slots=True)
class Kind:
    """Tasks with equal needs and strategy: how many of those looked at wait, were placed, were placed here.

    ``standing`` is how the node stands to them now; None for a node that the fleet does not hold.
    ``example`` is the number of one of these tasks.
    """

    words: str
    strategy: str
    waiting: int
    placed: int
    here: int
    standing: Standing | None
    example: int

    @property
    def weight(self) -> int:
        return self.waiting + self.placed


@dataclass(frozen=True, slots=True)
class Verdict:
    """``tone`` is ok, warn or mute. ``advice`` is empty where nothing is to be done."""

    tone: str
    sentence: str
    advice: str = ""


def judge(anything: Standing, kinds: Sequence[Kind], placed: int, here: int) -> Verdict:
    """``anything``: how it stands to a task that asks for nothing; the numbers are of the last placements."""
    if (reason := anything.candidate.reason) is not None:
        return Verdict("warn", f"It gets no work now: {anything.candidate.detail}.", ADVICE[reason])
    if not kinds:
        return Verdict(
            "mute", "It could work, but no task waits and none was placed lately: there is no work."
        )
    if here:
        return Verdict("ok", f"It got {here} of the last {placed} placements.")
    able = [kind for kind in kinds if kind.standing and kind.standing.place is not None]
    if not able:
        return _unfit(kinds)
    return _never_best(able, kinds)


def _unfit(kinds: Sequence[Kind]) -> Verdict:
    fell: Counter[str] = Counter()
    details: dict[str, str] = {}
    for kind in kinds:
        if kind.standing is not None and (reason := kind.standing.candidate.reason) is not None:
            fell[reason] += kind.weight
            details.setdefault(reason, kind.standing.candidate.detail)
    [(reason, _)] = fell.most_common(1)
    return Verdict(
        "warn",
        f"None of the work seen lately may run here; most of it falls at {details[reason]}.",
        ADVICE[reason],
    )


def _never_best(able: Sequence[Kind], kinds: Sequence[Kind]) -> Verdict:
    kind = max(able, key=lambda kind: kind.weight)
    assert kind.standing is not None and kind.standing.place is not None and kind.standing.best is not None
    before = kind.standing.place - 1
    able_words = f"It may run {len(able)} of the {len(kinds)} kinds of work seen lately"
    if not before:
        return Verdict("ok", f"{able_words} and is the best for the most frequent now: it gets the next.")
    nodes = "1 node comes" if before == 1 else f"{before:,} nodes come"
    return Verdict(
        "mute",
        f"{able_words}, but was never the best: for the most frequent {nodes} before it, "
        f"first {_compared(kind.standing.best, kind.standing.candidate)}.",
        "Nothing is wrong with it. It gets work when those before it fill up; round robin spreads evenly.",
    )


def _compared(best: Candidate, this: Candidate) -> str:
    gaps = {name: score - this.parts.get(name, 0.0) for name, score in best.parts.items()}
    widest = max(gaps, key=lambda name: gaps[name])
    if gaps[widest] <= 0:
        return f"{best.name}, which is its equal"
    scores = f"{best.score or 0:.2f} against {this.score or 0:.2f}"
    return f"{best.name} ({scores}, mostly for {widest.replace('_', ' ')})"

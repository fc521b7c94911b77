"""How nodes stand to one task at this moment: a page of all of them, or one among them. Reserves nothing."""

from __future__ import annotations

from dataclasses import dataclass

from coordinator.explain import Standings
from coordinator.fleet import Fleet
from coordinator.values import Candidate, NodeId, Task


@dataclass(frozen=True, slots=True)
class Placed:
    """A node and its place, counted from 1: the eligible first, the others after them by nearness."""

    place: int
    candidate: Candidate


@dataclass(frozen=True, slots=True)
class Excerpt:
    """Some rows of the table of all nodes; ``matching`` counts those whose name fits."""

    matching: int
    rows: tuple[Placed, ...]


@dataclass(frozen=True, slots=True)
class Standing:
    """One node for one task: its place among the eligible (1: it would be chosen), or None and its reason.

    ``best`` is who would be chosen, None where nobody is eligible.
    """

    candidate: Candidate
    place: int | None
    eligible: int
    best: Candidate | None


def excerpt(fleet: Fleet, task: Task, now: float, *, name: str = "", start: int = 0, size: int) -> Excerpt:
    """``size`` nodes from the ``start``-th on, of those whose name contains ``name``."""
    standings = _standings(fleet, task, now)
    places = range(len(standings))
    wanted = name.casefold()
    found = [each for each in places if wanted in standings.name(each).casefold()] if wanted else places
    shown = found[start : start + size]
    return Excerpt(len(found), tuple(Placed(each + 1, standings.candidate(each)) for each in shown))


def standing(fleet: Fleet, task: Task, node_id: NodeId, now: float) -> Standing | None:
    """Where this node stands; None when the fleet does not know it."""
    row = fleet.table.row_of.get(node_id)
    if row is None:
        return None
    standings = _standings(fleet, task, now)
    place = standings.place_of(row)
    return Standing(
        candidate=standings.candidate(place),
        place=place + 1 if place < standings.eligible else None,
        eligible=standings.eligible,
        best=standings.candidate(0) if standings.eligible else None,
    )


def _standings(fleet: Fleet, task: Task, now: float) -> Standings:
    fleet.table.advance(now)
    strategy = fleet.strategies[task.strategy]
    asked = strategy.asked(task)
    return Standings(fleet, strategy, asked, fleet.shape(asked.requirements), now)

"""Plan: filter, score, select, reserve. Synchronous; no I/O, no locks, no clock, no chance but ``rng``."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from time import perf_counter_ns

from coordinator import explain as explaining
from coordinator.fleet import Fleet
from coordinator.values import Decision, NodeId, RoutingStrategy, Task


class Others(Enum):
    """In which decisions to say what the other strategies would have chosen."""

    NEVER = "never"
    SAMPLED = "sampled"  # drawn at random
    ALWAYS = "always"


@dataclass(frozen=True, slots=True, kw_only=True)
class Explain:
    """How much a decision records beyond the choice and the counts."""

    candidates: bool  # nodes with their scores or reasons
    others: Others
    waits: bool = True  # whether to record it also where no node was found


FULLY = Explain(candidates=True, others=Others.ALWAYS)  # for what a person submits singly
IF_CHOSEN = Explain(candidates=True, others=Others.ALWAYS, waits=False)  # for what may wait as before
BY_COUNTS = Explain(candidates=False, others=Others.SAMPLED)  # for batches

# Asking the others costs time, from a thousand nodes on in proportion to their number, so in a larger
# fleet it is done less often: one decision in a hundred, or in a tenth as many as there are nodes.
SAMPLED_ONE_IN = 100
SAMPLED_ONE_IN_NODES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Decisions in the order of the tasks. Those without a chosen node wait, with named reasons."""

    decisions: tuple[Decision, ...]
    planned_at: float

    @property
    def placed(self) -> tuple[Decision, ...]:
        return tuple(each for each in self.decisions if each.chosen is not None)

    @property
    def waiting(self) -> tuple[Decision, ...]:
        return tuple(each for each in self.decisions if each.chosen is None)


def plan(
    fleet: Fleet, tasks: Iterable[Task], now: float, rng: random.Random, *, explain: Explain = BY_COUNTS
) -> Plan:
    """Choose a node for each task in the order given (the caller sorts them by their turn).

    What is chosen is reserved in ``fleet`` at once, so later tasks see it, and stays reserved: when the
    commit of a decision loses, the caller returns it with ``fleet.release(decision.chosen, task.needs)``
    (or upserts the node as it really is) before planning again.
    """
    fleet.table.advance(now)
    decisions = tuple(_place(fleet, task, now, rng, explain) for task in tasks)
    return Plan(decisions=decisions, planned_at=now)


def preview(fleet: Fleet, task: Task, now: float, rng: random.Random) -> Mapping[RoutingStrategy, Decision]:
    """What each strategy would choose at this moment, with candidates. Nothing is reserved."""
    fleet.table.advance(now)
    alone = Explain(candidates=True, others=Others.NEVER)
    return {each: _decide(fleet, replace(task, strategy=each), now, rng, alone) for each in fleet.strategies}


def decide(fleet: Fleet, task: Task, now: float, rng: random.Random) -> Decision:
    """What would be decided on this task at this moment, and by the other strategies. Nothing is reserved."""
    fleet.table.advance(now)
    return _decide(fleet, task, now, rng, Explain(candidates=False, others=Others.ALWAYS))


def shortlist(
    fleet: Fleet, task: Task, now: float, rng: random.Random, most: int
) -> tuple[list[NodeId], Decision]:
    """The nodes that would be chosen one after the other if those before were gone, ``most`` of them at most,
    and the first decision. Nothing is reserved."""
    fleet.table.advance(now)
    quiet = Explain(candidates=False, others=Others.NEVER)
    first = decision = _decide(fleet, task, now, rng, quiet)
    found: list[NodeId] = []
    while decision.chosen is not None and decision.chosen not in found and len(found) < most:
        found.append(decision.chosen)
        decision = _decide(fleet, replace(task, avoid=task.avoid.union(found)), now, rng, quiet)
    return found, first


def _place(fleet: Fleet, task: Task, now: float, rng: random.Random, explain: Explain) -> Decision:
    decision = _decide(fleet, task, now, rng, explain)
    if decision.chosen is not None:
        row = fleet.table.row_of[decision.chosen]
        fleet.table.take(row, task.needs, now)
        if note := fleet.strategies[task.strategy].note_choice:
            note(fleet.table, row)
    return decision


def _decide(fleet: Fleet, task: Task, now: float, rng: random.Random, explain: Explain) -> Decision:
    started = perf_counter_ns()
    table = fleet.table
    strategy = fleet.strategies[task.strategy]
    asked = strategy.asked(task)
    shape = fleet.shape(asked.requirements)
    row = fleet.ranking(strategy, asked, shape).best(fleet.rows_of(task.avoid))
    explains = explain.waits or row is not None
    asks_others = explains and _ask_others(fleet, rng, explain.others)
    return Decision(
        task_id=task.task_id,
        strategy=task.strategy,
        chosen=None if row is None else table.ids[row],
        considered=len(table.row_of),
        eligible=shape.eligible,
        rejected=shape.rejected(),
        candidates=explaining.candidates(fleet, strategy, asked, shape, now)
        if explains and explain.candidates
        else (),
        others=explaining.others(fleet, task) if asks_others else explaining.NOT_ASKED,
        shape=shape.name,
        fleet_version=table.version,
        decided_at=now,
        took_us=(perf_counter_ns() - started) / 1000,
    )


def _ask_others(fleet: Fleet, rng: random.Random, others: Others) -> bool:
    if others is Others.SAMPLED:
        return rng.random() * max(SAMPLED_ONE_IN, len(fleet) / SAMPLED_ONE_IN_NODES) < 1
    return others is Others.ALWAYS

"""What if: the same tasks once more, come when they came and lasting as long, on an empty copy of the fleet.

A simulation of events without clock or chance but what is passed in. Every node counts as there and
willing all the time; how long a task holds its node is what was measured where it really ran.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from heapq import heapify, heappop, heappush

import numpy as np

from coordinator.asked import Requirements
from coordinator.fleet import Fleet
from coordinator.planning import Explain, Others, plan
from coordinator.queueing import turn_of
from coordinator.values import Availability, FogNode, NodeId, RoutingStrategy, Task
from coordinator.weights import Weights

SILENTLY = Explain(candidates=False, others=Others.NEVER)
PROGRESS_EVERY = 100  # tasks


@dataclass(frozen=True, slots=True)
class Arrival:
    """A task that ran: when it came, how long it waited, how long it held its node, and which that was."""

    task: Task
    at: float
    waited_s: float
    held_s: float
    ran_on: NodeId


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """``gini`` is that of core-seconds over nodes: 0 where all did the same, near 1 where one did all.

    ``busiest`` is what the busiest node did over the mean. ``moves`` counts the tasks that went to another
    node than in truth, ``unplaced`` those that no node could ever take. Waits are of what was placed.
    """

    placed: int
    unplaced: int
    moves: int
    waited_median_s: float
    waited_p95_s: float
    gini: float
    busiest: float


def as_it_was(nodes: Iterable[FogNode], arrivals: Sequence[Arrival]) -> Outcome:
    """The figures of what really happened, for comparison."""
    work: dict[NodeId, float] = {node.node_id: 0.0 for node in nodes}
    for arrival in arrivals:
        work[arrival.ran_on] = work.get(arrival.ran_on, 0.0) + _core_seconds(arrival)
    return _outcome(work, [arrival.waited_s for arrival in arrivals], moves=0, unplaced=0)


def replay(
    nodes: Iterable[FogNode],
    arrivals: Sequence[Arrival],
    strategy: RoutingStrategy,
    rng: random.Random,
    *,
    weights: Weights | None = None,
    progress: Callable[[int], None] = lambda placed: None,
) -> Outcome:
    """Place all by ``strategy``. ``progress`` is told now and then how many are placed."""
    return _Replay(nodes, arrivals, strategy, rng, weights, progress).run()


class _Replay:
    def __init__(
        self,
        nodes: Iterable[FogNode],
        arrivals: Sequence[Arrival],
        strategy: RoutingStrategy,
        rng: random.Random,
        weights: Weights | None,
        progress: Callable[[int], None],
    ) -> None:
        self._fleet = Fleet(weights=weights)
        self._fleet.upsert(_fresh(node) for node in nodes)
        self._strategy = self._fleet.strategies[strategy]
        come = sorted(arrivals, key=lambda arrival: arrival.at)
        self._arrivals = [replace(each, task=replace(each.task, strategy=strategy)) for each in come]
        self._rng = rng
        self._progress = progress
        self._waiting: dict[Requirements, list[tuple[float, int]]] = {}  # heaps of (turn, arrival)
        self._ends: list[tuple[float, int, NodeId]] = []
        self._work: dict[NodeId, float] = dict.fromkeys(self._fleet.table.row_of, 0.0)
        self._waits: list[float] = []
        self._moves = 0

    def run(self) -> Outcome:
        for number, arrival in enumerate(self._arrivals):
            self._end_until(arrival.at)
            key = self._strategy.asked(arrival.task).requirements
            queue = self._waiting.setdefault(key, [])
            heappush(queue, (turn_of(arrival.task), number))
            if len(queue) == 1:  # those before it wait because nothing fits
                self._place(arrival.at, [key])
        self._end_until(math.inf)
        unplaced = sum(map(len, self._waiting.values()))
        return _outcome(self._work, self._waits, moves=self._moves, unplaced=unplaced)

    def _end_until(self, now: float) -> None:
        while self._ends and self._ends[0][0] <= now:
            at, number, node_id = heappop(self._ends)
            self._fleet.release(node_id, self._arrivals[number].task.needs)
            self._place(at, list(self._waiting))

    def _place(self, now: float, keys: Sequence[Requirements]) -> None:
        """Whatever fits of these, each in its turn; what shares the needs of one that does not fit waits."""
        heads = [(*self._waiting[key][0], key) for key in keys if self._waiting[key]]
        heapify(heads)
        while heads:
            _, number, key = heappop(heads)
            if self._placed(number, now):
                queue = self._waiting[key]
                heappop(queue)
                if queue:
                    heappush(heads, (*queue[0], key))
                else:
                    del self._waiting[key]

    def _placed(self, number: int, now: float) -> bool:
        arrival = self._arrivals[number]
        [decision] = plan(self._fleet, [arrival.task], now, self._rng, explain=SILENTLY).decisions
        if decision.chosen is None:
            return False
        heappush(self._ends, (now + arrival.held_s, number, decision.chosen))
        self._waits.append(now - arrival.at)
        self._work[decision.chosen] += _core_seconds(arrival)
        self._moves += decision.chosen != arrival.ran_on
        if len(self._waits) % PROGRESS_EVERY == 0:
            self._progress(len(self._waits))
        return True


def _fresh(node: FogNode) -> FogNode:
    """As it would be with nothing to do, always there."""
    return replace(
        node,
        free=node.total,
        measured_load=0.0,
        last_assigned=0.0,
        last_contact=math.inf,
        connected=True,
        said_goodbye=False,
        availability=Availability.SCHEDULABLE,
    )


def _core_seconds(arrival: Arrival) -> float:
    return arrival.held_s * arrival.task.needs.cpu_millis / 1000


def _outcome(work: dict[NodeId, float], waits: Sequence[float], *, moves: int, unplaced: int) -> Outcome:
    shares = np.array(list(work.values()))
    return Outcome(
        placed=len(waits),
        unplaced=unplaced,
        moves=moves,
        waited_median_s=float(np.median(waits)) if waits else 0.0,
        waited_p95_s=float(np.percentile(waits, 95)) if waits else 0.0,
        gini=gini(shares.tolist()),
        busiest=float(shares.max() / shares.mean()) if len(shares) and shares.any() else 0.0,
    )


def gini(shares: Sequence[float]) -> float:
    """How unevenly something is spread: 0 is even; n owners of whom one has all give 1 - 1/n."""
    ordered = np.sort(np.asarray(shares, np.float64))
    total, count = float(ordered.sum()), len(ordered)
    if not total:
        return 0.0
    ranks = np.arange(1, count + 1)
    return float((2 * ranks - count - 1) @ ordered / (count * total))

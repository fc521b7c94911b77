"""The placer: one thread a process that alone owns its view of the fleet and of the queue.

Woken, it brings both views up to date, plans, and commits in batches; what lost a commit is planned
again against fresh facts. Views of the web ask it for previews, which it answers between two passes.
"""

from __future__ import annotations

import queue
import random
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from datetime import datetime
from functools import cache, partial
from itertools import islice
from typing import TypeVar

from channels.db import database_sync_to_async
from django.conf import settings
from django.utils import timezone
from django.utils.module_loading import import_string

from coordinator import planning, values
from coordinator.fleet import Fleet
from coordinator.fog_coordinator import FogCoordinator
from coordinator.keeping import Keeper
from coordinator.planning import BY_COUNTS, FULLY, IF_CHOSEN, Explain
from coordinator.values import RoutingStrategy
from fogpanel import metrics
from fogpanel.parameters.catalogue import AGEING_S
from fogpanel.parameters.store import current
from fogpanel.threads import Tireless
from fogpanel.wakes import Key, on_wake
from nodes.models import Node
from nodes.routing_view import as_fog_node
from tasks.commit import commit
from tasks.fleet_view import FleetView
from tasks.hopeless import Hopeless
from tasks.models import Task
from tasks.privacy import held_back
from tasks.queue_view import QueueView, ShapeKey, shape_key
from tasks.routing_view import as_routing_task
from tasks.specification import TaskSpec
from tasks.waits import NO_WAY, Waits, tell_tasks

POLL_S = 1.0
LOOK_PAUSE_S = 0.1  # between two looks at everything, however much is going on
BATCH = 500  # placements committed at once
REASONS_MOST = 500  # tasks of one shape that are told why they wait
TOLD_MOST = 20  # sealed tasks, each of a shape of its own, that are told so in one pass
JITTER_S = 0.02
PREVIEW_TIMEOUT_S = 5.0

Answer = TypeVar("Answer")


@cache
def _placing_paused() -> Callable[[], bool]:
    paused: Callable[[], bool] = import_string(settings.PLACING_PAUSED)
    return paused


class Placer(Tireless):
    """Places what waits, again and again; told by `wake` and its kin where to look first."""

    def __init__(self) -> None:
        super().__init__("placer")
        self._something = threading.Event()
        self._lock = threading.Lock()
        self._freed: set[int] = set()  # nodes that have other room than we know
        self._changed: set[int] = set()  # nodes that are otherwise than we know
        self._resealed: set[int] = set()  # tasks that may go to other nodes than we know
        self._look = True  # whether anything may have changed
        self._anew = False  # whether to forget all views
        self._paused = False  # whether an operator holds all tasks back
        self._held_back: Collection[str] = ()  # privacy levels whose orders could not be sent on their way
        self._looked_at = float("-inf")
        self._questions: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._rng = random.Random()
        self._view = FleetView(self._rng.getrandbits(32))
        self._queue = QueueView()
        self._waits = Waits()
        self._hopeless = Hopeless()
        self._keeper = Keeper()

    # --- From other threads ------------------------------------------------------------------------

    def wake(self, _: frozenset[Key] = frozenset()) -> None:
        """Anything may have changed: look at all."""
        self._look = True
        self._something.set()

    def start_over(self, _: frozenset[Key] = frozenset()) -> None:
        """Forget what was read and ranked."""
        self._anew = True
        self.wake()

    def wake_submitted(self, _: frozenset[Key]) -> None:
        """There are new tasks."""
        self._something.set()

    def wake_freed(self, node_ids: frozenset[Key]) -> None:
        """Work ended on these nodes, and some of it may have to go elsewhere."""
        with self._lock:
            self._freed.update(map(int, node_ids))
        self._something.set()

    def wake_resealed(self, task_ids: frozenset[Key]) -> None:
        """These tasks are sealed for other nodes than before."""
        with self._lock:
            self._resealed.update(map(int, task_ids))
        self._something.set()

    def wake_changed(self, node_ids: frozenset[Key]) -> None:
        """These nodes came, went or say other things of themselves."""
        with self._lock:
            self._changed.update(map(int, node_ids))
        self._something.set()

    def ask(self, question: Callable[[Fleet, random.Random], Answer]) -> Answer:
        """Have ``question(fleet, rng)`` answered by the placer's thread, with the fleet up to date."""
        if not self.is_alive():  # in a process without the panel's threads
            view = FleetView(self._rng.getrandbits(32))
            view.refresh(timezone.now())
            return question(view.fleet, self._rng)
        future: Future[Answer] = Future()

        def answer() -> None:
            try:
                self._view.refresh(timezone.now())
                future.set_result(question(self._view.fleet, self._rng))
            except Exception as error:  # the asker's to handle
                future.set_exception(error)

        self._questions.put(answer)
        self.wake()
        return future.result(timeout=PREVIEW_TIMEOUT_S)

    # --- The placer's own thread -------------------------------------------------------------------

    def start(self) -> None:
        on_wake("placer", self.wake)
        on_wake("placer-anew", self.start_over)
        on_wake("submitted", self.wake_submitted)
        on_wake("freed", self.wake_freed)
        on_wake("resealed", self.wake_resealed)
        on_wake("node-changed", self.wake_changed)
        super().start()

    def turn(self) -> None:
        self._something.wait(timeout=LOOK_PAUSE_S if self._look else POLL_S)
        self._something.clear()
        self._answer_questions()
        if self._anew:
            self._anew = False
            self.recover()
        now = timezone.now()
        self._refresh(now, time.monotonic())
        self._place(now)

    def _refresh(self, now: datetime, tick: float) -> None:
        """Read what we were told of, and now and then whatever else there is."""
        with self._lock:
            freed, self._freed = self._freed, set()
            changed, self._changed = self._changed, set()
            resealed, self._resealed = self._resealed, set()
        self._queue.read_again(resealed)
        look = self._look or tick - self._looked_at >= POLL_S
        if look and tick - self._looked_at >= LOOK_PAUSE_S:
            self._look, self._looked_at = False, tick
            self._look_at_all(now)
        else:
            self._queue.read_newest()
            self._view.read(changed)
            self._view.read_room(freed - changed)

    def _look_at_all(self, now: datetime) -> None:
        self._queue.refresh(now)
        self._view.refresh(now)
        self._paused = _placing_paused()()
        self._hold_back(held_back() if self._queue.has_carried else (), now)

    def _hold_back(self, levels: Collection[str], now: datetime) -> None:
        """Place no tasks of these levels: each would keep room on a node, and get no further."""
        if levels != self._held_back:
            self._held_back, self._hopeless, self._waits = levels, Hopeless(), Waits()
        if levels and not self._paused:
            tell_tasks(self._queue.of(levels, REASONS_MOST), {NO_WAY: len(self._view.fleet)}, now)

    def recover(self) -> None:
        self._view = FleetView(self._rng.getrandbits(32))
        self._queue = QueueView()
        self._waits = Waits()
        self._hopeless = Hopeless()
        self._keeper = Keeper()
        self._look, self._looked_at = True, float("-inf")  # at once: an empty view knows no node

    def _answer_questions(self) -> None:
        """Those that are there now: while many keep asking, tasks are placed all the same."""
        for _ in range(self._questions.qsize()):
            self._questions.get_nowait()()

    def place_waiting(self, now: datetime) -> int:
        """Look at everything and place whatever can be placed; returns how many tasks were."""
        self._look_at_all(now)
        return self._place(now)

    def _place(self, now: datetime) -> int:
        placed = 0
        if self._paused:
            first = islice(self._queue.in_order(set()), REASONS_MOST)
            self._waits.hold_back([int(task.task_id) for task in first], len(self._view.fleet), now)
            self._hopeless = Hopeless()  # they wait for another reason from now on
        elif len(self._queue):
            exhausted: set[ShapeKey] = set()
            self._keeper.lift(self._view.fleet)
            self._hopeless.catch_up(self._view.fleet, self._queue.shapes)
            while batch := self._plan_batch(exhausted, now):
                won = self._commit(batch)
                placed += won
                if won < len(batch):
                    exhausted.clear()  # what those that lost had reserved in our view may do for others
                    self._keeper.lift(self._view.fleet)
                    self._hopeless.catch_up(self._view.fleet, self._queue.shapes)
                self._answer_questions()
            self._tell_hopeless(now)
        return placed

    def _plan_batch(
        self, exhausted: set[ShapeKey], now: datetime
    ) -> list[tuple[values.Task, values.Decision]]:
        """The next placements in order; shapes that nothing can take are added to ``exhausted``."""
        batch: list[tuple[values.Task, values.Decision]] = []
        explained: set[ShapeKey] = set()
        waits = 0
        for task in self._queue.in_order(exhausted):
            key = shape_key(task)
            if self._queue.is_of(task, self._held_back):
                continue  # others of its shape are perhaps not
            if self._hopeless.holds(key, self._queue.count(key)):
                exhausted.add(key)
                if self._hopeless.lacks_room(key):
                    self._keep_for(task, now)
                continue
            decision = self._decide(task, now, BY_COUNTS if key in explained else IF_CHOSEN)
            explained.add(key)
            if decision.chosen is None:
                waits += 1
                exhausted.add(key)
                self._let_wait(key, task, decision, now)
                continue
            batch.append((task, decision))
            if len(batch) >= BATCH:
                break
        metrics.DECISIONS.labels("placed").inc(len(batch))
        metrics.DECISIONS.labels("waits").inc(waits)
        return batch

    def _let_wait(self, key: ShapeKey, task: values.Task, decision: values.Decision, now: datetime) -> None:
        self._keep_for(task, now)
        if task.among is not None:
            self._hopeless.add(key, task, decision, self._queue.count(key))
        else:
            self._note_wait(key, task, decision, now)

    def _keep_for(self, task: values.Task, now: datetime) -> None:
        self._keeper.keep_for(self._view.fleet, task, now.timestamp(), current(AGEING_S))

    def _tell_hopeless(self, now: datetime) -> None:
        for key, task in self._hopeless.to_tell(TOLD_MOST):
            decision = planning.decide(self._view.fleet, task, now.timestamp(), self._rng)
            # Where one is chosen, its node has changed just now, and it is planned again.
            if decision.chosen is None and not self._note_wait(key, task, decision, now):
                self._hopeless.tell_later(key, task)

    def _note_wait(self, key: ShapeKey, task: values.Task, decision: values.Decision, now: datetime) -> bool:
        waiting = self._queue.waiting(key, REASONS_MOST)
        explain = partial(self._decide, task, now, FULLY)
        return not waiting or self._waits.note(key, decision, waiting, now, explain=explain)

    def _decide(self, task: values.Task, now: datetime, explain: Explain) -> values.Decision:
        made = planning.plan(self._view.fleet, [task], now.timestamp(), self._rng, explain=explain)
        return made.decisions[0]

    def _commit(self, batch: list[tuple[values.Task, values.Decision]]) -> int:
        won = commit([decision for _, decision in batch])
        metrics.PLACED.labels("committed").inc(len(won))
        metrics.PLACED.labels("lost").inc(len(batch) - len(won))
        for task_id in won:
            self._queue.drop(task_id)
        lost = [pair for pair in batch if pair[0].task_id not in won]
        if lost:
            self._look_again_at(lost)
        return len(won)

    def _look_again_at(self, lost: list[tuple[values.Task, values.Decision]]) -> None:
        """Somebody else was faster. See how things are, and wait a little, each process differently."""
        self._queue.read_again([int(task.task_id) for task, _ in lost])
        self._pause.wait(self._rng.uniform(0, JITTER_S))
        # As it is in the database, without what was reserved for those that lost.
        self._view.read({int(decision.chosen) for _, decision in lost if decision.chosen is not None})


placer = Placer()


def preview(task: Task | TaskSpec) -> Mapping[RoutingStrategy, values.Decision]:
    """Where each strategy would send this task at this moment. Nothing is reserved."""
    now = timezone.now().timestamp()
    asked = as_routing_task(task, now)
    return placer.ask(lambda fleet, rng: planning.preview(fleet, asked, now, rng))


def get_coordinator() -> FogCoordinator:
    """A coordinator over the fleet as it is now, whose placements are made true in the database.

    Its tasks are stored ones (`tasks.routing_view.as_routing_tasks`); what they become afterwards is
    the panel's to follow. For commands, notebooks and what-if; the panel itself places with `placer`.
    """
    coordinator = FogCoordinator(clock=lambda: timezone.now().timestamp(), commit=_commit_stored)
    coordinator.fleet.upsert(
        as_fog_node(node) for node in Node.objects.filter(archived_at=None).exclude(approved_at=None)
    )
    return coordinator


async def _commit_stored(placements: Sequence[values.Decision]) -> set[values.TaskId]:
    return set(await database_sync_to_async(commit)(placements))

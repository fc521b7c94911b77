"""The placer: one thread a process that alone owns its view of the fleet and of the queue.

Woken, it brings both views up to date, plans, and commits in batches; what lost a commit is planned
again against fresh facts. Views of the web ask it for previews, which it answers between two passes.
"""

from __future__ import annotations

import contextlib
import queue
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from datetime import datetime, timedelta
from typing import TypeVar

from channels.db import database_sync_to_async
from django.utils import timezone

from coordinator import planning, values
from coordinator.fleet import Fleet
from coordinator.fog_coordinator import FogCoordinator
from coordinator.planning import BY_COUNTS, FULLY
from coordinator.values import RoutingStrategy
from fogpanel.threads import Tireless
from fogpanel.wakes import Key, on_wake
from nodes.fleet_view import as_fog_node
from nodes.models import Node
from tasks.commit import commit
from tasks.models import Task
from tasks.queue_view import QueueView, ShapeKey, shape_key
from tasks.routing_view import as_routing_task
from tasks.states import TaskState
from tasks.submission import TaskSpec
from tasks.waits import Waits
from tasks.weighing import weights

POLL_S = 1.0
BATCH = 300  # placements committed at once
OVERLAP = timedelta(seconds=10)
RELOAD = timedelta(seconds=60)
REASONS_MOST = 500  # tasks of one shape that are told why they wait
JITTER_S = 0.02
PREVIEW_TIMEOUT_S = 5.0

Answer = TypeVar("Answer")


class FleetView:
    """The fleet as one process sees it, kept up by a cursor over ``changed_at``, weighed as the parameters
    say."""

    def __init__(self, seed: int) -> None:
        self.fleet = Fleet(tie_seed=seed)
        self._cursor: datetime | None = None
        self._loaded: datetime | None = None

    def refresh(self, now: datetime) -> None:
        if self._loaded is None or now - self._loaded >= RELOAD:
            self._cursor, self._loaded = None, now
        rows = Node.objects.order_by("id")
        if self._cursor is not None:
            rows = rows.filter(changed_at__gt=self._cursor - OVERLAP)
        self._cursor = now
        self.fleet.weigh_by(weights())
        changed = list(rows)
        gone = [node.id for node in changed if node.archived_at or not node.approved_at]
        self.fleet.remove(gone)
        self.fleet.upsert(as_fog_node(node) for node in changed if node.approved_at and not node.archived_at)


class Placer(Tireless):
    def __init__(self) -> None:
        super().__init__("placer")
        self._something = threading.Event()
        self._questions: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._rng = random.Random()
        self._view = FleetView(self._rng.getrandbits(32))
        self._queue = QueueView()
        self._waits = Waits()

    # --- From other threads ------------------------------------------------------------------------

    def wake(self, _: frozenset[Key] = frozenset()) -> None:
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
        super().start()

    def turn(self) -> None:
        self._something.wait(timeout=POLL_S)
        self._something.clear()
        self._answer_questions()
        self.place_waiting(timezone.now())

    def recover(self) -> None:
        self._view = FleetView(self._rng.getrandbits(32))
        self._queue = QueueView()
        self._waits = Waits()

    def _answer_questions(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                self._questions.get_nowait()()

    def place_waiting(self, now: datetime) -> int:
        """Place whatever can be placed now; returns how many tasks were."""
        self._queue.refresh(now)
        placed = 0
        if len(self._queue):
            self._view.refresh(now)
            exhausted: set[ShapeKey] = set()
            while batch := self._plan_batch(exhausted, now):
                placed += self._commit(batch, now)
                self._answer_questions()
        return placed

    def _plan_batch(
        self, exhausted: set[ShapeKey], now: datetime
    ) -> list[tuple[values.Task, values.Decision]]:
        """The next placements in order; shapes that nothing can take are added to ``exhausted``."""
        batch: list[tuple[values.Task, values.Decision]] = []
        explained: set[ShapeKey] = set()
        for task in self._queue.in_order(exhausted):
            key = shape_key(task)
            decision = self._decide(task, now, fully=key not in explained)
            explained.add(key)
            if decision.chosen is None:
                exhausted.add(key)
                self._waits.note(key, decision, self._queue.waiting(key, REASONS_MOST), now)
                continue
            batch.append((task, decision))
            if len(batch) >= BATCH:
                break
        return batch

    def _decide(self, task: values.Task, now: datetime, *, fully: bool) -> values.Decision:
        explain = FULLY if fully else BY_COUNTS
        return planning.plan(self._view.fleet, [task], now.timestamp(), self._rng, explain=explain).decisions[
            0
        ]

    def _commit(self, batch: list[tuple[values.Task, values.Decision]], now: datetime) -> int:
        won = commit([decision for _, decision in batch])
        for task_id in won:
            self._queue.drop(task_id)
        lost = [task for task, _ in batch if task.task_id not in won]
        if lost:
            self._look_again_at(lost)
        return len(won)

    def _look_again_at(self, lost: list[values.Task]) -> None:
        """Somebody else was faster. See how things are, and wait a little, each process differently."""
        ids = [int(task.task_id) for task in lost]
        queued = Task.objects.filter(id__in=ids, state=TaskState.QUEUED, cancel_requested_at=None)
        for task_id in set(ids) - set(queued.values_list("id", flat=True)):
            self._queue.drop(task_id)
        threading.Event().wait(self._rng.uniform(0, JITTER_S))
        self._view = FleetView(self._rng.getrandbits(32))
        self._view.refresh(timezone.now())


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

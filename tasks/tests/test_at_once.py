"""Two processes' worth of writers on one PostgreSQL: planners, inboxes, people and sweeps, all at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import count

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.db import close_old_connections, connection
from django.utils import timezone

from conftest import MakeNode
from coordinator.values import Availability
from fogagent.messages import Finished, Outcome
from nodes import operations
from nodes.inbox import Arrival, store
from nodes.locks import with_nodes
from nodes.models import Node
from tasks import doubt
from tasks.failover import release_nodes
from tasks.models import Attempt, Task
from tasks.operations import cancel
from tasks.states import FINAL
from tasks.submission import submit_many, validate
from tasks.tests.fog_model import Planner, Socket
from tasks.tests.invariants import check_capacity, check_results, check_tasks

TASKS = 400
NODES = 6
WITHIN_S = 120
LOOK_EVERY_S = 0.1
NEWEST = 10**6  # the epoch of a connection that nothing replaced

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(settings.ON_SQLITE, reason="SQLite has one writer at a time"),
    pytest.mark.django_db(transaction=True),
]


def all_at_once(works: Sequence[Callable[[], None]], until_done: Callable[[], bool]) -> None:
    """Each work over and over in a thread of its own until it is done; the first error is raised, and so
    are deadlocks: there are none as long as all lock things in the same order (`nodes.locks`)."""
    done = threading.Event()

    def repeat(work: Callable[[], None]) -> None:
        try:
            while not done.is_set():
                work()
        finally:
            done.set()
            connection.close()

    with ThreadPoolExecutor(len(works)) as pool:
        running = [pool.submit(repeat, work) for work in works]
        deadline = time.monotonic() + WITHIN_S
        while not done.wait(LOOK_EVERY_S) and not until_done() and time.monotonic() < deadline:
            pass
        done.set()
    for one in running:
        one.result()


def test_writers_of_two_processes_agree(make_node: MakeNode, submitter: User, operator: User) -> None:
    nodes = [make_node(cpu_millis=2000).id for _ in range(NODES)]
    spec = validate({"driver": "python", "source": "print(1)", "cores": 0.25, "max_attempts": 10})
    acknowledged = {task.id for task in submit_many(submitter, [spec] * TASKS)}
    numbers = count(1)

    def report(speaking: list[int]) -> None:
        """All that these nodes have open ended; the other inbox hears of some of it as well."""
        attempts = Attempt.objects.filter(node_id__in=speaking, ended_at=None).order_by("?")[:20]
        store([Arrival(Socket(a.node_id, NEWEST), [ended(a.id, next(numbers))]) for a in attempts])

    def people() -> None:
        for attempt in Attempt.objects.filter(ended_at=None).select_related("task").order_by("?")[:3]:
            cancel(attempt.task, operator)
        node = Node.objects.order_by("?")[0]
        for wish in (Availability.CORDONED, Availability.SCHEDULABLE):
            operations.set_availability(node, wish, operator)

    def sweep() -> None:
        """A node falls silent, what was in doubt is given up."""
        node = Node.objects.order_by("?")[0]
        gone = {node.id: "it was silent"}
        with_nodes(gone, lambda: release_nodes(gone, timezone.now(), silent=node.id % 2 == 0))
        doubt.give_up(timezone.now() + timedelta(days=1))

    planners = [Planner(1), Planner(2)]
    works = [
        *(lambda planner=planner: place(planner) for planner in planners),
        *(lambda: report(nodes) for _ in range(2)),
        people,
        sweep,
    ]
    all_at_once(works, until_done=everything_ended)
    check_capacity()
    check_tasks(acknowledged)
    results = check_results()
    assert set(results) == acknowledged, "not all tasks have ended"
    assert any(result.state == "succeeded" for result in results.values())


def place(planner: Planner) -> None:
    planner.look()
    planner.decide(40)
    planner.commit()


def ended(attempt: int, number: int) -> Finished:
    return Finished(seq=number, attempt=attempt, at=0.0, outcome=Outcome.SUCCEEDED, exit_code=number)


def everything_ended() -> bool:
    close_old_connections()
    return not Task.objects.exclude(state__in=FINAL).exists()

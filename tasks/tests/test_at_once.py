"""Two processes' worth of writers on one PostgreSQL: planners, inboxes, people and sweeps, all at once."""

from __future__ import annotations

import base64
import random
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from itertools import count

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.db import close_old_connections, connection
from django.utils import timezone

from conftest import MakeNode
from coordinator.values import Availability
from fogagent.messages import Finished, Holding, Outcome
from fogagent.sealing.content import new_content_key, seal_bytes
from fogagent.sealing.packing import BUCKETS, room
from fogagent.sealing.wrapping import WRAPPED_BYTES
from fogpanel.jobs import Run as JobRun
from nodes import operations
from nodes.inbox import Arrival, store
from nodes.locks import with_nodes
from nodes.models import Node
from tasks import doubt, jobs, resealing, reservations
from tasks.failover import release_nodes
from tasks.models import Attempt, Reservation, Task
from tasks.operations import cancel
from tasks.reservations import CannotReserve
from tasks.sealed_input import validate_outside
from tasks.specification import validate
from tasks.states import FINAL
from tasks.submission import submit_many
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


def test_tasks_are_sealed_for_others_while_all_else_goes_on(make_node: MakeNode, submitter: User) -> None:
    nodes = [make_node(cpu_millis=2000) for _ in range(NODES)]
    acknowledged = {sealed_task(submitter, nodes).id for _ in range(TASKS // 4)}
    numbers = count(1)

    def report() -> None:
        attempts = Attempt.objects.filter(ended_at=None).order_by("?")[:5]
        store([Arrival(Socket(a.node_id, NEWEST), [ended(a.id, next(numbers))]) for a in attempts])

    def reseal() -> None:
        """Whoever waits is sealed for others, needed or not."""
        for task in Task.objects.filter(state="queued").order_by("?")[:5]:
            reservation = _reservation(submitter, nodes, task)
            with suppress(CannotReserve):
                reservations.reseal(task, reservation, _wraps(reservation), timezone.now())

    def sweep() -> None:
        """A node falls silent and comes back with what it has; a look at who waits for whom."""
        node = Node.objects.order_by("?")[0]
        Node.objects.filter(id=node.id).update(connected=False, changed_at=timezone.now())
        gone = {node.id: "it was silent"}
        with_nodes(gone, lambda: release_nodes(gone, timezone.now(), silent=True))
        resealing.look_after(timezone.now() + timedelta(hours=1))
        Node.objects.filter(id=node.id).update(connected=True, changed_at=timezone.now())
        held = list(Attempt.objects.filter(node=node, ended_at=None).values_list("id", flat=True))
        store([Arrival(Socket(node.id, NEWEST), [Holding(attempts=held)])])

    def expire() -> None:
        """Nothing is late: who waits has an hour from when it was asked for."""
        now = timezone.now()
        jobs.expire_queued.run_now(JobRun(now=now, since=now, previous=None))

    planners = [Planner(1), Planner(2)]
    works = [
        *(lambda planner=planner: place(planner) for planner in planners),
        *(report for _ in range(2)),
        *(reseal for _ in range(2)),
        sweep,
        expire,
    ]
    all_at_once(works, until_done=everything_ended)
    check_capacity()
    check_tasks(acknowledged)
    assert set(check_results()) == acknowledged, "not all tasks have ended"
    assert not Task.objects.filter(state="expired").exists()
    for attempt in Attempt.objects.all():
        assert attempt.reservation is not None
        assert attempt.node_id in Reservation.objects.get(id=attempt.reservation).nodes


def sealed_task(owner: User, nodes: Sequence[Node], level: str = "private") -> Task:
    reservation = _reservation(owner, nodes, level=level)
    content = base64.b64encode(seal_bytes(bytes(room(BUCKETS[0])), new_content_key())).decode()
    return reservations.hand_in(reservation, content, _wraps(reservation), timezone.now())


def _reservation(
    owner: User, nodes: Sequence[Node], task: Task | None = None, level: str = "private"
) -> Reservation:
    spec = validate_outside({"privacy": level, "cores": 0.25, "max_attempts": 10})
    columns = {name: value for name, value in vars(spec).items() if name not in reservations.NOT_OUTSIDE}
    ids = [node.id for node in random.sample(nodes, 2)]
    choice = reservations.Choice(spec.privacy, columns, ids, task)
    return reservations.reserve(owner, choice, timezone.now()).reservation


def _wraps(reservation: Reservation) -> list[dict[str, str]]:
    """Keys that open nothing, which nobody here tries."""
    keys = Node.objects.filter(id__in=reservation.nodes).values_list("public_key", flat=True)
    return [{"node": key, "wrapped": base64.b64encode(bytes(WRAPPED_BYTES)).decode()} for key in keys]


def place(planner: Planner) -> None:
    planner.look()
    planner.decide(40)
    planner.commit()


def ended(attempt: int, number: int) -> Finished:
    return Finished(seq=number, attempt=attempt, at=0.0, outcome=Outcome.SUCCEEDED, exit_code=number)


def everything_ended() -> bool:
    close_old_connections()
    return not Task.objects.exclude(state__in=FINAL).exists()

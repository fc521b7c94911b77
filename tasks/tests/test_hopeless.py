"""Sealed tasks that wait are planned again when one of their nodes changes, and hold nobody up until then."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from conftest import MakeNode
from coordinator import values
from coordinator.planning import Explain
from nodes.models import Node
from tasks import placement
from tasks.closing import open_attempts, stop
from tasks.models import Attempt, Decision, Reservation, Task
from tasks.outcomes import LOST
from tasks.placement import Placer
from tasks.tests.conftest import MakeTask
from tasks.waits import REASONS_EVERY


class CountingPlacer(Placer):
    """Notes the tasks that it decides about."""

    def __init__(self) -> None:
        super().__init__()
        self.decided: list[int] = []

    def _decide(self, task: values.Task, now: datetime, explain: Explain) -> values.Decision:
        self.decided.append(int(task.task_id))
        return super()._decide(task, now, explain)

    def look(self) -> list[int]:
        """One pass; the tasks that it decided about."""
        self.decided.clear()
        self.place_waiting(timezone.now())
        return self.decided


@pytest.fixture
def placer() -> CountingPlacer:
    return CountingPlacer()


class Sealer:
    """Tasks sealed for nodes of one's choice, with keys that nobody will use."""

    def __init__(self, owner: User) -> None:
        self.owner = owner

    def task(self, *nodes: Node, **columns: object) -> Task:
        now = timezone.now()
        reservation = Reservation.objects.create(
            owner=self.owner,
            privacy="private",
            specification={},
            nodes=[node.id for node in nodes],
            wraps={str(node.id): "AA" * 53 + "A=" for node in nodes},
            created_at=now,
            expires_at=now,
            used_at=now,
        )
        return Task.objects.create(
            name="sealed",
            owner=self.owner,
            driver="python",
            privacy="private",
            reservation=reservation.id,
            **{"cpu_millis": 500, "memory_mb": 100, **columns},
        )


@pytest.fixture
def sealer(submitter: User) -> Sealer:
    return Sealer(submitter)


def test_it_is_planned_again_once_one_of_its_nodes_has_changed(
    make_node: MakeNode, sealer: Sealer, placer: CountingPlacer
) -> None:
    mine, other = make_node(free_cpu_millis=0), make_node(free_cpu_millis=0)
    task = sealer.task(mine)
    assert task.id in placer.look()
    assert placer.look() == []
    change(other, free_cpu_millis=100)
    assert placer.look() == []
    change(mine, free_cpu_millis=100)
    assert task.id in placer.look()
    change(mine, free_cpu_millis=1000)
    placer.look()
    assert Attempt.objects.get().node_id == mine.id


def test_it_is_planned_again_once_room_is_freed(
    make_node: MakeNode, sealer: Sealer, placer: CountingPlacer
) -> None:
    node = make_node()
    first, second = sealer.task(node, cpu_millis=900), sealer.task(node, cpu_millis=800)
    placer.look()
    assert Attempt.objects.get().task_id == first.id
    placer.look()  # the node as it is now
    assert placer.look() == []
    stop(open_attempts(task_id=first.id), "succeeded", "", timezone.now())
    placer.wake_freed(frozenset({node.id}))
    placer.turn()
    assert Attempt.objects.latest("id").task_id == second.id


def test_it_is_planned_again_once_its_node_has_joined(
    make_node: MakeNode, sealer: Sealer, placer: CountingPlacer
) -> None:
    node = make_node(approved_at=None)
    sealer.task(node)
    placer.look()
    change(node, approved_at=timezone.now())
    placer.look()
    assert Attempt.objects.get().node_id == node.id


def test_it_is_told_why_it_waits_as_others_are(
    make_node: MakeNode, sealer: Sealer, placer: CountingPlacer
) -> None:
    node = make_node(free_cpu_millis=0)
    task = sealer.task(node)
    placer.look()
    task.refresh_from_db()
    assert task.wait_reasons == {"cpu": 1}
    late = sealer.task(node)
    late.reservation = task.reservation
    late.save()
    placer.look()
    placer.place_waiting(timezone.now() + REASONS_EVERY)
    late.refresh_from_db()
    assert late.wait_reasons == {"cpu": 1}


def test_many_are_told_one_after_the_other_and_nobody_waits_for_that(
    make_node: MakeNode,
    make_task: MakeTask,
    sealer: Sealer,
    placer: CountingPlacer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(placement, "TOLD_MOST", 2)
    full = [make_node(free_cpu_millis=0) for _ in range(5)]
    for node in full:
        sealer.task(node)
    make_node()
    open_one = make_task(cores=0.5)
    told = []
    for _ in range(4):
        placer.look()
        told.append(Task.objects.filter(privacy="private").exclude(wait_reasons={}).count())
    assert told == [2, 4, 5, 5]
    assert Attempt.objects.get().task_id == open_one.id
    assert Decision.objects.filter(chosen=None).count() == 5


def test_room_is_kept_for_it_though_it_is_not_planned(
    make_node: MakeNode, make_task: MakeTask, sealer: Sealer, placer: CountingPlacer
) -> None:
    node = make_node(free_cpu_millis=500)
    long_ago = timezone.now() - timedelta(days=1)
    task = sealer.task(node, cpu_millis=1000, created_at=long_ago)
    placer.look()
    make_task(cores=0.5)
    placer.look()
    assert not Attempt.objects.exists()
    change(node, free_cpu_millis=1000)
    placer.look()
    assert Attempt.objects.get().task_id == task.id


def test_one_that_comes_back_to_the_queue_is_planned_again(
    make_node: MakeNode, sealer: Sealer, placer: CountingPlacer
) -> None:
    node = make_node()
    task = sealer.task(node, max_attempts=5)
    placer.look()
    stop(open_attempts(task_id=task.id), LOST, "its agent was restarted", timezone.now())
    placer.look()
    assert Attempt.objects.count() == 2


def test_what_is_kept_of_those_that_left_the_queue_is_bounded(
    make_node: MakeNode, sealer: Sealer, placer: CountingPlacer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.hopeless.LEFT_MOST", 3)
    for _ in range(12):
        task = sealer.task(make_node(free_cpu_millis=0))
        placer.look()
        Task.objects.filter(id=task.id).update(state="cancelled")
        placer._queue.drop(task.id)
    assert len(placer._hopeless) < 8


def change(node: Node, **columns: object) -> None:
    Node.objects.filter(id=node.id).update(changed_at=timezone.now(), **columns)

"""Why a task waits is one row while it stays the same, with how often that was found."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from django.utils import timezone

from conftest import MakeNode
from nodes.models import Node
from tasks.models import Decision
from tasks.placement import Placer
from tasks.tests.conftest import MakeTask
from tasks.waits import REASONS_EVERY, REPEATS_EVERY

SECOND = timedelta(seconds=1)


@pytest.fixture
def now() -> datetime:
    return timezone.now()


def passes(placer: Placer, start: datetime, number: int, every: timedelta = SECOND) -> datetime:
    """So many passes that place nothing; the time of the last."""
    for i in range(number):
        assert placer.place_waiting(start + i * every) == 0
    return start + (number - 1) * every


def test_the_same_wait_is_counted_and_not_written_again(
    make_node: MakeNode, make_task: MakeTask, now: datetime
) -> None:
    make_node()
    task = make_task(cores=8)
    last = passes(Placer(), now, 11)
    decision = Decision.objects.get(task=task)
    assert (decision.decided_at, decision.count, decision.last_at) == (now, 11, last)


def test_more_nodes_at_the_same_filter_are_the_same_wait(
    make_node: MakeNode, make_task: MakeTask, now: datetime
) -> None:
    make_node()
    task = make_task(cores=8)
    placer = Placer()
    passes(placer, now, 1)
    make_node()
    passes(placer, now + REPEATS_EVERY, 1)
    decision = Decision.objects.get(task=task)
    assert (decision.rejected, decision.count) == ({"cpu": 1}, 2)
    task.refresh_from_db()
    assert task.wait_reasons == {"cpu": 2}


def test_another_filter_is_another_decision(make_node: MakeNode, make_task: MakeTask, now: datetime) -> None:
    node = make_node()
    task = make_task(cores=8)
    placer = Placer()
    passes(placer, now, 3, every=SECOND / 10)
    Node.objects.filter(id=node.id).update(connected=False, changed_at=now)
    passes(placer, now + REASONS_EVERY, 1)
    first, second = Decision.objects.filter(task=task).order_by("id")
    assert (first.rejected, first.count) == ({"cpu": 1}, 3)
    assert (second.rejected, second.count, second.last_at) == ({"disconnected": 1}, 1, None)


def test_a_placer_that_begins_goes_on_with_the_row(
    make_node: MakeNode, make_task: MakeTask, now: datetime
) -> None:
    make_node()
    task = make_task(cores=8)
    passes(Placer(), now, 1)
    passes(Placer(), now + SECOND, 2, every=REPEATS_EVERY)
    assert Decision.objects.get(task=task).count == 3


def test_tasks_of_one_shape_share_the_row_of_the_first(
    make_node: MakeNode, make_task: MakeTask, now: datetime
) -> None:
    make_node()
    first, second = make_task(cores=8), make_task(cores=8)
    passes(Placer(), now, 2, every=REPEATS_EVERY)
    assert [decision.task_id for decision in Decision.objects.all()] == [first.id]
    second.refresh_from_db()
    assert second.wait_reasons == {"cpu": 1}


def test_a_pass_that_finds_nothing_new_writes_nothing(
    make_node: MakeNode, make_task: MakeTask, now: datetime
) -> None:
    make_node()
    task = make_task(cores=8)
    placer = Placer()
    passes(placer, now, 1)
    task.refresh_from_db()
    before = task.changed_at
    passes(placer, now + SECOND, 5)
    task.refresh_from_db()
    assert task.changed_at == before

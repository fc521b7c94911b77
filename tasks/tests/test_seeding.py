"""An invented history must be one that the panel could have written."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models import Count, F, Q, Sum

from conftest import MakeNode
from coordinator.values import NodeStatus, NodeType
from fogpanel.models import Event
from nodes.models import Node, Sample
from nodes.status import with_status
from tasks import seeding
from tasks.models import Attempt, Decision, LogChunk, Task
from tasks.states import FINAL, PLACED, TaskState

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


def seed(nodes: int = 300, tasks: int = 3000, number: int = 1) -> None:
    plan = seeding.Plan(
        nodes=nodes, tasks=tasks, seed=number, now=NOW, span=timedelta(days=7), heard_for=timedelta(hours=1)
    )
    seeding.seed(plan, lambda line: None)


def test_there_is_something_of_everything() -> None:
    seed()
    assert Node.objects.count() == 300
    assert set(Node.objects.values_list("node_type", flat=True)) == set(NodeType)
    assert set(with_status(Node.objects.all(), NOW).values_list("status", flat=True)) == set(NodeStatus)
    assert Task.objects.count() == 3000
    assert set(Task.objects.values_list("state", flat=True)) == set(TaskState)
    assert Attempt.objects.values("task").annotate(tries=Count("id")).filter(tries=2).exists()
    assert LogChunk.objects.exists()
    assert Sample.objects.exists()
    assert {"node.joined", "task.submitted", "task.moved"} <= set(
        Event.objects.values_list("kind", flat=True)
    )


def test_what_open_attempts_need_is_what_their_nodes_have_reserved() -> None:
    seed()
    needs = {
        row["node"]: row
        for row in Attempt.objects.filter(ended_at=None)
        .values("node")
        .annotate(number=Count("id"), cpu=Sum("task__cpu_millis"), memory=Sum("task__memory_mb"))
    }
    assert needs
    for node in Node.objects.all():
        row = needs.get(node.id, {"number": 0, "cpu": 0, "memory": 0})
        assert node.open_attempts == row["number"]
        assert node.cpu_millis - node.free_cpu_millis == row["cpu"]
        assert node.memory_mb - node.free_memory_mb == row["memory"]
        assert node.free_cpu_millis >= 0
        assert node.free_memory_mb >= 0


def test_tasks_attempts_and_decisions_agree() -> None:
    seed()
    tasks = Task.objects.annotate(
        tries=Count("attempts"), open=Count("attempts", filter=Q(attempts__ended_at=None))
    )
    assert not tasks.exclude(tries=F("attempts_made")).exists()
    assert not tasks.filter(state__in=PLACED).exclude(open=1).exists()
    assert not tasks.exclude(state__in=PLACED).filter(open__gt=0).exists()
    assert not Task.objects.filter(state__in=FINAL, finished_at=None).exists()
    assert not Task.objects.filter(state=TaskState.SUCCEEDED, accepted_attempt=None).exists()
    assert not Task.objects.exclude(accepted_attempt=None).exclude(accepted_attempt__task=F("id")).exists()
    assert not Attempt.objects.filter(decision=None).exists()
    assert not Decision.objects.exclude(attempt=None).exclude(chosen=F("attempt__node")).exists()
    connection.check_constraints()


def test_it_goes_on_after_the_last_id() -> None:
    seed(nodes=5, tasks=50)
    last = Task.objects.order_by("id").last()
    assert last is not None
    assert Task.objects.create(name="next", owner=last.owner, driver="wasm").id == last.id + 1


def test_the_same_seed_makes_the_same_history() -> None:
    columns = ("name", "state", "created_at", "finished_at", "node_id")

    def made(number: int) -> list[tuple[object, ...]]:
        seed(nodes=20, tasks=100, number=number)
        found = list(Task.objects.order_by("id").values_list(*columns))
        for model in (Decision, LogChunk, Task, Attempt, Sample, Event, Node):
            Task.objects.update(accepted_attempt=None)
            model.objects.all().delete()
        return [(name, state, created, finished) for name, state, created, finished, _ in found]

    assert made(1) == made(1) != made(2)


def test_a_panel_with_nodes_is_not_mixed_with_invented_ones_unasked(make_node: MakeNode) -> None:
    make_node()
    with pytest.raises(CommandError, match="has nodes already"):
        call_command("seed", nodes=1, tasks=0)
    call_command("seed", nodes=1, tasks=0, add=True)
    assert Node.objects.count() == 2


@pytest.mark.parametrize(
    ("nodes", "tasks", "named"), [(-1, 0, "--nodes"), (0, 10**9, "--tasks"), (0, 5, "nodes")]
)
def test_the_impossible_is_refused(nodes: int, tasks: int, named: str) -> None:
    with pytest.raises(CommandError, match=named):
        call_command("seed", nodes=nodes, tasks=tasks)

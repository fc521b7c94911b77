"""How attempts end and what becomes of their tasks: accepted once, or back to the queue."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import msgspec
import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from conftest import MakeNode
from fogagent.messages import Cancel, Finished, Outcome, Piece, Stream, Usage
from fogpanel.models import Event
from nodes.models import Node, Order
from tasks import operations
from tasks.closing import open_attempts, stop
from tasks.failover import release_nodes
from tasks.handlers import accept_results
from tasks.jobs import give_up
from tasks.models import Attempt, LogChunk, Task
from tasks.outcomes import LOST, PROGRAM_ENDED
from tasks.tests.conftest import MakeTask, Report

Place = Callable[[], int]


@pytest.fixture
def placed(make_node: MakeNode, make_task: MakeTask, place: Place) -> Attempt:
    make_node()
    make_task()
    place()
    return Attempt.objects.get()


def freed(node_id: int) -> bool:
    node = Node.objects.get(id=node_id)
    return (node.free_cpu_millis, node.free_memory_mb, node.open_attempts) == (
        node.cpu_millis,
        node.memory_mb,
        0,
    )


def test_a_result_is_accepted_with_its_output(placed: Attempt, report: Report) -> None:
    out = Piece(stream=Stream.STDOUT, offset=0, data=b"1\n")
    report(placed, exit_code=0, pieces=[out], usage=Usage(wall_s=0.5, stdout_bytes=2))
    task = Task.objects.get()
    placed.refresh_from_db()
    assert (task.state, task.exit_code, task.accepted_attempt_id) == ("succeeded", 0, placed.id)
    assert task.started_at is not None and task.finished_at is not None
    assert (placed.outcome, placed.usage["wall_s"] if placed.usage else None) == ("succeeded", 0.5)
    assert bytes(LogChunk.objects.get().content) == b"1\n"
    assert freed(placed.node_id)


def test_a_repeated_report_changes_nothing(placed: Attempt, report: Report) -> None:
    report(placed, exit_code=0)
    report(placed, Outcome.CRASHED)
    assert Task.objects.get().state == "succeeded"
    assert freed(placed.node_id)


def test_a_report_from_another_node_changes_nothing(
    placed: Attempt, make_node: MakeNode, report: Report
) -> None:
    report(placed, node_id=make_node().id)
    placed.refresh_from_db()
    assert (Task.objects.get().state, placed.ended_at) == ("assigned", None)


@pytest.mark.parametrize("outcome", sorted(PROGRAM_ENDED))
def test_what_the_program_did_is_final(placed: Attempt, report: Report, outcome: Outcome) -> None:
    report(placed, outcome, exit_code=3, sentence="exited with code 3")
    task = Task.objects.get()
    assert (task.state, task.exit_code, task.reason) == ("failed", 3, "exited with code 3")
    assert freed(placed.node_id)


@pytest.mark.parametrize("outcome", sorted(set(Outcome) - PROGRAM_ENDED - {Outcome.SUCCEEDED}))
def test_what_the_node_did_gets_another_attempt(placed: Attempt, report: Report, outcome: Outcome) -> None:
    report(placed, outcome)
    assert Task.objects.get().state == "queued"
    assert freed(placed.node_id)


def lose(attempt: Attempt, sentence: str) -> None:
    stop(open_attempts(id=attempt.id), LOST, sentence, timezone.now())


def test_a_late_result_of_a_lost_attempt_changes_nothing(
    placed: Attempt, place: Place, report: Report
) -> None:
    lose(placed, "its agent was restarted")
    assert place() == 1
    report(placed, exit_code=0)
    task = Task.objects.get()
    assert (task.state, task.attempts_made, task.accepted_attempt_id) == ("assigned", 2, None)
    assert Event.objects.filter(kind="task.moved").count() == 1


def test_attempts_run_out(placed: Attempt, place: Place) -> None:
    for _ in range(3):
        lose(Attempt.objects.get(ended_at=None), "its agent was restarted")
        place()
    task = Task.objects.get()
    assert (task.state, task.attempts_made) == ("failed", 3)
    assert task.reason == "All 3 attempts were lost; the last: its agent was restarted"


def test_cancelling_what_is_queued(make_task: MakeTask, submitter: User) -> None:
    task = make_task()
    operations.cancel(task, submitter)
    task.refresh_from_db()
    assert (task.state, task.reason) == ("cancelled", "cancelled on request")


def test_cancelling_what_runs_ends_when_its_node_says_so(
    placed: Attempt, submitter: User, report: Report
) -> None:
    operations.cancel(placed.task, submitter)
    order = Order.objects.get(kind="cancel")
    assert msgspec.json.decode(order.body, type=Cancel).attempt == placed.id
    assert Task.objects.get().state == "assigned"
    report(placed, Outcome.CANCELLED)
    assert Task.objects.get().state == "cancelled"
    assert freed(placed.node_id)


def test_a_task_to_be_cancelled_does_not_move(placed: Attempt, submitter: User) -> None:
    operations.cancel(placed.task, submitter)
    lose(placed, "its agent was restarted")
    assert Task.objects.get().state == "cancelled"


def test_an_accepted_result_supersedes_other_attempts(
    placed: Attempt, make_node: MakeNode, report: Report
) -> None:
    other = Attempt.objects.create(
        task=placed.task, node=make_node(free_cpu_millis=500, open_attempts=1), number=2
    )
    report(placed, exit_code=0)
    other.refresh_from_db()
    assert other.outcome == "superseded"
    assert Order.objects.filter(kind="cancel", node=other.node, withdrawn_at=None).count() == 1


def test_orders_about_an_ended_attempt_are_withdrawn(placed: Attempt) -> None:
    lose(placed, "its agent was restarted")
    run = Order.objects.get(kind="run")
    assert run.withdrawn_at is not None


def test_running_again_makes_a_new_task(placed: Attempt, submitter: User) -> None:
    again = operations.retry(placed.task, submitter)
    assert (again.state, again.payload_id, again.cpu_millis) == ("queued", placed.task.payload_id, 500)
    assert again.id != placed.task_id


def test_another_nodes_report_in_the_same_batch_hides_nothing(placed: Attempt, make_node: MakeNode) -> None:
    forged = Finished(seq=1, attempt=placed.id, at=0.0, outcome=Outcome.CRASHED)
    real = Finished(seq=1, attempt=placed.id, at=0.0, outcome=Outcome.SUCCEEDED, exit_code=0)
    accept_results([(make_node().id, forged), (placed.node_id, real)], timezone.now())
    assert Task.objects.get().state == "succeeded"


def test_what_somebody_wanted_moved_costs_no_try(placed: Attempt, place: Place) -> None:
    for _ in range(5):
        release_nodes({placed.node_id: "its node was drained"}, timezone.now(), silent=False)
        assert place() == 1
    assert Task.objects.get().state == "assigned"


@pytest.mark.parametrize(
    ("outcome", "cools"), [(Outcome.CRASHED, True), (Outcome.EXIT_CODE, False), (Outcome.CANCELLED, False)]
)
def test_a_node_cools_down_after_its_own_faults_only(
    placed: Attempt, make_node: MakeNode, report: Report, outcome: Outcome, cools: bool
) -> None:
    make_node()
    report(placed, outcome)
    node = Node.objects.get(id=placed.node_id)
    assert (node.cooling_until is not None) is cools


def test_a_cooling_node_gets_no_work(placed: Attempt, make_node: MakeNode, place: Place) -> None:
    make_node(free_cpu_millis=0)
    lose(placed, "its agent was restarted")
    assert place() == 0
    assert Task.objects.get().wait_reasons == {"cooling": 1, "cpu": 1}


def test_no_attempt_stays_open_for_ever(placed: Attempt) -> None:
    now = timezone.now()
    assert give_up(now + timedelta(minutes=5)) == []
    assert give_up(now + timedelta(minutes=7)) == [placed.id]
    placed.refresh_from_db()
    assert (placed.outcome, Task.objects.get().state) == ("lost", "queued")
    assert Order.objects.filter(kind="cancel").count() == 1

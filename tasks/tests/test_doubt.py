"""What becomes of the work of a node that fell silent: each row of the table in docs/design.md."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from pytest_django.fixtures import Settings

from conftest import MakeNode
from fogagent.messages import Holding, Outcome, Started
from fogpanel.jobs import Run
from fogpanel.models import Event
from nodes.models import Node, Order
from tasks import doubt, operations
from tasks.closing import open_attempts, stop
from tasks.failover import release_nodes
from tasks.handlers import mark_started, reconcile_holdings
from tasks.jobs import expire_queued
from tasks.models import Attempt, Task
from tasks.tests.conftest import MakeTask, Report

Place = Callable[[], int]
SENTENCE = "kiosk-3 was silent for 91 s"


@pytest.fixture
def running(make_node: MakeNode, make_task: MakeTask, place: Place) -> Attempt:
    """A task that runs on kiosk-3."""
    node = make_node(name="kiosk-3")
    make_task()
    place()
    attempt = Attempt.objects.get()
    Order.objects.filter(node=node, kind="run").update(acked_at=timezone.now())
    mark_started([(node.id, Started(seq=1, attempt=attempt.id, at=0.0))], timezone.now())
    return attempt


@pytest.fixture
def elsewhere(make_node: MakeNode, running: Attempt) -> Node:
    return make_node(name="elsewhere")


def fall_silent(node: Node) -> None:
    Node.objects.filter(id=node.id).update(connected=False)
    release_nodes({node.id: SENTENCE}, timezone.now(), silent=True)


def come_back(node: Node, *holding: Attempt) -> None:
    Node.objects.filter(id=node.id).update(connected=True)
    reconcile_holdings([(node.id, Holding(attempts=[a.id for a in holding]))], timezone.now())


def replaced(running: Attempt, place: Place) -> Attempt:
    fall_silent(running.node)
    assert place() == 1
    return Attempt.objects.exclude(id=running.id).get()


def task_now() -> tuple[str, int | None]:
    task = Task.objects.get()
    return task.state, task.node_id


def reserved(node: Node) -> int:
    node.refresh_from_db()
    return node.cpu_millis - node.free_cpu_millis


def outcomes() -> list[str]:
    return list(Attempt.objects.order_by("id").values_list("outcome", flat=True))


# --- Silent ------------------------------------------------------------------------------------------


def test_what_a_silent_node_works_on_stays_open_and_its_task_waits_for_a_replacement(
    running: Attempt,
) -> None:
    fall_silent(running.node)
    running.refresh_from_db()
    assert (running.ended_at, running.sentence) == (None, SENTENCE)
    assert running.doubted_at is not None
    assert Task.objects.get().state == "queued"
    assert reserved(running.node) == 500
    assert not Order.objects.filter(kind="cancel").exists()
    assert Event.objects.get(kind="task.moved").sentence.endswith(SENTENCE)


def test_a_replacement_is_placed_beside_it(running: Attempt, elsewhere: Node, place: Place) -> None:
    replacement = replaced(running, place)
    assert (replacement.node, replacement.number) == (elsewhere, 2)
    assert task_now() == ("assigned", elsewhere.id)
    assert reserved(running.node) == 500


def test_a_task_without_attempts_left_waits_for_what_is_in_doubt(running: Attempt, elsewhere: Node) -> None:
    Task.objects.update(max_attempts=1)
    fall_silent(running.node)
    assert Task.objects.get().state == "running"
    come_back(running.node, running)
    running.refresh_from_db()
    assert running.doubted_at is None


def test_a_task_that_was_to_be_cancelled_is_not_replaced(running: Attempt, submitter: User) -> None:
    operations.cancel(running.task, submitter)
    fall_silent(running.node)
    assert Task.objects.get().state == "cancelled"
    assert reserved(running.node) == 0


def test_cancelling_a_task_in_doubt_ends_it_at_once(running: Attempt, submitter: User) -> None:
    fall_silent(running.node)
    operations.cancel(running.task, submitter)
    assert Task.objects.get().state == "cancelled"
    assert outcomes() == ["cancelled"]
    assert Order.objects.filter(kind="cancel", withdrawn_at=None).count() == 1
    assert reserved(running.node) == 0


def test_a_silent_replacement_is_replaced_and_the_first_attempt_given_up(
    running: Attempt, elsewhere: Node, make_node: MakeNode, place: Place
) -> None:
    replaced(running, place)
    third = make_node(name="third")
    fall_silent(elsewhere)
    assert place() == 1
    assert outcomes() == ["lost", "", ""]
    assert task_now() == ("assigned", third.id)
    assert reserved(running.node) == 0


def test_a_task_in_doubt_does_not_expire(running: Attempt) -> None:
    fall_silent(running.node)
    now = timezone.now()
    Task.objects.update(expires_at=now - timedelta(seconds=1))
    expire_queued.run_now(Run(now=now, since=now, previous=None))
    assert Task.objects.get().state == "queued"
    stop(open_attempts(), "lost", "given up", now)
    expire_queued.run_now(Run(now=now, since=now, previous=None))
    assert Task.objects.get().state == "expired"


# --- It comes back -------------------------------------------------------------------------------------


def test_it_comes_back_with_the_work_before_a_replacement_was_placed(running: Attempt, place: Place) -> None:
    fall_silent(running.node)
    come_back(running.node, running)
    running.refresh_from_db()
    assert (running.doubted_at, running.sentence) == (None, "")
    assert task_now() == ("running", running.node_id)
    assert place() == 0
    assert not Order.objects.filter(kind="cancel").exists()


@pytest.mark.parametrize("first", ["original", "replacement"])
def test_it_comes_back_beside_its_replacement_and_whoever_ends_first_counts(
    running: Attempt, elsewhere: Node, place: Place, report: Report, first: str
) -> None:
    replacement = replaced(running, place)
    come_back(running.node, running)
    assert outcomes() == ["", ""]
    winner, loser = (running, replacement) if first == "original" else (replacement, running)
    report(winner, exit_code=0)
    report(loser, exit_code=0)
    task = Task.objects.get()
    assert (task.state, task.accepted_attempt_id, task.node_id) == ("succeeded", winner.id, winner.node_id)
    loser.refresh_from_db()
    assert loser.outcome == "superseded"
    cancel = Order.objects.get(kind="cancel", withdrawn_at=None)
    assert cancel.node_id == loser.node_id
    assert reserved(running.node) == reserved(elsewhere) == 0


def test_it_comes_back_without_the_work(running: Attempt, elsewhere: Node, place: Place) -> None:
    replaced(running, place)
    come_back(running.node)
    assert outcomes() == ["lost", ""]
    assert task_now() == ("assigned", elsewhere.id)
    assert reserved(running.node) == 0


def test_an_order_that_had_not_reached_it_is_taken_back(
    running: Attempt, elsewhere: Node, place: Place
) -> None:
    Order.objects.filter(kind="run").update(acked_at=None)
    Attempt.objects.update(started_at=None)
    replaced(running, place)
    come_back(running.node)
    assert outcomes() == ["moved", ""]
    assert Order.objects.get(kind="run", node=running.node).withdrawn_at is not None


def test_given_the_same_task_before_it_said_what_it_has_it_goes_on_with_the_first(
    running: Attempt, place: Place
) -> None:
    fall_silent(running.node)
    Node.objects.filter(id=running.node_id).update(connected=True)
    assert place() == 1
    come_back(running.node, running)
    assert outcomes() == ["", "superseded"]
    assert reserved(running.node) == 500
    assert task_now()[0] in {"assigned", "running"}


def test_a_result_that_comes_while_it_is_in_doubt_counts(
    running: Attempt, elsewhere: Node, report: Report
) -> None:
    fall_silent(running.node)
    report(running, exit_code=0)
    task = Task.objects.get()
    assert (task.state, task.accepted_attempt_id, task.started_at) == (
        "succeeded",
        running.id,
        Attempt.objects.get().started_at,
    )


def test_news_of_a_start_does_not_call_the_replacement_off(running: Attempt) -> None:
    fall_silent(running.node)
    mark_started([(running.node_id, Started(seq=2, attempt=running.id, at=0.0))], timezone.now())
    assert Task.objects.get().state == "queued"


def test_the_replacement_fails_while_the_original_runs_again(
    running: Attempt, elsewhere: Node, place: Place, report: Report
) -> None:
    replacement = replaced(running, place)
    come_back(running.node, running)
    report(replacement, Outcome.CRASHED)
    assert Task.objects.get().state in {"assigned", "running"}
    assert place() == 0


def test_the_replacement_fails_while_the_original_is_in_doubt(
    running: Attempt, elsewhere: Node, make_node: MakeNode, place: Place, report: Report
) -> None:
    report(replaced(running, place), Outcome.CRASHED)
    assert Task.objects.get().state == "queued"
    make_node(name="third")
    assert place() == 1


# --- It does not come back -----------------------------------------------------------------------------


def test_it_says_goodbye_or_is_removed(running: Attempt, elsewhere: Node, place: Place) -> None:
    replaced(running, place)
    release_nodes({running.node_id: "its node was removed"}, timezone.now(), silent=False)
    assert outcomes() == ["moved", ""]
    assert task_now() == ("assigned", elsewhere.id)


def test_it_is_given_up_after_a_while(
    running: Attempt, elsewhere: Node, place: Place, settings: Settings
) -> None:
    replaced(running, place)
    now = timezone.now()
    assert doubt.give_up(now + timedelta(seconds=settings.GIVE_UP_S - 1)) == []
    assert doubt.give_up(now + timedelta(seconds=settings.GIVE_UP_S + 1)) == [running.id]
    assert outcomes() == ["lost", ""]
    assert task_now() == ("assigned", elsewhere.id)
    assert reserved(running.node) == 0


def test_when_the_last_attempt_is_given_up_the_task_has_failed(running: Attempt, settings: Settings) -> None:
    Task.objects.update(max_attempts=1)
    fall_silent(running.node)
    doubt.give_up(timezone.now() + timedelta(seconds=settings.GIVE_UP_S + 1))
    task = Task.objects.get()
    assert (task.state, task.attempts_made) == ("failed", 1)
    assert "did not come back within 15 min" in task.reason

"""Reports of agents: starts, logs, what they hold, and the blobs they ask for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.utils import timezone

from conftest import MakeNode
from fogagent.messages import MAX_OUTPUT_BYTES, Chunk, Fetch, Holding, Log, Piece, Problem, Started, Stream
from nodes.models import Order
from tasks.handlers import mark_started, reconcile_holdings, send_blobs, store_logs
from tasks.models import Attempt, LogChunk, Task
from tasks.tests.conftest import MakeTask, Report

Place = Callable[[], int]


@pytest.fixture
def placed(make_node: MakeNode, make_task: MakeTask, place: Place) -> Attempt:
    make_node()
    make_task(source="x" * 200_000)
    place()
    return Attempt.objects.get()


def piece(offset: int, text: bytes) -> Piece:
    return Piece(stream=Stream.STDOUT, offset=offset, data=text)


def log(attempt: Attempt, *pieces: Piece) -> Log:
    return Log(seq=1, attempt=attempt.id, pieces=list(pieces))


def acknowledge_run(attempt: Attempt) -> None:
    Order.objects.filter(subject=f"attempt:{attempt.id}", kind="run").update(acked_at=timezone.now())


def test_a_start_makes_the_task_run(placed: Attempt) -> None:
    mark_started([(placed.node_id, Started(seq=1, attempt=placed.id, at=0.0))], timezone.now())
    placed.refresh_from_db()
    task = Task.objects.get()
    assert (task.state, task.started_at) == ("running", placed.started_at)


def test_a_start_from_another_node_changes_nothing(placed: Attempt, make_node: MakeNode) -> None:
    mark_started([(make_node().id, Started(seq=1, attempt=placed.id, at=0.0))], timezone.now())
    assert Task.objects.get().state == "assigned"


def test_logs_are_stored_once(placed: Attempt) -> None:
    message = log(placed, piece(0, b"one\n"), piece(4, b"two\n"))
    for _ in range(2):
        store_logs([(placed.node_id, message)], timezone.now())
    assert [bytes(chunk.content) for chunk in LogChunk.objects.all()] == [b"one\n", b"two\n"]


def test_logs_of_other_nodes_and_beyond_the_limit_are_not_stored(
    placed: Attempt, make_node: MakeNode
) -> None:
    store_logs([(make_node().id, log(placed, piece(0, b"forged")))], timezone.now())
    store_logs([(placed.node_id, log(placed, piece(MAX_OUTPUT_BYTES, b"more")))], timezone.now())
    assert not LogChunk.objects.exists()


def test_logs_of_an_ended_attempt_are_not_stored(placed: Attempt, report: Report) -> None:
    report(placed)
    store_logs([(placed.node_id, log(placed, piece(0, b"late")))], timezone.now())
    assert not LogChunk.objects.exists()


def test_what_a_restarted_agent_forgot_is_lost(placed: Attempt) -> None:
    acknowledge_run(placed)
    reconcile_holdings([(placed.node_id, Holding(attempts=[]))], timezone.now())
    placed.refresh_from_db()
    assert (placed.outcome, Task.objects.get().state) == ("lost", "queued")


def test_an_order_that_was_not_acknowledged_is_not_lost(placed: Attempt) -> None:
    reconcile_holdings([(placed.node_id, Holding(attempts=[]))], timezone.now())
    placed.refresh_from_db()
    assert placed.ended_at is None


def test_what_a_node_holds_stays(placed: Attempt) -> None:
    acknowledge_run(placed)
    reconcile_holdings([(placed.node_id, Holding(attempts=[placed.id]))], timezone.now())
    placed.refresh_from_db()
    assert placed.ended_at is None


def test_what_a_node_should_not_have_is_cancelled(placed: Attempt) -> None:
    reconcile_holdings([(placed.node_id, Holding(attempts=[placed.id, 999]))], timezone.now())
    assert Order.objects.get(kind="cancel").subject == "attempt:999"


def test_what_many_hold_is_reconciled_by_a_few_statements(
    placed: Attempt, make_node: MakeNode, django_assert_max_num_queries: Any
) -> None:
    acknowledge_run(placed)
    held: dict[int, list[int]] = {make_node().id: [1000 + number] for number in range(20)}
    held[placed.node_id] = []
    told = [(node_id, Holding(attempts=attempts)) for node_id, attempts in held.items()]
    with django_assert_max_num_queries(40):
        reconcile_holdings(told, timezone.now())
    placed.refresh_from_db()
    assert placed.outcome == "lost"
    cancelled = Order.objects.filter(kind="cancel").values_list("node_id", "subject")
    assert dict(cancelled) == {node_id: f"attempt:{ids[0]}" for node_id, ids in held.items() if ids}


def test_a_blob_comes_in_chunks_from_where_it_is_asked(placed: Attempt) -> None:
    sha256 = placed.task.payload_id or ""
    fetch = Fetch(attempt=placed.id, sha256=sha256, index=1)
    replies = list(send_blobs([(placed.node_id, fetch)], timezone.now()))
    assert [type(message) for _, message in replies] == [Chunk]
    assert isinstance(chunk := replies[0][1], Chunk)
    assert (chunk.index, chunk.count, len(chunk.data)) == (1, 2, 200_000 - 192 * 1024)


def test_a_hash_is_no_permission(placed: Attempt, make_node: MakeNode) -> None:
    fetch = Fetch(attempt=placed.id, sha256=placed.task.payload_id or "")
    replies = list(send_blobs([(make_node().id, fetch)], timezone.now()))
    assert [type(message) for _, message in replies] == [Problem]

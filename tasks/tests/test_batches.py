"""Many tasks at once: all or none, every one once, and their results as they end."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from django.db import transaction
from django.test import Client
from django.utils import timezone

from conftest import MakeNode
from fogagent.messages import Finished, Outcome, Piece, Stream
from fogpanel.models import Event
from tasks import batch_results, batches
from tasks.batches import STRETCH, read_batch, store_batch, unpack
from tasks.handlers import accept_results
from tasks.models import Attempt, Task, TaskBatch
from tasks.specification import SpecError

PRINT = {"driver": "python", "source": "import sys; print(sys.argv[1])", "cores": 0.01, "memory_mb": 16}
Post = Callable[..., Any]


@pytest.fixture
def post(submitter: User) -> Post:
    client = Client()
    client.force_login(submitter)

    def send(body: object, **headers: str) -> Any:
        return client.post("/api/v1/tasks/batch", body, content_type="application/json", headers=headers)

    return send


def frames(number: int) -> dict[str, Any]:
    template = {**PRINT, "name": "frame ${frame}", "args": ["${frame}"]}
    return {"name": "film", "template": template, "parameters": [{"frame": n} for n in range(number)]}


def wrong(given: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(SpecError) as refused:
        read_batch(given)
    return {error.field: error.message for error in refused.value.errors}


def test_a_list_and_a_table_make_the_same_tasks() -> None:
    listed = [{**PRINT, "name": f"frame {n}", "args": [str(n)]} for n in range(3)]
    assert read_batch({"tasks": listed, "name": "film"}) == read_batch(frames(3))


def test_a_batch_becomes_rows_in_stretches_each_once(submitter: User) -> None:
    name, specs = read_batch(frames(2 * STRETCH + 1))
    batch, rest = store_batch(submitter, name, specs)
    assert Task.objects.count() == STRETCH
    assert batches.states(batch) == {"queued": 2 * STRETCH + 1}
    unpack(batch.id, rest)
    unpack(batch.id, rest)
    batch.refresh_from_db()
    assert (batch.stored, batch.packed) == (2 * STRETCH + 1, None)
    tasks = list(Task.objects.order_by("batch_index"))
    assert [task.batch_index for task in tasks] == list(range(2 * STRETCH + 1))
    assert {task.batch_id for task in tasks} == {batch.id}
    assert (tasks[-1].name, tasks[-1].args, tasks[-1].owner) == (
        f"frame {2 * STRETCH}",
        [str(2 * STRETCH)],
        submitter,
    )
    assert tasks[0].payload == tasks[-1].payload is not None
    assert Event.objects.filter(kind="task.submitted").count() == 1


def test_an_interrupted_batch_is_finished_by_the_sweep(submitter: User) -> None:
    name, specs = read_batch(frames(STRETCH + 2))
    batch, _ = store_batch(submitter, name, specs)
    batches.unpack_interrupted(batch.created_at + timedelta(seconds=1))
    assert Task.objects.count() == STRETCH
    batches.unpack_interrupted(batch.created_at + timedelta(minutes=1))
    assert Task.objects.count() == STRETCH + 2
    assert Task.objects.get(batch_index=STRETCH + 1).name == f"frame {STRETCH + 1}"


def test_one_wrong_task_refuses_all(post: Post) -> None:
    answer = post({"tasks": [PRINT, {**PRINT, "cores": 0}, {**PRINT, "colour": "red"}]})
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == ["tasks[1].cores", "tasks[2].colour"]
    assert not Task.objects.exists()
    assert not TaskBatch.objects.exists()


@pytest.mark.parametrize(
    ("source", "value", "rows"),
    [
        ("x" * 1_000_000 + "${n}", "1", 10_000),  # a long text often
        ("${n}" * 100_000, "x" * 100_000, 1),  # a long value often
        ("${n}" * 200_000, "", 10_000),  # nothing, but much to look through
    ],
)
def test_a_short_request_does_not_ask_for_gigabytes(source: str, value: str, rows: int) -> None:
    given = {"template": {"source": source}, "parameters": [{"n": value}] * rows}
    tracemalloc.start()
    try:
        assert "at most 64 MiB of text in all" in wrong(given)["parameters"]
        assert tracemalloc.get_traced_memory()[1] < 200 * 1024 * 1024
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("given", "field", "said"),
    [
        ({}, "tasks", "is missing"),
        ({"tasks": []}, "tasks", "must be 1 to 10,000 objects"),
        ({"tasks": [PRINT] * 10_001}, "tasks", "were 10,001"),
        ({"tasks": "all"}, "tasks", "must be a list of objects"),
        ({"tasks": [PRINT], "template": PRINT}, "tasks", "must not be given together"),
        ({"template": PRINT, "parameters": [3]}, "parameters", "must be a list of objects"),
        ({"template": PRINT, "rows": []}, "rows", "is not a field of a"),
        (
            {"template": {**PRINT, "args": ["${n}"]}, "parameters": [{"n": 1}, {"m": 1}]},
            "parameters[1].n",
            "is missing; the template names ${n}",
        ),
        (
            {"template": {**PRINT, "args": ["${n}"]}, "parameters": [{"n": [1]}]},
            "parameters[0].n",
            "must be text or a number",
        ),
    ],
)
def test_what_is_wrong_is_named(given: dict[str, Any], field: str, said: str) -> None:
    assert said in wrong(given)[field]


def test_handing_in_twice_with_one_key_makes_one_batch(post: Post) -> None:
    first = post(frames(3), **{"Idempotency-Key": "one"})
    again = post(frames(3), **{"Idempotency-Key": "one"})
    assert (first.status_code, again.json()) == (201, first.json())
    assert (TaskBatch.objects.count(), Task.objects.count()) == (1, 3)


def test_a_viewer_hands_in_nothing(viewer: User) -> None:
    client = Client()
    client.force_login(viewer)
    assert client.post("/api/v1/tasks/batch", frames(1), content_type="application/json").status_code == 403


def end(attempt: Attempt, output: bytes) -> None:
    pieces = [Piece(stream=Stream.STDOUT, offset=0, data=output)]
    report = Finished(
        seq=1, attempt=attempt.id, at=0.0, outcome=Outcome.SUCCEEDED, exit_code=0, pieces=pieces
    )
    with transaction.atomic():
        accept_results([(attempt.node_id, report)], timezone.now())


async def lines_of(batch: TaskBatch) -> list[dict[str, Any]]:
    return [json.loads(line) async for some in batch_results.follow(batch) for line in some.splitlines()]


@pytest.mark.django_db(transaction=True)
def test_results_come_in_the_order_in_which_tasks_end(
    submitter: User, make_node: MakeNode, place: Callable[[], int]
) -> None:
    make_node()
    name, specs = read_batch(frames(3))
    batch, _ = store_batch(submitter, name, specs)
    assert place() == 3
    follower = batch_results.Follower(batch)
    assert (follower.look(), follower.more()) == (False, [])
    attempts = {a.task.batch_index: a for a in Attempt.objects.select_related("task")}
    end(attempts[2], b"two")
    assert not follower.look()
    [first] = follower.more()
    assert (first["index"], first["state"], first["stdout"], first["exit_code"]) == (2, "succeeded", "two", 0)
    end(attempts[0], b"zero")
    end(attempts[1], b"one")
    assert follower.look()
    assert [line["index"] for line in follower.more()] == [0, 1]
    assert follower.more() == []
    assert [line["stdout"] for line in async_to_sync(lines_of)(batch)] == ["two", "zero", "one"]


@pytest.mark.django_db(transaction=True)
def test_results_that_are_too_many_to_be_read_at_once_come_once_each(
    submitter: User, make_node: MakeNode, place: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_results, "READ_MOST", 2)
    make_node()
    batch, _ = store_batch(submitter, *read_batch(frames(6)))
    assert place() == 6
    first, *others = Attempt.objects.order_by("id")
    end(first, b"early")
    follower = batch_results.Follower(batch)
    assert not follower.look()
    for attempt in others:
        end(attempt, b"late")
    assert follower.look()
    read = [[line["task"] for line in follower.more()] for _ in range(4)]
    ids = [first.task_id, *(attempt.task_id for attempt in others)]
    assert read == [ids[:2], ids[2:4], ids[4:], []]


def test_results_are_for_those_who_may_see_them(submitter: User, viewer: User) -> None:
    batch, _ = store_batch(submitter, *read_batch(frames(1)))
    client = Client()
    client.force_login(viewer)
    assert client.get(f"/api/v1/tasks/batches/{batch.id}").json()["states"] == {"queued": 1}
    assert client.get(f"/api/v1/tasks/batches/{batch.id}/results").status_code == 403
    assert client.get("/api/v1/tasks/batches/99").status_code == 404

"""What if: from the rows of tasks that ran to a table of strategies, asked by operators, answered once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from conftest import MakeNode
from coordinator.values import RoutingStrategy
from nodes.models import Node
from services.fog_coordinator import what_if
from services.fog_coordinator.models import WhatIf
from tasks.models import Attempt, Task

pytestmark = pytest.mark.django_db
SECOND = timedelta(seconds=1)
PATH = "/services/fog_coordinator/what-if"
Ran = Callable[..., Task]


@pytest.fixture
def ran(submitter: User) -> Ran:
    """``ran(node, age_s, waited_s, held_s)``: a task that ended so long ago."""

    def make(node: Node, age_s: float, waited_s: float, held_s: float, **columns: object) -> Task:
        ended = timezone.now() - age_s * SECOND
        placed = ended - held_s * SECOND
        usual = {"name": "t", "owner": submitter, "driver": "wasm", "state": "succeeded", "cpu_millis": 500}
        task = Task.objects.create(
            **(usual | {"created_at": placed - waited_s * SECOND, "finished_at": ended} | columns)
        )
        task.accepted_attempt = Attempt.objects.create(
            task=task, node=node, number=1, created_at=placed, ended_at=ended, outcome="succeeded"
        )
        task.save()
        return task

    return make


def test_arrivals_are_what_was_measured(make_node: MakeNode, ran: Ran, submitter: User) -> None:
    node = make_node()
    ran(node, 60, 2, 8)
    ran(node, 5, 1, 3, canary=True)
    Task.objects.create(name="waits", owner=submitter, driver="wasm")
    [arrival] = what_if.arrivals_of(what_if.last_ran(100))
    assert [arrival.waited_s, arrival.held_s] == pytest.approx([2, 8])
    assert arrival.ran_on == node.id


def test_the_truth_beside_every_strategy(make_node: MakeNode, ran: Ran) -> None:
    node, _ = make_node(), make_node()
    for number in range(4):
        ran(node, 100 - number, waited_s=5, held_s=50)
    told: list[int] = []
    result = what_if.compare(3, told.append)
    assert (result["tasks"], result["nodes"]) == (3, 2)
    truth, *simulated = result["rows"]
    assert (truth["name"], truth["waited_median_s"], truth["gini"], truth["busiest"]) == (
        "as it was", pytest.approx(5), 0.5, 2.0,
    )  # fmt: skip
    rows = {row["name"]: row for row in simulated}
    assert set(rows) == set(RoutingStrategy)
    assert rows["round_robin"]["waited_p95_s"] == 0
    assert rows["round_robin"]["moves"] == 1
    assert rows["privacy_aware"]["unplaced"] == 3  # no node is onion-capable


def test_a_question_is_answered_once(make_node: MakeNode, ran: Ran, operator: User) -> None:
    ran(make_node(), 60, 2, 8)
    now = timezone.now()
    assert what_if.ask(operator, 100, now)
    assert what_if.answer_next(now)
    assert not what_if.answer_next(now)
    run = WhatIf.objects.get()
    assert run.finished_at is not None
    assert (run.percent, run.error, run.result["tasks"]) == (100, "", 1)


def test_what_a_dead_worker_left_is_taken_up(operator: User) -> None:
    now = timezone.now()
    what_if.ask(operator, 100, now)
    WhatIf.objects.update(seen_at=now - SECOND)
    assert not what_if.answer_next(now)
    assert what_if.answer_next(now + what_if.DEAD_AFTER)


def test_a_failure_is_told(operator: User, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(most: int) -> list[Task]:
        raise ValueError("no such thing")

    monkeypatch.setattr(what_if, "last_ran", broken)
    what_if.ask(operator, 100, timezone.now())
    assert what_if.answer_next(timezone.now())
    assert WhatIf.objects.get().error == "ValueError: no such thing"


def test_an_operator_asks_and_everybody_sees(
    client: Client, operator: User, viewer: User, make_node: MakeNode, ran: Ran
) -> None:
    ran(make_node(name="atlas"), 60, 2, 8)
    client.force_login(operator)
    assert client.post(PATH, {"tasks": 100}).headers["Location"] == PATH
    assert "Waits for a worker" in client.get(PATH).content.decode()
    what_if.answer_next(timezone.now())
    client.force_login(viewer)
    body = client.get(PATH).content.decode()
    for words in ("As it was", "Round robin", "Privacy aware", "1 task on 1 node "):
        assert words in body
    assert 'data-testid="what-if-form"' not in body
    assert client.post(PATH, {"tasks": 100}).status_code == 403
    assert WhatIf.objects.count() == 1


def test_too_many_questions_and_wrong_ones(client: Client, operator: User) -> None:
    client.force_login(operator)
    assert client.post(PATH, {"tasks": 7}).status_code == 422
    for _ in range(what_if.WAITING_MOST):
        client.post(PATH, {"tasks": 100})
    answer = client.post(PATH, {"tasks": 100})
    assert answer.status_code == 422
    assert "wait for their answer already" in answer.content.decode()

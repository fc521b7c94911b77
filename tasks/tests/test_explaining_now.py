"""Explain now: the fleet as it is, every node of it, and nothing written."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from conftest import MakeNode
from nodes.models import Node
from tasks import explaining_now
from tasks.explaining_now import explain_now
from tasks.models import Attempt, Decision, Task
from tasks.outcomes import LOST
from tasks.tests.conftest import MakeTask


@pytest.fixture
def placed(make_node: MakeNode, make_task: MakeTask, place: Callable[[], int]) -> Task:
    """A task that went to the only node; a better one has joined since."""
    make_node(name="atlas")
    task = make_task(cores=0.5)
    place()
    make_node(name="brook", cpu_millis=8000, memory_mb=8192)
    task.refresh_from_db()
    return task


@pytest.fixture
def visitor(client: Client, viewer: User) -> Client:
    client.force_login(viewer)
    return client


def test_it_asks_the_fleet_as_it_is_and_writes_nothing(placed: Task) -> None:
    answer = explain_now(placed)
    assert answer.decision.considered == 2
    assert [row.candidate.name for row in answer.excerpt.rows] == ["brook", "atlas"]
    assert Decision.objects.count() == 1
    assert answer.decision.chosen == Node.objects.get(name="brook").id


def test_the_page_tells_now_from_then(visitor: Client, placed: Task) -> None:
    body = visitor.get(f"/tasks/{placed.id}/explain").content.decode()
    assert "brook <small>" in body
    assert "among 1 nodes and chose atlas" in body
    assert "What the task holds on atlas counts as taken." in body
    assert "1 to 2 of 2" in body


def test_one_node_is_found_by_name_with_its_place(visitor: Client, placed: Task) -> None:
    answer = visitor.get(
        f"/tasks/{placed.id}/explain", {"q": "ATL"}, HTTP_HX_REQUEST="true", HTTP_HX_TARGET="explained-now"
    )
    body = answer.content.decode()
    assert body.lstrip().startswith('<div id="explained-now"')
    assert '<span class="muted">2.</span>' in body
    assert "1 to 1 of 1 whose name has “ATL”" in body


def test_pages_go_through_all_nodes(
    visitor: Client, placed: Task, make_node: MakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(explaining_now, "ROWS", 2)
    for number in range(3):
        make_node(name=f"full-{number}", free_cpu_millis=0)
    seen: list[str] = []
    for start in (0, 2, 4):
        answer = explain_now(placed, start=start, size=2)
        seen += [row.candidate.name for row in answer.excerpt.rows]
    assert sorted(seen) == ["atlas", "brook", "full-0", "full-1", "full-2"]


def test_a_bad_start_is_named(visitor: Client, placed: Task) -> None:
    answer = visitor.get(f"/tasks/{placed.id}/explain", {"start": "x"})
    assert answer.status_code == 400
    assert "start:" in answer.content.decode()


def test_a_node_it_failed_on_comes_last_and_is_told(visitor: Client, placed: Task) -> None:
    brook = Node.objects.get(name="brook")
    lost = Attempt.objects.create(task=placed, node=brook, number=2, ended_at=timezone.now(), outcome=LOST)
    assert explain_now(placed).decision.chosen == placed.node_id
    body = visitor.get(f"/tasks/{placed.id}/explain").content.decode()
    assert body.count("it failed there before") == 1
    lost.delete()
    assert explain_now(placed).decision.chosen == brook.id


def test_few_queries_however_many_nodes(
    placed: Task, make_node: MakeNode, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for _ in range(30):
        make_node()
    with django_assert_max_num_queries(6):
        explaining_now.page_of(placed, "", 0)


def test_the_api_answers_the_same(visitor: Client, placed: Task) -> None:
    body = visitor.get(f"/api/v1/tasks/{placed.id}/explain?node=bro&limit=1").json()
    assert (body["considered"], body["eligible"], body["matching"], body["next"]) == (2, 2, 1, None)
    [node] = body["nodes"]
    assert (node["name"], node["place"], node["node_id"]) == ("brook", 1, body["chosen"])
    assert sum(node["parts"].values()) == pytest.approx(node["score"])
    assert set(body["others"]) == {"round_robin", "affinity_based", "proximity_based", "privacy_aware"}

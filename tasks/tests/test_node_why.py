"""Why a node gets work or none: the verdict's words, and what it is judged by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from conftest import MakeNode
from coordinator.filters import FILTERS
from coordinator.standing import Standing
from coordinator.values import Availability, Candidate
from nodes.models import Node
from tasks import node_work
from tasks.models import Reservation, Task
from tasks.node_verdict import ADVICE, Kind, judge
from tasks.node_work import work_of
from tasks.placement import Placer
from tasks.tests.conftest import MakeTask

FIT = Candidate(node_id=1, name="brook", region="", score=0.6, parts={"unloaded": 0.6})
BEST = Candidate(node_id=2, name="atlas", region="", score=0.9, parts={"unloaded": 0.9})
FULL = Candidate(node_id=1, name="brook", region="", reason="cpu", detail="cpu: 0 of 4000 millicores free")
ABLE = Standing(FIT, place=3, eligible=9, best=BEST)
UNABLE = Standing(FULL, place=None, eligible=9, best=BEST)
KIND = Kind("python", "least_loaded", waiting=0, placed=5, here=0, standing=ABLE, example=1)


class TestVerdict:
    def test_every_filter_has_its_advice(self) -> None:
        assert set(ADVICE) == {each.name for each in FILTERS}

    def test_what_keeps_all_work_away_comes_first(self) -> None:
        off = Candidate(node_id=1, name="n", region="", reason="cordoned", detail="cordoned by its operator")
        found = judge(Standing(off, None, 0, None), [KIND], placed=5, here=5)
        assert found.sentence == "It gets no work now: cordoned by its operator."
        assert "Resume" in found.advice

    def test_no_work_for_anyone(self) -> None:
        assert "no task waits" in judge(ABLE, [], placed=0, here=0).sentence

    def test_a_node_that_gets_work(self) -> None:
        assert judge(ABLE, [KIND], placed=5, here=2).sentence == "It got 2 of the last 5 placements."

    def test_a_node_that_fits_nothing_is_told_where_most_falls(self) -> None:
        label = replace(FULL, reason="label", detail="label gpu=a100 missing")
        kinds = [
            replace(KIND, standing=UNABLE, placed=9),
            replace(KIND, standing=replace(UNABLE, candidate=label), placed=2),
        ]
        found = judge(ABLE, kinds, placed=11, here=0)
        assert "most of it falls at cpu: 0 of 4000 millicores free" in found.sentence
        assert found.advice == ADVICE["cpu"]

    def test_a_node_that_is_never_best_is_told_who_comes_before_it_and_for_what(self) -> None:
        found = judge(ABLE, [KIND, replace(KIND, standing=UNABLE)], placed=10, here=0)
        assert found.sentence == (
            "It may run 1 of the 2 kinds of work seen lately, but was never the best: for the most frequent "
            "2 nodes come before it, first atlas (0.90 against 0.60, mostly for unloaded)."
        )

    def test_the_best_gets_the_next(self) -> None:
        kind = replace(KIND, standing=replace(ABLE, place=1))
        assert "it gets the next" in judge(ABLE, [kind], placed=5, here=0).sentence


@pytest.fixture
def busy(make_node: MakeNode, make_task: MakeTask, place: Callable[[], int]) -> tuple[Node, Node]:
    """Two nodes; three tasks went to the first, one task waits for more than either has."""
    first = make_node(name="atlas", cpu_millis=4000, memory_mb=8192)
    second = make_node(name="brook", cpu_percent=90)
    for _ in range(3):
        make_task(cores=0.2, memory_mb=64)
    make_task(cores=64)
    place()
    return first, second


def test_waiting_and_placed_work_by_kind(busy: tuple[Node, Node]) -> None:
    first, second = busy
    work = work_of(second)
    assert (work.waiting, work.placed, work.here) == (1, 3, 0)
    small, large = work.kinds
    assert (small.placed, small.waiting, small.here) == (3, 0, 0)
    assert small.standing is not None and small.standing.place == 2
    assert (large.placed, large.waiting) == (0, 1)
    assert large.standing is not None and large.standing.candidate.reason == "cpu"
    assert "first atlas" in work.verdict.sentence
    assert (work.recorded.named, work.recorded.eligible) == (3, 3)
    assert work_of(first).verdict.sentence == "It got 3 of the last 3 placements."


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"archived_at": timezone.now()}, "removed from the fleet"),
        ({"approved_at": None}, "waits for approval"),
        ({"availability": Availability.DRAINING}, "being drained by its operator"),
        ({"connected": False}, "disconnected"),
    ],
)
def test_a_node_that_takes_no_work(make_node: MakeNode, columns: dict[str, object], says: str) -> None:
    assert says in work_of(make_node(**columns)).verdict.sentence


def test_sealed_work_is_a_kind_of_its_own(make_node: MakeNode, make_task: MakeTask) -> None:
    """A node that it is not sealed for may well get the same work in the open."""
    node = make_node()
    sealed, public = make_task(), make_task()
    now = timezone.now()
    reservation = Reservation.objects.create(
        owner=sealed.owner, privacy="private", specification={}, nodes=[0], created_at=now, expires_at=now
    )
    Task.objects.filter(id=sealed.id).update(privacy="private", reservation=reservation.id)
    kinds = {kind.example: kind for kind in work_of(node).kinds}
    assert kinds.keys() == {sealed.id, public.id}
    stands = kinds[public.id].standing
    assert stands is not None and stands.place == 1
    assert "sealed" in kinds[sealed.id].words and "sealed" not in kinds[public.id].words


def test_what_was_not_looked_at_is_said(
    client: Client,
    viewer: User,
    busy: tuple[Node, Node],
    make_task: MakeTask,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(node_work, "WAITING_SEEN", 2)
    monkeypatch.setattr(node_work, "KINDS_SEEN", 1)
    make_task(cores=63)
    make_task(cores=62)
    client.force_login(viewer)
    body = client.get(f"/nodes/{busy[1].id}/why").content.decode()
    assert "tasks that wait longest" in body
    assert "Of 3 kinds the most frequent 1 are shown" in body


def test_the_page_and_the_fragment(client: Client, viewer: User, busy: tuple[Node, Node]) -> None:
    client.force_login(viewer)
    path = f"/nodes/{busy[1].id}/why"
    page = client.get(path).content.decode()
    assert "<h1>What work brook gets</h1>" in page
    assert "number 2 of 2 eligible" in page
    fragment = client.get(path, HTTP_HX_REQUEST="true", HTTP_HX_TARGET="node-why").content.decode()
    assert fragment.lstrip().startswith('<section class="panel" id="node-why"')
    assert "<table" not in fragment
    assert f'hx-get="{path}"' in client.get(f"/nodes/{busy[1].id}").content.decode()


def test_the_cost_does_not_grow_with_the_work(
    busy: tuple[Node, Node], make_task: MakeTask, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(20):
        make_task(cores=0.01 * (number + 1), memory_mb=16)
    Placer().place_waiting(timezone.now())
    with django_assert_max_num_queries(5):
        work_of(busy[0])


def test_the_api_answers_the_same(client: Client, viewer: User, busy: tuple[Node, Node]) -> None:
    client.force_login(viewer)
    body = client.get(f"/api/v1/nodes/{busy[1].id}/why").json()
    assert (body["waiting"], body["placed"], body["here"], body["kinds_in_all"]) == (1, 3, 0, 2)
    assert [(kind["place"], kind["reason"]) for kind in body["kinds"]] == [(2, None), (None, "cpu")]
    assert client.get("/api/v1/nodes/987654/why").status_code == 404

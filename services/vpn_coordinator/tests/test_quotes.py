"""What each privacy level costs, as measured."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.utils.module_loading import import_string
from pytest_django import DjangoAssertNumQueries

from conftest import MakeNode
from services.vpn_coordinator.models import Carriage
from services.vpn_coordinator.quotes import LARGE, OVER, quotes
from services.vpn_coordinator.tests.carriages import NOW, SECOND, Fog
from tasks.models import Attempt, Blob, Reservation, Task
from tasks.privacy import Privacy
from tasks.quotes import Quote
from tasks.states import TaskState

pytestmark = pytest.mark.django_db


def quote(level: str) -> Quote:
    return next(one for one in quotes(NOW) if one.level == level)


@pytest.fixture
def begin(submitter: User) -> Any:
    """``begin(level, after_s)``: a task that was handed in a minute ago, given to a node at once, and begun
    after so long."""
    made = iter(range(1000))

    def make(level: str, after_s: float, size: int = 4096, at: datetime = NOW - 60 * SECOND) -> Task:
        number = next(made)
        blob = Blob.objects.create(sha256=f"{number:064x}", size=size)
        task = Task.objects.create(
            name="t",
            owner=submitter,
            driver="wasm",
            privacy=level,
            payload=blob,
            state=TaskState.SUCCEEDED,
            created_at=at,
            assigned_at=at,
            started_at=at + timedelta(seconds=after_s),
            finished_at=at + timedelta(seconds=after_s + 1),
        )
        if level != "public":
            reservation = Reservation.objects.create(
                owner=submitter,
                task=task,
                privacy=level,
                specification={},
                nodes=[],
                created_at=at,
                expires_at=at,
                used_at=at,
            )
            Task.objects.filter(id=task.id).update(reservation=reservation.id)
        return task

    return make


def carry(fog: Fog, size: int, took_ms: float, ok: bool = True, at: datetime = NOW) -> None:
    attempt: Attempt = fog.attempt()
    Carriage.objects.create(
        attempt=attempt, node=fog.node, run=b"", created_at=at, due_at=at, size=size, took_ms=took_ms, ok=ok
    )


def test_it_is_what_tasks_ask() -> None:
    assert import_string(settings.TASK_QUOTES) is quotes


def test_every_level_says_what_it_hides_before_anything_was_measured(db: None) -> None:
    found = quotes(NOW)
    assert [one.level for one in found] == list(Privacy)
    assert all(one.hides for one in found)
    assert {(one.start_s, one.samples, one.bytes_per_s) for one in found} == {(None, 0, None)}
    assert [one.transfers for one in found] == [1, 1, 4, 0]
    assert bool(quote("secret").refusal)


def test_the_start_is_the_median_of_each_level(begin: Any) -> None:
    for level, waits in {"public": [1, 2, 9], "private": [3, 5], "confidential": [7]}.items():
        for after_s in waits:
            begin(level, after_s)
    told = {one.level: (one.start_s, one.samples) for one in quotes(NOW)}
    assert told == {"public": (2, 3), "private": (4, 2), "confidential": (7, 1), "secret": (None, 0)}


def test_what_lies_long_back_does_not_count(begin: Any) -> None:
    for level in ("public", "private"):
        begin(level, 1.0, at=NOW - OVER - timedelta(minutes=1))
    assert quote("public").start_s is quote("private").start_s is None


def test_a_task_that_was_sealed_again_counts_once(begin: Any, submitter: User) -> None:
    task = begin("private", 2.0)
    Reservation.objects.create(
        owner=submitter,
        task=task,
        privacy="private",
        specification={},
        nodes=[],
        created_at=NOW,
        expires_at=NOW,
        used_at=NOW,
    )
    assert quote("private").samples == 1


def test_speed_is_that_of_large_content(begin: Any, make_node: MakeNode, submitter: User) -> None:
    fog = Fog(make_node, submitter)
    begin("private", 0.001)
    carry(fog, 4096, took_ms=1)
    carry(fog, LARGE, took_ms=1, ok=False)
    assert quote("private").bytes_per_s is quote("confidential").bytes_per_s is None
    begin("private", 2.0, size=LARGE)
    begin("private", 0.0, size=LARGE)  # told of within one tick of the clock
    for took_ms in (500, 1000, 4000):
        carry(fog, LARGE, took_ms)
    assert quote("private").bytes_per_s == LARGE / 2
    assert quote("confidential").bytes_per_s == LARGE
    assert quote("public").bytes_per_s is None


def test_they_cost_few_queries(
    begin: Any, make_node: MakeNode, submitter: User, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    fog = Fog(make_node, submitter, gateways=3)
    for level in ("public", "private", "confidential"):
        begin(level, 1.0)
    carry(fog, LARGE, 1000)
    quotes(NOW)  # the directory is read once
    with django_assert_max_num_queries(14):
        quotes(NOW)

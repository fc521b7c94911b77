"""Periodic jobs: one run at a time, whoever asks; a gap is told to the next run."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from django.utils import timezone

from fogpanel.jobs import Run, claim, run_if_due
from fogpanel.models import JobState

pytestmark = pytest.mark.django_db


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(1_700_000_000 + seconds, tz=timezone.get_default_timezone())


def test_a_run_is_taken_once() -> None:
    runs: list[Run] = []
    assert run_if_due("sweep", 10, runs.append, at(0))
    assert not run_if_due("sweep", 10, runs.append, at(5))
    assert run_if_due("sweep", 10, runs.append, at(10))
    assert [run.now for run in runs] == [at(0), at(10)]


def test_runs_know_since_when_they_follow_each_other() -> None:
    first, second = claim("sweep", 10, at(0)), claim("sweep", 10, at(10))
    assert first is not None and second is not None
    assert (first.since, second.since) == (at(0), at(0))
    after_gap = claim("sweep", 10, at(100))
    assert after_gap is not None
    assert (after_gap.since, after_gap.previous) == (at(100), at(10))


def test_a_run_that_fails_says_so_and_the_next_one_runs() -> None:
    def fail(run: Run) -> None:
        raise RuntimeError("no such table")

    assert run_if_due("sweep", 10, fail, at(0))
    assert JobState.objects.get(name="sweep").error == "RuntimeError: no such table"
    assert run_if_due("sweep", 10, lambda run: None, at(0) + timedelta(seconds=10))
    assert JobState.objects.get(name="sweep").error == ""

"""A task in the queue, placing it, and speaking as its node."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from fogagent.messages import Finished, Outcome
from tasks.handlers import accept_results
from tasks.models import Attempt, Task
from tasks.placement import Placer
from tasks.specification import validate
from tasks.submission import submit

MakeTask: TypeAlias = Callable[..., Task]
Report: TypeAlias = Callable[..., None]


@pytest.fixture
def make_task(submitter: User) -> MakeTask:
    """``make_task(cores=1, …)``: a queued task; the fields are those of the API."""

    def make(**fields: Any) -> Task:
        return submit(submitter, validate({"driver": "python", "source": "print(1)", "cores": 0.5, **fields}))

    return make


@pytest.fixture
def place() -> Callable[[], int]:
    """One pass of a placer that has just been started."""
    return lambda: Placer().place_waiting(timezone.now())


@pytest.fixture
def report() -> Report:
    """``report(attempt, Outcome.SUCCEEDED)``: the attempt's node says how it ended."""

    def say(attempt: Attempt, outcome: Outcome = Outcome.SUCCEEDED, node_id: int = 0, **fields: Any) -> None:
        message = Finished(seq=1, attempt=attempt.id, at=0.0, outcome=outcome, **fields)
        accept_results([(node_id or attempt.node_id, message)], timezone.now())

    return say

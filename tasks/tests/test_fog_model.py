"""Thousands of steps in an order that nobody thought of: nothing is lost, done twice or oversubscribed."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tasks.tests.fog_model import Fog

EXAMPLES, STEPS = 30, 40


@pytest.mark.slow
@pytest.mark.django_db
def test_whatever_happens_the_books_are_right() -> None:
    run_state_machine_as_test(
        Fog,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )

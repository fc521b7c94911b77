"""Thousands of steps in an order that nobody thought of: nothing is lost, done twice or oversubscribed."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tasks.tests.fog_model import Fog

EXAMPLES, STEPS = 25, 50


def explore(examples: int, steps: int, *, derandomize: bool) -> None:
    """Run the model that often, with that many steps each; a failure is told as the shortest that fails."""
    run_state_machine_as_test(
        Fog,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            derandomize=derandomize,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.slow
@pytest.mark.django_db
def test_whatever_happens_the_books_are_right() -> None:
    explore(EXAMPLES, STEPS, derandomize=True)

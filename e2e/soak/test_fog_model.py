"""The model of the apps' tests for longer, and another way each time."""

from __future__ import annotations

import os

import pytest

from tasks.tests.test_fog_model import explore

SCALE = float(os.environ.get("FOG_SOAK_SCALE", "1"))
EXAMPLES, STEPS = max(10, round(100 * SCALE)), 100


@pytest.mark.soak
@pytest.mark.django_db
def test_whatever_happens_the_books_are_right() -> None:
    explore(EXAMPLES, STEPS, derandomize=False)

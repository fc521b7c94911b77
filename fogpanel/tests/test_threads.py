"""Threads that must not end go on whatever their work raises."""

from __future__ import annotations

import pytest
from django.db import InterfaceError

from fogpanel.threads import Tireless


class Failing(Tireless):
    def __init__(self, error: Exception) -> None:
        super().__init__("failing")
        self._pause.set()  # no waiting between turns
        self.error: Exception = error
        self.recovered = 0

    def turn(self) -> None:
        raise self.error

    def recover(self) -> None:
        self.recovered += 1


@pytest.mark.django_db
@pytest.mark.parametrize("error", [InterfaceError("closed"), KeyError("bug"), RuntimeError("loop is closed")])
def test_a_failed_turn_is_followed_by_another(error: Exception) -> None:
    thread = Failing(error)
    for _ in range(2):
        thread.turn_safely()
    assert thread.recovered == 2

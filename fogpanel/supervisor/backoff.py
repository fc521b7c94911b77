"""How long to wait before a program that ended is started again."""

from __future__ import annotations

FIRST_S = 0.5
LONGEST_S = 30.0
STEADY_S = 30.0
"""A program that ran this long is taken to have started well."""


class Backoff:
    """0.5 s, then twice as long each time up to 30 s; from the start again after a steady run."""

    def __init__(self) -> None:
        self._next_s = FIRST_S

    def after(self, ran_s: float) -> float:
        """The seconds to wait after a run of ``ran_s`` seconds."""
        if ran_s >= STEADY_S:
            self._next_s = FIRST_S
        delay = self._next_s
        self._next_s = min(delay * 2, LONGEST_S)
        return delay

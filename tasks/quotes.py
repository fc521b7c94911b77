"""What a privacy level costs, from measurement, before a task is sent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.utils.module_loading import import_string


@dataclass(frozen=True, slots=True)
class Quote:
    """``refusal`` says why the level cannot be had now, or nothing; ``hides`` what it hides from whom.

    ``start_s`` is the median from submission to start, over ``samples`` tasks; ``bytes_per_s`` how fast
    content reached its nodes. None: not measured yet. ``transfers``: how often it crosses a network.
    """

    level: str
    refusal: str
    hides: str
    start_s: float | None
    samples: int
    transfers: int
    bytes_per_s: float | None


def quotes(now: datetime) -> list[Quote]:
    """One for each level, the least private first."""
    find: Callable[[datetime], list[Quote]] = import_string(settings.TASK_QUOTES)
    return find(now)

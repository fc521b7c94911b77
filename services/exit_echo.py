"""The last look at whether bytes come back from an exit: one service takes it, others go by it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.utils.module_loading import import_string


@dataclass(frozen=True, slots=True, kw_only=True)
class Echo:
    """What became of the bytes that were last sent over a circuit to an exit, to be echoed there."""

    ok: bool
    sentence: str
    took_ms: float | None


def last_echo(now: datetime) -> Echo | None:
    """None: there was none lately."""
    find: Callable[[datetime], Echo | None] = import_string(settings.EXIT_ECHO)
    return find(now)

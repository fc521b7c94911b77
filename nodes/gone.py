"""When a node goes, whoever gave it work is told within the same transaction (`NODE_GONE_HANDLERS`)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import Protocol

from django.conf import settings
from django.utils.module_loading import import_string


class GoneHandler(Protocol):
    def __call__(self, sentences: Mapping[int, str], now: datetime, *, silent: bool) -> None: ...


@cache
def _handlers() -> list[GoneHandler]:
    return [import_string(dotted) for dotted in settings.NODE_GONE_HANDLERS]


def give_work_away(sentences: Mapping[int, str], now: datetime, *, silent: bool) -> None:
    """What runs on these nodes is to run elsewhere. Each has a sentence that completes "moved because …".

    ``silent`` nodes may live and come back with their work; from the others it is taken for certain, and
    since somebody wanted it so, no task loses a try.
    """
    for handle in _handlers():
        handle(sentences, now, silent=silent)

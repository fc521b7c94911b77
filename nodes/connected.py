"""When nodes connect, whoever has to tell them something anew is called within the same transaction
(`NODE_CONNECTED_HANDLERS`): an agent that was restarted knows only what it is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cache
from typing import TypeAlias

from django.conf import settings
from django.utils.module_loading import import_string

ConnectedHandler: TypeAlias = Callable[[Sequence[int], datetime], None]


@cache
def handlers() -> list[ConnectedHandler]:
    return [import_string(dotted) for dotted in settings.NODE_CONNECTED_HANDLERS]


def tell_connected(node_ids: Sequence[int], now: datetime) -> None:
    """These nodes, which are locked, have a new connection. What is put into the outbox goes out by it."""
    if node_ids:
        for handle in handlers():
            handle(node_ids, now)

"""The privacy levels of tasks: what is sealed, and how an order reaches its node."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from enum import StrEnum
from typing import TypeAlias

from django.conf import settings
from django.utils.module_loading import import_string

from fogagent.messages import Run
from nodes.outbox import NewOrder


class Privacy(StrEnum):
    PUBLIC = "public"  # the panel and its database see everything
    PRIVATE = "private"  # what runs, and what comes of it, is sealed
    CONFIDENTIAL = "confidential"  # and it reaches its node over a circuit
    SECRET = "secret"  # and through the mixnet


SEALED = frozenset(Privacy) - {Privacy.PUBLIC}

IN_SHORT = {
    Privacy.PUBLIC: "The panel and the node can read it.",
    Privacy.PRIVATE: "Only the node can read it, the panel cannot.",
    Privacy.CONFIDENTIAL: "Only the node can read it, and it comes to the node by way of three relays.",
    Privacy.SECRET: "Nobody can tell that anything is sent.",
}
"""Who sees what runs and what comes of it, for those who choose; `tasks.quotes` says all of it."""

Transport: TypeAlias = Callable[[Sequence[tuple[int, Run]], datetime], list[NewOrder]]
"""From orders to run, each with its node, to the orders that bring them there."""


def transport(level: str) -> Transport | None:
    """How orders of this level reach their nodes; None: over the nodes' own connections."""
    path = settings.TASK_TRANSPORTS.get(level)
    found: Transport | None = import_string(path) if path else None
    return found


def refusal(level: Privacy, now: datetime) -> str:
    """Why tasks of this level cannot be taken now, as a sentence; empty where they can."""
    admission: Callable[[str, datetime], str] = import_string(settings.TASK_ADMISSION)
    return admission(level, now)


def held_back() -> Collection[str]:
    """The levels whose tasks are not to be placed, as nothing could bring their orders to the nodes now."""
    levels: Callable[[], Collection[str]] = import_string(settings.PLACING_HELD_BACK)
    return levels()

"""Since when the panel has been able to hear its agents.

Silence counts against a node only while somebody listened. Every ASGI process writes the one row; a
gap in the writing (all of them were away, or the machine slept) starts a new ``since``.
"""

from __future__ import annotations

import threading
from datetime import datetime, timedelta

from django.db.models import Case, F, Value, When
from django.utils import timezone

from fogpanel.models import PanelPresence
from fogpanel.parameters.catalogue import TIMEOUT_S
from fogpanel.parameters.store import current
from fogpanel.threads import Tireless

WRITE_MOST_S = 2.0
WRITES_MISSED = 3  # so many in a row mean that nobody listened


def write_s() -> float:
    """The pause between two writes: short enough for a short timeout."""
    return min(WRITE_MOST_S, current(TIMEOUT_S) / 10)


def stale_s() -> float:
    return WRITES_MISSED * write_s()


def note_presence(now: datetime) -> None:
    """Say that a process of the panel hears agents now."""
    stale = now - timedelta(seconds=stale_s())
    listening = PanelPresence.objects.filter(id=1).update(
        since=Case(When(seen_at__lt=stale, then=Value(now)), default=F("since")), seen_at=now
    )
    if not listening:
        PanelPresence.objects.get_or_create(id=1, defaults={"since": now, "seen_at": now})


def listening_since(now: datetime) -> datetime | None:
    """When the present spell of listening began; None if nobody listens at the moment."""
    presence = PanelPresence.objects.filter(id=1).first()
    if presence is None or presence.seen_at < now - timedelta(seconds=stale_s()):
        return None
    return presence.since


class PresenceWriter(Tireless):
    """Says that this process hears agents, for as long as the threads that hear them live."""

    def __init__(self, *hearing: threading.Thread) -> None:
        super().__init__("presence")
        self._hearing = hearing

    def turn(self) -> None:
        if all(thread.is_alive() for thread in self._hearing):
            note_presence(timezone.now())
        self._pause.wait(write_s())

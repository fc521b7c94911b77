"""Nodes that a service could use and that are not connected: whose agents an operator may start again."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import F, TextField
from django.db.models.functions import Cast

from nodes.models import Node

NAMED = 3
NAME_MOST = 30


@dataclass(frozen=True, slots=True)
class Absent:
    """How many there are, and what the last that went are called."""

    number: int = 0
    names: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.number)

    @property
    def advice(self) -> str:
        """What to do, as a sentence. Only where there is one."""
        return f"Start the {'agent' if self.number == 1 else 'agents'} of {self.in_words} again."

    @property
    def in_words(self) -> str:
        """Such as “a, b, c and 4 more”."""
        words = [name if len(name) <= NAME_MOST else name[: NAME_MOST - 1] + "…" for name in self.names]
        if more := self.number - len(self.names):
            words.append(f"{more:,} more")
        *others, last = words
        return f"{', '.join(others)} and {last}" if others else last


NOBODY = Absent()


def absent(flag: str) -> Absent:
    """Those of the fleet whose owners grant this."""
    fleet = Node.objects.filter(connected=False, archived_at=None, approved_at__isnull=False)
    # SQLite cannot look into JSON lists; as text both databases can, and quotes keep words whole.
    granting = fleet.annotate(granted=Cast("flags", TextField())).filter(granted__contains=f'"{flag}"')
    last = granting.order_by(F("disconnected_at").desc(nulls_last=True), "name")
    names = tuple(last.values_list("name", flat=True)[:NAMED])
    return Absent(granting.count() if len(names) == NAMED else len(names), names)

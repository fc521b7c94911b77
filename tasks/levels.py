"""The privacy levels as the form of a new task offers them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.template.defaultfilters import filesizeformat

from fogagent.sealing.packing import BUCKETS
from tasks.privacy import IN_SHORT, SEALED, Privacy
from tasks.quotes import Quote, quotes

ICONS = {
    Privacy.PUBLIC: "globe",
    Privacy.PRIVATE: "lock",
    Privacy.CONFIDENTIAL: "route",
    Privacy.SECRET: "venetian-mask",
}


@dataclass(frozen=True, slots=True)
class Level:
    quote: Quote
    is_chosen: bool

    @property
    def privacy(self) -> Privacy:
        return Privacy(self.quote.level)

    @property
    def is_sealed(self) -> bool:
        return self.privacy in SEALED

    @property
    def icon(self) -> str:
        return ICONS[self.privacy]

    @property
    def in_short(self) -> str:
        return IN_SHORT[self.privacy]

    @property
    def to_send(self) -> str:
        """Of an empty form; `static/private/costs.js` says it of what is filled in."""
        if not self.is_sealed:
            return "as much as it is"
        times = "once" if self.quote.transfers == 1 else f"{self.quote.transfers} times"
        return f"{filesizeformat(BUCKETS[0])} padded, over a network {times}"


def levels(chosen: object, now: datetime) -> list[Level]:
    """``chosen`` is the value of the form's field, which may be anything."""
    known = chosen if chosen in set(Privacy) else Privacy.PUBLIC
    return [Level(quote, quote.level == known) for quote in quotes(now)]

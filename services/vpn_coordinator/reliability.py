"""How far a gateway is relied on after failures: it rests, which is to be asked last, then is tried again.

Pure: no clock, no database.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from services.vpn_coordinator.troubles import Trouble

LAST = 5
"""So many results are kept."""
REST_LEAST = timedelta(seconds=30)
"""After one failure. Twice as long after each that follows without a success: 8 minutes at most."""

OF_GATEWAY = frozenset(
    {
        Trouble.UNSAID,  # agents of before: most of what fails is that no circuit can be built
        Trouble.NO_CIRCUIT,
        Trouble.NO_CONTENT,
        Trouble.BUSY,
        Trouble.NO_PART,
        Trouble.FAILED,
        Trouble.SILENT,
        Trouble.CUT_OFF,
        Trouble.NOT_BEGUN,  # a gateway may say that it brought what it threw away
    }
)
"""What is held against a gateway. The rest says more of the node, or of relays between."""


@dataclass(frozen=True, slots=True)
class Reliance:
    """``results``: the last ones, the newest last, "1" where the node began what was brought, else "0"."""

    results: str = ""
    rests_until: datetime | None = None

    @property
    def failures(self) -> int:
        return self.results.count("0")

    @property
    def in_doubt(self) -> bool:
        """Whether the last one failed."""
        return self.results.endswith("0")

    def failed(self, now: datetime) -> Reliance:
        results = (self.results + "0")[-LAST:]
        in_a_row = len(results) - len(results.rstrip("0"))
        return Reliance(results, now + REST_LEAST * 2 ** (in_a_row - 1))

    def succeeded(self) -> Reliance:
        return replace(self, results=(self.results + "1")[-LAST:], rests_until=None)

    def rests(self, now: datetime) -> bool:
        return self.rests_until is not None and now < self.rests_until

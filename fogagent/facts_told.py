"""What the panel is told of this machine: on every connect, at once when it changes, of its cache soon."""

from __future__ import annotations

import msgspec

from fogagent.messages import Facts

CACHE_TOLD_AFTER_S = 2.0
"""Downloads that end within this time are told of together."""


class FactsTold:
    """The facts as they are now. All times are ticks."""

    def __init__(self, facts: Facts) -> None:
        """``facts`` name what is in the cache already."""
        self.facts = facts
        self.due_at: float | None = None
        """When the cache is told of."""

    def for_new_connection(self) -> Facts:
        """The cache is told of with the rest then."""
        self.due_at = None
        return self.facts

    def change(self, facts: Facts) -> Facts:
        """All but the cache, of which ``facts`` say nothing."""
        self.facts = msgspec.structs.replace(facts, cached=self.facts.cached)
        return self.facts

    def change_cache(self, blobs: list[str], tick: float) -> None:
        self.facts = msgspec.structs.replace(self.facts, cached=blobs)
        if self.due_at is None:
            self.due_at = tick + CACHE_TOLD_AFTER_S

    def is_due(self, tick: float) -> bool:
        """Whether to tell of the cache now; if so, it counts as told."""
        if self.due_at is None or tick < self.due_at:
            return False
        self.due_at = None
        return True

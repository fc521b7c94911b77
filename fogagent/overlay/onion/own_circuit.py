"""A circuit of our own: which streams it takes, and when it is over.

A circuit is for one kind of wish and, once it carries a stream, for one isolation: streams that must not
be seen to belong together never share one. It takes new streams for a while after its first; those it has
stay on it to their end.
"""

from __future__ import annotations

from dataclasses import dataclass

from fogagent.overlay.directory import Directory, Relay
from fogagent.overlay.onion.circuit import Circuit, State
from fogagent.overlay.onion.path import Wishes

ROTATE_S = 600.0
"""How long a circuit usually takes new streams."""
FRESH_S = 1800.0
"""A circuit that waited so long for its first stream is replaced."""


@dataclass(eq=False)
class OwnCircuit:
    """A circuit that is open, and what it is used for. Times are of the monotonic clock, in seconds."""

    circuit: Circuit
    path: tuple[Relay, ...]
    wishes: Wishes
    built_at: float
    build_s: float
    isolation: object | None = None
    used_at: float | None = None  # when its first stream began
    rotate_s: float = ROTATE_S

    @property
    def is_open(self) -> bool:
        return self.circuit.state is State.OPEN

    @property
    def rotates_at(self) -> float:
        """When it takes no more new streams; never while it has had none."""
        return float("inf") if self.used_at is None else self.used_at + self.rotate_s

    def takes(self, wishes: Wishes, isolation: object, now: float) -> bool:
        """Whether a new stream may use it."""
        return (
            self.is_open
            and self.wishes == wishes
            and now < self.rotates_at
            and (self.used_at is None or self.isolation == isolation)
        )

    def stands_in(self, directory: Directory) -> bool:
        """Whether its relays are all still listed, each with what it was fit for when it was chosen."""
        now = [directory.relays.get(relay.identity) for relay in self.path]
        return all(
            new is not None and set(old.flags) <= set(new.flags)
            for old, new in zip(self.path, now, strict=True)
        )

    def retire(self) -> None:
        """No new streams from now on."""
        self.used_at = float("-inf")

    def is_over(self, now: float) -> bool:
        """Whether nobody needs it any more."""
        if self.used_at is None:
            return now >= self.built_at + FRESH_S
        return now >= self.rotates_at and not len(self.circuit.streams)

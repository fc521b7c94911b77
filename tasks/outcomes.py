"""How attempts end: what nodes report (`fogagent.messages.Outcome`), and what the panel finds by itself."""

from __future__ import annotations

from fogagent.messages import Outcome

LOST = "lost"  # its node went, or forgot it
UNDELIVERED = "undelivered"  # its order did not get there, by whoever's fault on the way
MOVED = "moved"  # somebody wanted its node free; costs the task no try
SUPERSEDED = "superseded"  # another attempt's result was accepted

# The program's own doing: it would end the same way elsewhere. All else was the node's fault, and the
# task gets another attempt while some remain.
PROGRAM_ENDED = frozenset(
    {Outcome.EXIT_CODE, Outcome.TIMEOUT, Outcome.MEMORY, Outcome.FUEL, Outcome.TRAP, Outcome.INVALID}
)

# What is kept against a node (`nodes.behaviour`).
OWN_FAULT = frozenset({LOST, Outcome.CRASHED, Outcome.UNAVAILABLE, Outcome.UNKNOWN})

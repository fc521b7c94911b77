"""How often and how long it is tried to bring an order to its node. Pure: no clock, no database."""

from __future__ import annotations

from datetime import timedelta

TRIES_MOST = 4
TRIED_FOR = timedelta(seconds=20)
"""An order is given up when both are over: a relay that is restarted is back by then."""
PAUSE_LEAST_S, PAUSE_MOST_S = 2.0, 8.0
"""Before a gateway that failed is asked again."""
WAITED_FOR = timedelta(minutes=2)
"""So long an order waits for a gateway where there is none. That is no fault of its node."""

TIMEOUT_S = 15.0
SLOWEST_BYTES_PER_S = 250_000
"""A gateway has TIMEOUT_S, and longer for more than a little: from the panel, and through the circuit."""
SLACK_S = 5.0
"""Beyond its time, for its answer."""
BEGINS_WITHIN_S = 30.0
"""A node whose gateway says that it has its order begins within this, or is brought it by another gateway."""


def timeout_s(size: int) -> float:
    """For a gateway, of so many bytes of content."""
    return TIMEOUT_S + size / SLOWEST_BYTES_PER_S


def pause(tries: int) -> timedelta:
    """Before the next try, after so many that failed."""
    return timedelta(seconds=min(PAUSE_LEAST_S * 2.0 ** (tries - 1), PAUSE_MOST_S))


def is_lost(tries: int, age: timedelta) -> bool:
    """Whether it is given up after so many failed tries, so long after the order was made."""
    return tries >= TRIES_MOST and age >= TRIED_FOR

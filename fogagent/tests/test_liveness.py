"""When a link says that it is alive, and when it is over."""

from __future__ import annotations

import pytest

from fogagent.overlay.liveness import Due, LinkTimes, Liveness

TIMES = LinkTimes(keep_alive_s=30, silent_s=90, unused_s=300)


def due(
    *,
    heard: float = 0,
    said: float = 0,
    used: float = 0,
    kept: bool = False,
    held: bool = False,
    blocked: bool = False,
) -> Due:
    """What is due, with the times that have passed since."""
    liveness = Liveness(heard_at=-heard, said_at=-said, used_at=-used)
    return liveness.due(0.0, TIMES, kept=kept, held=held, blocked=blocked)


def test_who_said_nothing_for_a_while_says_so() -> None:
    assert due(said=29.9) is Due.NOTHING
    assert due(said=30) is Due.KEEP_ALIVE
    assert due(said=30, blocked=True) is Due.NOTHING, "what waits will say it"


def test_a_silent_link_is_dead_unless_we_do_not_listen() -> None:
    assert due(heard=89.9) is Due.NOTHING
    assert due(heard=90) is Due.SILENT
    assert due(heard=900, kept=True) is Due.SILENT, "wanting it does not make it live"
    assert due(heard=900, held=True) is Due.NOTHING


def test_an_unused_link_is_closed_unless_somebody_keeps_it() -> None:
    assert due(used=299.9) is Due.NOTHING
    assert due(used=300) is Due.UNUSED
    assert due(used=300, kept=True) is Due.NOTHING
    assert due(used=300, blocked=True) is Due.NOTHING, "it still has something to carry"
    assert due(used=300, held=True) is Due.NOTHING, "the peer may have sent what we do not read yet"


def test_times_that_would_end_live_links_are_refused() -> None:
    with pytest.raises(ValueError, match="at least twice"):
        LinkTimes(keep_alive_s=30, silent_s=59)


def test_links_are_looked_at_often_enough() -> None:
    assert TIMES.check_s <= TIMES.keep_alive_s / 2
    assert TIMES.keep_alive_s + TIMES.check_s < TIMES.silent_s / 2, "a late keep-alive is still in time"

"""Whose connection an exit ends for another, when it has as many as it takes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

from hypothesis import given, settings
from hypothesis import strategies as st

from fogagent.overlay.exit_places import Places

clock: Iterator[int] = count()


@dataclass(eq=False)
class Way:
    circuit: str
    peer: bytes = b"relay"
    used_at: float = field(default_factory=lambda: next(clock))


def test_one_circuit_has_all_that_nobody_else_wants() -> None:
    places = Places[Way](8)
    assert [places.take(Way("a")) for _ in range(8)] == [None] * 8
    assert len(places) == 8


def test_the_circuit_that_has_most_gives_up_what_was_idle_for_longest() -> None:
    places = Places[Way](4)
    ways = [Way("greedy") for _ in range(3)]
    for way in (Way("modest"), *ways):
        places.take(way)
    ways[0].used_at = next(clock)
    assert places.take(Way("modest")) is ways[1]
    assert places.take(Way("greedy")) is ways[2], "it has its share, and takes from itself"
    assert ways[0] in set(places)


def test_a_peer_has_no_more_for_having_many_circuits() -> None:
    places = Places[Way](10)
    for number in range(100):
        places.take(Way(f"hostile {number}", peer=b"bad"))
    mine = [Way("mine", peer=b"good") for _ in range(6)]
    losers = [places.take(way) for way in mine]
    assert all(loser is not None and loser.peer == b"bad" for loser in losers[:5])
    assert losers[5] is mine[0], "half is its share"


def test_what_is_released_is_free_again_and_may_be_released_twice() -> None:
    places = Places[Way](1)
    places.take(first := Way("a"))
    second = Way("a")
    assert places.take(second) is first
    places.release(first)
    assert list(places) == [second]
    places.release(second)
    assert len(places) == 0
    assert places.take(Way("b")) is None


peers = st.sampled_from([b"p", b"q", b"r"])


@settings(deadline=None)
@given(st.lists(st.tuples(peers, st.integers(0, 3), st.booleans())), st.integers(1, 6))
def test_nobody_with_less_than_an_equal_share_loses_any(
    events: list[tuple[bytes, int, bool]], most: int
) -> None:
    places = Places[Way](most)
    for peer, number, releases in events:
        mine = [way for way in places if way.peer == peer]
        if releases and mine:
            places.release(mine[0])
            continue
        loser = places.take(newcomer := Way(f"{peer!r} {number}", peer))
        assert newcomer in set(places)
        assert len(places) <= most
        if loser is not None:
            everybody = [*places, loser]
            of_loser = sum(way.peer == loser.peer for way in everybody)
            assert of_loser * len({way.peer for way in everybody}) > most
            circuits = [way.circuit for way in everybody if way.peer == loser.peer]
            assert circuits.count(loser.circuit) * len(set(circuits)) >= len(circuits)

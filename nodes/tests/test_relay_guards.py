"""Who is a guard: seen for long and fast; where too few are, the steadiest."""

from __future__ import annotations

from collections.abc import Collection
from random import Random

from nodes.relay_directory.guards import GUARDS_LEAST, Candidate, choose_guards

STEADY_S = 1000.0
NOW = 10_000.0


def guards(*candidates: tuple[float, int], away: Collection[int] = ()) -> set[int]:
    """Of nodes 0, 1, … that were seen for so many seconds and have so many kbit/s."""
    given = [
        Candidate(node, NOW - seen_s, kbps, is_there=node not in away)
        for node, (seen_s, kbps) in enumerate(candidates)
    ]
    return set(choose_guards(given, NOW, STEADY_S))


def test_nobody_is_nobody() -> None:
    assert guards() == set()


def test_seen_for_the_stated_time_and_at_least_as_fast_as_the_median() -> None:
    fast_and_steady, slow, new = (1000, 50), (2000, 40), (999, 60)
    assert guards(*[fast_and_steady] * 6, *[slow] * 5, *[new] * 4) == {0, 1, 2, 3, 4, 5}


def test_who_was_not_measured_counts_as_the_median() -> None:
    assert guards((1000, 0), (1000, 0), (1000, 10), (1000, 30), (1000, 50)) == {0, 1, 3, 4}


def test_in_a_young_fog_those_seen_longest_serve() -> None:
    assert guards(*[(seen_s, 0) for seen_s in (1, 9, 8, 2, 7)]) == {1, 2, 4}
    assert guards((0, 0)) == {0}
    assert len(guards(*[(seen_s, 0) for seen_s in range(30)])) == 10


def test_the_first_to_have_been_seen_long_enough_is_not_alone() -> None:
    assert guards((1000, 0), *[(seen_s, 0) for seen_s in range(900, 870, -1)]) == set(range(11))


def test_the_slow_fill_up_last() -> None:
    assert guards((2000, 1), (5, 100), (6, 100), (2000, 2)) == {0, 1, 2}


def test_while_guards_are_away_others_stand_in_for_them_until_there_are_enough() -> None:
    young = [(seen_s, 0) for seen_s in (9, 8, 7, 6, 5, 4)]
    assert guards(*young) == {0, 1, 2}
    assert guards(*young, away={1}) == {0, 1, 2, 3}
    assert guards(*young, away={0, 1, 2, 4}) == {0, 1, 2, 3, 5}
    assert guards(*[(1000, 0)] * 9, away={0, 1, 2, 3, 4, 5}) == set(range(9))


def test_newcomers_displace_nobody_and_there_are_always_enough() -> None:
    rng = Random(3)
    seen: list[tuple[float, int]] = [(1500.0, 0)]
    before: set[int] = set()
    for _ in range(100):
        after = guards(*seen)
        assert len(after) >= min(len(seen), max(GUARDS_LEAST, len(seen) / 3))
        assert before <= after
        before = after
        seen.append((seen[-1][0] * rng.uniform(0.9, 1), 0))

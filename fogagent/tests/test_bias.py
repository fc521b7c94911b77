"""When a guard carries so little on that it is set aside, and when it is the network instead."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fogagent.overlay.onion.bias import (
    COUNTED_S,
    ENOUGH,
    EXTREME,
    RELAYS_KEPT,
    TRIES_KEPT,
    Count,
    Tally,
    set_aside,
)

NOW = 1_000_000.0
A, B, C, D = (bytes([number]) * 32 for number in range(4))


def counted(circuits: int, carried: int) -> Count:
    """Over as many relays as circuits."""
    count = Count()
    for number in range(circuits):
        count = count.plus(number.to_bytes(32, "big"), number < carried, NOW)
    return count


BAD, GOOD, NEW = counted(ENOUGH, 2), counted(ENOUGH, 15), counted(ENOUGH - 1, 0)


@pytest.mark.parametrize(
    ("counts", "aside"),
    [
        ({}, set()),
        ({A: GOOD}, set()),
        ({A: NEW}, set()),
        ({A: BAD}, {A}),
        ({A: BAD, B: NEW}, {A}),
        ({A: BAD, B: GOOD}, {A}),
        ({A: BAD, B: BAD}, set()),
        ({A: BAD, B: BAD, C: GOOD}, set()),
        ({A: BAD, B: BAD, C: GOOD, D: GOOD}, {A, B}),
        ({A: counted(100, 30)}, set()),
        ({A: counted(100, 29)}, {A}),
    ],
)
def test_those_that_carry_extremely_little_are_set_aside_unless_most_do(
    counts: dict[bytes, Count], aside: set[bytes]
) -> None:
    assert set_aside(counts, NOW) == aside


def test_after_a_while_it_has_another_chance() -> None:
    assert set_aside({A: BAD}, NOW + COUNTED_S - 1) == {A}
    assert set_aside({A: BAD}, NOW + COUNTED_S) == set()
    assert BAD.plus(A, True, NOW + COUNTED_S) == Count(1, {A.hex(): Tally(1, 1)}, NOW + COUNTED_S)


def test_a_clock_that_was_set_back_holds_nothing_against_anybody() -> None:
    assert set_aside({A: BAD}, NOW - 1) == set()


def test_what_is_long_ago_does_not_hide_what_is_now() -> None:
    count = Count()
    for _ in range(10 * TRIES_KEPT):
        count = count.plus(A, True, NOW)
    turned_bad = 0
    while count.share >= EXTREME:
        count = count.plus(A, False, NOW)
        turned_bad += 1
    assert turned_bad <= 2 * TRIES_KEPT


def test_many_circuits_through_the_few_relays_that_it_lets_us_have_hide_nothing() -> None:
    count = Count()
    for number in range(10):
        count = count.plus(bytes([number]) * 32, number == 0, NOW)
    for _ in range(1000):
        count = count.plus(A, True, NOW)
    assert count.share == pytest.approx(0.1)
    assert set_aside({B: count}, NOW) == {B}


@given(st.lists(st.tuples(st.integers(0, 2 * RELAYS_KEPT), st.booleans()), max_size=500))
def test_counts_stay_in_bounds(went: list[tuple[int, bool]]) -> None:
    count = Count()
    for number, carried in went:
        count = count.plus(number.to_bytes(32, "big"), carried, NOW)
    assert count.circuits == len(went)
    assert len(count.beyond) == min(RELAYS_KEPT, len(dict(went)))
    assert all(0 <= one.carried <= one.tried <= TRIES_KEPT and one.tried for one in count.beyond.values())
    assert 0 <= count.share <= 1

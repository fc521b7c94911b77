"""The token bucket, with a clock of the test's own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fogagent.overlay.rate import RateLimit


def test_a_burst_is_free_and_what_exceeds_it_costs_time() -> None:
    limit = RateLimit(per_s=1000, burst=500, now=0)
    assert limit.take(500, now=0) == 0
    assert limit.take(250, now=0) == pytest.approx(0.25)
    assert limit.take(250, now=0.25) == pytest.approx(0.25)


def test_rest_fills_the_bucket_but_not_beyond_the_burst() -> None:
    limit = RateLimit(per_s=1000, burst=500, now=0)
    limit.take(500, now=0)
    assert limit.take(0, now=3600) == 0
    assert limit.take(501, now=3600) == pytest.approx(0.001)


def test_a_clock_that_goes_back_gives_nothing() -> None:
    limit = RateLimit(per_s=1000, burst=0, now=10)
    assert limit.take(100, now=5) == pytest.approx(0.1)
    assert limit.take(0, now=10) == pytest.approx(0.1)
    assert limit.take(0, now=10.1) == pytest.approx(0)


@pytest.mark.parametrize(("per_s", "burst"), [(0, 1), (-1, 1), (1, -1)])
def test_a_limit_that_lets_nothing_through_is_refused(per_s: float, burst: float) -> None:
    with pytest.raises(ValueError, match="let something through"):
        RateLimit(per_s, burst, now=0)


def test_what_is_refused_makes_no_debt() -> None:
    limit = RateLimit(per_s=10, burst=2, now=0)
    assert [limit.take_if_allowed(1, now=0) for _ in range(4)] == [True, True, False, False]
    assert limit.take_if_allowed(1, now=0.1)
    assert not limit.take_if_allowed(1, now=0.1)


def test_a_limit_that_has_rested_is_as_good_as_new() -> None:
    limit = RateLimit(per_s=10, burst=2, now=0)
    assert limit.has_rested(now=0)
    limit.take(1, now=0)
    assert not limit.has_rested(now=0.05)
    assert limit.has_rested(now=0.1)


@given(
    st.floats(1, 1e9),
    st.floats(0, 1e6),
    st.lists(st.tuples(st.integers(0, 10**6), st.floats(0, 10)), max_size=30),
)
def test_who_rests_as_told_never_exceeds_the_rate(
    per_s: float, burst: float, steps: list[tuple[int, float]]
) -> None:
    limit, now, taken = RateLimit(per_s, burst, now=0), 0.0, 0
    for size, idle_s in steps:
        now += idle_s
        rest_s = limit.take(size, now)
        taken += size
        now += rest_s
        assert taken <= burst + per_s * now * (1 + 1e-9) + 1e-3

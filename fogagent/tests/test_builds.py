"""How long circuits are waited for: learned, and learned anew."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fogagent.overlay.onion.builds import (
    BOUNDS_MS,
    CEILING_S,
    ENOUGH,
    FIRST_S,
    FLOOR_S,
    IN_A_ROW,
    KEPT,
    MAX_HOPS,
    BuildTimes,
    round_trips,
)


def experience(times: BuildTimes, takes: Callable[[], float], builds: int, hops: int = 3) -> float:
    """Build so many circuits that take so long, as a shell does; returns the share that was given up."""
    given_up = 0
    for _ in range(builds):
        seconds = takes()
        if seconds <= times.timeout_s(hops):
            times.note(seconds, hops)
        else:
            times.note_failure()
            given_up += 1
    return given_up / builds


def test_waits_long_until_enough_is_known() -> None:
    times = BuildTimes()
    for _ in range(ENOUGH - 1):
        times.note(0.5)
    assert times.timeout_s() == FIRST_S
    times.note(0.5)
    assert times.timeout_s() == pytest.approx(1.0)


def test_twice_what_all_but_five_in_a_hundred_took() -> None:
    times = BuildTimes()
    for hundredth in range(1, 101):
        times.note(hundredth / 10)
    assert times.timeout_s() == pytest.approx(2 * 9.5)


def test_keeps_between_floor_and_ceiling() -> None:
    fast, slow = BuildTimes(), BuildTimes()
    for _ in range(ENOUGH):
        fast.note(0.002)
        slow.note(59.0)
    assert fast.timeout_s() == FLOOR_S
    assert slow.timeout_s() == CEILING_S


def test_lengths_teach_each_other_by_round_trips() -> None:
    """A network in which each round trip takes 0.2 s: what was learned with three hops fits all lengths."""
    times = BuildTimes()
    for _ in range(ENOUGH):
        times.note(0.2 * round_trips(3), hops=3)
    for hops in range(1, MAX_HOPS + 1):
        assert times.timeout_s(hops) == pytest.approx(2 * 0.2 * round_trips(hops))
        times.note(0.2 * round_trips(hops), hops)
    assert times.timeout_s() == pytest.approx(2 * 0.2 * round_trips(3))


@pytest.mark.parametrize(("hops", "expected"), [(1, 3), (2, 7), (3, 12), (8, 52)])
def test_round_trips(hops: int, expected: int) -> None:
    assert round_trips(hops) == expected


def test_a_heavy_tail_is_not_cut_shorter_and_shorter() -> None:
    """Pareto with exponent 1, of which what is given up is never seen to its end."""
    rng = Random(1)
    times = BuildTimes()
    experience(times, lambda: 0.3 * rng.paretovariate(1), 2000)
    early_s = times.timeout_s()
    share = experience(times, lambda: 0.3 * rng.paretovariate(1), 5000)
    assert 0.02 < share < 0.08
    assert times.timeout_s() > 0.3 * 10
    assert times.timeout_s() > early_s / 2


def test_hardly_gives_up_anything_in_a_network_like_ours() -> None:
    rng = Random(2)
    times = BuildTimes()
    share = experience(times, lambda: rng.lognormvariate(-0.5, 0.5), 2000)
    assert share < 0.01
    assert times.timeout_s() < 5.0


@pytest.mark.parametrize("slower", [3, 10, 40])
def test_recovers_from_a_network_that_got_slower(slower: float) -> None:
    rng = Random(3)
    times = BuildTimes()
    experience(times, lambda: rng.lognormvariate(-1, 0.4), KEPT)
    before_s = times.timeout_s()
    assert before_s < 2.0

    experience(times, lambda: slower * rng.lognormvariate(-1, 0.4), 60)
    assert experience(times, lambda: slower * rng.lognormvariate(-1, 0.4), 300) < 0.05
    assert times.timeout_s() > before_s


def test_learns_that_a_network_got_faster() -> None:
    times = BuildTimes()
    experience(times, lambda: 5.0, KEPT)
    assert times.timeout_s() == pytest.approx(10.0)
    experience(times, lambda: 0.6, KEPT)
    assert times.timeout_s() == pytest.approx(1.2)


def test_failures_in_a_row_double_the_wait_up_to_the_ceiling() -> None:
    times = BuildTimes()
    for _ in range(ENOUGH):
        times.note(1.0)
    waits = []
    for _ in range(6):
        waits.append(times.timeout_s())
        for _ in range(IN_A_ROW):
            times.note_failure()
    assert waits == pytest.approx([2, 4, 8, 16, 32, CEILING_S])
    for _ in range(10_000):
        times.note_failure()
    assert times.timeout_s() == CEILING_S


def test_a_success_in_the_usual_time_ends_the_doubling() -> None:
    """So dead relays, which answer never, do not make us forget how fast the others are."""
    times = BuildTimes()
    for _ in range(ENOUGH):
        times.note(1.0)
    for _ in range(2 * IN_A_ROW):
        times.note_failure()
    times.note(1.5)
    assert times.timeout_s() == pytest.approx(2.0)
    assert sum(bucket.builds for bucket in times.histogram()) == ENOUGH + 1


def test_a_success_that_only_the_doubling_let_through_starts_anew() -> None:
    times = BuildTimes()
    for _ in range(KEPT):
        times.note(1.0)
    for _ in range(2 * IN_A_ROW):
        times.note_failure()
    assert times.timeout_s() == pytest.approx(8.0)
    times.note(3.0)
    assert times.timeout_s() == pytest.approx(8.0), "what let it through stays until enough is known"
    for _ in range(ENOUGH - 1):
        times.note(3.0)
    assert times.timeout_s() == pytest.approx(6.0)


def test_takes_in_what_came_too_late() -> None:
    times = BuildTimes()
    times.note(25.0)
    assert times.timeout_s() == pytest.approx(50.0)


def test_dead_paths_do_not_teach() -> None:
    """Two of three paths lead through a dead relay; the others take a third of a second."""
    rng = Random(4)
    times = BuildTimes()
    experience(times, lambda: 0.35 if rng.random() < 1 / 3 else float("inf"), 3000)
    times.note(0.35)
    assert times.timeout_s() == FLOOR_S


def test_shows_how_long_builds_took() -> None:
    times = BuildTimes()
    for seconds, hops in [(0.004, 3), (0.005, 3), (0.030, 3), (0.030, 2), (2.5, 3)]:
        times.note(seconds, hops)
    assert {up_to: builds for up_to, builds in times.histogram() if builds} == {5: 2, 50: 2, 5000: 1}
    assert {up_to: builds for up_to, builds in times.histogram(hops=2) if builds} == {50: 1}
    assert [bucket.up_to_ms for bucket in times.histogram()] == list(BOUNDS_MS)


builds = st.lists(st.tuples(st.floats(0, 100), st.integers(1, MAX_HOPS)), max_size=60)


@settings(deadline=None)
@given(builds, st.integers(0, 10))
def test_keeps_its_bounds_whatever_happens(noted: list[tuple[float, int]], failures: int) -> None:
    times = BuildTimes()
    for seconds, hops in noted:
        times.note(seconds, hops)
        for _ in range(failures):
            times.note_failure()
        assert all(FLOOR_S <= times.timeout_s(each) <= CEILING_S for each in range(1, MAX_HOPS + 1))


@settings(deadline=None)
@given(builds)
def test_survives_a_restart(noted: list[tuple[float, int]]) -> None:
    times = BuildTimes()
    for seconds, hops in noted:
        times.note(seconds, hops)
    again = BuildTimes.decode(times.encode())
    assert again.timeout_s() == pytest.approx(times.timeout_s(), rel=1e-4)
    assert again.histogram() == times.histogram()


def test_keeps_no_more_than_the_most_recent() -> None:
    times = BuildTimes()
    for _ in range(3 * KEPT):
        times.note(0.1)
    assert sum(bucket.builds for bucket in times.histogram()) == KEPT
    assert len(times.encode()) < 20_000


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"[]",
        b"\xff\xfe",
        b'{"builds":[[0,1.0]]}',
        b'{"builds":[[9,1.0]]}',
        b'{"builds":[[3,-1.0]]}',
        b'{"builds":[[3,1e9]]}',
        b'{"builds":[[3,NaN]]}',
        b'{"builds":[],"first_s":0}',
        BuildTimes().encode()[:-1],
    ],
)
def test_begins_anew_when_what_was_kept_is_damaged(damaged: bytes) -> None:
    times = BuildTimes.decode(damaged)
    assert times.timeout_s() == FIRST_S


@settings(deadline=None)
@given(st.binary(max_size=100))
def test_decodes_anything(raw: bytes) -> None:
    assert FLOOR_S <= BuildTimes.decode(raw).timeout_s() <= CEILING_S

"""Nodes that misbehave are left alone for a growing while, and never most of a fleet at once."""

from __future__ import annotations

import pytest

from coordinator.behaviour import GROWTH_MOST, Cooling, Flapping, FlapRule, may_hold_back
from coordinator.tests.fleets import NOW

STEADY = Flapping()
RULE = FlapRule(most=3, window_s=600, steady_s=60)


def broken(times: int, state: Flapping = STEADY, start: float = NOW) -> Flapping:
    for number in range(times):
        state = state.broke(start + number, RULE)
    return state


def unstable_again(state: Flapping, quiet_s: float) -> Flapping:
    assert state.until is not None
    return broken(4, state.steadied(), state.until + quiet_s)


def test_as_many_breaks_as_allowed_have_no_consequence() -> None:
    assert broken(3).since is None


def test_one_more_makes_it_unstable_until_it_was_steady() -> None:
    state = broken(4)
    assert (state.since, state.until) == (NOW + 3, NOW + 3 + 60)
    assert not state.is_steady(NOW + 62)
    assert state.is_steady(NOW + 63)


def test_breaks_far_apart_do_not_add_up() -> None:
    state = Flapping()
    for number in range(10):
        state = state.broke(NOW + 300 * number, RULE)
    assert state.since is None
    assert len(state.flaps) <= RULE.most


def test_each_break_and_each_connection_begin_the_wait_anew() -> None:
    state = broken(4)
    assert state.broke(NOW + 40, RULE).until == NOW + 100
    assert state.connected(NOW + 50).until == NOW + 110
    assert state.broke(NOW + 40, RULE).since == state.since


def test_it_has_to_be_steady_for_longer_each_time_up_to_a_limit() -> None:
    state, held = broken(4), []
    for _ in range(9):
        held.append(state.hold_s)
        state = unstable_again(state, quiet_s=0)
    assert held[:3] == [60, pytest.approx(120, rel=0.01), pytest.approx(240, rel=0.02)]
    assert held == sorted(held)
    assert held[-1] <= GROWTH_MOST * 60


def test_a_long_steady_time_is_rewarded() -> None:
    state = unstable_again(broken(4), quiet_s=0)
    assert unstable_again(state, quiet_s=6000).hold_s == 60


def test_once_steady_only_new_breaks_count() -> None:
    state = broken(4).steadied()
    assert broken(3, state, NOW + 100).since is None


def test_where_too_many_are_held_back_it_is_only_noted() -> None:
    state = broken(3).broke(NOW + 3, RULE, may_hold=lambda: False)
    assert state.since is None
    assert state.broke(NOW + 4, RULE).since == NOW + 4


def test_failures_cool_down_for_twice_as_long_each_time_up_to_a_limit() -> None:
    state, times = Cooling(), []
    for _ in range(8):
        state = state.failed(NOW, 10)
        times.append(state.cool_s)
        state = Cooling(state.cool_s)
    assert times == [10, 20, 40, 80, 160, 320, 600, 600]


def test_what_fails_while_it_cools_down_adds_nothing() -> None:
    state = Cooling().failed(NOW, 10)
    assert state.failed(NOW + 5, 10) == state
    assert (state.is_over(NOW + 9), state.is_over(NOW + 10)) == (False, True)


def test_success_halves_it_and_forgets_it_in_the_end() -> None:
    assert Cooling(40).succeeded(10).cool_s == 20
    assert Cooling(10).succeeded(10).cool_s == 0


@pytest.mark.parametrize(
    ("held", "nodes", "may"), [(0, 1, False), (0, 2, True), (1, 3, False), (1, 4, True), (2, 5, False)]
)
def test_at_most_half_is_held_back(held: int, nodes: int, may: bool) -> None:
    assert may_hold_back(held, nodes) is may

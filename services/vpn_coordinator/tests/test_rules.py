"""The pure parts: rates, pools, costs, and how the probe judges."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.absent import Absent
from services.exit_echo import Echo
from services.models import State
from services.vpn_coordinator.costs import Measured, by_hops, by_pool, cost
from services.vpn_coordinator.pools import POOLS, pool_of
from services.vpn_coordinator.rates import Count, counted
from services.vpn_coordinator.rules import Checked, Fog, judge
from services.vpn_coordinator.standing import Standing

T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)
READY = Fog(exits=3, regions=2, entries=1, relays=5, hops=5)
NO_EXITS = replace(READY, exits=0, regions=0)
FEW = replace(READY, relays=2, hops=2)
GONE = Absent(2, ("left", "right"))


def after(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def test_a_rate_needs_two_statuses_some_time_apart() -> None:
    first = counted(Count(None, 0, None), 1000, T0)
    assert first == Count(T0, 1000, None)
    assert counted(first, 9000, after(0.2)) is first
    assert counted(first, 3000, after(4)) == Count(after(4), 3000, 500.0)


def test_bytes_that_shrank_were_begun_anew() -> None:
    assert counted(Count(T0, 1000, 5.0), 10, after(9)) == Count(after(9), 10, None)


def test_what_lies_long_back_says_nothing_about_now() -> None:
    assert counted(Count(T0, 0, 5.0), 10_000, after(3600)).bytes_per_s is None


def test_every_number_of_hops_has_its_pool() -> None:
    assert [pool_of(hops).name for hops in range(1, 9)] == ["public", "private"] + 6 * ["confidential"]
    assert [pool.hops_in_words for pool in POOLS] == ["1 hop", "2 hops", "3 to 8 hops"]


def test_costs_are_measured_or_said_not_to_be() -> None:
    figures = [Measured(3, 20, 5e6), Measured(3, 60, None), Measured(3, 40, 7e6), Measured(4, None, None)]
    costs = {hops: cost for hops, _, cost in by_hops(figures)}
    assert (costs[3].build_ms, costs[3].best_bytes_per_s, costs[3].tunnels) == (40, 7e6, 3)
    assert (costs[4].build_ms, costs[4].best_bytes_per_s, costs[4].tunnels) == (None, None, 0)
    assert costs[1] == cost([])
    assert [(pool.name, one.tunnels) for pool, one in by_pool(figures)] == [
        ("public", 0),
        ("private", 0),
        ("confidential", 3),
    ]


def tunnel(standing: Standing = Standing.OPEN, **different: Any) -> Checked:
    usual = {"name": "web", "sentence": "", "age_s": 999.0, "clients": 1, "bytes_per_s": None}
    return Checked(standing=standing, **{**usual, **different})


BROKEN = tunnel(Standing.BROKEN, name="mail", sentence="The port is taken.")


@pytest.mark.parametrize(
    ("tunnels", "fog", "state", "sentence"),
    [
        ([], READY, State.OPERATIONAL, "No tunnel yet; 3 exits in 2 regions are ready."),
        (
            [],
            replace(READY, exits=1, regions=1),
            State.OPERATIONAL,
            "No tunnel yet; 1 exit in 1 region is ready.",
        ),
        (
            [],
            NO_EXITS,
            State.DEGRADED,
            "No tunnel yet, and no exit is ready. Start an agent with relay,exit among its --flags where "
            "traffic may leave.",
        ),
        (
            [],
            replace(READY, entries=0, hops=0),
            State.DEGRADED,
            "No tunnel yet; 3 exits in 2 regions would do, but no connected node grants entry. Start an "
            "agent with entry among its --flags on a machine whose programs are to use tunnels.",
        ),
        ([tunnel(), tunnel(clients=0)], READY, State.OPERATIONAL, "2 tunnels open, 1 client"),
        ([tunnel(clients=2)], READY, State.OPERATIONAL, "1 tunnel open, 2 clients"),
        (
            [tunnel(), BROKEN],
            READY,
            State.DEGRADED,
            "1 of 2 tunnels is not open. mail: The port is taken.",
        ),
        ([BROKEN, BROKEN], READY, State.DOWN, "No tunnel is open. mail: The port is taken."),
        (
            [tunnel()],
            NO_EXITS,
            State.DOWN,
            "No exit is ready: nothing can leave the fog. Start an agent with relay,exit among its --flags "
            "where traffic may leave.",
        ),
        ([tunnel(Standing.ORDERED, age_s=1)], READY, State.OPERATIONAL, "1 tunnel being opened"),
        (
            [tunnel(), tunnel(Standing.ORDERED, name="late", sentence="Nothing told.")],
            READY,
            State.DEGRADED,
            "1 of 2 tunnels is not open. late: Nothing told.",
        ),
        (
            [tunnel(), tunnel(Standing.SILENT, name="x", sentence="Silent."), tunnel(Standing.GONE)],
            READY,
            State.DEGRADED,
            "2 of 3 tunnels are not open. x: Silent.",
        ),
    ],
)
def test_the_verdict(tunnels: list[Checked], fog: Fog, state: State, sentence: str) -> None:
    found = judge(tunnels, fog)
    assert (found.state, found.sentence) == (state, sentence)


@pytest.mark.parametrize(
    ("tunnels", "fog", "state", "sentence"),
    [
        (
            [],
            replace(NO_EXITS, absent_exits=GONE),
            State.DEGRADED,
            "No tunnel yet, and no exit is ready. Start the agents of left and right again.",
        ),
        (
            [],
            replace(READY, entries=0, hops=0, absent_entries=GONE),
            State.DEGRADED,
            "No tunnel yet; 3 exits in 2 regions would do, but no connected node grants entry. Start the "
            "agents of left and right again.",
        ),
        (
            [],
            replace(FEW, absent_relays=GONE),
            State.DEGRADED,
            "No tunnel yet, and none can be built. 3 hops need as many relays besides the entry, and 2 of 4 "
            "are connected. Start the agents of left and right again.",
        ),
        (
            [],
            FEW,
            State.DEGRADED,
            "No tunnel yet, and none can be built. 3 hops need as many relays besides the entry, and 2 are "
            "ready. Start agents with relay among their --flags, at addresses that other nodes reach.",
        ),
        (
            [tunnel()],
            replace(FEW, absent_relays=Absent(1, ("left",))),
            State.DEGRADED,
            "No new circuit can be built for web. 3 hops need as many relays besides the entry, and 2 of 3 "
            "are connected. Start the agent of left again.",
        ),
        ([tunnel(hops=2)], FEW, State.OPERATIONAL, "1 tunnel open, 1 client"),
        (
            [tunnel(Standing.STUCK, sentence="No relay for the middle.")],
            replace(FEW, absent_relays=GONE),
            State.DOWN,
            "No tunnel is open. web: 3 hops need as many relays besides the entry, and 2 of 4 are connected. "
            "Start the agents of left and right again.",
        ),
        (
            [tunnel(Standing.STUCK, sentence="No relay for the middle.")],
            READY,
            State.DOWN,
            "No tunnel is open. web: No relay for the middle.",
        ),
        (
            [tunnel(Standing.SILENT, sentence="Silent.")],
            replace(FEW, absent_relays=GONE),
            State.DOWN,
            "No tunnel is open. web: Silent.",
        ),
    ],
)
def test_what_is_missing_is_counted_and_who_is_away_is_named(
    tunnels: list[Checked], fog: Fog, state: State, sentence: str
) -> None:
    found = judge(tunnels, fog)
    assert (found.state, found.sentence) == (state, sentence)


def test_the_sentence_fits_into_its_column() -> None:
    long = tunnel(Standing.BROKEN, sentence="w" * 500)
    assert len(judge([long], READY).sentence) == 300


def test_nothing_measured_is_no_number() -> None:
    figures = {figure.label: figure.value for figure in judge([tunnel()], READY).figures}
    assert figures["throughput"] is None
    rates = [tunnel(bytes_per_s=1500.0), tunnel(bytes_per_s=500.0), tunnel()]
    figures = {figure.label: figure.value for figure in judge(rates, READY).figures}
    assert (figures["throughput"], figures["open tunnels"], figures["clients"]) == (2.0, 3, 3)


def test_what_came_back_from_an_exit_counts_and_is_shown() -> None:
    well = replace(READY, echo=Echo(ok=True, sentence="", took_ms=4.5321))
    found = judge([tunnel()], well)
    assert found.state == State.OPERATIONAL
    assert {figure.label: figure.value for figure in found.figures}["exit echo"] == 4.5
    ill = replace(READY, echo=Echo(ok=False, sentence="relay-2: It was stopped.", took_ms=None))
    state = judge([tunnel()], ill)
    assert (state.state, "relay-2" in state.sentence) == (State.DEGRADED, True)
    state = judge([], ill)
    assert (state.state, "relay-2" in state.sentence) == (State.DEGRADED, True)

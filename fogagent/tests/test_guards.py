"""Guards: few, kept for weeks, and used in their order."""

from __future__ import annotations

from base64 import b64encode
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fogagent.overlay.directory import Directory
from fogagent.overlay.onion.bias import COUNTED_S
from fogagent.overlay.onion.guards import (
    ALL_DOWN_RETRY_S,
    CAP_RETRY_S,
    DAY_S,
    DRAWN_WHILE_DOWN,
    FIRST_RETRY_S,
    LIFETIME_S,
    MAX_KEPT,
    UNLISTED_S,
    Guards,
)
from fogagent.overlay.onion.path import NoPath, Wishes, choose
from fogagent.overlay.onion.roster import Roster
from fogagent.tests.directories import by_identity, relay

NOW = 1_000_000.0
A, B, C = (bytes([number]) * 32 for number in range(3))
ALL = frozenset({A, B, C})


def three() -> Guards:
    guards = Guards()
    for identity in (A, B, C):
        guards.keep(identity, Random(1), NOW)
    return guards


def roster(*numbers: int) -> Roster:
    """Relays that may be everything, in networks of their own."""
    relays = [
        relay(number, address=f"10.{number % 250}.0.1:9000", flags=["relay", "exit", "guard"])
        for number in numbers
    ]
    return Roster(Directory(1, NOW, NOW + 1, by_identity(relays)))


def entry(guards: Guards, among: Roster, rng: Random, now: float) -> bytes:
    return choose(among, Wishes(), guards, b"me" * 16, rng, now)[0].identity


def test_used_as_they_were_drawn_then_as_they_were_reached() -> None:
    guards = three()
    assert guards.usable(ALL, NOW) == [A, B, C]
    guards.reached(C, NOW)
    guards.reached(B, NOW + 1)
    assert guards.usable(ALL, NOW) == [C, B, A]
    guards.reached(C, NOW + 2)
    guards.reached(A, NOW + 3)
    assert guards.usable(ALL, NOW) == [C, B, A]


def test_the_next_one_is_used_while_the_first_cannot_be_reached() -> None:
    guards = three()
    guards.reached(A, NOW)
    guards.failed(A, NOW)
    assert guards.usable(ALL, NOW) == [B, C]
    assert guards.wait_s(A, NOW + 4) == FIRST_RETRY_S - 4
    guards.reached(B, NOW)
    assert guards.usable(ALL, NOW + FIRST_RETRY_S) == [A, B, C]


def test_is_tried_again_after_a_growing_while() -> None:
    guards, now = three(), NOW
    pauses = []
    for _ in range(12):
        guards.failed(A, now)
        pauses.append(guards.wait_s(A, now))
        now += pauses[-1]
        assert guards.wait_s(A, now) == 0
    assert pauses[:4] == [10, 20, 40, 80]
    assert pauses[-1] == CAP_RETRY_S
    guards.reached(A, now)
    guards.failed(A, now)
    assert guards.wait_s(A, now) == FIRST_RETRY_S


def test_circuits_that_fail_together_are_one_failure() -> None:
    guards = three()
    for _ in range(10):
        guards.failed(A, NOW)
    assert guards.wait_s(A, NOW) == FIRST_RETRY_S


def test_nobody_waits_for_long_when_none_can_be_reached() -> None:
    guards, now = three(), NOW
    for _ in range(12):
        for identity in ALL:
            guards.failed(identity, now)
        now += CAP_RETRY_S
    for identity in ALL:
        guards.failed(identity, now)
    assert guards.usable(ALL, now + ALL_DOWN_RETRY_S - 1) == []
    assert guards.usable(ALL, now + ALL_DOWN_RETRY_S) == [A, B, C]
    guards.failed(A, now + ALL_DOWN_RETRY_S)
    assert guards.usable(ALL, now + ALL_DOWN_RETRY_S) == [B, C], "a further failure counts"
    guards.reached(B, now + ALL_DOWN_RETRY_S)
    assert guards.usable(ALL, now + ALL_DOWN_RETRY_S) == [B, A, C], "it was not they who were down"


def test_a_guard_that_is_not_listed_does_not_make_the_others_seem_alone() -> None:
    guards, now = three(), NOW
    for _ in range(5):
        guards.failed(A, now)
        now += CAP_RETRY_S
    guards.failed(A, now)
    guards.failed(B, now)
    guards.usable(frozenset({A, B}), now)
    assert guards.wait_s(A, now) == ALL_DOWN_RETRY_S


def test_what_was_counted_of_a_guard_is_kept_with_it_and_said_when_it_is_set_aside() -> None:
    guards = three()
    for number in range(40):
        guards.went(A, C, NOW, carried=number < 5)
        guards.went(B, C, NOW, carried=True)
    guards.went(b"stranger" * 4, C, NOW, carried=False)
    guards = Guards.decode(guards.encode())
    assert guards.aside(NOW) == {A}
    assert guards.aside_sentence(B, NOW) == ""
    assert guards.aside_sentence(A, NOW) == (
        "Set aside: 40 circuits came as far as this guard, and it carried 6% on, each relay behind it"
        " weighing the same. It is used while no other can be."
    )


def test_guards_that_were_kept_before_anything_was_counted_are_read() -> None:
    (a, *_) = three().kept
    old = msgspec.json.encode([{"identity": a.identity, "drawn_at": a.drawn_at, "lasts_s": a.lasts_s}])
    assert Guards.decode(old).kept == (a,)


def test_one_that_was_set_aside_comes_after_those_not_drawn_yet_and_before_nobody() -> None:
    guards = Guards()
    ends = [relay(number, address=f"10.{number}.0.1:9000", flags=["relay", "exit"]) for number in (90, 91)]
    one, other = (
        relay(number, address=f"10.{number}.0.1:9000", flags=["relay", "guard"]) for number in (1, 2)
    )
    alone = Roster(Directory(1, NOW, NOW + 1, by_identity([one, *ends])))
    both = Roster(Directory(1, NOW, NOW + 1, by_identity([one, other, *ends])))
    assert entry(guards, alone, Random(1), NOW) == one.identity
    for _ in range(40):
        guards.went(one.identity, C, NOW, carried=False)
    assert entry(guards, alone, Random(1), NOW) == one.identity
    assert entry(guards, both, Random(1), NOW) == other.identity
    assert entry(guards, both, Random(1), NOW + COUNTED_S) == one.identity


def test_a_clock_that_was_set_back_keeps_nobody_waiting() -> None:
    guards = three()
    guards.failed(A, NOW)
    assert guards.usable(ALL, NOW - DAY_S) == [A, B, C]


def test_a_clock_that_was_ahead_does_not_keep_guards_for_ever() -> None:
    guards = Guards()
    for identity in (A, B):
        guards.keep(identity, Random(1), NOW + 3650 * DAY_S)
    guards.reached(A, NOW + 3650 * DAY_S)
    guards.usable(frozenset({A}), NOW + 3650 * DAY_S)  # which leaves B unlisted since then
    assert guards.usable(frozenset({A}), NOW) == [A]
    assert {each.since for each in guards.kept} == {NOW}
    guards.usable(frozenset({A}), NOW + UNLISTED_S)
    assert [each.identity for each in guards.kept] == [A]
    guards.usable(frozenset({A}), NOW + LIFETIME_S)
    assert guards.kept == ()


def test_forgotten_when_it_has_left_the_directory_for_long() -> None:
    guards = three()
    guards.usable(frozenset({B, C}), NOW)
    assert guards.usable(ALL, NOW + UNLISTED_S - 1) == [A, B, C], "it came back in time"
    guards.usable(frozenset({B, C}), NOW + UNLISTED_S)
    assert len(guards.kept) == 3, "it is counted from when it was last seen to be gone"
    guards.usable(frozenset({B, C}), NOW + 2 * UNLISTED_S)
    assert [each.identity for each in guards.kept] == [B, C]


def test_lasts_for_weeks_from_when_it_was_reached() -> None:
    guards = Guards()
    guards.keep(A, Random(1), NOW)
    guards.reached(A, NOW + 50 * DAY_S)
    assert guards.usable(ALL, NOW + 50 * DAY_S + 0.9 * LIFETIME_S - 1) == [A]
    assert guards.usable(ALL, NOW + 50 * DAY_S + LIFETIME_S) == []
    assert guards.kept == ()


def test_not_everybody_changes_guards_at_once() -> None:
    ends = set()
    for seed in range(200):
        guards = Guards()
        guards.keep(A, Random(seed), NOW)
        ends.add(int(guards.kept[0].lasts_s // DAY_S))
    assert ends == set(range(54, 60))


def test_a_year_of_an_agent() -> None:
    """Ten circuits a day for a year; relays come and go. The entry changes a few times, and rarely."""
    rng = Random(5)
    guards, alive = Guards(), set(range(60))
    entries: list[bytes] = []
    for day in range(365):
        now = NOW + day * DAY_S
        for number in range(60):
            if rng.random() < (0.01 if number in alive else 0.1):  # away for ten days, after a hundred
                alive ^= {number}
        among = roster(*alive)
        guards = Guards.decode(guards.encode())
        for _ in range(10):
            entries.append(entry(guards, among, rng, now))
            guards.reached(entries[-1], now)
        assert len(guards.kept) <= MAX_KEPT
        for each in guards.kept:
            assert now - each.since < LIFETIME_S
            assert each.drawn_at <= each.since
    assert len(set(entries)) <= 30, "of 60: six rotations, and those who stood in"
    changes = sum(one != other for one, other in zip(entries[::10], entries[10::10], strict=False))
    assert 5 <= changes <= 200
    months = [set(entries[begin : begin + 300]) for begin in range(0, 3600, 300)]
    assert sum(map(len, months)) / len(months) < 6
    assert months[0].isdisjoint(months[6])


def test_blocked_ways_do_not_lead_to_ever_more_guards() -> None:
    """Somebody between us and the network lets no guard through but (in the end) those they run."""
    rng, guards, among = Random(6), Guards(), roster(*range(200))
    tried, now = set(), NOW
    for _ in range(2000):
        try:
            identity = entry(guards, among, rng, now)
        except NoPath as error:
            assert "none that could be reached when last tried" in error.sentence
            now += 5
        else:
            tried.add(identity)
            guards.failed(identity, now)
    assert len(tried) == DRAWN_WHILE_DOWN
    assert now < NOW + 5 * 2000


def test_guards_that_are_really_down_are_replaced_once_the_directory_drops_them() -> None:
    rng, guards = Random(7), Guards()
    gone = [entry(guards, roster(*range(20)), rng, NOW)]
    guards.failed(gone[0], NOW)
    while len(gone) < DRAWN_WHILE_DOWN:
        gone.append(entry(guards, roster(*range(20)), rng, NOW))
        guards.failed(gone[-1], NOW)
    with pytest.raises(NoPath):
        entry(guards, roster(*range(20)), rng, NOW)
    among = roster(*range(20, 40))
    fresh = entry(guards, among, rng, NOW)
    assert fresh not in gone


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.binary(min_size=32, max_size=32), st.booleans(), st.booleans()), max_size=MAX_KEPT)
)
def test_survives_a_restart(drawn: list[tuple[bytes, bool, bool]]) -> None:
    guards = Guards()
    for identity, was_reached, has_failed in drawn:
        guards.keep(identity, Random(1), NOW)
        if was_reached:
            guards.reached(identity, NOW + 1)
        if has_failed:
            guards.failed(identity, NOW + 1)
    again = Guards.decode(guards.encode())
    assert again.kept == guards.kept
    assert again.usable([each.identity for each in guards.kept], NOW + 1) == [
        each.identity for each in guards.kept
    ]


@pytest.mark.parametrize(
    "damaged",
    [
        b'[{"identity":"' + b64encode(A) + b'","drawn_at":1,"lasts_s":1,"count":{"beyond":{"aa":[0,0]}}}]',
        b"",
        b"{}",
        b"null",
        b"\xff",
        b'[{"identity":"AAAA","drawn_at":1,"lasts_s":1}]',
        three().encode()[:-3],
    ],
)
def test_begins_anew_when_what_was_kept_is_damaged(damaged: bytes) -> None:
    assert Guards.decode(damaged).kept == ()


@settings(deadline=None)
@given(st.binary(max_size=100))
def test_decodes_anything(raw: bytes) -> None:
    assert Guards.decode(raw).kept == ()

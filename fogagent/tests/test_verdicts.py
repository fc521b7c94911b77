"""Verdicts on paths, good and bad: each broken rule fails, and no other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fogagent.overlay.directory import Directory, Relay
from fogagent.overlay.onion.guards import DAY_S, Guards
from fogagent.overlay.onion.path import Wishes, choose
from fogagent.overlay.onion.roster import Roster
from fogagent.overlay.onion.verdicts import State, verdicts
from fogagent.tests.directories import by_identity, relay

NOW = 1_000_000.0
ME = b"me" * 16
STRANGER = b"?" * 32


@dataclass(frozen=True)
class Case:
    """A path with all that it is judged by."""

    path: tuple[Relay, ...]
    directory: Directory
    wishes: Wishes
    guards: Guards
    me: bytes = ME

    def judge(self) -> dict[str, tuple[State, str]]:
        found = verdicts(self.path, self.directory, self.wishes, self.guards, self.me, NOW)
        return {each.rule: (each.state, each.sentence) for each in found}

    def states(self, state: State) -> list[str]:
        return [rule for rule, (found, _) in self.judge().items() if found is state]

    def listing(self, place: int, **fields: object) -> Case:
        """The same, but the directory says something else about one relay of the path."""
        relays = dict(self.directory.relays)
        changed = msgspec.structs.replace(self.path[place], **fields)
        relays[changed.identity] = changed
        return replace(self, directory=replace(self.directory, relays=relays))

    def unlisting(self, place: int) -> Case:
        relays = dict(self.directory.relays)
        del relays[self.path[place].identity]
        return replace(self, directory=replace(self.directory, relays=relays))

    def wishing(self, **fields: object) -> Case:
        return replace(self, wishes=replace(self.wishes, **fields))  # type: ignore[arg-type]

    def going(self, *places: int) -> Case:
        return replace(self, path=tuple(self.path[place] for place in places))


REGIONS = {"entry": "us", "middle": "asia", "exit": "eu"}


def chosen(seed: int = 1, hops: int = 3) -> Case:
    """A path as it is chosen, with all wishes that there are. Each place has a region of its own."""
    flags = {"entry": ["relay", "guard"], "middle": ["relay"], "exit": ["relay", "exit"]}
    relays = [
        relay(
            number,
            name=f"fog-{number}",
            address=f"10.{number}.0.1:9000",
            family=f"family-{number}",
            region=REGIONS[kind],
            flags=flags[kind],
        )
        for number, kind in enumerate(["entry", "middle", "exit"] * 6, 1)
    ]
    listed = Directory(7, NOW - 60, NOW + 3600, by_identity(relays))
    wishes = Wishes(
        hops=hops, exit_region="eu", excluded=frozenset({STRANGER}), excluded_regions=frozenset({"moon"})
    )
    guards = Guards()
    path = choose(Roster(listed), wishes, guards, ME, Random(seed), NOW)
    return Case(path, listed, replace(wishes, exit_node=path[-1].identity), guards)


BREAKS: dict[str, Callable[[Case], Case]] = {
    "length": lambda case: case.wishing(hops=4),
    "length (too long)": lambda case: case.wishing(hops=2),
    "relays": lambda case: case.unlisting(1),
    "relays (address)": lambda case: case.listing(1, address=""),
    "relays (flag)": lambda case: case.listing(1, flags=[]),
    "exit": lambda case: case.listing(-1, flags=["relay"]),
    "exit region": lambda case: case.listing(-1, region="us"),
    "exit region (none)": lambda case: case.listing(-1, region=""),
    "exit node": lambda case: case.wishing(exit_node=STRANGER),
    "guard": lambda case: replace(case, guards=Guards()),
    "guard (flag)": lambda case: case.listing(0, flags=["relay"]),
    "no relay twice": lambda case: case.going(0, 1, 1, 2).wishing(hops=4),
    "not this node": lambda case: replace(case, me=case.path[1].identity),
    "no family twice": lambda case: case.listing(1, family=case.path[2].family),
    "no network twice": lambda case: case.listing(0, address=case.path[2].address),
    "excluded relays": lambda case: case.wishing(excluded=frozenset({case.path[1].identity})),
    "excluded regions": lambda case: case.wishing(excluded_regions=frozenset({case.path[1].region})),
}


@settings(deadline=None)
@given(st.integers(0))
def test_what_was_chosen_passes_everything(seed: int) -> None:
    case = chosen(seed)
    assert case.states(State.PASSED) == list(case.judge())


def test_there_is_a_way_to_break_each_rule() -> None:
    assert {name.partition(" (")[0] for name in BREAKS} == set(chosen().judge())


@pytest.mark.parametrize("name", BREAKS)
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0))
def test_a_broken_rule_fails_alone(name: str, seed: int) -> None:
    broken = BREAKS[name](chosen(seed))
    assert broken.states(State.FAILED) == [name.partition(" (")[0]]


def test_what_was_not_asked_for_is_waived() -> None:
    plain = chosen().wishing(
        exit_region="", exit_node=None, excluded=frozenset(), excluded_regions=frozenset(), needs_exit=False
    )
    assert plain.states(State.WAIVED) == [
        "exit",
        "exit region",
        "exit node",
        "excluded relays",
        "excluded regions",
    ]
    assert plain.states(State.FAILED) == []


def test_a_single_hop_needs_no_guard() -> None:
    case = chosen(hops=1)
    assert case.states(State.WAIVED) == ["guard"]
    assert case.states(State.FAILED) == []
    assert case.judge()["guard"][1] == (
        f"With a single hop {case.path[0].name} is entry and exit, and no guard is used."
    )


def test_networks_are_waived_only_while_all_are_on_one_machine() -> None:
    here = [
        relay(number, address=f"127.0.0.1:{number}", flags=["relay", "exit", "guard"]) for number in (1, 2)
    ]
    listed = Directory(1, NOW, NOW + 1, by_identity(here))
    guards = Guards()
    path = choose(Roster(listed), Wishes(hops=2), guards, ME, Random(1), NOW)
    case = Case(path, listed, Wishes(hops=2), guards)
    assert case.judge()["no network twice"] == (
        State.WAIVED,
        "All relays of the directory are on one machine, so all share its network.",
    )
    more = Directory(2, NOW, NOW + 1, by_identity([*here, relay(3, address="10.0.0.1:1")]))
    assert replace(case, directory=more).states(State.FAILED) == ["no network twice"]


def test_an_empty_path_fails_everything() -> None:
    case = replace(chosen(), path=())
    assert case.states(State.FAILED) == list(chosen().judge())


def test_relays_without_a_family_are_of_none_together() -> None:
    case = chosen()
    for place in range(3):
        case = case.listing(place, family="")
    assert case.states(State.FAILED) == []


def test_names_the_relays() -> None:
    case = chosen()
    entry, middle, last = (each.name for each in case.path)
    judged = {rule: sentence for rule, (_, sentence) in case.judge().items()}
    assert judged["length"] == f"3 hops: {entry}, {middle} and {last}."
    assert judged["relays"] == f"All are relays in directory 7: {entry}, {middle} and {last}."
    assert judged["exit region"] == f"{last} is in eu, as asked for."
    twice = case.going(0, 1, 1, 2).judge()["no relay twice"][1]
    assert twice == f"{middle}: more than once in the path."
    shared = case.listing(1, family="family-x").listing(2, family="family-x").judge()["no family twice"][1]
    assert shared == f"{middle} and {last} are of one family, family-x."
    near = (
        case.listing(0, address="10.99.0.1:1")
        .listing(1, address="10.99.7.7:1")
        .judge()["no network twice"][1]
    )
    assert near == f"{entry} and {middle} are in one network, 10.99.0.0/16."


def test_says_for_how_long_the_guard_is_kept() -> None:
    case = chosen()
    guards = Guards()
    guards.keep(STRANGER, Random(1), NOW)
    guards.keep(case.path[0].identity, Random(1), NOW - 13.5 * DAY_S)
    assert replace(case, guards=guards).judge()["guard"] == (
        State.PASSED,
        f"{case.path[0].name} is guard 2 of 2 that this node keeps, for 13 days so far.",
    )


def test_says_that_the_guard_was_set_aside() -> None:
    case = chosen()
    for _ in range(20):
        case.guards.went(case.path[0].identity, STRANGER, NOW, carried=False)
    state, sentence = case.judge()["guard"]
    assert (state, "for 0 days so far. Set aside: 20 circuits" in sentence) == (State.PASSED, True)

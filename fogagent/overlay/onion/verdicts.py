"""Whether a path keeps the rules, one verdict a rule, for people to see.

Written from the rules themselves: nothing here knows how `fogagent.overlay.onion.path` chooses, so that one
can be held against the other. Relays are judged as the directory lists them now; one that it does not list
any more, as the path has it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations
from typing import TypeAlias

from fogagent.overlay.directory import Directory, Relay
from fogagent.overlay.onion.guards import DAY_S, Guards
from fogagent.overlay.onion.path import Wishes
from fogagent.overlay.onion.roster import family, networks, on_loopback, takes_part


class State(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    WAIVED = "waived"  # the rule does not apply, and the sentence says why


@dataclass(frozen=True)
class Verdict:
    rule: str
    state: State
    sentence: str


@dataclass(frozen=True)
class _Case:
    """``path`` has the relays as they are judged."""

    path: Sequence[Relay]
    directory: Directory
    wishes: Wishes
    guards: Guards
    me: bytes
    now: float

    @property
    def names(self) -> str:
        return _names(self.path)

    @property
    def last(self) -> Relay:
        return self.path[-1]


_Finding: TypeAlias = tuple[State, str]


def verdicts(
    path: Sequence[Relay], directory: Directory, wishes: Wishes, guards: Guards, me: bytes, now: float
) -> list[Verdict]:
    """One verdict for each rule, always all of them and in the same order. ``path`` may be any."""
    if not path:
        return [Verdict(rule, State.FAILED, "The path is empty.") for rule in _RULES]
    listed = [directory.relays.get(relay.identity, relay) for relay in path]
    case = _Case(listed, directory, wishes, guards, me, now)
    return [Verdict(rule, *judge(case)) for rule, judge in _RULES.items()]


def _length(case: _Case) -> _Finding:
    count, asked = len(case.path), case.wishes.hops
    return _passed_if(count == asked, f"{_hops(count)}: {case.names}.", f"{_hops(count)} instead of {asked}.")


def _listed(case: _Case) -> _Finding:
    relays = case.directory.relays
    gone = [each for each in case.path if each.identity not in relays]
    shut = [each for each in case.path if not takes_part(each)]
    if gone:
        return State.FAILED, f"{_names(gone)}: not in the directory (any more)."
    return _passed_if(
        not shut,
        f"All are relays in directory {case.directory.version}: {case.names}.",
        f"{_names(shut)}: no relay, or without an address.",
    )


def _exit(case: _Case) -> _Finding:
    last = case.last
    if not case.wishes.needs_exit:
        return State.WAIVED, f"No traffic leaves the network at {last.name}."
    return _passed_if(
        "exit" in last.flags,
        f"The owner of {last.name} lets traffic out.",
        f"The owner of {last.name} lets no traffic out.",
    )


def _exit_region(case: _Case) -> _Finding:
    last, asked = case.last, case.wishes.exit_region
    if not asked:
        return State.WAIVED, "No region was asked for."
    where = f"in {last.region}" if last.region else "in no known region"
    return _passed_if(
        last.region == asked,
        f"{last.name} is in {asked}, as asked for.",
        f"{last.name} is {where}, {asked} was asked for.",
    )


def _exit_node(case: _Case) -> _Finding:
    last, asked = case.last, case.wishes.exit_node
    if asked is None:
        return State.WAIVED, "No node was asked for."
    wanted = case.directory.relays.get(asked)
    name = wanted.name if wanted else f"{asked.hex()[:8]}…"
    return _passed_if(
        last.identity == asked,
        f"{last.name} ends the path, as asked for.",
        f"{last.name} ends the path, {name} was asked for.",
    )


def _guard(case: _Case) -> _Finding:
    entry = case.path[0]
    if len(case.path) == 1:
        return State.WAIVED, f"With a single hop {entry.name} is entry and exit, and no guard is used."
    if "guard" not in entry.flags:
        return State.FAILED, f"{entry.name} is not fit to be a guard (any more)."
    kept = case.guards.kept
    for place, guard in enumerate(kept, 1):
        if guard.identity == entry.identity:
            days = max(0, int((case.now - guard.since) // DAY_S))
            which = f"guard {place} of {len(kept)} that this node keeps"
            said = f"{entry.name} is {which}, for {days} {'day' if days == 1 else 'days'} so far."
            aside = case.guards.aside_sentence(entry.identity, case.now)
            return State.PASSED, f"{said} {aside}".rstrip()
    return State.FAILED, f"{entry.name} is none of the {len(kept)} guards that this node keeps."


def _different(case: _Case) -> _Finding:
    twice = [one for one, other in combinations(case.path, 2) if one.identity == other.identity]
    return _passed_if(
        not twice,
        f"No relay comes twice: {case.names}.",
        f"{_names(_once(twice))}: more than once in the path.",
    )


def _not_me(case: _Case) -> _Finding:
    mine = [each for each in case.path if each.identity == case.me]
    return _passed_if(
        not mine, f"This node is not among {case.names}.", f"{_names(_once(mine))} is this very node."
    )


def _families(case: _Case) -> _Finding:
    if shared := _shared(case.path, family):
        one, other = shared
        return State.FAILED, f"{one.name} and {other.name} are of one family, {one.family}."
    return (
        State.PASSED,
        f"No two of one owner: {_names_with(case.path, lambda each: each.family or 'alone')}.",
    )


def _networks(case: _Case) -> _Finding:
    if on_loopback(case.directory):
        return State.WAIVED, "All relays of the directory are on one machine, so all share its network."
    for one, other in combinations(case.path, 2):
        both = networks(one) & networks(other)
        if both and one.identity != other.identity:
            return State.FAILED, f"{one.name} and {other.name} are in one network, {_listed_networks(both)}."
    each_in = _names_with(case.path, lambda each: _listed_networks(networks(each)))
    return State.PASSED, f"No two in one network: {each_in}."


def _listed_networks(some: Iterable[str]) -> str:
    return " and ".join(sorted(some))


def _excluded(case: _Case) -> _Finding:
    if not case.wishes.excluded:
        return State.WAIVED, "No relay was excluded."
    bad = [each for each in case.path if each.identity in case.wishes.excluded]
    return _passed_if(
        not bad, f"None of {case.names} was excluded.", f"{_names(_once(bad))}: excluded, yet in the path."
    )


def _excluded_regions(case: _Case) -> _Finding:
    excluded = case.wishes.excluded_regions
    if not excluded:
        return State.WAIVED, "No region was excluded."
    bad = [each for each in case.path if each.region in excluded]
    return _passed_if(
        not bad,
        f"None of {case.names} is in {' or '.join(sorted(excluded))}.",
        f"In an excluded region: {_names_with(_once(bad), lambda each: each.region)}.",
    )


_RULES: dict[str, Callable[[_Case], _Finding]] = {
    "length": _length,
    "relays": _listed,
    "exit": _exit,
    "exit region": _exit_region,
    "exit node": _exit_node,
    "guard": _guard,
    "no relay twice": _different,
    "not this node": _not_me,
    "no family twice": _families,
    "no network twice": _networks,
    "excluded relays": _excluded,
    "excluded regions": _excluded_regions,
}


def _passed_if(good: bool, passed: str, failed: str) -> _Finding:
    return (State.PASSED, passed) if good else (State.FAILED, failed)


def _shared(path: Iterable[Relay], key: Callable[[Relay], str]) -> tuple[Relay, Relay] | None:
    """Two different relays with the same key. The same relay twice breaks another rule."""
    for one, other in combinations(path, 2):
        if one.identity != other.identity and key(one) == key(other):
            return one, other
    return None


def _once(relays: Iterable[Relay]) -> list[Relay]:
    return list({each.identity: each for each in relays}.values())


def _names(relays: Iterable[Relay]) -> str:
    names = [each.name for each in relays]
    return " and ".join(part for part in (", ".join(names[:-1]), *names[-1:]) if part)


def _names_with(relays: Iterable[Relay], key: Callable[[Relay], str]) -> str:
    return ", ".join(f"{each.name} ({key(each)})" for each in relays)


def _hops(count: int) -> str:
    return f"{count} {'hop' if count == 1 else 'hops'}"

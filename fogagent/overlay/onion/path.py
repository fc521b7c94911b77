"""Which relays a circuit goes through.

As in Tor's path specification (https://spec.torproject.org/path-spec/): the exit is chosen first, then the
guard, then what lies between them; each in proportion to its bandwidth, and no two relays that one owner or
one network could watch together. The order is on purpose: were the guard chosen first, an exit could tell
from what never comes to it whose guard is near to it.

`fogagent.overlay.onion.verdicts` judges paths by the same rules, from the other side.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from itertools import chain, islice
from random import Random

from fogagent.overlay.directory import Relay
from fogagent.overlay.onion.builds import MAX_HOPS
from fogagent.overlay.onion.guards import Guards
from fogagent.overlay.onion.roster import Candidate, Pool, Roster, Rule, fulfils

EXITS_TRIED = 64
"""More than a small network has; in a large one the first will do."""
PAIRS_TRIED = 64
"""Of a guard and an exit between which nothing fits."""


@dataclass(frozen=True)
class Wishes:
    """What a circuit is for. Raises ValueError for a number of hops that no circuit has."""

    hops: int = 3
    exit_region: str = ""
    exit_node: bytes | None = None
    excluded: frozenset[bytes] = frozenset()
    excluded_regions: frozenset[str] = frozenset()
    needs_exit: bool = True
    """False: it ends at a relay, and no traffic leaves the network there."""

    def __post_init__(self) -> None:
        if not 1 <= self.hops <= MAX_HOPS:
            raise ValueError(f"A circuit has 1 to {MAX_HOPS} hops, not {self.hops}.")


class NoPath(Exception):
    """No relays fit the wishes together. ``sentence`` says which rule left how many."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence


def choose(
    roster: Roster, wishes: Wishes, guards: Guards, me: bytes, rng: Random, now: float
) -> tuple[Relay, ...]:
    """The relays of a new circuit, the entry first.

    A guard that had to be drawn for it is kept in ``guards`` from then on. With a single hop the exit is
    the entry, and guards have no say. ``now`` is seconds since the epoch.

    Raises:
        NoPath: nobody fits, or those that would must not be tried yet.
    """
    return _Search(roster, wishes, guards, me, rng, now).path()


class _Position(IntEnum):
    """In the order in which they are filled."""

    EXIT = 0
    ENTRY = 1
    MIDDLE = 2


class _Search:
    """One choice. Where it comes to a dead end, it goes back and tries the next exit or guard."""

    def __init__(
        self, roster: Roster, wishes: Wishes, guards: Guards, me: bytes, rng: Random, now: float
    ) -> None:
        self._roster, self._wishes, self._guards, self._rng, self._now = roster, wishes, guards, rng, now
        self._anywhere = _anywhere(wishes, me)
        self._of_an_entry = [*_of_an_entry(guards, now), *self._anywhere]
        self._usable = guards.usable(roster.pool("guard").identities, now)
        self._aside = guards.aside(now)
        self._shortfalls: dict[_Position, str] = {}

    def path(self) -> tuple[Relay, ...]:
        pairs_left = PAIRS_TRIED
        for last in islice(self._exits(), EXITS_TRIED):
            if self._wishes.hops == 1:
                return (last.relay,)
            for entry in islice(self._entries(last), pairs_left):
                pairs_left -= 1
                middles = self._middles(entry, last)
                if middles is not None:
                    self._guards.keep(entry.relay.identity, self._rng, self._now)
                    return tuple(each.relay for each in (entry, *middles, last))
                if self._is_hopeless:
                    break
            if self._is_hopeless:
                break
        # Of the position that is filled last: with some exit and guard, the search got this far.
        raise NoPath(self._shortfalls[max(self._shortfalls)])

    def _exits(self) -> Iterator[Candidate]:
        wishes, roster = self._wishes, self._roster
        flag = "exit" if wishes.needs_exit else ""
        pool = roster.pool(flag, wishes.exit_region)
        if wishes.exit_node is not None:
            pool = Pool(each for each in pool.candidates if each.relay.identity == wishes.exit_node)
        rules = [*_of_an_exit(wishes), *self._anywhere]
        return self._noting(pool.order(rules, self._rng), _Position.EXIT, flag or "last relay", rules)

    def _entries(self, last: Candidate) -> Iterator[Candidate]:
        """Guards that are kept, in their order; only then others, which would have to be kept too; and when
        there is nobody else, those that were set aside."""
        rules = [*self._of_an_entry, *_away_from([last])]
        fresh = Rule("not kept yet", lambda each: each.relay.identity not in self._usable)
        kept = [self._roster.by_identity[identity] for identity in self._usable]
        kept = [each for each in kept if fulfils(each, rules)]
        trusted = [each for each in kept if each.relay.identity not in self._aside]
        drawn = self._roster.pool("guard").order([*rules, fresh], self._rng)
        aside = [each for each in kept if each.relay.identity in self._aside]
        fitting = chain(trusted, drawn, aside)
        return self._noting(fitting, _Position.ENTRY, "guard", rules)

    def _middles(self, entry: Candidate, last: Candidate) -> Sequence[Candidate] | None:
        path = [entry, last]
        while len(path) < self._wishes.hops:
            rules = [*self._anywhere, *_away_from(path)]
            fitting = self._roster.everyone.order(rules, self._rng)
            middle = next(self._noting(fitting, _Position.MIDDLE, "relay for the middle", rules), None)
            if middle is None:
                return self._squeezed(entry, last)
            path.append(middle)
        return path[2:]

    def _squeezed(self, entry: Candidate, last: Candidate) -> Sequence[Candidate] | None:
        """Middle relays where drawing one after the other has led to a dead end, if there are any."""
        fitting = self._roster.everyone.order([*self._anywhere, *_away_from([entry, last])], self._rng)
        return apart(fitting, self._wishes.hops - 2)

    @cached_property
    def _is_hopeless(self) -> bool:
        """Whether no other exit can help: else many of them would be tried in vain, with many guards each.

        Where relays have several networks, that `apart` finds none proves nothing, so they are tried."""
        guards = self._roster.pool("guard").candidates
        if not any(fulfils(each, self._of_an_entry) for each in guards):
            return True
        fitting = self._roster.everyone.order(self._anywhere, self._rng)
        crowd = list(fitting)
        proves = all(len(each.networks) == 1 for each in crowd)
        return proves and apart(crowd, self._wishes.hops) is None

    def _noting(
        self, candidates: Iterator[Candidate], position: _Position, what: str, rules: Sequence[Rule]
    ) -> Iterator[Candidate]:
        """Pass them on; when there are none, note which rule is why."""
        first = next(candidates, None)
        if first is not None:
            return chain([first], candidates)
        if position not in self._shortfalls:
            self._shortfalls[position] = self._roster.shortfall(what, rules)
        return candidates


def _anywhere(wishes: Wishes, me: bytes) -> list[Rule]:
    """What every relay of the path must fulfil."""
    return [
        Rule("other than this node itself", lambda each: each.relay.identity != me),
        Rule("not excluded", lambda each: each.relay.identity not in wishes.excluded),
        Rule("outside the excluded regions", lambda each: each.relay.region not in wishes.excluded_regions),
    ]


def _of_an_exit(wishes: Wishes) -> Iterator[Rule]:
    if wishes.exit_node is not None:
        key = wishes.exit_node
        yield Rule(f"with the key {key.hex()[:8]}…", lambda each: each.relay.identity == key)
    if wishes.needs_exit:
        yield Rule("with the flag exit", lambda each: "exit" in each.relay.flags)
    if wishes.exit_region:
        yield Rule(f"in {wishes.exit_region}", lambda each: each.relay.region == wishes.exit_region)


def _of_an_entry(guards: Guards, now: float) -> Iterator[Rule]:
    yield Rule("with the flag guard", lambda each: "guard" in each.relay.flags)
    yield Rule("that is kept or may be drawn", lambda each: guards.admits(each.relay.identity))
    yield Rule(
        "that could be reached when last tried",
        lambda each: guards.wait_s(each.relay.identity, now) == 0,
    )


def _away_from(path: Sequence[Candidate]) -> list[Rule]:
    """What keeps a relay apart from those that are in the path already."""
    names = " and ".join(each.relay.name for each in path)
    identities = {each.relay.identity for each in path}
    families = {each.family for each in path}
    networks = frozenset[str]().union(*(each.networks for each in path))
    return [
        Rule("not in the path yet", lambda each: each.relay.identity not in identities),
        Rule(f"of another family than {names}", lambda each: each.family not in families),
        Rule(f"in another network than {names}", lambda each: each.networks.isdisjoint(networks)),
    ]


def apart(candidates: Iterable[Candidate], count: int) -> list[Candidate] | None:
    """So many of them, no two of which share a family or a network; None: there are not so many.

    A matching between families and networks, grown by augmenting paths (Kuhn, 1955). They go no deeper
    than ``count``. Where each has one network it finds them if there are so many; where some have several,
    finding them always would take too long, and None says that they were not found.
    """
    by_family: defaultdict[str, list[Candidate]] = defaultdict(list)
    for candidate in candidates:
        by_family[candidate.family].append(candidate)
    matched: dict[str, Candidate] = {}

    def place(family: str, seen: set[str]) -> bool:
        for candidate in by_family[family]:
            if not seen.isdisjoint(candidate.networks):
                continue
            seen |= candidate.networks
            holders = {each.family: each for name in candidate.networks if (each := matched.get(name))}
            if len(holders) > 1:
                continue
            for holder in holders.values():
                seen |= holder.networks
                if not place(holder.family, seen):
                    break
                for name in holder.networks:
                    if matched.get(name) is holder:
                        del matched[name]
            else:
                matched.update(dict.fromkeys(candidate.networks, candidate))
                return True
        return False

    if count == 0:
        return []
    for family in by_family:
        if place(family, set()) and len(placed := {each.family: each for each in matched.values()}) == count:
            return list(placed.values())
    return None

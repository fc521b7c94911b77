"""The relays of one directory as paths are chosen from them: what does not change, worked out once."""

from __future__ import annotations

import ipaddress
from bisect import bisect
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from random import Random
from statistics import median
from typing import NamedTuple

from fogagent.address import is_loopback
from fogagent.overlay.directory import Directory, Relay

LOOPBACK = "127.0.0.0/8"
UNKNOWN = "an unknown network"
LUCKY_DRAWS = 32
"""So often a pool is drawn from before all of it is looked at: as a rule most of it would do."""


class Candidate(NamedTuple):
    """``weight`` is its bandwidth; no two of one ``family``, or that share any of their ``networks``,
    come into a path."""

    relay: Relay
    weight: float
    family: str
    networks: frozenset[str]


class Rule(NamedTuple):
    """What a candidate must fulfil; ``phrase`` continues "3 relays …"."""

    phrase: str
    holds: Callable[[Candidate], bool]


class Pool:
    """Candidates to be drawn from, each as likely as it has bandwidth."""

    def __init__(self, candidates: Iterable[Candidate]) -> None:
        self.candidates = tuple(candidates)
        self.identities = frozenset(candidate.relay.identity for candidate in self.candidates)
        self._cumulative = list(accumulate(candidate.weight for candidate in self.candidates))

    def order(self, rules: Sequence[Rule], rng: Random) -> Iterator[Candidate]:
        """All that fulfil the rules, each drawn from those that are left. The first few cost little."""
        drawn: set[bytes] = set()
        for _ in range(LUCKY_DRAWS if self.candidates else 0):
            candidate = self._draw(rng)
            if candidate.relay.identity not in drawn:
                drawn.add(candidate.relay.identity)
                if fulfils(candidate, rules):
                    yield candidate
        # Whose exponential clock, running at the speed of its weight, rings first is a weighted draw too.
        rest = [each for each in self.candidates if each.relay.identity not in drawn and fulfils(each, rules)]
        yield from sorted(rest, key=lambda each: rng.expovariate(each.weight))

    def _draw(self, rng: Random) -> Candidate:
        at = bisect(self._cumulative, rng.random() * self._cumulative[-1])
        return self.candidates[min(at, len(self.candidates) - 1)]


class Roster:
    """To be made once for each version of the directory: 10,000 relays take some 30 ms."""

    def __init__(self, directory: Directory) -> None:
        relays = [relay for relay in directory.relays.values() if takes_part(relay)]
        self.size = len(directory.relays)
        self.on_loopback = on_loopback(directory)
        middling = median([relay.bandwidth_kbps for relay in relays if relay.bandwidth_kbps] or [1])
        self.everyone = Pool(self._candidate(relay, middling) for relay in relays)
        self.by_identity = {each.relay.identity: each for each in self.everyone.candidates}
        self._pools: dict[tuple[str, str], Pool] = {}

    def pool(self, flag: str = "", region: str = "") -> Pool:
        """Those with the flag, in the region; empty: with any."""
        if not flag and not region:
            return self.everyone
        if (flag, region) not in self._pools:
            self._pools[flag, region] = Pool(
                each
                for each in self.everyone.candidates
                if (not flag or flag in each.relay.flags) and (not region or region == each.relay.region)
            )
        return self._pools[flag, region]

    def shortfall(self, what: str, rules: Sequence[Rule]) -> str:
        """A sentence on why there is no candidate: how many are left after each rule that keeps any back."""
        left = self.everyone.candidates
        steps = [f"{self.size or 'none'} in the directory"]
        if len(left) < self.size:
            steps.append(f"{len(left) or 'none'} that can be reached as relays")
        for rule in rules:
            before, left = left, tuple(each for each in left if rule.holds(each))
            if len(left) < len(before):
                steps.append(f"{len(left) or 'none'} {rule.phrase}")
        return f"No {what}: {', of these '.join(steps)}."

    def _candidate(self, relay: Relay, middling: float) -> Candidate:
        return Candidate(
            relay,
            weight=float(relay.bandwidth_kbps or middling),
            family=family(relay),
            networks=frozenset([relay.identity.hex()]) if self.on_loopback else networks(relay),
        )


def takes_part(relay: Relay) -> bool:
    """Whether it may be in a path at all: its owner lets it relay, and somebody can dial it."""
    return "relay" in relay.flags and bool(relay.address)


def fulfils(candidate: Candidate, rules: Sequence[Rule]) -> bool:
    # Not `all` with a generator, which takes twice as long for the few rules there are.
    for rule in rules:  # noqa: SIM110
        if not rule.holds(candidate):
            return False
    return True


def family(relay: Relay) -> str:
    """Of its owner; who tells none is alone in one that nobody can name."""
    return relay.family or f"\0{relay.identity.hex()}"


def networks(relay: Relay) -> frozenset[str]:
    """Where it stands: by its address, or where the panel found that the name in it leads.

    All relays of which neither tells share UNKNOWN, so that a path has at most one of them: names are cheap,
    and two of them may lead to one machine. Nobody here looks a name up, which would tell others of the path.
    """
    host = _host(relay)
    try:
        return frozenset([network(ipaddress.ip_address(host))])
    except ValueError:
        return frozenset(relay.networks or [LOOPBACK if is_loopback(host) else UNKNOWN])


def network(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    """Its /16 (IPv4) or /32 (IPv6), which is about what one provider or site has."""
    if isinstance(ip, ipaddress.IPv6Address):
        if ip == ipaddress.IPv6Address("::1"):
            return LOOPBACK
        if ip.ipv4_mapped is None:
            return f"{ip.packed[:2].hex()}:{ip.packed[2:4].hex()}::/32"
        ip = ip.ipv4_mapped
    return LOOPBACK if ip.is_loopback else f"{ip.packed[0]}.{ip.packed[1]}.0.0/16"


def is_local(relay: Relay) -> bool:
    """Whether its address, or all that the name in it led to, is this very machine."""
    return networks(relay) == {LOOPBACK}


def on_loopback(directory: Directory) -> bool:
    """Whether all relays that take part are on one machine, where addresses say nothing."""
    return all(is_local(relay) for relay in directory.relays.values() if takes_part(relay))


def _host(relay: Relay) -> str:
    return relay.address.rpartition(":")[0].strip("[]")

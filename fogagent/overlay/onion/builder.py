"""Building circuits of our own: a path is chosen, a circuit built over it, and what failed is left out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from random import Random
from typing import TypeAlias

from fogagent.overlay.directory import Directory, Relay
from fogagent.overlay.link_errors import Unreachable
from fogagent.overlay.onion.builds import BuildTimes
from fogagent.overlay.onion.circuit import Circuit, HopTarget, State
from fogagent.overlay.onion.errors import OnionError, Reason
from fogagent.overlay.onion.guards import Guards
from fogagent.overlay.onion.outlet import CellLink
from fogagent.overlay.onion.own_circuit import OwnCircuit
from fogagent.overlay.onion.path import NoPath, Wishes, choose
from fogagent.overlay.onion.roster import Roster
from fogagent.overlay.onion.switch import Switch

TRIES = 4
"""Paths that are tried for one circuit before it is given up."""
SHUNNED_S = 60.0
"""How long a relay that could not be reached, or failed its handshake, is left out."""
SHUNNED_STEPS = 8
"""In so many of them those left out become fewer, where there is no path without them."""

GetLink: TypeAlias = Callable[[bytes], Awaitable[CellLink]]
"""The link to that relay, made if there is none. Raises Unreachable."""


class NoCircuit(Exception):
    """There is no circuit for these wishes now. ``str`` says why."""


class Builder:
    """Learns from each circuit: which guards carry on, how long building takes, whom to leave out."""

    def __init__(
        self,
        switch: Switch,
        get_link: GetLink,
        me: bytes,
        *,
        guards: Guards,
        times: BuildTimes,
        rng: Random,
        clock: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        """``clock`` is monotonic, ``wall`` counts from the epoch, as guards are kept for weeks."""
        self.guards, self.times = guards, times
        self.on_settled: Callable[[], None] = _ignore
        """Called when a circuit that was begun here is open, and when it is closed."""
        self._switch, self._get_link, self._me = switch, get_link, me
        self._rng, self._clock, self._wall = rng, clock, wall
        self._roster: Roster | None = None
        self._shunned: dict[bytes, float] = {}  # until when

    def use(self, directory: Directory | None) -> None:
        """Choose paths among these relays from now on; None: there are none.

        A relay that was not in the directory before is tried at once, whatever it was like when last tried:
        the panel has just heard from it.
        """
        known = _identities(self._roster)
        self._roster = None if directory is None else Roster(directory)
        for identity in _identities(self._roster) - known:
            self._shunned.pop(identity, None)
            self.guards.forgive(identity)

    async def build(self, wishes: Wishes) -> OwnCircuit:
        """A new circuit over a path of our choice, which is its caller's to use and to close.

        Raises:
            NoCircuit: why the last of several paths came to nothing.
        """
        last: NoCircuit
        for _ in range(TRIES):
            path = self._choose(wishes)
            try:
                own = await self.build_over(path, wishes)
            except NoCircuit as error:
                last = error
            else:
                self.guards.reached(path[0].identity, self._wall())
                self.times.note(own.build_s, len(path))
                return own
        raise last

    async def build_over(self, path: Sequence[Relay], wishes: Wishes) -> OwnCircuit:
        """A circuit through these relays, which is its caller's to use and to close.

        Raises:
            NoCircuit: where building stopped, and why.
        """
        try:
            link = await self._get_link(path[0].identity)
        except Unreachable as error:
            self.guards.failed(path[0].identity, self._wall())
            raise self._stopped_at(path[0], str(error)) from error
        began = self._clock()
        try:
            circuit = await self._settled(link, path)
        except OnionError as error:  # its onion key is none, or the link carries all that it may
            self.guards.failed(path[0].identity, self._wall())
            raise self._stopped_at(path[0], str(error)) from error
        if circuit.built and len(path) > 1:
            carried = circuit.state is State.OPEN or circuit.refused_by > 1
            self.guards.went(path[0].identity, path[1].identity, self._wall(), carried=carried)
        if circuit.state is State.OPEN:
            return OwnCircuit(circuit, tuple(path), wishes, self._clock(), self._clock() - began)
        assert circuit.reason is not None
        if circuit.reason is Reason.TIMEOUT:
            self.times.note_failure()
        if circuit.built == 0:
            self.guards.failed(path[0].identity, self._wall())
        raise self._stopped_at(path[min(circuit.built, len(path) - 1)], circuit.reason.sentence)

    def _choose(self, wishes: Wishes) -> tuple[Relay, ...]:
        if self._roster is None:
            raise NoCircuit("This node has no directory of relays yet.")
        now = self._clock()
        self._shunned = {relay: until for relay, until in self._shunned.items() if until > now}
        for shunned in self._fewer_and_fewer():
            wary = replace(wishes, excluded=wishes.excluded | shunned)
            try:
                return choose(self._roster, wary, self.guards, self._me, self._rng, self._wall())
            except NoPath as error:
                last = error
        raise NoCircuit(last.sentence)

    def _fewer_and_fewer(self) -> Iterator[frozenset[bytes]]:
        """Which relays to leave out: all that failed lately; where nothing is left without them, not those
        whose failure is longest ago; and rather than have no circuit, none at all."""
        failed = sorted(self._shunned, key=self._shunned.__getitem__)
        for forgiven in range(0, len(failed), -(-len(failed) // SHUNNED_STEPS) or 1):
            yield frozenset(failed[forgiven:])
        yield frozenset()

    async def _settled(self, link: CellLink, path: Sequence[Relay]) -> Circuit:
        """The circuit when it is open, or closed for whatever reason.

        Raises:
            OnionError: it could not even be begun.
        """
        settled = asyncio.Event()

        def on_settled(circuit: Circuit) -> None:
            settled.set()
            self.on_settled()

        targets = [HopTarget(relay.identity, relay.onion_key) for relay in path]
        circuit = self._switch.build(link, targets, on_open=on_settled, on_closed=on_settled)
        try:
            async with asyncio.timeout(self.times.timeout_s(len(path))):
                await settled.wait()
        except TimeoutError:
            circuit.close(Reason.TIMEOUT)
        except asyncio.CancelledError:
            circuit.close()
            raise
        return circuit

    def _stopped_at(self, relay: Relay, why: str) -> NoCircuit:
        """This relay is where building stopped: it is left out for a while."""
        self._shunned[relay.identity] = self._clock() + SHUNNED_S
        return NoCircuit(f"{relay.name}: {why}")


def _identities(roster: Roster | None) -> frozenset[bytes]:
    return roster.everyone.identities if roster else frozenset()


def _ignore() -> None:
    """Nobody asked to be told."""

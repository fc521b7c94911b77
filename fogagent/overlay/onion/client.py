"""Circuits of our own: built ahead over chosen paths, handed out to streams, rotated.

A circuit is for one kind of wish and, once it carries a stream, for one isolation: streams that must not
be seen to belong together never share one. It takes new streams for a while after its first; those it has
stay on it to their end.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from random import Random

from fogagent.overlay.directory import Directory, Relay
from fogagent.overlay.link_errors import Unreachable
from fogagent.overlay.onion.builds import BuildTimes
from fogagent.overlay.onion.circuit import Circuit, HopTarget, State
from fogagent.overlay.onion.errors import OnionError, Reason
from fogagent.overlay.onion.guards import Guards
from fogagent.overlay.onion.outlet import CellLink
from fogagent.overlay.onion.path import NoPath, Wishes, choose
from fogagent.overlay.onion.roster import Roster
from fogagent.overlay.onion.streams import Stream
from fogagent.overlay.onion.switch import Switch

AHEAD = 2
"""Circuits of each kind of wish that are kept ready."""
WANTED_S = 3600.0
"""How long a kind of wish counts as wanted after its last stream."""
ROTATE_S = 600.0
"""How long a circuit usually takes new streams."""
FRESH_S = 1800.0
"""A circuit that waited so long for its first stream is replaced."""
TRIES = 4
"""Paths that are tried for one circuit, and circuits for one stream, before it is given up."""
SHUNNED_S = 60.0
"""How long a relay that could not be reached, or failed its handshake, is left out."""
SHUNNED_STEPS = 8
"""In so many of them those left out become fewer, where there is no path without them."""
OPEN_S = 20.0
"""How long an exit may take to open a stream."""
LOOK_S = 1.0
BACK_OFF_S = 15.0
"""At most, between attempts to build ahead when nothing can be built."""

log = logging.getLogger("fogagent")


class NoCircuit(Exception):
    """There is no circuit for these wishes now. ``str`` says why."""


class StreamFailed(Exception):
    """The stream was not opened. ``code`` is the exit's named reason, ``str`` a sentence."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


GetLink = Callable[[bytes], Awaitable[CellLink]]


@dataclass(eq=False)
class OwnCircuit:
    """A circuit that is open, and what it is used for. Times are of the monotonic clock, in seconds."""

    circuit: Circuit
    path: tuple[Relay, ...]
    wishes: Wishes
    built_at: float
    build_s: float
    isolation: object | None = None
    used_at: float | None = None  # when its first stream began
    rotate_s: float = ROTATE_S

    @property
    def is_open(self) -> bool:
        return self.circuit.state is State.OPEN

    @property
    def rotates_at(self) -> float:
        """When it takes no more new streams; never while it has had none."""
        return float("inf") if self.used_at is None else self.used_at + self.rotate_s

    def takes(self, wishes: Wishes, isolation: object, now: float) -> bool:
        """Whether a new stream may use it."""
        return (
            self.is_open
            and self.wishes == wishes
            and now < self.rotates_at
            and (self.used_at is None or self.isolation == isolation)
        )

    def retire(self) -> None:
        """No new streams from now on."""
        self.used_at = float("-inf")

    def is_over(self, now: float) -> bool:
        """Whether nobody needs it any more."""
        if self.used_at is None:
            return now >= self.built_at + FRESH_S
        return now >= self.rotates_at and not len(self.circuit.streams)


class OnionClient:
    """To be used from one event loop; `run` must be going for circuits to be kept ready and rotated."""

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
        on_trouble: Callable[[], None] = lambda: None,
    ) -> None:
        """``clock`` is monotonic, ``wall`` counts from the epoch, as guards are kept for weeks.

        ``on_trouble`` is called when circuits for some wishes cannot be built, and when they can again.
        """
        self.guards, self.times = guards, times
        self._switch, self._get_link, self._me = switch, get_link, me
        self._rng, self._clock, self._wall = rng, clock, wall
        self._roster: Roster | None = None
        self._circuits: list[OwnCircuit] = []
        self._shunned: dict[bytes, float] = {}  # until when
        self._wanted: dict[Wishes, float] = {}  # until when
        self._building: Counter[Wishes] = Counter()
        self._building_for: dict[tuple[Wishes, object], asyncio.Task[OwnCircuit]] = {}
        self._changed = asyncio.Event()
        self._directory_came = asyncio.Event()
        self._troubles: dict[Wishes, str] = {}  # by what cannot be had, the last one last
        self._on_trouble = on_trouble

    @property
    def trouble(self) -> str:
        """Why a circuit for streams could not be built, until such a one is; empty if there is none such."""
        return next(reversed(self._troubles.values()), "")

    def use(self, directory: Directory | None) -> None:
        """Choose paths among these relays from now on; None: there are none. Circuits that exist stay.

        A relay that was not in the directory before is tried at once, whatever it was like when last tried:
        the panel has just heard from it.
        """
        known = _identities(self._roster)
        self._roster = None if directory is None else Roster(directory)
        for identity in _identities(self._roster) - known:
            self._shunned.pop(identity, None)
            self.guards.forgive(identity)
        self._changed.set()
        self._directory_came.set()

    def want(self, wishes: Wishes) -> None:
        """Have circuits ready for such wishes."""
        self._wanted[wishes] = self._clock() + WANTED_S
        self._changed.set()

    @property
    def circuits(self) -> list[OwnCircuit]:
        """Those that are open, oldest first."""
        return [one for one in self._circuits if one.is_open]

    # --- Streams -----------------------------------------------------------------------------------

    async def open_stream(
        self, target: bytes, wishes: Wishes, isolation: object, *, rotate_s: float = ROTATE_S
    ) -> Stream:
        """A stream to what ``target`` means to an exit.

        A circuit that has had no stream before takes new ones for ``rotate_s`` from now on.

        Raises:
            NoCircuit: none could be built.
            StreamFailed: the exit refused, or did not answer in time.
        """
        last: NoCircuit | StreamFailed
        for _ in range(TRIES):
            own = await self._circuit_for(wishes, isolation, rotate_s)
            try:
                return await self._opened(own.circuit.open_stream(target))
            except OnionError as full:  # it carries all the streams it may
                own.retire()
                last = NoCircuit(str(full))
            except StreamFailed as failure:
                if failure.code != "circuit":
                    raise
                last = failure  # the circuit broke before the stream was open: another may serve
        raise last

    async def _opened(self, stream: Stream) -> Stream:
        opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def done() -> None:
            if not opened.done():
                opened.set_result(None)

        stream.on_settled = done
        if stream.ending is not None:
            done()
        try:
            async with asyncio.timeout(OPEN_S):
                await opened
        except TimeoutError:
            sentence = f"The exit did not answer within {OPEN_S:g} s."
            stream.abort("timeout", sentence)
            raise StreamFailed("timeout", sentence) from None
        except asyncio.CancelledError:
            stream.abort("cancelled")
            raise
        if not stream.opened and stream.ending is not None:
            raise StreamFailed(stream.ending.code, stream.ending.sentence)
        return stream

    async def _circuit_for(self, wishes: Wishes, isolation: object, rotate_s: float) -> OwnCircuit:
        self.want(wishes)
        now = self._clock()
        fitting = [one for one in self._circuits if one.takes(wishes, isolation, now)]
        own = next((one for one in fitting if one.used_at is not None), None) or next(iter(fitting), None)
        if own is None:
            return await self._new_for(wishes, isolation, rotate_s)
        if own.used_at is None:
            self._claim(own, isolation, rotate_s)
        return own

    def _claim(self, own: OwnCircuit, isolation: object, rotate_s: float) -> None:
        own.used_at, own.isolation, own.rotate_s = self._clock(), isolation, rotate_s

    async def _new_for(self, wishes: Wishes, isolation: object, rotate_s: float) -> OwnCircuit:
        """A new circuit, which those who ask for the same meanwhile get as well. Raises NoCircuit."""
        key = (wishes, isolation)
        building = self._building_for.get(key)
        if building is None:
            building = asyncio.create_task(self._build_for(wishes, isolation, rotate_s))
            self._building_for[key] = building
            building.add_done_callback(partial(self._built_for, key))
        return await asyncio.shield(building)  # whoever goes away leaves it to the others

    async def _build_for(self, wishes: Wishes, isolation: object, rotate_s: float) -> OwnCircuit:
        own = await self._keep_new(wishes)
        self._claim(own, isolation, rotate_s)  # before anybody else has a turn
        return own

    def _built_for(self, key: tuple[Wishes, object], building: asyncio.Task[OwnCircuit]) -> None:
        del self._building_for[key]
        if not building.cancelled():
            building.exception()  # told to those who wait for it, and to nobody if they have all gone

    # --- Building ----------------------------------------------------------------------------------

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

    async def _keep_new(self, wishes: Wishes) -> OwnCircuit:
        """A new circuit for streams of ours. Raises NoCircuit."""
        self._building[wishes] += 1
        try:
            own = await self.build(wishes)
        except NoCircuit as error:
            self._note(wishes, str(error))
            raise
        finally:
            self._building[wishes] -= 1
        self._circuits.append(own)
        self._note(wishes, "")
        return own

    def _note(self, wishes: Wishes, trouble: str) -> None:
        before = self._troubles.pop(wishes, "")
        if trouble:
            self._troubles[wishes] = trouble
        if bool(before) != bool(trouble):
            self._on_trouble()

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
            self._changed.set()

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

    # --- Ahead of time, and in rotation ------------------------------------------------------------

    async def run(self) -> None:
        """Keep circuits ready and let go of old ones, until cancelled."""
        pause_s = LOOK_S
        while True:
            self._changed.clear()
            self._directory_came.clear()
            self._tidy()
            if await self._build_ahead():
                pause_s = LOOK_S
            else:
                pause_s = min(2 * pause_s, BACK_OFF_S)
                if await _set_within(self._directory_came, pause_s):
                    pause_s = LOOK_S
            await _set_within(self._changed, LOOK_S)

    async def _build_ahead(self) -> bool:
        """Build what is lacking; whether all of it could be. What cannot does not keep the others waiting."""
        given_up: set[Wishes] = set()
        for wishes in self._lacking():
            if wishes not in given_up:
                try:
                    await self._keep_new(wishes)
                except NoCircuit as error:
                    log.debug("no circuit ahead of time: %s", error)
                    given_up.add(wishes)
        return not given_up

    def _lacking(self) -> list[Wishes]:
        """A wish for each circuit that is missing."""
        now = self._clock()
        self._wanted = {wishes: until for wishes, until in self._wanted.items() if until > now}
        self._troubles = {wishes: why for wishes, why in self._troubles.items() if wishes in self._wanted}
        ready = Counter(one.wishes for one in self._circuits if one.is_open and one.used_at is None)
        return [
            wishes for wishes in self._wanted for _ in range(AHEAD - ready[wishes] - self._building[wishes])
        ]

    def _tidy(self) -> None:
        now = self._clock()
        for one in self._circuits:
            if one.is_over(now):
                one.circuit.close()
        self._circuits = [one for one in self._circuits if one.is_open]

    def close(self) -> None:
        """End all circuits."""
        for building in self._building_for.values():
            building.cancel()
        for one in self._circuits:
            one.circuit.close()
        self._circuits = []


async def _set_within(event: asyncio.Event, seconds: float) -> bool:
    """Wait for the event, but no longer than so; whether it is set."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True


def _identities(roster: Roster | None) -> frozenset[bytes]:
    return roster.everyone.identities if roster else frozenset()

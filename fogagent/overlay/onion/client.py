"""Circuits for our streams: built ahead of time, handed out by what isolates the streams, rotated."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from functools import partial

from fogagent.overlay.directory import Directory
from fogagent.overlay.onion.builder import Builder, NoCircuit
from fogagent.overlay.onion.errors import OnionError
from fogagent.overlay.onion.own_circuit import ROTATE_S, OwnCircuit
from fogagent.overlay.onion.path import Wishes
from fogagent.overlay.onion.stream import Stream

AHEAD = 2
"""Circuits of each kind of wish that are kept ready."""
WANTED_S = 3600.0
"""How long a kind of wish counts as wanted after its last stream."""
TRIES = 4
"""Circuits that are tried for one stream before it is given up."""
OPEN_S = 20.0
"""How long an exit may take to open a stream."""
LOOK_S = 1.0
BACK_OFF_S = 15.0
"""At most, between attempts to build ahead when nothing can be built."""

log = logging.getLogger("fogagent")


class StreamFailed(Exception):
    """The stream was not opened. ``code`` is the exit's named reason, ``str`` a sentence."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


class OnionClient:
    """To be used from one event loop; `run` must be going for circuits to be kept ready and rotated."""

    def __init__(
        self, builder: Builder, clock: Callable[[], float], on_trouble: Callable[[], None] = lambda: None
    ) -> None:
        """``clock`` is monotonic.

        ``on_trouble`` is called when circuits for some wishes cannot be built, and when they can again.
        """
        self.builder = builder
        self._clock = clock
        self._circuits: list[OwnCircuit] = []
        self._wanted: dict[Wishes, float] = {}  # until when
        self._building: Counter[Wishes] = Counter()
        self._building_for: dict[tuple[Wishes, object], asyncio.Task[OwnCircuit]] = {}
        self._changed = asyncio.Event()
        self._directory_came = asyncio.Event()
        self._troubles: dict[Wishes, str] = {}  # by what cannot be had, the last one last
        self._on_trouble = on_trouble
        builder.on_settled = self._changed.set

    @property
    def trouble(self) -> str:
        """Why a circuit for streams could not be built, until such a one is; empty if there is none such."""
        return next(reversed(self._troubles.values()), "")

    def use(self, directory: Directory | None) -> None:
        """Build over these relays from now on; None: there are none. Circuits with streams stay, and those
        that wait for their first one while this directory lists their relays as they were chosen."""
        self.builder.use(directory)
        for one in self._circuits:
            if directory is not None and one.used_at is None and not one.stands_in(directory):
                one.circuit.close()
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

    async def _keep_new(self, wishes: Wishes) -> OwnCircuit:
        """A new circuit for streams of ours. Raises NoCircuit."""
        self._building[wishes] += 1
        try:
            own = await self.builder.build(wishes)
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

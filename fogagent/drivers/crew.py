"""The workers of a pool that are alive: which of them are free, when another is started, when one retires.

Short jobs share few workers; one that is held up by a long job is not counted, and another is started beside
it. It knows nothing of the jobs themselves.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from fogagent.background import Background, logged_as
from fogagent.drivers.child import Child

LONG_S = 0.05
"""A worker that runs a job for longer no longer counts as one that will soon be free."""
SURPLUS_S = 30.0
"""How long a worker beyond the usual number may be idle."""
JOBS_PER_WORKER = 10_000
FAILED_STARTS = 3
"""After so many workers in a row that died before they were ready, `on_failing` is called."""

log = logging.getLogger("fogagent")


class Crew:
    """Whoever gets a worker by `take` brings it back by `rest`. To be used from one event loop."""

    def __init__(
        self,
        usual: int,
        hire: Callable[[], Child],
        *,
        is_short: Callable[[], bool],
        on_failing: Callable[[], None],
    ) -> None:
        """``usual`` is how many are kept ready. ``hire`` starts a process or raises OSError; ``is_short``
        says whether jobs wait for a worker; ``on_failing`` hears that it may be long until there is any."""
        self.open = False
        self._usual, self._hire = usual, hire
        self._is_short, self._on_failing = is_short, on_failing
        self._children: set[Child] = set()
        self._idle: list[Child] = []  # the one used last is last, and is used first
        self._failed_starts = 0
        self._tending: asyncio.TimerHandle | None = None
        self._retiring: asyncio.TimerHandle | None = None
        self._starts = Background(logged_as("starting a worker"))
        self._none_left = asyncio.Event()

    def start(self) -> None:
        self.open = True
        self._tend()

    def dismiss(self) -> None:
        """Stop every worker; no other is started."""
        self.open = False
        for timer in (self._tending, self._retiring):
            if timer is not None:
                timer.cancel()
        for child in list(self._children):
            child.stop()
        self._note_end()

    async def gone(self) -> None:
        """After `dismiss`: return when no worker is left."""
        await self._none_left.wait()
        await self._starts.over()

    # --- Their work --------------------------------------------------------------------------------

    @property
    def has_free(self) -> bool:
        return bool(self._idle)

    def take(self) -> Child:
        """One that is free; there must be one."""
        child = self._idle.pop()
        child.since = asyncio.get_running_loop().time()
        return child

    def rest(self, child: Child) -> None:
        """It is free now, unless it has to stop or has worked enough."""
        if child.jobs_given >= JOBS_PER_WORKER:
            child.stop()
        if not child.stopping:
            child.since = asyncio.get_running_loop().time()
            self._idle.append(child)
            self._retire_later()

    # --- Coming and going --------------------------------------------------------------------------

    def came(self, child: Child) -> None:
        """It has started, and is ready for its first job."""
        self._failed_starts = 0
        self.rest(child)

    def left(self, child: Child) -> None:
        self._children.discard(child)
        if child in self._idle:
            self._idle.remove(child)
        if not child.ready and not child.stopping:
            self._note_failed_start()
        self.tend_later()
        self._note_end()

    def _note_end(self) -> None:
        if not self.open and not self._children:
            self._none_left.set()

    def _note_failed_start(self) -> None:
        self._failed_starts += 1
        if self._failed_starts >= FAILED_STARTS:
            self._on_failing()

    async def _start_one(self) -> None:
        if not self.open:
            return
        try:
            child = self._hire()
        except OSError as error:  # no room for its files, or no more processes to be had
            log.warning("A worker cannot be started: %s.", error)
            self._note_failed_start()
            self.tend_later()
            return
        self._children.add(child)
        await child.connect()

    # --- How many ----------------------------------------------------------------------------------

    def tend_later(self) -> None:
        """See soon whether there are enough: a job has come, or a worker is about to go."""
        if self._tending is None and self.open:
            self._tending = asyncio.get_running_loop().call_later(LONG_S, self._tend)

    def _tend(self) -> None:
        """Have the usual number of workers that are free or soon will be; look again while in doubt."""
        self._tending = None
        now = asyncio.get_running_loop().time()
        soon_free = [child for child in self._children if _is_soon_free(child, now)]
        for _ in range(self._starts_wanted(soon_free)):
            self._starts.begin(self._start_one())
        if self._is_short() or any(child.busy for child in soon_free):
            self.tend_later()

    def _starts_wanted(self, soon_free: list[Child]) -> int:
        starting = sum(not child.ready for child in soon_free)
        wanted = min(self._usual - len(soon_free), self._usual - starting)
        if self._failed_starts:
            # Something is wrong here: try one at a time, and after a while only for jobs that wait.
            wanted = 1 if not starting and (self._is_short() or self._failed_starts < FAILED_STARTS) else 0
        return max(0, wanted)

    def _retire_later(self) -> None:
        if self._retiring is None and self.open and len(self._idle) > self._usual:
            self._retiring = asyncio.get_running_loop().call_later(SURPLUS_S, self._retire_surplus)

    def _retire_surplus(self) -> None:
        """Stop workers beyond the usual number that were idle for long."""
        self._retiring = None
        long_ago = asyncio.get_running_loop().time() - SURPLUS_S
        for child in self._idle[: max(0, len(self._idle) - self._usual)]:
            if child.since <= long_ago:
                self._idle.remove(child)
                child.stop()
        self._retire_later()


def _is_soon_free(child: Child, now: float) -> bool:
    if child.stopping:
        return False
    return not child.busy or now - child.since <= LONG_S

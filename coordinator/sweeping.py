"""Sweeping at an interval, and from when on the silence of nodes is not our own absence."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

INTERVAL_S = 10.0
LATE_SWEEPS = 3  # so many intervals without a sweep mean that we were away ourselves

logger = logging.getLogger(__name__)


class Sweeping:
    """``sweep`` is called with the time; whoever calls it otherwise says so by `note`."""

    def __init__(
        self,
        sweep: Callable[[float], Awaitable[object]],
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
        interval_s: float,
    ) -> None:
        self.last_at: float | None = None
        self.trusted_since = float("-inf")
        """Silence before it may have been our own absence."""
        self._sweep, self._clock, self._sleep, self._interval_s = sweep, clock, sleep, interval_s
        self._loop: asyncio.Task[None] | None = None

    def note(self, now: float) -> None:
        self.last_at = now

    @property
    def on(self) -> bool:
        return self._loop is not None and not self._loop.done()

    def start(self) -> None:
        if not self.on:
            self._loop = asyncio.create_task(self._sweep_for_ever(), name="fog coordinator sweep")

    async def stop(self) -> None:
        loop, self._loop = self._loop, None
        if loop is not None:
            loop.cancel()
            with suppress(asyncio.CancelledError):
                await loop

    def complaint(self, now: float) -> str | None:
        """A sentence where sweeps should come and do not."""
        if not self.on or self.last_at is None or not self._is_late(now):
            return None
        return f"The last sweep was {now - self.last_at:.0f} s ago; one is due every {self._interval_s:g} s."

    def _is_late(self, now: float) -> bool:
        return self.last_at is not None and now - self.last_at > LATE_SWEEPS * self._interval_s

    async def _sweep_for_ever(self) -> None:
        while True:
            now = self._clock()
            if self._is_late(now):
                self.trusted_since = now
            try:
                await self._sweep(now)
            except Exception:
                logger.exception("The sweep failed; the next one tries again.")
            await self._sleep(self._interval_s)

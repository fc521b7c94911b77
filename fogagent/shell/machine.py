"""This machine, measured with each heartbeat, and which drivers can be used on it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path

from fogagent import fingerprint
from fogagent.events import FactsChanged
from fogagent.messages import DriverFact, Facts, Heartbeat
from fogagent.shell.jobs import Workers
from fogagent.shell.wiring import Feed

LOOK_AGAIN_S = 300.0
"""How often the drivers are tried again: an engine may have been installed or have died."""

Describe = Callable[[list[DriverFact]], Facts]
"""Makes the facts anew when the drivers change; it may block."""

log = logging.getLogger("fogagent")


class Machine:
    def __init__(
        self, state_dir: Path, workers: Workers, drivers: list[DriverFact], describe: Describe, feed: Feed
    ) -> None:
        """``drivers`` are known to the panel already, or will be told with the first facts."""
        self._state_dir, self._workers, self._drivers = state_dir, workers, drivers
        self._describe, self._feed = describe, feed
        self._measurable = True

    def heartbeat(self, running: int, round_trip_ms: float | None) -> Heartbeat | None:
        """None while the machine cannot be measured (its state folder is gone, no file can be opened).

        A machine that is silent for so long has its work given to others; when it can be measured again, it
        beats again.
        """
        try:
            sample = fingerprint.heartbeat_sample(
                at=time.time(), running=running, state_dir=self._state_dir, round_trip_ms=round_trip_ms
            )
        except OSError as error:
            if self._measurable:
                log.warning("No heartbeats, as this machine cannot be measured: %s.", error)
            self._measurable = False
            return None
        self._measurable = True
        return sample

    async def watch_drivers(self) -> None:
        """Tell the panel when a driver becomes usable or stops being so. Never returns."""
        await self._workers.prepared()
        while True:
            drivers = await self._workers.driver_facts()
            if drivers != self._drivers:
                self._drivers = drivers
                self._feed(FactsChanged(await asyncio.to_thread(self._describe, drivers)))
            await asyncio.sleep(LOOK_AGAIN_S)

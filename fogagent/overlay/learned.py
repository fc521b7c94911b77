"""What an agent learns of circuits from one life to the next: its guards, and how long building takes."""

from __future__ import annotations

import asyncio
import logging

from fogagent.home import Home
from fogagent.overlay.onion.builds import BuildTimes
from fogagent.overlay.onion.guards import Guards
from fogagent.overlay.remembered import recall, remember

SAVE_S = 60.0

log = logging.getLogger("fogagent")


class Learned:
    def __init__(self, home: Home) -> None:
        self._home = home
        self.guards = Guards.decode(recall(home.guards))
        self.times = BuildTimes.decode(recall(home.build_times))

    def save(self) -> None:
        try:
            remember(self._home.guards, self.guards.encode())
            remember(self._home.build_times, self.times.encode())
        except OSError as error:
            log.warning("What was learned of circuits cannot be kept: %s.", error)

    async def save_now_and_then(self) -> None:
        """After a kill, what came in the last minute is learned anew."""
        while True:
            await asyncio.sleep(SAVE_S)
            self.save()

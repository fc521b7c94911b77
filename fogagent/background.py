"""Work that goes on beside whoever began it, and that nobody awaits."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

OnError: TypeAlias = Callable[[BaseException], None]

log = logging.getLogger("fogagent")


def logged_as(what: str) -> OnError:
    """For work whose failure is to be read about, and to end nothing else."""
    return lambda error: log.error("%s failed", what, exc_info=error)


class Background:
    """Tasks of one owner, each kept until it is over: the event loop itself would let go of them."""

    def __init__(self, on_error: OnError) -> None:
        """``on_error`` is told what a task raised, unless it was cancelled."""
        self._on_error = on_error
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._reap)
        return task

    def _reap(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_error(error)

    async def over(self) -> None:
        """Return when nothing goes on any more."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def stop(self) -> None:
        """Cancel what goes on, and return when that is over."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

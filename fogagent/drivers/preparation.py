"""Preparing the python driver beside a running agent, where set-up did not do it."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from pathlib import Path

from fogagent.drivers.child import worker_environment
from fogagent.drivers.prepare import prepared


class Preparation:
    """Runs `prepare` in a process of its own: it takes seconds of every core."""

    def __init__(self, cache_dir: Path) -> None:
        self.error = ""
        self._cache_dir = cache_dir
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        if not prepared(self._cache_dir):
            self._task = asyncio.create_task(self._run())

    async def wait(self) -> None:
        if self._task is not None:
            await asyncio.wait([self._task])

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-P", "-m", "fogagent.drivers.prepare", str(self._cache_dir)),
            stdin=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env=worker_environment(),
        )
        try:
            _, said = await process.communicate()
        except asyncio.CancelledError:
            process.kill()
            await process.wait()
            raise
        if process.returncode != 0:
            lines = said.decode(errors="replace").strip().splitlines() or ["no reason given"]
            self.error = f"The Python interpreter could not be prepared: {lines[-1]}"

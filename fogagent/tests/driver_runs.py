"""Running one job in a test and looking at what came of it."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass, field
from typing import Any

from fogagent.drivers.base import Job, Result
from fogagent.drivers.pool import Pool
from fogagent.messages import Piece, Stream

_attempts = itertools.count(1)


def new_job(driver: str, payload: bytes = b"", **wishes: Any) -> Job:
    """A job with a number of its own."""
    return Job(attempt=next(_attempts), driver=driver, payload=payload, **wishes)


async def close(pool: Pool) -> None:
    """Close it, and wait for what an agent leaves to the end of its process where the machine is too busy to
    end it in time: here it would be found open by whoever looks for that."""
    await pool.close()
    await pool._crew.gone()
    await pool._clearing.over()


@dataclass
class Run:
    """A job in a pool: its output as it comes, and its result when it is over."""

    pool: Pool
    job: Job
    pieces: list[Piece] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[Result] = field(init=False)

    def __post_init__(self) -> None:
        self.task = asyncio.get_running_loop().create_task(self.pool.run(self.job, self._on_output))

    def _on_output(self, attempt: int, piece: Piece) -> None:
        assert attempt == self.job.attempt
        assert piece.offset == len(self.bytes_of(piece.stream))
        self.pieces.append(piece)
        self.arrived.set()

    async def output(self) -> None:
        """Return when the program has written something."""
        async with asyncio.timeout(30):
            await self.arrived.wait()

    async def result(self) -> Result:
        async with asyncio.timeout(30):
            return await self.task

    def bytes_of(self, stream: Stream) -> bytes:
        return b"".join(piece.data for piece in self.pieces if piece.stream is stream)

    @property
    def stdout(self) -> str:
        return self.bytes_of(Stream.STDOUT).decode()

    @property
    def stderr(self) -> str:
        return self.bytes_of(Stream.STDERR).decode()

"""Attempts at work: their content is read, a worker runs them, their end is told in any case."""

from __future__ import annotations

import asyncio
import logging
import time
import traceback
from collections.abc import Awaitable
from typing import Protocol

from fogagent.blobs import BadBlob, BlobCache
from fogagent.drivers.base import Job, OnOutput, OnStart, Result
from fogagent.events import Ended, JobBegan, Output
from fogagent.identity import Identity
from fogagent.instructions import CancelJob, StartJob
from fogagent.messages import Blob, DriverFact, Outcome, Piece, Run, Sealed
from fogagent.sealed_runs import SealedRun, outcome_of
from fogagent.sealing.errors import SealingError
from fogagent.shell.wiring import Feed, Spawn

log = logging.getLogger("fogagent")


class Workers(Protocol):
    """What the agent asks of `fogagent.drivers.pool.Pool`."""

    async def start(self) -> None: ...
    async def run(self, job: Job, on_output: OnOutput, on_start: OnStart) -> Result: ...
    def cancel(self, attempt: int, sentence: str) -> bool: ...
    async def driver_facts(self) -> list[DriverFact]: ...
    async def prepared(self) -> None: ...
    async def close(self) -> None: ...


class Jobs:
    """Whatever goes wrong with one, exactly one `Ended` is fed for it."""

    def __init__(
        self, workers: Workers, cache: BlobCache, identity: Identity, *, feed: Feed, spawn: Spawn
    ) -> None:
        self._workers, self._cache, self._identity = workers, cache, identity
        self._feed, self._spawn = feed, spawn
        # Attempts the workers do not know yet, each with the sentence of a cancel that came meanwhile.
        self._preparing: dict[int, str | None] = {}

    def start(self, instruction: StartJob) -> None:
        run = instruction.run
        self._preparing[run.attempt] = None
        self._spawn(self._run(run) if run.sealed is None else self._run_sealed(run, run.sealed))

    def cancel(self, instruction: CancelJob) -> None:
        if instruction.attempt in self._preparing:
            self._preparing[instruction.attempt] = instruction.sentence
        else:  # where the workers do not know it any more, it is over and its `Ended` on the way
            self._workers.cancel(instruction.attempt, instruction.sentence)

    async def _run(self, run: Run) -> None:
        try:
            result = await self._result(run.attempt, self._job(run), self._on_output)
        except BadBlob as error:
            result = _end(Outcome.CRASHED, str(error))
        except Exception as error:
            # Whatever a driver gets wrong must not leave the attempt open for ever.
            log.exception("attempt %d: the driver %s failed", run.attempt, run.driver)
            result = _end(Outcome.CRASHED, f"This node's driver {run.driver} failed: {error!r}.")
        self._feed(Ended(run.attempt, result))

    async def _run_sealed(self, run: Run, sealed: Sealed) -> None:
        task = SealedRun(run, sealed, self._identity)
        opening = task.open(self._content(run.payload))
        try:
            ended = await task.end(await self._result(run.attempt, opening, task.gather))
        except (BadBlob, SealingError) as error:
            ended = Ended(run.attempt, _end(outcome_of(error), str(error)))
        except Exception as error:
            # Said without what the error says: that may be of the task, and logs are kept on disk.
            where = "".join(traceback.format_tb(error.__traceback__))
            kind = type(error).__name__
            log.error("attempt %d: a sealed task failed here with %s\n%s", run.attempt, kind, where)
            sentence = f"This node failed with the task ({kind}); its log says where."
            ended = Ended(run.attempt, _end(Outcome.CRASHED, sentence))
        self._feed(ended)

    async def _result(self, attempt: int, preparing: Awaitable[Job], on_output: OnOutput) -> Result:
        try:
            job = await preparing
        finally:
            cancelled = self._preparing.pop(attempt)
        # From here to the workers' own list nothing else gets a turn: no cancel falls in between.
        if cancelled is not None:
            return _end(Outcome.CANCELLED, cancelled)
        return await self._workers.run(job, on_output, self._on_start)

    def _on_output(self, attempt: int, piece: Piece) -> None:
        self._feed(Output(attempt, piece))

    def _on_start(self, attempt: int) -> None:
        self._feed(JobBegan(attempt))

    async def _job(self, run: Run) -> Job:
        return Job(
            attempt=run.attempt,
            driver=run.driver,
            payload=await self._content(run.payload),
            image=run.image,
            args=tuple(run.args),
            env=run.env,
            stdin=await self._content(run.stdin),
            timeout_s=run.timeout_s,
            cpu_millis=run.cpu_millis,
            memory_mb=run.memory_mb,
            network=run.network,
        )

    async def _content(self, blob: Blob | None) -> bytes:
        if blob is None:
            return b""
        if blob.inline is not None:
            return blob.inline
        content = await asyncio.to_thread(self._cache.read, blob.sha256)
        if content is None:
            raise BadBlob(f"The payload {blob.sha256[:12]}… vanished from this node's cache.")
        return content


def _end(outcome: Outcome, sentence: str) -> Result:
    """The end of an attempt of which no worker tells."""
    at = time.time()
    return Result(outcome=outcome, started_at=at, finished_at=at, sentence=sentence)

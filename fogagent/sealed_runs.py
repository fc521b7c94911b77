"""Sealed tasks on the node that runs them: opened in memory, run as any other, and ended sealed.

Of a task that was opened everybody may see how it ended (`Outcome`), when it ran and what time and memory it
used (`for_all`). All else is for its submitter, in a sealed result. Why a task does not
open is told as of any other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from hashlib import sha256
from typing import ParamSpec, TypeVar

import msgspec

from fogagent.blobs import BadBlob
from fogagent.drivers.base import Job, Result
from fogagent.events import Ended
from fogagent.identity import Identity
from fogagent.messages import MAX_SENTENCE, Outcome, Piece, Run, Sealed, Stream
from fogagent.sealing import result as sealing
from fogagent.sealing.errors import Altered, BadContent, Damaged, WrongKey
from fogagent.sealing.task import SealedSpec, check_terms, open_task

LARGE_BYTES = 256 * 1024
"""To open or to seal less is a matter of half a millisecond, which needs no thread."""

P = ParamSpec("P")
T = TypeVar("T")


class SealedRun:
    """One sealed task on its way through this node."""

    def __init__(self, run: Run, sealed: Sealed, identity: Identity) -> None:
        self._run = run
        self._sealed = sealed
        self._identity = identity
        self._result_key = b""
        self._output = {Stream.STDOUT: bytearray(), Stream.STDERR: bytearray()}

    async def open(self, content: Awaitable[bytes]) -> Job:
        """Raises SealingError; BadBlob, where it is not the content that was ordered; and as ``content``
        does."""
        sealed = await content
        try:
            spec = await _aside(len(sealed), open_task, sealed, self._sealed, self._identity)
        except WrongKey:
            _check_stored(self._run, sealed)
            raise
        check_terms(spec.terms, self._run)
        self._result_key = spec.result_key
        return _job(self._run, spec)

    def gather(self, attempt: int, piece: Piece) -> None:
        """Takes the output as it comes: none of it is for all to see."""
        self._output[piece.stream] += piece.data

    async def end(self, result: Result) -> Ended:
        """What is told of the end of it, once it was opened. Raises TooLarge."""
        stdout, stderr = (bytes(output) for output in self._output.values())
        inside = sealing.Result(
            outcome=result.outcome,
            exit_code=result.exit_code,
            sentence=result.sentence[:MAX_SENTENCE],
            usage=result.usage,
            truncated=result.truncated,
            stdout=stdout,
            stderr=stderr,
        )
        reservation, size = self._sealed.reservation, len(stdout) + len(stderr)
        sealed = await _aside(
            size, sealing.seal_result, inside, self._result_key, reservation, self._identity
        )
        return Ended(self._run.attempt, for_all(result), sealed)


def for_all(result: Result) -> Result:
    """What everybody may see of the end of an opened task. The number of instructions, exact as it is, would
    tell of what ran on what."""
    usage = msgspec.structs.replace(result.usage, stdout_bytes=0, stderr_bytes=0, fuel=0)
    return replace(result, exit_code=None, sentence="", truncated=False, usage=usage)


def outcome_of(error: Exception) -> Outcome:
    """Of a task that does not open. CRASHED is this node's fault, and kept against it; INVALID is not.

    What was sealed for this node names its key, its reservation and its content. So where it does not unwrap,
    or opens to something damaged, it was handed in so: whoever may hand in tasks must not have nodes blamed.
    """
    by_sender = isinstance(error, WrongKey | Damaged | BadContent | Altered)
    return Outcome.INVALID if by_sender else Outcome.CRASHED


def _check_stored(run: Run, content: bytes) -> None:
    """Whether it still is what came here. Raises BadBlob."""
    assert run.payload is not None
    if sha256(content).hexdigest() != run.payload.sha256:
        raise BadBlob(f"The payload {run.payload.sha256[:12]}… was damaged in this node's cache.")


def _job(run: Run, spec: SealedSpec) -> Job:
    return Job(
        attempt=run.attempt,
        driver=run.driver,
        payload=spec.payload,
        image=spec.image,
        args=tuple(spec.args),
        env=spec.env,
        stdin=spec.stdin,
        timeout_s=run.timeout_s,
        cpu_millis=run.cpu_millis,
        memory_mb=run.memory_mb,
        network=run.network,
        sealed=True,
    )


async def _aside(size: int, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """In a thread if it is large, so that the event loop has its turn meanwhile."""
    if size < LARGE_BYTES:
        return work(*args, **kwargs)
    return await asyncio.to_thread(work, *args, **kwargs)

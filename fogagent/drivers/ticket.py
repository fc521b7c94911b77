"""A job on its way through the pool, and the results it can come to."""

from __future__ import annotations

import asyncio
import signal
import time
from dataclasses import dataclass, field

from fogagent.drivers import wire
from fogagent.drivers.base import Job, OnOutput, OnStart, Result
from fogagent.drivers.child import Child
from fogagent.messages import MAX_OUTPUT_BYTES, Outcome, Piece, Stream, Usage

WRITTEN = (Stream.STDOUT, Stream.STDERR)
"""What programs write to; other streams are the agent's own."""


@dataclass(eq=False, slots=True)
class Ticket:
    """A job on its way through the pool."""

    job: Job
    on_output: OnOutput
    on_start: OnStart
    done: asyncio.Future[Result]
    child: Child | None = None
    started_at: float = 0.0
    deadline: asyncio.TimerHandle | None = None
    stop: tuple[Outcome, str] | None = None  # why we had its worker stop
    written: dict[Stream, int] = field(default_factory=dict)

    def note(self, piece: Piece) -> None:
        """Raises wire.BadMessage unless it follows what came before, within what is kept of a stream."""
        if piece.stream not in WRITTEN:
            raise wire.BadMessage(f"The worker told of {piece.stream}, which no program writes to.")
        begin = self.written.get(piece.stream, 0)
        end = begin + len(piece.data)
        if piece.offset != begin or end > MAX_OUTPUT_BYTES:
            raise wire.BadMessage(
                f"The worker told of {piece.stream} from byte {piece.offset:,} on, after {begin:,} of"
                f" {MAX_OUTPUT_BYTES:,} that are kept."
            )
        self.written[piece.stream] = end


def result_of(ticket: Ticket, ended: wire.Ended) -> Result:
    outcome, sentence = ended.outcome, ended.sentence
    if outcome is Outcome.CANCELLED and ticket.stop is not None:
        outcome, sentence = ticket.stop
    return Result(
        outcome=outcome,
        started_at=ticket.started_at,
        finished_at=time.time(),
        exit_code=ended.exit_code,
        sentence=sentence,
        usage=ended.usage,
        truncated=ended.truncated,
    )


def result_of_the_dead(ticket: Ticket, status: int, fault: str) -> Result:
    """The result of a job whose worker died without a word, or for the ``fault`` that was found in its words;
    its CPU use is not known."""
    finished_at = time.time()
    outcome, sentence = ticket.stop or (Outcome.CRASHED, fault or _obituary(status))
    usage = Usage(
        wall_s=max(0.0, finished_at - ticket.started_at),
        stdout_bytes=ticket.written.get(Stream.STDOUT, 0),
        stderr_bytes=ticket.written.get(Stream.STDERR, 0),
    )
    return Result(
        outcome=outcome,
        started_at=ticket.started_at,
        finished_at=finished_at,
        sentence=sentence,
        usage=usage,
    )


def _obituary(status: int) -> str:
    if status == -signal.SIGKILL:
        return "The worker was killed from outside, perhaps because the machine ran out of memory."
    if status < 0:
        return f"The worker died of {signal.Signals(-status).name}."
    return f"The worker ended unexpectedly with code {status}."


def never_ran(outcome: Outcome, sentence: str) -> Result:
    now = time.time()
    return Result(outcome=outcome, started_at=now, finished_at=now, sentence=sentence)

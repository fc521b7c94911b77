"""The attempts that a node has taken on, each from its order to its one `Finished`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain

from fogagent.downloads import Downloads
from fogagent.events import Ended, JobBegan, Moment, Output
from fogagent.instructions import CancelJob, DropBlob, Forget, Instruction, Keep, Obtain, StartJob
from fogagent.messages import MAX_SENTENCE, Ack, Blob, Cancel, Finished, Outcome, Run, Stream
from fogagent.output import REPORT_BYTES, pieces_of
from fogagent.reports import Unacknowledged
from fogagent.run_rules import complaint
from fogagent.work import Work

REMEMBERED_ATTEMPTS = 100_000
"""Ended attempts kept in mind, so that a late repetition of their orders is not carried out."""
REPORT_EVERY_S = 0.15
"""How long output is gathered, and how long a job must run to be worth a `Started`."""
MAX_HOLDING = 10_000

INTERRUPTED = "The agent was restarted while this attempt was running."
CANCELLED_BEFORE = "Cancelled before this node had started it."
CANCELLED_HERE = "Cancelled."


class Memory:
    """The last attempts that ended, oldest forgotten first."""

    def __init__(self, attempts: Iterable[int] = ()) -> None:
        self._attempts = dict.fromkeys(attempts)

    def __contains__(self, attempt: int) -> bool:
        return attempt in self._attempts

    def add(self, attempt: int) -> None:
        self._attempts[attempt] = None
        if len(self._attempts) > REMEMBERED_ATTEMPTS:
            del self._attempts[next(iter(self._attempts))]


class Attempts:
    """Contains and counts those that have not ended."""

    def __init__(
        self,
        reports: Unacknowledged,
        downloads: Downloads,
        carried: Callable[[], Iterable[Blob]],
    ) -> None:
        """``carried`` tells of contents that this node needs for other nodes."""
        self._reports, self._downloads, self._carried = reports, downloads, carried
        self._ended = Memory(reports.ended())
        self._works: dict[int, Work] = {}
        self.report_at: float | None = None
        """The tick at which `on_tick` should be called."""

    def __len__(self) -> int:
        return len(self._works)

    def __contains__(self, attempt: int) -> bool:
        return attempt in self._works

    def held(self) -> list[int]:
        """Those that the panel must not give to others."""
        # Running work comes first. What is beyond the limit is given to another node, which costs
        # time but loses nothing: only one of two results is accepted.
        return list(dict.fromkeys([*self._works, *self._reports.attempts()]))[:MAX_HOLDING]

    # --- Orders ------------------------------------------------------------------------------------

    def end_interrupted(self, now: Moment) -> Iterator[Instruction]:
        """At the start: what an earlier life of the agent has begun and not ended."""
        for attempt in self._reports.unfinished():
            yield from self._finish(attempt, Outcome.UNKNOWN, INTERRUPTED, now)

    def take(self, run: Run, now: Moment) -> Iterator[Instruction]:
        """An order has come, perhaps not for the first time."""
        if run.attempt in self._works or run.attempt in self._ended:
            return
        if wrong := complaint(run):
            yield from self._finish(run.attempt, Outcome.INVALID, wrong, now)
            return
        work = self._works[run.attempt] = Work(run, self._reports)
        for blob in (run.payload, run.stdin):
            if blob is not None and blob.inline is None and blob.sha256 not in work.missing:
                work.missing.add(blob.sha256)
                if self._downloads.want(blob, run.attempt):
                    yield Obtain(blob)
        if not work.missing:
            yield StartJob(run)

    def cancel(self, cancel: Cancel, now: Moment) -> Iterator[Instruction]:
        work = self._works.get(cancel.attempt)
        if work is not None and not work.missing:
            yield CancelJob(cancel.attempt, cancel.sentence or CANCELLED_HERE)
        elif work is not None:
            yield from self._finish(cancel.attempt, Outcome.CANCELLED, cancel.sentence, now)
        elif cancel.attempt not in self._ended:
            # Never seen: its Run may come later and must then find it ended; the panel must hear
            # of an end in any case, or it would wait for one for ever.
            yield from self._finish(cancel.attempt, Outcome.CANCELLED, CANCELLED_BEFORE, now)

    # --- Their blobs -------------------------------------------------------------------------------

    def fetched(self, sha256: str, waiting: Iterable[int]) -> Iterator[Instruction]:
        """A blob that these waited for, and perhaps others, is in the cache."""
        for work in self._missing(sha256, waiting):
            work.missing.discard(sha256)
            if not work.missing:
                yield StartJob(work.run)

    def lost(self, sha256: str, waiting: Iterable[int], sentence: str, now: Moment) -> Iterator[Instruction]:
        """A blob that these waited for, and perhaps others, will not come."""
        for work in self._missing(sha256, waiting):
            yield from self._finish(work.run.attempt, Outcome.CRASHED, sentence, now)

    def _missing(self, sha256: str, waiting: Iterable[int]) -> list[Work]:
        works = (self._works.get(attempt) for attempt in waiting)
        return [work for work in works if work is not None and sha256 in work.missing]

    # --- At work, and after it ---------------------------------------------------------------------

    def on_job_began(self, event: JobBegan, now: Moment) -> Iterable[Instruction]:
        work = self._works.get(event.attempt)
        if work is not None:
            work.since = now.tick
            self._report_soon(now)
        return ()

    def on_output(self, event: Output, now: Moment) -> Iterator[Instruction]:
        work = self._works.get(event.attempt)
        if work is None or work.since is None:
            return
        work.output.add(event.piece)
        self._report_soon(now)
        if work.output.size >= REPORT_BYTES:
            yield from work.progress(work.since, now)

    def _report_soon(self, now: Moment) -> None:
        if self.report_at is None:
            self.report_at = now.tick + REPORT_EVERY_S

    def on_tick(self, now: Moment) -> Iterator[Instruction]:
        if self.report_at is None or now.tick < self.report_at:
            return
        self.report_at = None
        for work in self._works.values():
            yield from self._report_due(work, now)

    def _report_due(self, work: Work, now: Moment) -> Iterator[Instruction]:
        if work.since is None:
            return
        if work.announced or now.tick - work.since >= REPORT_EVERY_S:
            yield from work.progress(work.since, now)
        else:  # so short so far that its Finished may well say it all
            self._report_soon(now)

    def end(self, event: Ended) -> Iterator[Instruction]:
        work = self._works.pop(event.attempt, None)
        if work is None:
            return
        self._ended.add(event.attempt)
        for piece in pieces_of(Stream.SEALED, event.sealed):
            work.output.add(piece)
        yield from work.end(event.result)
        yield from self.done_with(work.sealed_content)

    def on_ack(self, ack: Ack, now: Moment) -> Iterable[Instruction]:
        stored = self._reports.acknowledge(ack.seqs)
        return (Forget(stored),) if stored else ()

    def _finish(self, attempt: int, outcome: Outcome, sentence: str, now: Moment) -> Iterator[Instruction]:
        """End an attempt that did not run, or of which nothing more is known."""
        work = self._works.pop(attempt, None)
        self._downloads.abandon(attempt)
        self._ended.add(attempt)
        yield Keep(
            Finished(
                seq=self._reports.number(attempt, final=True),
                attempt=attempt,
                at=now.at,
                outcome=outcome,
                sentence=(sentence or CANCELLED_HERE)[:MAX_SENTENCE],
            )
        )
        if work is not None:
            yield from self.done_with(work.sealed_content)

    def done_with(self, sealed: Blob | None) -> Iterator[Instruction]:
        """Sealed content is of one task: whoever has run or carried it has no use for it. It would crowd out
        what has, and tell whoever finds the disks of two nodes that one gave it to the other."""
        if sealed is None or sealed.inline is not None:
            return
        needed = chain(self._carried(), (work.run.payload for work in self._works.values()))
        if all(blob is None or blob.sha256 != sealed.sha256 for blob in needed):
            yield DropBlob(sealed.sha256)

"""One attempt at work: what it waits for, what it has printed, and the reports that tell of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from fogagent.drivers.base import Result
from fogagent.events import Moment
from fogagent.instructions import Keep
from fogagent.messages import MAX_SENTENCE, Blob, Finished, Log, Run, Started
from fogagent.output import OutputBuffer
from fogagent.reports import Unacknowledged


@dataclass(slots=True)
class Work:
    """An attempt taken on and not ended: waiting for blobs or a worker, or running."""

    run: Run
    reports: Unacknowledged
    missing: set[str] = field(default_factory=set)  # blobs, by hash
    since: float | None = None  # the tick at which a worker began with it
    announced: bool = False
    output: OutputBuffer = field(default_factory=OutputBuffer)

    @property
    def sealed_content(self) -> Blob | None:
        """What only this attempt has a use for."""
        return self.run.payload if self.run.sealed is not None else None

    def progress(self, since: float, now: Moment) -> Iterator[Keep]:
        """Tell that it began at the tick ``since``, unless that was told, and what it has printed."""
        attempt = self.run.attempt
        if not self.announced:
            self.announced = True
            at = now.at - (now.tick - since)
            yield Keep(Started(seq=self.reports.number(attempt), attempt=attempt, at=at))
        for pieces in self.output.take():
            yield Keep(Log(seq=self.reports.number(attempt), attempt=attempt, pieces=pieces))

    def end(self, result: Result) -> Iterator[Keep]:
        """Tell how it ended and what was not told before, as much as possible in the last report."""
        attempt = self.run.attempt
        *earlier, last = self.output.take() or [[]]
        for pieces in earlier:
            yield Keep(Log(seq=self.reports.number(attempt), attempt=attempt, pieces=pieces))
        yield Keep(
            Finished(
                seq=self.reports.number(attempt, final=True),
                attempt=attempt,
                at=result.finished_at,
                outcome=result.outcome,
                started_at=result.started_at,
                exit_code=result.exit_code,
                sentence=result.sentence[:MAX_SENTENCE],
                usage=result.usage,
                pieces=last,
                truncated=result.truncated,
            )
        )

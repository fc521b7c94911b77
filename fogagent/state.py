"""What the agent knows and decides: events in, instructions out. It knows no network and no clock.

The rules it keeps:

- An order that was seen is acknowledged again and never carried out again.
- Running work is never stopped because the connection is gone.
- Every attempt taken on ends with exactly one `Finished`, which stays in the spool until the panel
  has stored it, through any number of connections and restarts.
- On every connect the panel hears, in this order: the facts, which attempts are held here, and all
  reports that it has not acknowledged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from random import Random
from typing import Any

import msgspec

from fogagent.attempts import Kept, Memory, Unacknowledged, Work, complaint
from fogagent.backoff import CAP_S, Backoff
from fogagent.carrying_state import Carriages
from fogagent.downloads import MAX_STALLS, Download, Downloads
from fogagent.drivers.base import Result
from fogagent.events import (
    Began,
    BlobFailed,
    BlobReady,
    BlobWanted,
    Brought,
    CacheChanged,
    CarryEnded,
    CircuitTrialEnded,
    Connected,
    DirectoryAccepted,
    DirectoryRefused,
    Disconnected,
    Ended,
    Event,
    FactsChanged,
    Imposter,
    JobBegan,
    Moment,
    Output,
    OverlayChanged,
    OverlayStarted,
    Received,
    Refused,
    StopAsked,
    Ticked,
)
from fogagent.instructions import (
    AnswerGateway,
    Beat,
    CancelJob,
    Close,
    ConnectAfter,
    DropBlob,
    Exit,
    ExitCode,
    Forget,
    Instruction,
    Keep,
    KeepAlive,
    KeepChunk,
    Obtain,
    OpenTunnels,
    Replay,
    RunTrial,
    Say,
    Send,
    StartJob,
    TellOverlay,
)
from fogagent.messages import (
    MAX_SENTENCE,
    Ack,
    Acknowledge,
    Blob,
    Cancel,
    Carry,
    Challenge,
    Chunk,
    Configure,
    DirectoryNews,
    DirectoryPart,
    Facts,
    Finished,
    Goodbye,
    Holding,
    Log,
    Outcome,
    OverlayFacts,
    Problem,
    Run,
    SetTunnels,
    Started,
    Stream,
    TryCircuit,
    Watch,
    Welcome,
)
from fogagent.output import REPORT_BYTES, pieces_of
from fogagent.overlay.directory_holder import DirectoryHolder
from fogagent.rhythm import Rhythm

REPORT_EVERY_S = 0.15
"""How long output is gathered, and how long a job must run to be worth a `Started`."""
CACHE_TOLD_AFTER_S = 2.0
"""Downloads that end within this time are told of together."""
REFUSED_RETRY_S = 30.0
"""Between knocks on the door of a panel that wants us to wait."""
MAX_HOLDING = 10_000

INTERRUPTED = "The agent was restarted while this attempt was running."
CANCELLED_BEFORE = "Cancelled before this node had started it."
CANCELLED_HERE = "Cancelled."
STOPPING = "This node is stopping."


class AgentState:
    """One agent. `handle` takes what happened and says what to do; `wake_at` when to tick next."""

    def __init__(
        self,
        *,
        facts: Facts,
        first_seq: int,
        kept: Iterable[Kept],
        directory: DirectoryHolder,
        rng: Random,
    ) -> None:
        """``facts`` name what is in the cache already. The directory holder sees all events after this."""
        self.connected = False
        self._facts = facts
        self._seq = first_seq
        self._unacknowledged = Unacknowledged(kept)
        self._ended = Memory(self._unacknowledged.ended())
        self._work: dict[int, Work] = {}
        self._downloads = Downloads()
        self._carriages = Carriages(self._downloads)
        self._directory = directory
        self._rng = rng
        self._backoff = Backoff(rng)
        self._connected_at = 0.0
        self._stopping = False
        self._waits_for_approval = False
        self._rhythm = Rhythm(rng)
        self._report_at: float | None = None
        self._facts_at: float | None = None  # when they are told again
        self._overlay: OverlayFacts | None = None  # None: we take no part in it, or not yet

    def handle(self, event: Event, now: Moment) -> list[Instruction]:
        """What to do about ``event``, in this order."""
        return [*_EVENTS[type(event)](self, event, now), *self._directory.handle(event, now)]

    def wake_at(self) -> float | None:
        """The ``tick`` at which a `Ticked` is due; None while there is nothing to wait for."""
        stalls = self._downloads.wake_at() if self.connected and self._downloads else None
        beat = self._rhythm.next_at if self.connected else None
        facts = self._facts_at if self.connected else None
        carriages = self._carriages.wake_at()
        times = (beat, self._report_at, facts, stalls, carriages, self._directory.wake_at())
        return min((at for at in times if at is not None), default=None)

    # --- The connection ----------------------------------------------------------------------------

    def _began(self, event: Began, now: Moment) -> Iterator[Instruction]:
        for attempt in self._unacknowledged.unfinished():
            yield from self._finish(attempt, Outcome.UNKNOWN, INTERRUPTED, now)
        yield ConnectAfter(0.0)

    def _on_connected(self, event: Connected, now: Moment) -> Iterator[Instruction]:
        welcome = event.welcome
        self.connected, self._connected_at = True, now.tick
        self._waits_for_approval = False
        yield Say(f"connected as {welcome.name} (node {welcome.node})")
        yield from self._keep_beat(welcome.heartbeat_s, welcome.timeout_s)
        self._backoff.spread_s = min(welcome.spread_s, self._backoff.cap_s)
        self._facts_at = None
        yield Send(self._facts)
        yield Send(Holding(attempts=self._held()))
        yield Replay()
        yield from self._tell_overlay()
        for fetch in self._downloads.reconnected(now.tick):
            yield Send(fetch)
        yield Beat(len(self._work))
        self._rhythm.connected(now.tick)

    def _held(self) -> list[int]:
        # Running work comes first. What is beyond the limit is given to another node, which costs
        # time but loses nothing: only one of two results is accepted.
        return list(dict.fromkeys([*self._work, *self._unacknowledged.attempts()]))[:MAX_HOLDING]

    def _keep_beat(self, heartbeat_s: float, timeout_s: float) -> Iterator[Instruction]:
        self._rhythm.keep(heartbeat_s)
        # A panel that gives nodes up sooner must be called back sooner once it is there again.
        self._backoff.cap_s = min(CAP_S, max(timeout_s / 3, 1.0))
        yield KeepAlive(max(timeout_s, 0.3))

    def _on_disconnected(self, event: Disconnected, now: Moment) -> Iterator[Instruction]:
        lasted = now.tick - self._connected_at if self.connected else 0.0
        self.connected = False
        if self._stopping:
            return
        delay = self._backoff.next_delay(lasted)
        when = f"trying again in {delay:.1f} s" if delay else "trying again"
        yield Say(f"not connected: {event.sentence} ({when}; {len(self._work)} running)", warning=True)
        yield ConnectAfter(delay)

    def _on_refused(self, event: Refused, now: Moment) -> Iterator[Instruction]:
        self.connected = False
        problem = event.problem
        yield Close()
        if self._stopping:
            return
        if not problem.retry:
            yield Say(f"the panel refused this agent: {problem.sentence}", warning=True)
            yield Exit(ExitCode.REFUSED)
        elif problem.code == "waiting-for-approval":
            if not self._waits_for_approval:
                self._waits_for_approval = True
                yield Say(f"{problem.sentence} Asking again every {REFUSED_RETRY_S:g} s.")
            yield ConnectAfter(REFUSED_RETRY_S * self._rng.uniform(0.9, 1.0))
        else:
            delay = max(1.0, self._backoff.next_delay(0.0))
            yield Say(f"{problem.sentence} Trying again in {delay:.1f} s.", warning=True)
            yield ConnectAfter(delay)

    def _on_imposter(self, event: Imposter, now: Moment) -> Iterator[Instruction]:
        self.connected = False
        yield Close()
        yield Say(event.sentence, warning=True)
        yield Exit(ExitCode.IMPOSTER)

    def _stop(self, event: StopAsked, now: Moment) -> Iterator[Instruction]:
        if self._stopping:
            return
        self._stopping = True
        yield Say(f"stopping: {event.sentence}")
        # Not before the reports: they would find their attempts given to other nodes.
        yield Exit(ExitCode.STOPPED, farewell=Goodbye(sentence=event.sentence))

    # --- Frames from the panel ---------------------------------------------------------------------

    def _on_frame(self, event: Received, now: Moment) -> Iterator[Instruction]:
        orders: list[int] = []
        for message in event.messages:
            if isinstance(message, (Run, Cancel, Configure, SetTunnels, TryCircuit)) and message.order:
                orders.append(message.order)
            yield from _MESSAGES[type(message)](self, message, now)
        # At the end, and once for all: what was just said about them lies in the spool's queue.
        if orders and self.connected and not self._stopping:
            yield Send(Acknowledge(orders=orders))

    def _on_run(self, run: Run, now: Moment) -> Iterator[Instruction]:
        if run.attempt in self._work or run.attempt in self._ended or self._stopping:
            return
        if wrong := complaint(run):
            yield from self._finish(run.attempt, Outcome.INVALID, wrong, now)
            return
        work = self._work[run.attempt] = Work(run)
        for blob in (run.payload, run.stdin):
            if blob is not None and blob.inline is None and blob.sha256 not in work.missing:
                work.missing.add(blob.sha256)
                if self._downloads.want(blob, run.attempt):
                    yield Obtain(blob)
        if not work.missing:
            yield StartJob(work.run)

    def _on_cancel(self, cancel: Cancel, now: Moment) -> Iterator[Instruction]:
        work = self._work.get(cancel.attempt)
        if work is not None and not work.missing:
            yield CancelJob(cancel.attempt, cancel.sentence or CANCELLED_HERE)
        elif work is not None:
            yield from self._finish(cancel.attempt, Outcome.CANCELLED, cancel.sentence, now)
        elif cancel.attempt in self._carriages:  # another node's, which is told itself
            yield from self._carriages.withdraw(cancel.attempt, cancel.sentence)
        elif cancel.attempt not in self._ended:
            # Never seen: its Run may come later and must then find it ended; the panel must hear
            # of an end in any case, or it would wait for one for ever.
            yield from self._finish(cancel.attempt, Outcome.CANCELLED, CANCELLED_BEFORE, now)

    def _on_configure(self, configure: Configure, now: Moment) -> Iterator[Instruction]:
        yield from self._keep_beat(configure.heartbeat_s, configure.timeout_s)
        self._rhythm.quicken(now.tick)

    def _on_watch(self, watch: Watch, now: Moment) -> Iterator[Instruction]:
        self._rhythm.watch(watch.every_s, watch.for_s, now.tick)
        yield from ()

    def _on_ack(self, ack: Ack, now: Moment) -> Iterator[Instruction]:
        if stored := self._unacknowledged.acknowledge(ack.seqs):
            yield Forget(stored)

    def _on_chunk(self, chunk: Chunk, now: Moment) -> Iterator[Instruction]:
        blob = self._downloads.accept(chunk, now.tick)
        if blob is not None:
            yield KeepChunk(chunk, blob.size)

    def _on_problem(self, problem: Problem, now: Moment) -> Iterator[Instruction]:
        if problem.fatal:
            yield from self._on_refused(Refused(problem), now)
        else:
            yield Say(f"the panel says: {problem.sentence}", warning=True)

    def _elsewhere(self, happened: object, now: Moment) -> Iterator[Instruction]:
        """What concerns the relay directory alone."""
        yield from ()

    def _out_of_turn(self, message: Welcome | Challenge, now: Moment) -> Iterator[Instruction]:
        yield Say(f"the panel sent a {type(message).__name__} out of turn; ignored", warning=True)

    # --- The overlay -------------------------------------------------------------------------------

    def _on_overlay_started(self, event: OverlayStarted, now: Moment) -> Iterator[Instruction]:
        self._overlay = event.facts
        if self.connected:
            yield from self._tell_overlay()

    def _tell_overlay(self) -> Iterator[Instruction]:
        if self._overlay is not None:
            yield Send(self._overlay)
            yield TellOverlay()

    def _on_overlay_changed(self, event: OverlayChanged, now: Moment) -> Iterator[Instruction]:
        if self.connected:
            yield TellOverlay()

    def _on_set_tunnels(self, message: SetTunnels, now: Moment) -> Iterator[Instruction]:
        yield OpenTunnels(message.tunnels)

    def _on_try_circuit(self, message: TryCircuit, now: Moment) -> Iterator[Instruction]:
        yield RunTrial(message)

    def _on_trial_ended(self, event: CircuitTrialEnded, now: Moment) -> Iterator[Instruction]:
        if self.connected:  # else the panel has long gone by the trial's deadline
            yield Send(event.tried)

    # --- Carrying ----------------------------------------------------------------------------------

    def _on_carry(self, order: Carry, now: Moment) -> Iterator[Instruction]:
        """`Carried` answers it, in place of an `Acknowledge`."""
        if not self._stopping:
            yield from self._carriages.take(order, now.tick)

    def _on_carry_ended(self, event: CarryEnded, now: Moment) -> Iterator[Instruction]:
        content = self._carriages.content_of(event.carried.order)
        yield from self._carriages.ended(event.carried, now.tick)
        yield from self._done_with(content)

    def _on_brought(self, event: Brought, now: Moment) -> Iterator[Instruction]:
        if self._stopping:
            yield AnswerGateway(STOPPING)
            return
        yield from self._on_run(event.run, now)
        yield AnswerGateway()
        if event.run.attempt not in self._work:  # it was over before its content came
            yield from self._done_with(event.run.payload)

    # --- Blobs -------------------------------------------------------------------------------------

    def _on_blob_ready(self, event: BlobReady, now: Moment) -> Iterator[Instruction]:
        for work in self._waited_for(event.sha256):
            work.missing.discard(event.sha256)
            if not work.missing:
                yield StartJob(work.run)
        yield from self._carriages.fetched(event.sha256, now.tick)

    def _waited_for(self, sha256: str) -> list[Work]:
        """Who waited for a blob that has come, or will not. What is to be carried waits for others, too."""
        works = (self._work.get(attempt) for attempt in self._downloads.close(sha256))
        return [work for work in works if work is not None and sha256 in work.missing]

    def _on_blob_wanted(self, event: BlobWanted, now: Moment) -> Iterator[Instruction]:
        fetch = self._downloads.missing_from(event.sha256, event.index, now.tick)
        if fetch is not None and self.connected:
            yield Send(fetch)

    def _on_blob_failed(self, event: BlobFailed, now: Moment) -> Iterator[Instruction]:
        for work in self._waited_for(event.sha256):
            yield from self._finish(work.run.attempt, Outcome.CRASHED, event.sentence, now)
        yield from self._carriages.lost(event.sha256, event.sentence)

    def _done_with(self, sealed: Blob | None) -> Iterator[Instruction]:
        """Sealed content is of one task: whoever has run or carried it has no use for it. It would crowd out
        what has, and tell whoever finds the disks of two nodes that one gave it to the other."""
        if sealed is None or sealed.inline is not None:
            return
        needed = chain(self._carriages.contents(), (work.run.payload for work in self._work.values()))
        if all(blob is None or blob.sha256 != sealed.sha256 for blob in needed):
            yield DropBlob(sealed.sha256)

    def _unstall(self, download: Download, now: Moment) -> Iterator[Instruction]:
        if download.stalls < MAX_STALLS:
            yield Send(self._downloads.ask_again(download, now.tick))
            return
        sentence = f"The payload {download.blob.sha256[:12]}… could not be fetched from the panel."
        yield from self._on_blob_failed(BlobFailed(download.blob.sha256, sentence), now)

    # --- Jobs and their reports --------------------------------------------------------------------

    def _on_job_began(self, event: JobBegan, now: Moment) -> Iterator[Instruction]:
        work = self._work.get(event.attempt)
        if work is not None:
            work.since = now.tick
            self._report_soon(now)
        yield from ()

    def _on_output(self, event: Output, now: Moment) -> Iterator[Instruction]:
        work = self._work.get(event.attempt)
        if work is None or work.since is None:
            return
        work.output.add(event.piece)
        self._report_soon(now)
        if work.output.size >= REPORT_BYTES:
            yield from self._report_progress(event.attempt, work, work.since, now)

    def _report_soon(self, now: Moment) -> None:
        if self._report_at is None:
            self._report_at = now.tick + REPORT_EVERY_S

    def _on_tick(self, event: Ticked, now: Moment) -> Iterator[Instruction]:
        if self._report_at is not None and now.tick >= self._report_at:
            self._report_at = None
            for attempt, work in self._work.items():
                yield from self._report_due(attempt, work, now)
        yield from self._carriages.on_tick(now.tick)
        if not self.connected:
            return
        if self._rhythm.is_due(now.tick):
            yield Beat(len(self._work))
        if self._facts_at is not None and now.tick >= self._facts_at:
            self._facts_at = None
            yield Send(self._facts)
        for download in self._downloads.stalled(now.tick):
            yield from self._unstall(download, now)

    def _report_due(self, attempt: int, work: Work, now: Moment) -> Iterator[Instruction]:
        if work.since is None:
            return
        if work.announced or now.tick - work.since >= REPORT_EVERY_S:
            yield from self._report_progress(attempt, work, work.since, now)
        else:  # so short so far that its Finished may well say it all
            self._report_soon(now)

    def _report_progress(self, attempt: int, work: Work, since: float, now: Moment) -> Iterator[Instruction]:
        if not work.announced:
            work.announced = True
            yield Keep(Started(seq=self._next(attempt), attempt=attempt, at=now.at - (now.tick - since)))
        for pieces in work.output.take():
            yield Keep(Log(seq=self._next(attempt), attempt=attempt, pieces=pieces))

    def _on_ended(self, event: Ended, now: Moment) -> Iterator[Instruction]:
        work = self._work.get(event.attempt)
        if work is None or self._stopping:
            # Stopping kills the workers: what they then report is our doing, not the job's. The
            # Goodbye has handed the work back.
            return
        for piece in pieces_of(Stream.SEALED, event.sealed):
            work.output.add(piece)
        yield from self._report_end(event.attempt, work, event.result)

    def _report_end(self, attempt: int, work: Work, result: Result) -> Iterator[Instruction]:
        *earlier, last = work.output.take() or [[]]
        for pieces in earlier:
            yield Keep(Log(seq=self._next(attempt), attempt=attempt, pieces=pieces))
        del self._work[attempt]
        self._ended.add(attempt)
        yield Keep(
            Finished(
                seq=self._next(attempt, final=True),
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
        yield from self._done_with(_sealed_content(work.run))

    def _finish(self, attempt: int, outcome: Outcome, sentence: str, now: Moment) -> Iterator[Instruction]:
        """End an attempt that did not run, or of which nothing more is known."""
        work = self._work.pop(attempt, None)
        self._downloads.abandon(attempt)
        self._ended.add(attempt)
        yield Keep(
            Finished(
                seq=self._next(attempt, final=True),
                attempt=attempt,
                at=now.at,
                outcome=outcome,
                sentence=(sentence or CANCELLED_HERE)[:MAX_SENTENCE],
            )
        )
        if work is not None:
            yield from self._done_with(_sealed_content(work.run))

    def _next(self, attempt: int, *, final: bool = False) -> int:
        """The number of the attempt's next report, which counts as unacknowledged from now on."""
        seq = self._seq
        self._seq += 1
        self._unacknowledged.add(seq, attempt, final=final)
        return seq

    def _on_facts(self, event: FactsChanged, now: Moment) -> Iterator[Instruction]:
        self._facts = msgspec.structs.replace(event.facts, cached=self._facts.cached)
        if self.connected:
            yield Send(self._facts)

    def _on_cache(self, event: CacheChanged, now: Moment) -> Iterator[Instruction]:
        self._facts = msgspec.structs.replace(self._facts, cached=event.blobs)
        if self._facts_at is None:
            self._facts_at = now.tick + CACHE_TOLD_AFTER_S
        yield from ()


def _sealed_content(run: Run) -> Blob | None:
    return run.payload if run.sealed is not None else None


_EVENTS: dict[type, Callable[[AgentState, Any, Moment], Iterator[Instruction]]] = {
    Began: AgentState._began,
    Connected: AgentState._on_connected,
    Disconnected: AgentState._on_disconnected,
    Refused: AgentState._on_refused,
    Imposter: AgentState._on_imposter,
    Received: AgentState._on_frame,
    JobBegan: AgentState._on_job_began,
    Output: AgentState._on_output,
    Ended: AgentState._on_ended,
    BlobReady: AgentState._on_blob_ready,
    BlobWanted: AgentState._on_blob_wanted,
    BlobFailed: AgentState._on_blob_failed,
    FactsChanged: AgentState._on_facts,
    CacheChanged: AgentState._on_cache,
    DirectoryAccepted: AgentState._elsewhere,
    DirectoryRefused: AgentState._elsewhere,
    OverlayStarted: AgentState._on_overlay_started,
    OverlayChanged: AgentState._on_overlay_changed,
    CircuitTrialEnded: AgentState._on_trial_ended,
    CarryEnded: AgentState._on_carry_ended,
    Brought: AgentState._on_brought,
    Ticked: AgentState._on_tick,
    StopAsked: AgentState._stop,
}

_MESSAGES: dict[type, Callable[[AgentState, Any, Moment], Iterator[Instruction]]] = {
    Run: AgentState._on_run,
    Carry: AgentState._on_carry,
    Cancel: AgentState._on_cancel,
    Configure: AgentState._on_configure,
    Ack: AgentState._on_ack,
    Chunk: AgentState._on_chunk,
    Watch: AgentState._on_watch,
    DirectoryNews: AgentState._elsewhere,
    DirectoryPart: AgentState._elsewhere,
    SetTunnels: AgentState._on_set_tunnels,
    TryCircuit: AgentState._on_try_circuit,
    Problem: AgentState._on_problem,
    Welcome: AgentState._out_of_turn,
    Challenge: AgentState._out_of_turn,
}

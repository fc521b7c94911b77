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
from typing import Any, TypeAlias

from fogagent.attempts import Attempts
from fogagent.carrying_state import Carriages
from fogagent.contact import Contact
from fogagent.downloads import MAX_STALLS, Download, Downloads
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
from fogagent.facts_told import FactsTold
from fogagent.instructions import (
    AnswerGateway,
    Beat,
    ConnectAfter,
    DropBlob,
    Instruction,
    KeepChunk,
    OpenTunnels,
    Replay,
    RunTrial,
    Say,
    Send,
    TellOverlay,
)
from fogagent.messages import (
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
    FromPanel,
    Holding,
    OverlayFacts,
    Problem,
    Run,
    SetTunnels,
    TryCircuit,
    Watch,
    Welcome,
)
from fogagent.overlay.directory_holder import DirectoryHolder
from fogagent.reports import Kept, Unacknowledged

STOPPING = "This node is stopping."

Handler: TypeAlias = Callable[[Any, Moment], Iterable[Instruction]]


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
        self._contact = Contact(rng)
        self._facts = FactsTold(facts)
        self._overlay: OverlayFacts | None = None  # None: we take no part in it, or not yet
        self._downloads = Downloads()
        self._attempts = Attempts(Unacknowledged(first_seq, kept), self._downloads, self._done_with)
        self._carriages = Carriages(self._downloads)
        self._directory = directory
        self._handlers = self._who_handles_what()

    def _who_handles_what(self) -> dict[type[Event | FromPanel], Handler]:
        return {
            Began: self._began,
            Connected: self._on_connected,
            Disconnected: self._on_disconnected,
            Refused: self._contact.on_refused,
            Imposter: self._contact.on_imposter,
            Received: self._on_frame,
            JobBegan: self._attempts.on_job_began,
            Output: self._attempts.on_output,
            Ended: self._on_ended,
            BlobReady: self._on_blob_ready,
            BlobWanted: self._on_blob_wanted,
            BlobFailed: self._on_blob_failed,
            FactsChanged: self._on_facts,
            CacheChanged: self._on_cache,
            DirectoryAccepted: _elsewhere,
            DirectoryRefused: _elsewhere,
            OverlayStarted: self._on_overlay_started,
            OverlayChanged: self._on_overlay_changed,
            CircuitTrialEnded: self._on_trial_ended,
            CarryEnded: self._on_carry_ended,
            Brought: self._on_brought,
            Ticked: self._on_tick,
            StopAsked: self._contact.on_stop,
            # Messages, which come in frames:
            Run: self._on_run,
            Carry: self._on_carry,
            Cancel: self._on_cancel,
            Configure: self._contact.on_configure,
            Ack: self._attempts.on_ack,
            Chunk: self._on_chunk,
            Watch: self._contact.on_watch,
            DirectoryNews: _elsewhere,
            DirectoryPart: _elsewhere,
            SetTunnels: self._on_set_tunnels,
            TryCircuit: self._on_try_circuit,
            Problem: self._contact.on_problem,
            Welcome: _out_of_turn,
            Challenge: _out_of_turn,
        }

    @property
    def connected(self) -> bool:
        return self._contact.connected

    def handle(self, event: Event, now: Moment) -> list[Instruction]:
        """What to do about ``event``, in this order."""
        return [*self._handlers[type(event)](event, now), *self._directory.handle(event, now)]

    def wake_at(self) -> float | None:
        """The ``tick`` at which a `Ticked` is due; None while there is nothing to wait for."""
        connected = self._contact.connected
        times = (
            self._contact.beat_at if connected else None,
            self._facts.due_at if connected else None,
            self._downloads.wake_at() if connected else None,
            self._attempts.report_at,
            self._carriages.wake_at(),
            self._directory.wake_at(),
        )
        return min((at for at in times if at is not None), default=None)

    def _on_tick(self, event: Ticked, now: Moment) -> Iterator[Instruction]:
        yield from self._attempts.on_tick(now)
        yield from self._carriages.on_tick(now.tick)
        if not self.connected:
            return
        if self._contact.is_beat_due(now.tick):
            yield Beat(len(self._attempts))
        if self._facts.is_due(now.tick):
            yield Send(self._facts.facts)
        for download in self._downloads.stalled(now.tick):
            yield from self._unstall(download, now)

    # --- The connection ----------------------------------------------------------------------------

    def _began(self, event: Began, now: Moment) -> Iterator[Instruction]:
        yield from self._attempts.end_interrupted(now)
        yield ConnectAfter(0.0)

    def _on_connected(self, event: Connected, now: Moment) -> Iterator[Instruction]:
        yield from self._contact.made(event.welcome, now.tick)
        yield Send(self._facts.for_new_connection())
        yield Send(Holding(attempts=self._attempts.held()))
        yield Replay()
        yield from self._tell_overlay()
        for fetch in self._downloads.reconnected(now.tick):
            yield Send(fetch)
        yield Beat(len(self._attempts))
        self._contact.has_beaten(now.tick)

    def _on_disconnected(self, event: Disconnected, now: Moment) -> Iterable[Instruction]:
        return self._contact.lost(event, len(self._attempts), now.tick)

    def _on_frame(self, event: Received, now: Moment) -> Iterator[Instruction]:
        orders: list[int] = []
        for message in event.messages:
            if isinstance(message, (Run, Cancel, Configure, SetTunnels, TryCircuit)) and message.order:
                orders.append(message.order)
            yield from self._handlers[type(message)](message, now)
        # At the end, and once for all: what was just said about them lies in the spool's queue.
        if orders and self.connected and not self._contact.stopping:
            yield Send(Acknowledge(orders=orders))

    def _on_facts(self, event: FactsChanged, now: Moment) -> Iterator[Instruction]:
        facts = self._facts.change(event.facts)
        if self.connected:
            yield Send(facts)

    def _on_cache(self, event: CacheChanged, now: Moment) -> Iterable[Instruction]:
        self._facts.change_cache(event.blobs, now.tick)
        return ()

    # --- Attempts ----------------------------------------------------------------------------------

    def _on_run(self, run: Run, now: Moment) -> Iterable[Instruction]:
        return () if self._contact.stopping else self._attempts.take(run, now)

    def _on_cancel(self, cancel: Cancel, now: Moment) -> Iterable[Instruction]:
        if cancel.attempt not in self._attempts and cancel.attempt in self._carriages:
            return self._carriages.withdraw(cancel.attempt, cancel.sentence)  # its node is told itself
        return self._attempts.cancel(cancel, now)

    def _on_ended(self, event: Ended, now: Moment) -> Iterable[Instruction]:
        # Stopping kills the workers: what they then report is our doing, not the job's. The Goodbye
        # has handed the work back.
        return () if self._contact.stopping else self._attempts.end(event)

    # --- Carrying ----------------------------------------------------------------------------------

    def _on_carry(self, order: Carry, now: Moment) -> Iterable[Instruction]:
        """`Carried` answers it, in place of an `Acknowledge`."""
        return () if self._contact.stopping else self._carriages.take(order, now.tick)

    def _on_carry_ended(self, event: CarryEnded, now: Moment) -> Iterator[Instruction]:
        content = self._carriages.content_of(event.carried.order)
        yield from self._carriages.ended(event.carried, now.tick)
        yield from self._done_with(content)

    def _on_brought(self, event: Brought, now: Moment) -> Iterator[Instruction]:
        if self._contact.stopping:
            yield AnswerGateway(STOPPING)
            return
        yield from self._attempts.take(event.run, now)
        yield AnswerGateway()
        if event.run.attempt not in self._attempts:  # it was over before its content came
            yield from self._done_with(event.run.payload)

    # --- Blobs, for whoever waits for them ---------------------------------------------------------

    def _on_chunk(self, chunk: Chunk, now: Moment) -> Iterator[Instruction]:
        blob = self._downloads.accept(chunk, now.tick)
        if blob is not None:
            yield KeepChunk(chunk, blob.size)

    def _on_blob_ready(self, event: BlobReady, now: Moment) -> Iterator[Instruction]:
        yield from self._attempts.fetched(event.sha256, self._downloads.close(event.sha256))
        yield from self._carriages.fetched(event.sha256, now.tick)

    def _on_blob_wanted(self, event: BlobWanted, now: Moment) -> Iterator[Instruction]:
        fetch = self._downloads.missing_from(event.sha256, event.index, now.tick)
        if fetch is not None and self.connected:
            yield Send(fetch)

    def _on_blob_failed(self, event: BlobFailed, now: Moment) -> Iterable[Instruction]:
        return self._lose(event.sha256, event.sentence, now)

    def _lose(self, sha256: str, sentence: str, now: Moment) -> Iterator[Instruction]:
        yield from self._attempts.lost(sha256, self._downloads.close(sha256), sentence, now)
        yield from self._carriages.lost(sha256, sentence)

    def _unstall(self, download: Download, now: Moment) -> Iterator[Instruction]:
        if download.stalls < MAX_STALLS:
            yield Send(self._downloads.ask_again(download, now.tick))
            return
        sha256 = download.blob.sha256
        yield from self._lose(sha256, f"The payload {sha256[:12]}… could not be fetched from the panel.", now)

    def _done_with(self, sealed: Blob | None) -> Iterator[Instruction]:
        """Sealed content is of one task: whoever has run or carried it has no use for it. It would crowd out
        what has, and tell whoever finds the disks of two nodes that one gave it to the other."""
        if sealed is None or sealed.inline is not None:
            return
        needed = chain(self._carriages.contents(), self._attempts.payloads())
        if all(blob is None or blob.sha256 != sealed.sha256 for blob in needed):
            yield DropBlob(sealed.sha256)

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
        yield OpenTunnels([*message.tunnels, *message.guarded])

    def _on_try_circuit(self, message: TryCircuit, now: Moment) -> Iterator[Instruction]:
        yield RunTrial(message)

    def _on_trial_ended(self, event: CircuitTrialEnded, now: Moment) -> Iterator[Instruction]:
        if self.connected:  # else the panel has long gone by the trial's deadline
            yield Send(event.tried)


def _elsewhere(happened: object, now: Moment) -> Iterable[Instruction]:
    """What concerns the relay directory alone."""
    return ()


def _out_of_turn(message: Welcome | Challenge, now: Moment) -> Iterator[Instruction]:
    yield Say(f"the panel sent a {type(message).__name__} out of turn; ignored", warning=True)

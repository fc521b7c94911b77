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
from random import Random
from typing import Any, TypeAlias

from fogagent.attempts import Attempts
from fogagent.carrying_state import Carriages
from fogagent.contact import Contact
from fogagent.contents import Contents
from fogagent.downloads import Downloads
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
    Instruction,
    Replay,
    Say,
    Send,
)
from fogagent.messages import (
    Ack,
    Acknowledge,
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
    Problem,
    Run,
    SetTunnels,
    TryCircuit,
    Watch,
    Welcome,
)
from fogagent.overlay.directory_holder import DirectoryHolder
from fogagent.overlay_state import OverlayTold
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
        downloads = Downloads()
        self._carriages = Carriages(downloads)
        self._attempts = Attempts(Unacknowledged(first_seq, kept), downloads, self._carriages.contents)
        self._contents = Contents(self._contact, downloads, self._attempts, self._carriages)
        self._overlay = OverlayTold(self._contact)
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
            BlobReady: self._contents.on_ready,
            BlobWanted: self._contents.on_wanted,
            BlobFailed: self._contents.on_failed,
            FactsChanged: self._on_facts,
            CacheChanged: self._on_cache,
            DirectoryAccepted: _elsewhere,
            DirectoryRefused: _elsewhere,
            OverlayStarted: self._overlay.on_started,
            OverlayChanged: self._overlay.on_changed,
            CircuitTrialEnded: self._overlay.on_trial_ended,
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
            Chunk: self._contents.on_chunk,
            Watch: self._contact.on_watch,
            DirectoryNews: _elsewhere,
            DirectoryPart: _elsewhere,
            SetTunnels: self._overlay.on_set_tunnels,
            TryCircuit: self._overlay.on_try_circuit,
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
            self._contents.wake_at() if connected else None,
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
        yield from self._contents.on_tick(now)

    # --- The connection ----------------------------------------------------------------------------

    def _began(self, event: Began, now: Moment) -> Iterator[Instruction]:
        yield from self._attempts.end_interrupted(now)
        yield ConnectAfter(0.0)

    def _on_connected(self, event: Connected, now: Moment) -> Iterator[Instruction]:
        yield from self._contact.made(event.welcome, now.tick)
        yield Send(self._facts.for_new_connection())
        yield Send(Holding(attempts=self._attempts.held()))
        yield Replay()
        yield from self._overlay.tell()
        yield from self._contents.reconnected(now.tick)
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
        yield from self._attempts.done_with(content)

    def _on_brought(self, event: Brought, now: Moment) -> Iterator[Instruction]:
        if self._contact.stopping:
            yield AnswerGateway(STOPPING)
            return
        yield from self._attempts.take(event.run, now)
        yield AnswerGateway()
        if event.run.attempt not in self._attempts:  # it was over before its content came
            yield from self._attempts.done_with(event.run.payload)


def _elsewhere(happened: object, now: Moment) -> Iterable[Instruction]:
    """What concerns the relay directory alone."""
    return ()


def _out_of_turn(message: Welcome | Challenge, now: Moment) -> Iterator[Instruction]:
    yield Say(f"the panel sent a {type(message).__name__} out of turn; ignored", warning=True)

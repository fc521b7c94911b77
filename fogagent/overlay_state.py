"""What the panel is told of our part in the overlay and wants of it, as far as it needs no network."""

from __future__ import annotations

from collections.abc import Iterator

from fogagent.contact import Contact
from fogagent.events import CircuitTrialEnded, Moment, OverlayChanged, OverlayStarted
from fogagent.instructions import Instruction, OpenTunnels, RunTrial, Send, TellOverlay
from fogagent.messages import OverlayFacts, SetTunnels, TryCircuit


class OverlayTold:
    def __init__(self, contact: Contact) -> None:
        self._contact = contact
        self._facts: OverlayFacts | None = None  # None: we take no part in it, or not yet

    def on_started(self, event: OverlayStarted, now: Moment) -> Iterator[Instruction]:
        self._facts = event.facts
        if self._contact.connected:
            yield from self.tell()

    def tell(self) -> Iterator[Instruction]:
        """Who we are there and how it is, on each new connection."""
        if self._facts is not None:
            yield Send(self._facts)
            yield TellOverlay()

    def on_changed(self, event: OverlayChanged, now: Moment) -> Iterator[Instruction]:
        if self._contact.connected:
            yield TellOverlay()

    def on_set_tunnels(self, order: SetTunnels, now: Moment) -> Iterator[Instruction]:
        yield OpenTunnels([*order.tunnels, *order.guarded])

    def on_try_circuit(self, order: TryCircuit, now: Moment) -> Iterator[Instruction]:
        yield RunTrial(order)

    def on_trial_ended(self, event: CircuitTrialEnded, now: Moment) -> Iterator[Instruction]:
        if self._contact.connected:  # else the panel has long gone by the trial's deadline
            yield Send(event.tried)

"""What the state machine wants of the overlay, and what happens there.

Nothing that fails in the overlay may end the agent, whose jobs know nothing of it: it is logged instead.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from random import Random
from typing import BinaryIO

import msgspec

from fogagent.blobs import BlobCache
from fogagent.events import Brought, CarryEnded, CircuitTrialEnded, OverlayChanged, OverlayStarted
from fogagent.home import Home
from fogagent.identity import Identity
from fogagent.instructions import AnswerGateway, Bring, OpenTunnels, RunTrial
from fogagent.messages import Blob, Carried, Carry, CircuitTried, NotCarried, Run, TryCircuit, TunnelSpec
from fogagent.overlay import letters
from fogagent.overlay.carrying import not_carried
from fogagent.overlay.directory import Directory
from fogagent.overlay.overlay import Overlay
from fogagent.overlay.part import Part
from fogagent.overlay.receiving import Receiver
from fogagent.shell.wiring import Feed, Post, Spawn

NO_PART = "This node takes no part in the overlay."

log = logging.getLogger("fogagent")


class OverlayShell:
    """With ``part`` None this node takes no part, and each call does nothing but say so where it is asked."""

    def __init__(
        self,
        home: Home,
        identity: Identity,
        part: Part | None,
        rng: Random,
        *,
        panel_key: bytes,
        blobs: BlobCache,
        feed: Feed,
        post: Post,
        spawn: Spawn,
    ) -> None:
        """Raises ValueError: a key or a certificate of the overlay is none."""
        self._identity, self._panel_key, self._blobs = identity, panel_key, blobs
        self._feed, self._post, self._spawn = feed, post, spawn
        receiver = Receiver(self._read_letter, blobs, self._take_on)
        self._overlay = Overlay(home, identity, part, rng, self._changed, receiver) if part else None
        self._is_on = False
        self._refusal = ""  # of what a gateway brought last

    def start(self) -> None:
        if self._overlay is not None:
            self._spawn(self._start(self._overlay))

    async def _start(self, overlay: Overlay) -> None:
        with _contained("starting"):
            facts = await overlay.start()
            self._is_on = True
            self._feed(OverlayStarted(facts))

    def _changed(self) -> None:
        self._feed(OverlayChanged())

    def use(self, directory: Directory | None) -> None:
        if self._overlay is not None:
            with _contained("taking over a directory"):
                self._overlay.use(directory)

    def tell(self) -> None:
        """Tell the panel how it is."""
        if self._overlay is not None and self._is_on:
            with _contained("telling how it is"):
                self._post(self._overlay.status())

    def open_tunnels(self, instruction: OpenTunnels) -> None:
        if self._overlay is not None:
            self._spawn(self._set_tunnels(self._overlay, instruction.specs))

    async def _set_tunnels(self, overlay: Overlay, specs: Sequence[TunnelSpec]) -> None:
        with _contained("opening tunnels"):
            await overlay.set_tunnels(specs)

    def run_trial(self, instruction: RunTrial) -> None:
        self._spawn(self._try_circuit(instruction.order))

    async def _try_circuit(self, order: TryCircuit) -> None:
        tried = CircuitTried(trial=order.trial, ok=False, sentence=NO_PART)
        if self._overlay is not None:
            sentence = "This node failed at the trial; its log tells more."
            tried = msgspec.structs.replace(tried, sentence=sentence)
            with _contained("trying a circuit"):
                tried = await self._overlay.try_circuit(order)
        self._feed(CircuitTrialEnded(tried))

    # --- Carrying ----------------------------------------------------------------------------------

    def bring(self, instruction: Bring) -> None:
        self._spawn(self._carry(instruction.order, instruction.within_s))

    async def _carry(self, order: Carry, within_s: float) -> None:
        carried = not_carried(order, NotCarried.NO_PART, NO_PART)
        if self._overlay is not None:
            sentence = "This gateway failed at it; its log tells more."
            carried = not_carried(order, NotCarried.FAILED, sentence)
            with _contained("carrying an order"):
                carried = await self._carried(self._overlay, order, within_s)
        self._feed(CarryEnded(carried))

    async def _carried(self, overlay: Overlay, order: Carry, within_s: float) -> Carried:
        content = await self._open(order.content)
        if content is None:
            sentence = "Its content vanished from this gateway's cache."
            return not_carried(order, NotCarried.NO_CONTENT, sentence)
        with content:
            return await overlay.carry(order, content, within_s)

    async def _open(self, blob: Blob) -> BinaryIO | None:
        if blob.inline is not None:
            return BytesIO(blob.inline)
        return await asyncio.to_thread(self._blobs.open, blob.sha256)

    def _read_letter(self, letter: bytes) -> Run:
        """Raises BadLetter."""
        return letters.read(letter, self._identity, self._panel_key, time.time())

    def _take_on(self, run: Run) -> str:
        """Why this agent does not take it on; empty where it does."""
        self._feed(Brought(run))
        return self._refusal

    def answer_gateway(self, instruction: AnswerGateway) -> None:
        """What the state machine says, while it is fed what was brought."""
        self._refusal = instruction.refusal

    # --- The end -----------------------------------------------------------------------------------

    async def close(self) -> None:
        if self._overlay is not None:
            with _contained("closing"):
                await self._overlay.close()


@contextmanager
def _contained(at: str) -> Iterator[None]:
    try:
        yield
    except Exception:
        log.exception("the overlay failed at %s", at)

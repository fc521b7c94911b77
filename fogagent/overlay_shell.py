"""The overlay's side of the agent's shell: does what the state machine wants of it, feeds back what happens.

Nothing that fails in the overlay may end the agent, whose jobs know nothing of it: it is logged instead.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from random import Random
from typing import Any

import msgspec

from fogagent.events import CircuitTrialEnded, Event, OverlayChanged, OverlayStarted
from fogagent.home import Home
from fogagent.identity import Identity
from fogagent.messages import CircuitTried, FromAgent, TryCircuit, TunnelSpec
from fogagent.overlay.directory import Directory
from fogagent.overlay.overlay import Overlay
from fogagent.overlay.part import Part

log = logging.getLogger("fogagent")

Feed = Callable[[Event], None]
Post = Callable[[FromAgent], None]
Spawn = Callable[[Coroutine[Any, Any, None]], object]


class OverlayShell:
    """With ``part`` None this node takes no part, and each call does nothing but say so where it is asked."""

    def __init__(
        self,
        home: Home,
        identity: Identity,
        part: Part | None,
        rng: Random,
        *,
        feed: Feed,
        post: Post,
        spawn: Spawn,
    ) -> None:
        """Raises ValueError: a key or a certificate of the overlay is none."""
        self._feed, self._post, self._spawn = feed, post, spawn
        self._overlay = Overlay(home, identity, part, rng, self._changed) if part else None
        self._is_on = False

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

    def open_tunnels(self, specs: Sequence[TunnelSpec]) -> None:
        if self._overlay is not None:
            self._spawn(self._set_tunnels(self._overlay, specs))

    async def _set_tunnels(self, overlay: Overlay, specs: Sequence[TunnelSpec]) -> None:
        with _contained("opening tunnels"):
            await overlay.set_tunnels(specs)

    def run_trial(self, order: TryCircuit) -> None:
        self._spawn(self._try_circuit(order))

    async def _try_circuit(self, order: TryCircuit) -> None:
        sentence = "This node takes no part in the overlay."
        tried = CircuitTried(trial=order.trial, ok=False, sentence=sentence)
        if self._overlay is not None:
            sentence = "This node failed at the trial; its log tells more."
            tried = msgspec.structs.replace(tried, sentence=sentence)
            with _contained("trying a circuit"):
                tried = await self._overlay.try_circuit(order)
        self._feed(CircuitTrialEnded(tried))

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

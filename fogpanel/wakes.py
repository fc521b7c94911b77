"""Wakes: "look again", said between the threads and processes of the panel.

A wake carries no truth. Whoever is woken reads the database; a lost wake costs a delay until the next
periodic look and nothing else. Local listeners are called at once, those of other processes through
one group of the channel layer, gathered for a few milliseconds.
"""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import redis.exceptions
import structlog
from channels.layers import BaseChannelLayer, channel_layers
from django.db import transaction

Key: TypeAlias = int | str
Listener: TypeAlias = Callable[[frozenset[Key]], None]

GROUP = "wakes"
GATHER_S = 0.005
PAUSE_S = 0.05  # between two messages to the others, however much happens
REJOIN_S = 10.0  # a restarted broker forgets its groups
RETRY_S = 1.0
AWAY = (OSError, redis.exceptions.ConnectionError, redis.exceptions.TimeoutError)

log = structlog.get_logger(__name__)
_listeners: dict[str, list[Listener]] = defaultdict(list)


def on_wake(kind: str, listener: Listener) -> None:
    """Call ``listener`` with the keys of each wake of this kind, in whatever thread it arrives.

    Listeners return at once: they set an event or put something in a queue.
    """
    _listeners[kind].append(listener)


def wake(kind: str, *keys: Key) -> None:
    """Wake whoever waits for ``kind``, here and in other processes, once the transaction is committed."""
    transaction.on_commit(lambda: _tell(kind, frozenset(keys)))


def _tell(kind: str, keys: frozenset[Key]) -> None:
    _deliver(kind, keys)
    if _hub is not None:
        _hub.send(kind, keys)


def _deliver(kind: str, keys: Iterable[Key]) -> None:
    """Call the listeners. One that fails must not tell whoever has just committed that something failed."""
    for listener in _listeners[kind]:
        try:
            listener(frozenset(keys))
        except Exception:
            log.exception("A listener to wakes failed", kind=kind)


class Hub(threading.Thread):
    """One thread a process that carries wakes to and from the others."""

    def __init__(self) -> None:
        super().__init__(name="wakes", daemon=True)
        self._origin = uuid.uuid4().hex
        self._lock = threading.Lock()
        self._outgoing: dict[str, set[Key]] = {}
        self._loop = asyncio.new_event_loop()
        self._something = asyncio.Event()

    def send(self, kind: str, keys: Iterable[Key]) -> None:
        with self._lock:
            first = not self._outgoing
            self._outgoing.setdefault(kind, set()).update(keys)
        if first and self._loop.is_running():
            self._loop.call_soon_threadsafe(self._something.set)

    def run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._main())

    async def _main(self) -> None:
        self._something.set()  # for what was sent before the loop ran
        # A layer of our own: connections of the default one belong to another event loop.
        layer = channel_layers.make_backend("default")
        await asyncio.gather(self._keep(self._send_all, layer), self._keep(self._receive_all, layer))

    async def _keep(self, work: Callable[[BaseChannelLayer], Any], layer: BaseChannelLayer) -> None:
        """Run ``work`` for ever; say once when the broker goes and once when it is back."""
        away = False
        while True:
            try:
                if away:
                    await layer.group_send(GROUP, {"type": "wakes", "origin": self._origin, "wakes": {}})
                    log.info("The broker answers again", work=work.__name__)
                    away = False
                await work(layer)
            except AWAY as error:
                if not away:
                    log.warning("The broker does not answer; looking periodically instead", error=str(error))
                away = True
                await asyncio.sleep(RETRY_S)
            except Exception:
                log.exception("Wakes could not be carried; trying again", work=work.__name__)
                await asyncio.sleep(RETRY_S)

    async def _send_all(self, layer: BaseChannelLayer) -> None:
        while True:
            await self._something.wait()
            await asyncio.sleep(GATHER_S)
            self._something.clear()
            with self._lock:
                wakes, self._outgoing = self._outgoing, {}
            if wakes:
                message = {kind: list(keys) for kind, keys in wakes.items()}
                await layer.group_send(GROUP, {"type": "wakes", "origin": self._origin, "wakes": message})
                await asyncio.sleep(PAUSE_S)

    async def _receive_all(self, layer: BaseChannelLayer) -> None:
        channel = await layer.new_channel()
        while True:
            await layer.group_add(GROUP, channel)
            try:
                async with asyncio.timeout(REJOIN_S):
                    while True:
                        self._hear(await layer.receive(channel))
            except TimeoutError:
                continue

    def _hear(self, message: dict[str, Any]) -> None:
        if message["origin"] != self._origin:
            for kind, keys in message["wakes"].items():
                _deliver(kind, keys)


_hub: Hub | None = None


def start() -> None:
    """Start carrying wakes between processes. Without it `wake` reaches listeners in this process only."""
    global _hub
    if _hub is None:
        _hub = Hub()
        _hub.start()

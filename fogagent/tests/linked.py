"""Nodes with links on real sockets, for tests."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from fogagent.overlay.certificates import LinkCertificate
from fogagent.overlay.links import Link, LinkLimits, Links, LinkTimes, Peer

WAIT_S = 20.0


def identity_of(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


class Node:
    """Listens on loopback and remembers what happened to it. To be used in an ``async with``."""

    def __init__(
        self,
        folder: Path,
        name: str,
        *,
        times: LinkTimes | None = None,
        limits: LinkLimits | None = None,
        certificate: LinkCertificate | None = None,
    ) -> None:
        self.identity = identity_of(name)
        path = folder / f"{name}.pem"
        self.certificate = certificate or LinkCertificate.load_or_create(path, self.identity)
        self.frames: list[tuple[int, bytes]] = []
        self.heard: list[Link] = []
        self.closed: list[tuple[Link, str]] = []
        self.on_frame: Callable[[Link], None] = lambda link: None
        self.links = Links(
            self.certificate,
            self._note_frame,
            self._note_closed,
            times=times or LinkTimes(),
            limits=limits or LinkLimits(),
        )
        self._news = asyncio.Event()
        self.port = 0

    def _note_frame(self, link: Link, kind: int, payload: bytes) -> None:
        self.frames.append((kind, payload))
        self.heard.append(link)
        self.on_frame(link)
        self._news.set()

    def _note_closed(self, link: Link, sentence: str) -> None:
        self.closed.append((link, sentence))
        self._news.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition that changes with frames or the end of links."""
        async with asyncio.timeout(WAIT_S):
            while not condition():
                self._news.clear()
                await self._news.wait()

    async def end(self) -> str:
        """Wait for the end of the node's first link; returns why."""
        await self.until(lambda: bool(self.closed))
        return self.closed[0][1]

    @property
    def peer(self) -> Peer:
        return Peer(self.identity, self.certificate.der, f"127.0.0.1:{self.port}" if self.port else "")

    async def __aenter__(self) -> Node:
        self.port = await self.links.listen("127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        async with asyncio.timeout(WAIT_S):
            await self.links.close()


async def comes_true(condition: Callable[[], bool]) -> None:
    """Wait for a condition that nobody tells us of: look at it in each turn of the event loop."""
    async with asyncio.timeout(WAIT_S):
        for _ in iter(condition, True):
            await asyncio.sleep(0)


def acquaint(*nodes: Node) -> None:
    """All admit each other."""
    for node in nodes:
        node.links.admit([other.peer for other in nodes])

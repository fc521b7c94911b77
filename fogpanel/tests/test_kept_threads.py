"""Requests one after the other share a thread; requests at once do not."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from fogpanel import kept_threads
from fogpanel.kept_threads import KeptThreadsHandler


class Noting(KeptThreadsHandler):
    """Notes the thread that each request's synchronous part ran on, and has slow ones wait for each other."""

    def __init__(self) -> None:
        super().__init__()
        self.threads: list[int] = []
        self.together = threading.Barrier(4, timeout=30)

    async def handle(self, scope: Any, receive: Any, send: Any) -> None:
        await sync_to_async(self._note)(scope["path"])

    def _note(self, path: str) -> None:
        self.threads.append(threading.get_ident())
        if path == "/slow":
            self.together.wait()


async def visit(handler: KeptThreadsHandler, path: str = "/") -> None:
    await handler({"type": "http", "path": path}, None, None)


@pytest.mark.asyncio
async def test_one_after_the_other_on_one_thread() -> None:
    handler = Noting()
    for _ in range(3):
        await visit(handler)
    assert len(set(handler.threads)) == 1


@pytest.mark.asyncio
async def test_at_once_on_as_many_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_threads, "KEPT", 2)
    handler = Noting()
    await asyncio.gather(*(visit(handler, "/slow") for _ in range(4)))
    assert len(set(handler.threads)) == 4
    assert len(handler._idle) == 2

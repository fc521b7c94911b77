"""The panel as Daphne serves it, writing down every byte of requests, answers and sockets."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from e2e.system.traffic import Of, TrafficLog, Way
from fogpanel.asgi import application as panel

Event: TypeAlias = Mapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Event]]
Send: TypeAlias = Callable[[Event], Awaitable[None]]

log = TrafficLog("web")


async def application(scope: Event, receive: Receive, send: Send) -> None:
    of: Of = "http" if scope["type"] == "http" else "socket"
    peer = scope["path"]
    log.note(of, "in", peer, _head(scope["headers"], scope["query_string"]))

    async def heard() -> Event:
        event = await receive()
        _note(of, "in", peer, event)
        return event

    async def said(event: Event) -> None:
        _note(of, "out", peer, event)
        await send(event)

    await panel(scope, heard, said)  # type: ignore[arg-type]


def _note(of: Of, way: Way, peer: str, event: Event) -> None:
    log.note(of, way, peer, _head(event.get("headers", ())))
    for name in ("body", "bytes", "text"):
        if event.get(name):
            log.note(of, way, peer, event[name])


def _head(headers: Any, query: bytes = b"") -> bytes:
    return query + b"".join(name + b": " + value + b"\n" for name, value in headers)

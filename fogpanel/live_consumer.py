"""The browsers' socket, ``/ws/live/?topics=fleet,task:12``: HTML of the topics named, as it changes.

Written as a bare ASGI application: it needs no channel layer, only the hub of its process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeAlias
from urllib.parse import parse_qs

from django.utils.html import format_html

from fogpanel import live
from fogpanel.access import AnyUser

Message: TypeAlias = dict[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]

REASON_MAX = 120  # bytes; a close frame holds 123


class Browser(live.Subscriber):
    """Takes frames from the hub's thread into the socket's event loop."""

    def __init__(self, user: AnyUser, topics: list[str]) -> None:
        super().__init__(user, topics)
        self._loop = asyncio.get_running_loop()
        self.outgoing: asyncio.Queue[Message] = asyncio.Queue()

    def deliver(self, html: str) -> None:
        self._put({"type": "websocket.send", "text": html})

    def refuse(self, refusal: live.Refused) -> None:
        for message in closing(refusal):
            self._put(message)

    def _put(self, message: Message) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody is there to read it
            self._loop.call_soon_threadsafe(self.outgoing.put_nowait, message)


def closing(refusal: live.Refused) -> list[Message]:
    """The last two messages of a socket. Daphne keeps a close reason to itself, so the page is told first."""
    told = format_html('<span id="live-reason" hx-swap-oob="true">{}</span>', refusal)
    reason = str(refusal).encode()[:REASON_MAX].decode(errors="ignore")
    return [
        {"type": "websocket.send", "text": told},
        {"type": "websocket.close", "code": refusal.code, "reason": reason},
    ]


def asked_topics(query: bytes) -> list[str]:
    """The topics in the query string; raises `live.Refused` where they cannot be subscribed to."""
    topics = [
        name
        for part in parse_qs(query.decode(errors="replace")).get("topics", [])
        for name in part.split(",")
        if name
    ]
    if not topics:
        raise live.Refused(4400, "topics: name at least one, as in ?topics=fleet,events.")
    if len(topics) > live.TOPICS_MAX:
        raise live.Refused(4400, f"topics: at most {live.TOPICS_MAX}, were {len(topics)}.")
    for name in topics:
        live.find(name)
    return topics


async def live_socket(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Accept first, so that a refusal reaches the browser with its code and reason."""
    await receive()
    await send({"type": "websocket.accept"})
    try:
        if not scope["user"].is_authenticated:
            raise live.Refused(4401, "Sign in to see live values.")
        browser = Browser(scope["user"], asked_topics(scope["query_string"]))
    except live.Refused as refusal:
        await _close(refusal, send)
        return
    live.hub.start()
    live.hub.subscribe(browser)
    sender = asyncio.create_task(_send_all(browser, send))
    try:
        await _until_closed(receive, send)
    finally:
        sender.cancel()
        live.hub.unsubscribe(browser)


async def _send_all(browser: Browser, send: Send) -> None:
    while True:
        message = await browser.outgoing.get()
        await send(message)
        if message["type"] == "websocket.close":
            return


async def _until_closed(receive: Receive, send: Send) -> None:
    while (await receive())["type"] != "websocket.disconnect":
        await _close(live.Refused(4400, "This socket sends and does not take frames."), send)


async def _close(refusal: live.Refused, send: Send) -> None:
    for message in closing(refusal):
        await send(message)

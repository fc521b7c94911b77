"""The browsers' socket: who gets in, what closes it and why."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User

from fogpanel import live
from fogpanel.live_consumer import Browser, Message, live_socket


class QuietHub(live.Hub):
    """A hub that ticks only when the test says so."""

    def start(self) -> None: ...


class Socket:
    """Both ends of one ASGI connection."""

    def __init__(self, user: Any, query: bytes) -> None:
        self.scope = {"user": user, "query_string": query}
        self.incoming: asyncio.Queue[Message] = asyncio.Queue()
        self.outgoing: asyncio.Queue[Message] = asyncio.Queue()
        self.incoming.put_nowait({"type": "websocket.connect"})

    async def run(self) -> None:
        await live_socket(self.scope, self.incoming.get, self.outgoing.put)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> live.Hub:
    monkeypatch.setattr(live, "registry", {})
    monkeypatch.setattr(live, "hub", QuietHub())
    live.topic("page", allow=lambda user, key: key != "hidden")(lambda key: f"<p>{key}</p>")
    return live.hub


def converse(user: Any, query: bytes, talk: Callable[[Socket], Any]) -> Any:
    async def main() -> Any:
        socket = Socket(user, query)
        running = asyncio.create_task(socket.run())
        assert (await socket.outgoing.get())["type"] == "websocket.accept"
        result = await talk(socket)
        socket.incoming.put_nowait({"type": "websocket.disconnect"})
        await running
        return result

    return asyncio.run(asyncio.wait_for(main(), timeout=30))


async def next_message(socket: Socket) -> Message:
    live.hub.tick(0.0)
    return await socket.outgoing.get()


async def two_messages(socket: Socket) -> list[Message]:
    return [await next_message(socket), await socket.outgoing.get()]


def test_a_browser_gets_the_picture(hub: live.Hub) -> None:
    message = converse(User(username="ada"), b"topics=page:1,page:2", next_message)
    assert message == {"type": "websocket.send", "text": "<p>1</p>\n<p>2</p>"}


@pytest.mark.parametrize(
    ("user", "query", "code", "says"),
    [
        (AnonymousUser(), b"topics=page", 4401, "Sign in"),
        (User(username="ada"), b"", 4400, "name at least one"),
        (User(username="ada"), b"topics=wether", 4404, "wether"),
        (User(username="ada"), b"topics=page:hidden", 4403, "page:hidden"),
        (User(username="ada"), b"topics=" + b"page," * 21, 4400, "at most 20"),
        (User(username="ada"), b"topics=\xff\xfe" + b"x" * 500, 4404, "unknown"),
    ],
)
def test_a_refusal_says_why(hub: live.Hub, user: Any, query: bytes, code: int, says: str) -> None:
    told, closed = converse(user, query, two_messages)
    assert says in told["text"]
    assert "hx-swap-oob" in told["text"]
    assert (closed["type"], closed["code"]) == ("websocket.close", code)
    assert says in closed["reason"]
    assert len(closed["reason"].encode()) <= 123


def test_a_frame_from_a_browser_is_refused(hub: live.Hub) -> None:
    async def talk(socket: Socket) -> list[Message]:
        socket.incoming.put_nowait({"type": "websocket.receive", "text": "{"})
        return [await socket.outgoing.get(), await socket.outgoing.get()]

    told, closed = converse(User(username="ada"), b"topics=page:1", talk)
    assert "does not take frames" in told["text"]
    assert (closed["type"], closed["code"]) == ("websocket.close", 4400)


def test_who_left_gets_nothing_more(hub: live.Hub) -> None:
    converse(User(username="ada"), b"topics=page:1", next_message)
    hub.mark_dirty(["page:1"])
    hub.tick(1.0)
    assert hub.next_due() is None
    assert not hub._watches


def test_a_picture_for_a_loop_that_is_closed_is_let_go() -> None:
    async def connect() -> Browser:
        return Browser(User(username="ada"), ["page:1"])

    browser = asyncio.run(connect())
    browser.deliver("<p>1</p>")
    assert browser.outgoing.empty()

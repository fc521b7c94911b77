"""The agents' socket as an ASGI server sees it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from fogagent.identity import AGENT_HELLO, Identity, transcript
from fogagent.messages import Challenge, FromPanel, Hello, Welcome, encode_frame
from nodes import consumers, sockets
from nodes.doorkeeper import Doorkeeper
from nodes.leases import Lease

URL = "ws://panel.example/ws/agent/"
AGENT = Identity.generate()


class Server:
    """Carries frames between a test and the socket."""

    def __init__(self, doorkeeper: Doorkeeper) -> None:
        self.events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.frames: asyncio.Queue[list[FromPanel]] = asyncio.Queue()
        self._doorkeeper = doorkeeper

    async def send(self, message: dict[str, Any]) -> None:
        if "text" in message:
            self.frames.put_nowait(msgspec.json.decode(message["text"], type=list[FromPanel]))

    async def connected(self) -> asyncio.Task[None]:
        """A connection whose handshake is done."""
        scope = {"type": "websocket", "client": ["127.0.0.1", 1]}
        task = asyncio.create_task(consumers.agent_socket(scope, self.events.get, self.send))
        self.events.put_nowait({"type": "websocket.connect"})
        [challenge] = await self.frames.get()
        assert isinstance(challenge, Challenge)
        self.events.put_nowait({"type": "websocket.receive", "text": encode_frame([hello_to(challenge)])})
        while not self._doorkeeper._coming:  # noqa: ASYNC110
            await asyncio.sleep(0)
        self._doorkeeper._coming[0].answer.set_result(Lease(7, "kiosk", 3, 30.0, 90.0, 0.0))
        [welcome] = await self.frames.get()
        assert isinstance(welcome, Welcome)
        return task


def hello_to(challenge: Challenge) -> Hello:
    nonce = bytes(32)
    text = transcript(
        panel_key=challenge.panel_key,
        agent_key=AGENT.public_key,
        panel_nonce=challenge.nonce,
        agent_nonce=nonce,
        url=URL,
    )
    signature = AGENT.sign(AGENT_HELLO, text)
    return Hello(agent_key=AGENT.public_key, nonce=nonce, url=URL, signature=signature, version="0")


def leave(server: Server, task: asyncio.Task[None]) -> None:
    server.events.put_nowait({"type": "websocket.disconnect", "code": 1006})


def stop(server: Server, task: asyncio.Task[None]) -> None:
    task.cancel()


@pytest.mark.parametrize(
    ("end", "noted"),
    [pytest.param(leave, [(7, 3)], id="agent-leaves"), pytest.param(stop, [], id="panel-stops")],
)
def test_only_an_agent_that_left_is_let_out(
    end: Callable[[Server, asyncio.Task[None]], None],
    noted: list[tuple[int, int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    doorkeeper = Doorkeeper()
    monkeypatch.setattr(consumers, "doorkeeper", doorkeeper)
    monkeypatch.setattr(sockets, "_sockets", {})

    async def converse() -> None:
        server = Server(doorkeeper)
        task = await server.connected()
        end(server, task)
        await asyncio.wait([task])

    asyncio.run(converse())
    assert doorkeeper._going == noted

"""The agents' socket, `/ws/agent/`: handshake, frames in, frames out. Decides nothing itself.

A bare ASGI application: thousands of agents send a frame each, and what a Channels consumer adds to the
cost of a frame nobody here needs.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeAlias

import structlog

from fogagent.identity import AGENT_HELLO, PANEL_WELCOME, BadSignature, transcript, verify
from fogagent.messages import (
    COALESCE_S,
    PROTOCOL,
    Challenge,
    FrameError,
    FromAgent,
    Hello,
    Message,
    Problem,
    Welcome,
    decode_from_agent,
    encode_message,
    split_frames,
)
from nodes import outbox, sockets
from nodes.doorkeeper import doorkeeper
from nodes.identity import panel_identity
from nodes.inbox import Arrival, inbox
from nodes.leases import Claim, Lease, NotWelcome

Receive: TypeAlias = Callable[[], Awaitable[dict[str, Any]]]
Send: TypeAlias = Callable[[dict[str, Any]], Awaitable[None]]

log = structlog.get_logger(__name__)

HELLO_TIMEOUT_S = 30.0  # a whole fleet at the door keeps both ends busy for a while
REFUSED = 4400  # WebSocket close code: you sent something you should not have
NOT_WELCOME = 4403


async def agent_socket(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """One connection of one agent, from its first frame to its end."""
    await receive()  # that it wants to connect
    await send({"type": "websocket.accept"})
    client = scope.get("client")
    connection = AgentConnection(send, client[0] if client else None)
    try:
        await connection.challenge()
        while (event := await receive())["type"] == "websocket.receive":
            await connection.hear(event.get("text"))
    except Exception:
        connection.end()
        raise
    # Not when cancelled: then it is the panel that stops, which is nothing to note against a node.
    connection.end()


class AgentConnection:
    """One agent at the other end. `post` and `refuse` may be called from any thread."""

    def __init__(self, send: Send, address: str | None) -> None:
        self.node_id = 0
        self.epoch = 0
        self._send = send
        self._address = address
        self._loop = asyncio.get_running_loop()
        self._outgoing: list[bytes] = []
        self._flush: asyncio.Task[None] | None = None
        self._flushed_at = float("-inf")
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        self._nonce = secrets.token_bytes(32)
        self._impatience = self._loop.call_later(
            HELLO_TIMEOUT_S, self.refuse, "no-hello", f"No hello came within {HELLO_TIMEOUT_S:g} s."
        )

    async def challenge(self) -> None:
        await self._say([Challenge(panel_key=panel_identity().public_key, nonce=self._nonce)])

    async def hear(self, text: str | None) -> None:
        """One frame. Waits while too much is waiting to be stored."""
        if self._closed:
            return
        try:
            if text is None:
                raise FrameError("A frame is JSON text, not bytes.")
            messages = decode_from_agent(text)
            if not self.node_id:
                await self._shake_hands(messages)
            elif any(isinstance(message, Hello) for message in messages):
                raise FrameError("hello: said already on this connection.")
            else:
                await inbox.put(Arrival(self, messages))
        except FrameError as error:
            await self._close_with("bad-frame", str(error), REFUSED, retry=True)

    def end(self) -> None:
        """The connection is gone."""
        self._impatience.cancel()
        for task in self._tasks:
            task.cancel()
        if self.node_id:
            sockets.drop(self)
            doorkeeper.let_out(self.node_id, self.epoch)

    # --- Handshake ---------------------------------------------------------------------------------

    async def _shake_hands(self, messages: Sequence[FromAgent | Hello]) -> None:
        match messages:
            case [Hello() as hello]:
                pass
            case _:
                raise FrameError("hello: must be the first message, and alone.")
        try:
            text = self._verified_transcript(hello)
            self._impatience.cancel()
            claim = Claim(hello.agent_key.hex(), self._address)
            lease = await asyncio.wrap_future(doorkeeper.let_in(claim))
        except BadSignature as error:
            await self._close_with("bad-signature", str(error), NOT_WELCOME, retry=False)
        except NotWelcome as error:
            await self._close_with(error.code, error.sentence, NOT_WELCOME, retry=error.retry)
        else:
            await self._welcome(lease, text)

    def _verified_transcript(self, hello: Hello) -> bytes:
        if hello.protocol != PROTOCOL:
            raise FrameError(f"protocol: this panel speaks {PROTOCOL}, the agent {hello.protocol}.")
        text = transcript(
            panel_key=panel_identity().public_key,
            agent_key=hello.agent_key,
            panel_nonce=self._nonce,
            agent_nonce=hello.nonce,
            url=hello.url,
        )
        verify(hello.agent_key, AGENT_HELLO, text, hello.signature)
        return text

    async def _welcome(self, lease: Lease, text: bytes) -> None:
        self.node_id, self.epoch = lease.node_id, lease.epoch
        await self._say(
            [
                Welcome(
                    signature=panel_identity().sign(PANEL_WELCOME, text),
                    node=lease.node_id,
                    name=lease.name,
                    epoch=lease.epoch,
                    heartbeat_s=lease.heartbeat_s,
                    timeout_s=lease.timeout_s,
                    spread_s=lease.spread_s,
                )
            ]
        )
        if sockets.put(self):
            outbox.sender.connected(self.node_id)
        else:
            self.refuse("replaced", sockets.REPLACED, retry=False)

    # --- Sending -----------------------------------------------------------------------------------

    def post(self, encoded: list[bytes]) -> None:
        self._call(self._enqueue, encoded)

    def refuse(self, code: str, sentence: str, *, retry: bool = True) -> None:
        self._call(lambda: self._begin(self._close_with(code, sentence, NOT_WELCOME, retry=retry)))

    def _call(self, function: Any, *args: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: the process is on its way out
            self._loop.call_soon_threadsafe(function, *args)

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _enqueue(self, encoded: list[bytes]) -> None:
        self._outgoing += encoded
        if self._flush is None or self._flush.done():
            self._flush = self._begin(self._flush_soon())

    async def _flush_soon(self) -> None:
        # At once after a silence; else together with what comes meanwhile.
        await asyncio.sleep(max(0.0, self._flushed_at + COALESCE_S - self._loop.time()))
        while self._outgoing:
            encoded, self._outgoing = self._outgoing, []
            await self._send_frames(encoded)
        self._flushed_at = self._loop.time()

    async def _say(self, messages: Sequence[Message]) -> None:
        await self._send_frames([encode_message(message) for message in messages])

    async def _send_frames(self, encoded: list[bytes]) -> None:
        for frame in split_frames(encoded):
            await self._send({"type": "websocket.send", "text": frame})

    async def _close_with(self, code: str, sentence: str, close: int, *, retry: bool) -> None:
        self._closed = True
        log.info("Closing an agent's connection", node=self.node_id or None, code=code, sentence=sentence)
        await self._say([Problem(code=code, sentence=sentence, fatal=True, retry=retry)])
        await self._send({"type": "websocket.close", "code": close, "reason": sentence[:120]})

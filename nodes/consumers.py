"""The agents' socket, `/ws/agent/`: handshake, frames in, frames out. Decides nothing itself."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import structlog
from channels.consumer import get_handler_name
from channels.generic.websocket import AsyncWebsocketConsumer
from django.db import close_old_connections
from django.utils import timezone

from fogagent.identity import AGENT_HELLO, PANEL_WELCOME, BadSignature, transcript, verify
from fogagent.messages import (
    COALESCE_S,
    PROTOCOL,
    Challenge,
    FrameError,
    Hello,
    Problem,
    Welcome,
    decode_from_agent,
    encode_message,
    split_frames,
)
from nodes import leases, outbox, sockets
from nodes.identity import panel_identity
from nodes.inbox import Arrival, inbox

log = structlog.get_logger(__name__)

HELLO_TIMEOUT_S = 10.0
REFUSED = 4400  # WebSocket close code: you sent something you should not have
NOT_WELCOME = 4403

# Handshakes and goodbyes touch one row each; they must not queue behind page views.
_database = ThreadPoolExecutor(max_workers=2, thread_name_prefix="leases")


async def _in_database(function: Any, *args: Any) -> Any:
    def call() -> Any:
        close_old_connections()
        return function(*args)

    return await asyncio.get_running_loop().run_in_executor(_database, call)


class AgentConsumer(AsyncWebsocketConsumer):
    """One connection of one agent. `post` and `refuse` may be called from any thread."""

    # Without a layer of its own a connection needs no broker, and lives on while the broker is away.
    channel_layer_alias = None  # type: ignore[assignment]

    node_id = 0
    epoch = 0

    async def connect(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._outgoing: list[bytes] = []
        self._flush: asyncio.Task[None] | None = None
        self._nonce = secrets.token_bytes(32)
        await self.accept()
        await self._send([Challenge(panel_key=panel_identity().public_key, nonce=self._nonce)])
        self._impatience = self._loop.call_later(
            HELLO_TIMEOUT_S, self.refuse, "no-hello", f"No hello came within {HELLO_TIMEOUT_S:g} s."
        )

    async def dispatch(self, message: dict[str, Any]) -> None:
        """As in Channels, which would also look for database connections to close, in another thread and
        for every frame; this socket uses none."""
        await getattr(self, get_handler_name(message))(message)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        try:
            if text_data is None:
                raise FrameError("A frame is JSON text, not bytes.")
            messages = decode_from_agent(text_data)
            if self.node_id:
                if any(isinstance(message, Hello) for message in messages):
                    raise FrameError("hello: said already on this connection.")
                await inbox.put(Arrival(self, messages))
            else:
                await self._shake_hands(messages)
        except FrameError as error:
            await self._close_with("bad-frame", str(error), REFUSED, retry=True)

    async def disconnect(self, code: int) -> None:
        self._impatience.cancel()
        if self._flush is not None:
            self._flush.cancel()
        if self.node_id:
            sockets.drop(self)
            await _in_database(leases.release, self.node_id, self.epoch, timezone.now())

    # --- Handshake ---------------------------------------------------------------------------------

    async def _shake_hands(self, messages: list[Any]) -> None:
        match messages:
            case [Hello() as hello]:
                pass
            case _:
                raise FrameError("hello: must be the first message, and alone.")
        try:
            text = self._verified_transcript(hello)
            lease = await _in_database(leases.take, hello.agent_key.hex(), self._address(), timezone.now())
        except BadSignature as error:
            await self._close_with("bad-signature", str(error), NOT_WELCOME, retry=False)
        except leases.NotWelcome as error:
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

    async def _welcome(self, lease: leases.Lease, text: bytes) -> None:
        self._impatience.cancel()
        self.node_id, self.epoch = lease.node_id, lease.epoch
        await self._send(
            [
                Welcome(
                    signature=panel_identity().sign(PANEL_WELCOME, text),
                    node=lease.node_id,
                    name=lease.name,
                    epoch=lease.epoch,
                    heartbeat_s=lease.heartbeat_s,
                    timeout_s=lease.timeout_s,
                )
            ]
        )
        if sockets.put(self):
            outbox.sender.connected(self.node_id)
        else:
            self.refuse("replaced", sockets.REPLACED, retry=False)

    def _address(self) -> str | None:
        client = self.scope.get("client")
        return client[0] if client else None

    # --- Sending -----------------------------------------------------------------------------------

    def post(self, encoded: list[bytes]) -> None:
        self._call(self._enqueue, encoded)

    def refuse(self, code: str, sentence: str, *, retry: bool = True) -> None:
        self._call(lambda: self._loop.create_task(self._close_with(code, sentence, NOT_WELCOME, retry=retry)))

    def _call(self, function: Any, *args: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: the process is on its way out
            self._loop.call_soon_threadsafe(function, *args)

    def _enqueue(self, encoded: list[bytes]) -> None:
        self._outgoing += encoded
        if self._flush is None or self._flush.done():
            self._flush = self._loop.create_task(self._flush_soon())

    async def _flush_soon(self) -> None:
        await asyncio.sleep(COALESCE_S)
        while self._outgoing:
            encoded, self._outgoing = self._outgoing, []
            for frame in split_frames(encoded):
                await self.send(text_data=frame)

    async def _send(self, messages: list[Any]) -> None:
        for frame in split_frames([encode_message(message) for message in messages]):
            await self.send(text_data=frame)

    async def _close_with(self, code: str, sentence: str, close: int, *, retry: bool) -> None:
        log.info("Closing an agent's connection", node=self.node_id or None, code=code, sentence=sentence)
        await self._send([Problem(code=code, sentence=sentence, fatal=True, retry=retry)])
        await self.close(code=close, reason=sentence[:120])

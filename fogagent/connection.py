"""One connection to the panel: mutual proof first, then frames. It decides nothing."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import AsyncIterator
from typing import TypeVar

import websockets
from websockets.asyncio.client import ClientConnection

from fogagent import __version__
from fogagent.address import PanelAddress
from fogagent.identity import AGENT_HELLO, PANEL_WELCOME, BadSignature, Identity, transcript, verify
from fogagent.messages import (
    MAX_FRAME_BYTES,
    PROTOCOL,
    Challenge,
    FrameError,
    FromPanel,
    Hello,
    Problem,
    Welcome,
    decode_from_panel,
    encode_frame,
)

OPEN_TIMEOUT_S = 30.0
"""A panel that was just started has its whole fleet at the door: those who wait are let in, those who give up
and dial again cost it as much once more."""
CLOSE_TIMEOUT_S = 1.0
FIRST_PING_S = 1.0
"""After the rush of what is said on connecting, which would be measured with it."""
ROUND_TRIPS_KEPT = 8
WORTH_TELLING = 0.2
"""A round trip is told again when it differs by more than this part."""

Expected = TypeVar("Expected", Challenge, Welcome)


class ConnectionFailed(Exception):
    """No connection, or no longer one; trying again can help. ``str`` says what happened."""


class TurnedAway(Exception):
    """The panel said no, and why."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.sentence)
        self.problem = problem


class NotOurPanel(Exception):
    """Whoever answers there is not the panel we joined. Nothing was signed for it."""


class Connection:
    """A connection whose both ends have proved who they are. Made by `connect`."""

    def __init__(self, socket: ClientConnection, welcome: Welcome, rest: list[FromPanel]) -> None:
        self._socket = socket
        self._rest = rest  # what came in the same frame as the welcome
        self.welcome = welcome
        self.timeout_s = welcome.timeout_s
        self._round_trips_ms: deque[float] = deque(maxlen=ROUND_TRIPS_KEPT)
        self._told_ms: float | None = None

    async def frames(self) -> AsyncIterator[list[FromPanel]]:
        """Frames until the connection ends, however it ends: read `ending` then.

        Raises:
            ConnectionFailed: the panel sent something that is not a frame.
        """
        if self._rest:
            yield self._rest
        try:
            async for text in self._socket:
                yield _decode(text)
        except websockets.ConnectionClosedError:
            return

    @property
    def ending(self) -> str:
        """Why the connection is over, in words."""
        code, reason = self._socket.close_code, self._socket.close_reason
        if reason:
            return f"the panel closed the connection: {reason}"
        return "the connection was lost" if code in (None, 1006) else "the panel closed the connection"

    async def send(self, frame: str) -> None:
        """Waits while the network is slower than we are. Raises ConnectionFailed."""
        try:
            await self._socket.send(frame)
        except websockets.ConnectionClosed as error:
            raise ConnectionFailed(self.ending) from error

    async def keep_alive(self) -> None:
        """Ping, and end when the panel has not answered within about ``timeout_s``.

        Without it a connection whose other end lost its power looks alive for many minutes.
        """
        pause = min(FIRST_PING_S, self.timeout_s / 2)
        while True:
            await asyncio.sleep(pause)
            pause = patience = self.timeout_s / 2
            try:
                pong = await self._socket.ping()
                self._round_trips_ms.append(1000 * await asyncio.wait_for(pong, patience))
            except TimeoutError:
                raise ConnectionFailed(f"the panel has not answered for {patience:g} s") from None
            except websockets.ConnectionClosed as error:
                raise ConnectionFailed(self.ending) from error

    def round_trip_news(self) -> float | None:
        """The round trip in milliseconds, unless it is about what this was told before.

        The shortest of the last few: what is longer waited for something on its way.
        """
        if not self._round_trips_ms:
            return None
        now_ms, told_ms = min(self._round_trips_ms), self._told_ms
        if told_ms is not None and abs(now_ms - told_ms) <= WORTH_TELLING * told_ms:
            return None
        self._told_ms = round(now_ms, 2)
        return self._told_ms

    async def close(self) -> None:
        await self._socket.close()

    def abort(self) -> None:
        """Drop it at once, without a word to an end that may not listen."""
        self._socket.transport.abort()


async def connect(address: PanelAddress, identity: Identity, panel_key: bytes) -> Connection:
    """Dial, prove ourselves, have the panel prove itself.

    Raises:
        ConnectionFailed: not reachable, no answer in time, or no sense in it.
        TurnedAway: the panel does not want us, now or for good.
        NotOurPanel: its key is not ``panel_key``, or it cannot sign with it.
    """
    try:
        async with asyncio.timeout(OPEN_TIMEOUT_S):
            socket = await websockets.connect(
                address.socket,
                max_size=MAX_FRAME_BYTES,
                compression=None,  # most of what travels is small, or is base64 of what is compressed
                ping_interval=None,  # `keep_alive` pings at the pace that the panel asks for
                close_timeout=CLOSE_TIMEOUT_S,
                open_timeout=None,
                proxy=None if address.loopback else True,
            )
    except TimeoutError:
        raise ConnectionFailed(f"the panel did not answer within {OPEN_TIMEOUT_S:g} s") from None
    except (OSError, websockets.WebSocketException, EOFError) as error:
        raise ConnectionFailed(_first_line(error)) from error
    try:
        async with asyncio.timeout(OPEN_TIMEOUT_S):
            return await _shake_hands(socket, address, identity, panel_key)
    except BaseException as error:
        socket.transport.abort()
        if isinstance(error, TimeoutError):
            raise ConnectionFailed("the panel did not finish the handshake in time") from None
        if isinstance(error, websockets.ConnectionClosed):
            raise ConnectionFailed("the panel closed the connection during the handshake") from error
        raise


async def _shake_hands(
    socket: ClientConnection, address: PanelAddress, identity: Identity, panel_key: bytes
) -> Connection:
    challenge, _ = await _expect(socket, Challenge)
    if challenge.panel_key != panel_key:
        # Checked before anything is signed: a signature for the wrong panel could be passed on.
        raise NotOurPanel(
            f"{address.base} shows the key {challenge.panel_key.hex()}, but this agent joined the panel "
            f"with the key {panel_key.hex()}. If the panel was set up anew, join it anew; else somebody "
            "else answers at its address."
        )
    nonce = secrets.token_bytes(32)
    text = transcript(
        panel_key=panel_key,
        agent_key=identity.public_key,
        panel_nonce=challenge.nonce,
        agent_nonce=nonce,
        url=address.socket,
    )
    hello = Hello(
        agent_key=identity.public_key,
        nonce=nonce,
        url=address.socket,
        signature=identity.sign(AGENT_HELLO, text),
        version=__version__,
        protocol=PROTOCOL,
    )
    await socket.send(encode_frame([hello]))
    welcome, rest = await _expect(socket, Welcome)
    try:
        verify(panel_key, PANEL_WELCOME, text, welcome.signature)
    except BadSignature as error:
        raise NotOurPanel(
            f"{address.base} shows our panel's key but cannot sign with it: somebody else answers there."
        ) from error
    return Connection(socket, welcome, rest)


async def _expect(socket: ClientConnection, kind: type[Expected]) -> tuple[Expected, list[FromPanel]]:
    first, *rest = _decode(await socket.recv())
    if isinstance(first, Problem):
        raise TurnedAway(first)
    if not isinstance(first, kind):
        raise ConnectionFailed(f"the panel sent a {type(first).__name__} where a {kind.__name__} was due")
    return first, rest


def _decode(text: str | bytes) -> list[FromPanel]:
    if isinstance(text, bytes):
        raise ConnectionFailed("the panel sent bytes where JSON text was due")
    try:
        messages = decode_from_panel(text)
    except FrameError as error:
        raise ConnectionFailed(f"the panel sent a bad frame: {error}") from error
    if not messages:
        raise ConnectionFailed("the panel sent an empty frame")
    return messages


def _first_line(error: BaseException) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__

"""Between a TCP connection and a stream of the overlay: bytes both ways, as fast as the slower side takes.

The same at both ends of a circuit: at the entry the connection is an application's, at the exit the one that
was dialled.
"""

from __future__ import annotations

import asyncio
import socket
import struct

from fogagent.overlay.rate import RateLimit
from fogagent.overlay.stream import OverlayStream

READ_BYTES = 64 * 1024
GATHER_BYTES = 64 * 1024
"""What comes in one turn of the loop goes to the connection in one call, unless it is more than this: cells
carry little, and a call for each would cost more than the rest of the pump."""
RESET = struct.pack("ii", 1, 0)
LOST = "the connection was lost"


class Pump(asyncio.BufferedProtocol):
    """The protocol of the TCP connection. ``limit`` counts the bytes of both directions.

    What it keeps is bounded: one read beyond what makes the stream `full`, and one turn's worth beyond what
    makes the connection pause.
    """

    def __init__(self, stream: OverlayStream, limit: RateLimit | None = None) -> None:
        self.sent_bytes = 0  # from the connection into the overlay
        self.received_bytes = 0
        self._loop = asyncio.get_running_loop()
        self.used_at = self._loop.time()
        """When something went through it last, either way."""
        self._ended: asyncio.Future[str] = self._loop.create_future()
        self._stream = stream
        self._limit = limit
        self._transport: asyncio.Transport
        self._incoming = bytearray()
        self._gathered: list[bytes] = []
        self._gathered_bytes = 0
        self._holding: set[str] = set()  # why nothing may come from the overlay just now
        self._resting: asyncio.TimerHandle | None = None
        self._waiting: asyncio.Task[None] | None = None
        self._we_finished = self._they_finished = False
        self._broken = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._stream.set_reader(self._on_data, self._on_end)

    async def ended(self) -> str:
        """Return when the connection is closed: why, in words; "" when both sides had finished."""
        return await asyncio.shield(self._ended)

    # --- From the connection into the overlay ---------------------------------------------------------

    def get_buffer(self, sizehint: int) -> bytearray:
        # Not kept between reads: most of a thousand connections are silent.
        self._incoming = bytearray(READ_BYTES)
        return self._incoming

    def buffer_updated(self, nbytes: int) -> None:
        incoming, self._incoming = self._incoming, bytearray()
        self.send(bytes(memoryview(incoming)[:nbytes]))

    def send(self, data: bytes) -> None:
        """Into the overlay; also what was read before the pump got the connection."""
        self.sent_bytes += len(data)
        self.used_at = self._loop.time()
        self._stream.write(data)
        rest_s = self._rest_after(data)
        if (rest_s or self._stream.full) and self._waiting is None:
            self._transport.pause_reading()
            self._waiting = self._loop.create_task(self._read_later(rest_s))

    async def _read_later(self, rest_s: float) -> None:
        await asyncio.sleep(rest_s)
        await self._stream.room()
        self._waiting = None
        self._transport.resume_reading()

    def eof_received(self) -> bool:
        self._we_finished = True
        self._stream.finish()
        self._close_when_finished()
        return True

    # --- From the overlay to the connection -----------------------------------------------------------

    def _on_data(self, data: bytes) -> None:
        self.received_bytes += len(data)
        if not self._gathered:
            self.used_at = self._loop.time()
            self._loop.call_soon(self._flush)
        self._gathered.append(data)
        self._gathered_bytes += len(data)
        if self._gathered_bytes >= GATHER_BYTES:
            self._flush()
        if rest_s := self._rest_after(data):
            self._hold("rate")
            self._resting = self._loop.call_later(rest_s, self._release, "rate")

    def _flush(self) -> None:
        if self._gathered:
            gathered, self._gathered, self._gathered_bytes = self._gathered, [], 0
            self._transport.write(b"".join(gathered))

    def pause_writing(self) -> None:
        self._hold("full")

    def resume_writing(self) -> None:
        self._release("full")

    def _hold(self, why: str) -> None:
        if not self._holding:
            self._stream.hold()
        self._holding.add(why)

    def _release(self, why: str) -> None:
        if why in self._holding:
            self._holding.remove(why)
            if not self._holding:
                self._stream.go_on()

    def _on_end(self, reason: str) -> None:
        if reason:
            self._break(reason)
            return
        self._they_finished = True
        self._flush()
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._close_when_finished()

    # --- The end --------------------------------------------------------------------------------------

    def abort(self, reason: str) -> None:
        """Drop everything, both ways."""
        self._stream.abort(reason)
        self._break(reason)

    def _close_when_finished(self) -> None:
        if self._we_finished and self._they_finished:
            self._transport.close()

    def _break(self, reason: str) -> None:
        """Close the connection so that its other end sees that something is missing."""
        if self._broken or self._ended.done():
            return
        self._broken = reason
        self._flush()
        connection = self._transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        for pending in (self._waiting, self._resting):
            if pending is not None:
                pending.cancel()
        finished = self._we_finished and self._they_finished and exc is None
        if not finished and not self._broken:
            self._broken = LOST
            self._stream.abort(LOST)
        self._ended.set_result(self._broken)

    def _rest_after(self, data: bytes) -> float:
        return 0.0 if self._limit is None else self._limit.take(len(data), self._loop.time())

"""The way out of a link: frames wait here for the network, and those of one turn of the loop leave together.

Nothing is encrypted before the network takes it, so what waits can be counted, and dropped when it is over.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial

from fogagent.overlay.link_errors import LinkError
from fogagent.overlay.liveness import Liveness
from fogagent.overlay.secure import SecureChannel

HIGH_WATER = 256 * 1024
"""With more than this waiting for the network, a link is full."""
BATCH_BYTES = 64 * 1024
"""With so much to send, the end of the loop's turn is not waited for."""
SLICE_BYTES = 128 * 1024
"""So much is encrypted at once. TLS keeps buffers of the largest size they ever had, for each link."""


class LinkWriter:
    """To be used from one event loop, by one link. ``on_failure`` is called when TLS encrypts no more."""

    def __init__(
        self, channel: SecureChannel, liveness: Liveness, on_failure: Callable[[LinkError], None]
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._channel, self._liveness, self._on_failure = channel, liveness, on_failure
        self._transport: asyncio.Transport | None = None
        self._queue: list[bytes] = []
        self._queued = 0
        self._flush_due = False
        self._waiting: deque[Callable[[], None]] = deque()
        self.blocked = False
        """Whether bytes wait for the network: nothing more is encrypted."""

    def connected(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        transport.set_write_buffer_limits(high=0)  # what the network does not take stays here, unencrypted

    # Frames

    def put(self, header: bytes, payload: bytes) -> None:
        """Frames of one turn of the loop leave together: fewer and larger records, fewer system calls."""
        self._queue += (header, payload)
        self._queued += len(header) + len(payload)
        if self.blocked:
            return
        if self._queued >= BATCH_BYTES:
            self.flush()
        elif not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Send what is queued, unless the network does not take it."""
        self._flush_due = False
        if self.blocked or not self._queue:
            return
        plain = memoryview(b"".join(self._queue))
        self._drop_queue()
        self._liveness.said_at = self._loop.time()
        try:
            for start in range(0, len(plain), SLICE_BYTES):
                self.write(self._channel.encrypt(plain[start : start + SLICE_BYTES]))
        except LinkError as error:
            self._on_failure(error)

    def write(self, wire: bytes) -> None:
        """What is encrypted already."""
        if wire and self._transport is not None:
            self._transport.write(wire)

    def _drop_queue(self) -> None:
        self._queue.clear()
        self._queued = 0

    # Room

    @property
    def buffered(self) -> int:
        """Bytes that wait in this process for the network."""
        unsent = self._transport.get_write_buffer_size() if self._transport and self.blocked else 0
        return self._queued + unsent

    @property
    def full(self) -> bool:
        return self.blocked and self.buffered > HIGH_WATER

    def on_room(self, callback: Callable[[], None]) -> None:
        if self.full:
            self._waiting.append(callback)
        else:
            self._loop.call_soon(callback)

    async def room(self) -> None:
        while self.full:
            room: asyncio.Future[None] = self._loop.create_future()
            self.on_room(partial(_wake, room))
            await room

    def unblock(self) -> None:
        """The network takes more."""
        self.blocked = False
        self.flush()
        self.call_those_waiting()

    def drop(self) -> None:
        """The connection is gone: nothing waits for it any more, and so the link is not full."""
        self.blocked = False
        self._drop_queue()
        self._on_failure = _ignore  # it is the link's, and would keep it until a garbage collection

    def call_those_waiting(self) -> None:
        """A fault of one of them is told to the event loop, and the others have its next turn."""
        try:
            while self._waiting and not self.full:
                self._waiting.popleft()()
        finally:
            if self._waiting and not self.full:
                self._loop.call_soon(self.call_those_waiting)


def _ignore(error: LinkError) -> None:
    """There is nothing left to fail."""


def _wake(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)

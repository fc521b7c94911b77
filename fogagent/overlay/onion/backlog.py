"""What was written to a stream and has not gone yet, cut into what one cell holds."""

from __future__ import annotations

import asyncio
from collections import deque

from fogagent.overlay.onion.cells import DATA_BYTES

BUFFER_BYTES = 128 * 1024
"""With more than this to send, a stream is full and takes more only in order not to lose it."""


class Backlog:
    """True while something is left. `size` is in bytes."""

    def __init__(self) -> None:
        self.size = 0
        self._written: deque[memoryview] = deque()
        self._room = asyncio.Event()
        self._room.set()

    def __bool__(self) -> bool:
        return bool(self._written)

    @property
    def full(self) -> bool:
        return self.size > BUFFER_BYTES

    async def room(self) -> None:
        """Return when half of what makes it full is left, or nothing, if it is full."""
        await self._room.wait()

    def add(self, data: bytes) -> None:
        self._written.append(memoryview(data))
        self.size += len(data)
        if self.full:
            self._room.clear()

    def clear(self) -> None:
        self._written.clear()
        self.size = 0
        self._room.set()

    def take(self) -> bytes | memoryview:
        """The next cell's data, as much as there is and fits."""
        first = self._written[0]
        if len(first) > DATA_BYTES:
            self._written[0] = first[DATA_BYTES:]
            taken: bytes | memoryview = first[:DATA_BYTES]
        elif len(first) == DATA_BYTES or len(self._written) == 1:
            taken = self._written.popleft()
        else:
            taken = self._join_small()
        self.size -= len(taken)
        if 2 * self.size <= BUFFER_BYTES and not self._room.is_set():
            self._room.set()
        return taken

    def _join_small(self) -> bytes:
        parts: list[memoryview] = []
        left = DATA_BYTES
        while left and self._written:
            part = self._written.popleft()
            if len(part) > left:
                self._written.appendleft(part[left:])
                part = part[:left]
            parts.append(part)
            left -= len(part)
        return b"".join(parts)

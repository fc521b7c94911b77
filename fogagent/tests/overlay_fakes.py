"""A stream of the overlay that crosses nothing: its two ends are in the same process."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable

import pytest

from fogagent.overlay.stream import OverlayStream

WINDOW_BYTES = 256 * 1024


class FakeStream:
    """One end. What is written here waits at the other end, which hands it over in the next turn of the loop.

    ``peak_bytes`` is the most that ever waited here, ``aborted`` the reason given by whoever holds this end.
    """

    def __init__(self) -> None:
        self.peer: FakeStream
        self.aborted: str | None = None
        self.peak_bytes = 0
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[bytes | None] = deque()  # None is the end
        self._waiting_bytes = 0
        self._held = True  # until there is a reader
        self._over = False
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._on_data: Callable[[bytes], None]
        self._on_end: Callable[[str], None]

    @property
    def full(self) -> bool:
        return not self._has_room.is_set()

    async def room(self) -> None:
        await self._has_room.wait()

    def write(self, data: bytes) -> None:
        if not self._over:
            assert isinstance(data, bytes)
            self.peer._take(data)

    def finish(self) -> None:
        if not self._over:
            self.peer._take(None)

    def abort(self, reason: str) -> None:
        if self._over:
            return
        self.aborted = reason
        self._end()
        self.peer._break(reason)

    def set_reader(self, on_data: Callable[[bytes], None], on_end: Callable[[str], None]) -> None:
        self._on_data, self._on_end = on_data, on_end
        self.go_on()

    def hold(self) -> None:
        assert not self._held, "held twice"
        self._held = True

    def go_on(self) -> None:
        assert self._held, "was not held"
        self._held = False
        self._loop.call_soon(self._hand_over)

    # --- What the other end calls ----------------------------------------------------------------------

    def _take(self, data: bytes | None) -> None:
        self._waiting.append(data)
        self._waiting_bytes += len(data or b"")
        self.peak_bytes = max(self.peak_bytes, self._waiting_bytes)
        if self._waiting_bytes >= WINDOW_BYTES:
            self.peer._has_room.clear()
        if not self._held:
            self._loop.call_soon(self._hand_over)

    def _hand_over(self) -> None:
        while self._waiting and not self._held and not self._over:
            data = self._waiting.popleft()
            if data is None:
                self._on_end("")
                return
            self._waiting_bytes -= len(data)
            if self._waiting_bytes < WINDOW_BYTES:
                self.peer._has_room.set()
            self._on_data(data)

    def _break(self, reason: str) -> None:
        if not self._over:
            self._end()
            if hasattr(self, "_on_end"):
                self._loop.call_soon(self._on_end, reason)

    def _end(self) -> None:
        self._over = True
        self._waiting.clear()
        self._waiting_bytes = 0
        self._has_room.set()


def _has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not _has_ipv6(), reason="This machine has no IPv6 loopback.")


async def turns(count: int = 20) -> None:
    """Let everything happen that needs no more than these turns of the loop."""
    for _ in range(count):
        await asyncio.sleep(0)


async def until(condition: Callable[[], bool]) -> None:
    """Return when it holds, for what sets no event."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0)


def stream_pair() -> tuple[FakeStream, FakeStream]:
    one, other = FakeStream(), FakeStream()
    one.peer, other.peer = other, one
    return one, other


def echo(stream: FakeStream) -> None:
    """Have everything sent back, no faster than it is taken, and the end as well."""

    def on_data(data: bytes) -> None:
        stream.write(data)
        if stream.full and not stream._held:
            stream.hold()
            waiting.add(task := asyncio.get_running_loop().create_task(when_there_is_room()))
            task.add_done_callback(waiting.discard)

    async def when_there_is_room() -> None:
        await stream.room()
        stream.go_on()

    waiting: set[asyncio.Task[None]] = set()
    stream.set_reader(on_data, lambda reason: None if reason else stream.finish())


class Reading:
    """Keeps what one end gets."""

    def __init__(self, stream: OverlayStream) -> None:
        self.data = bytearray()
        self.ends: list[str] = []
        self._came = asyncio.Event()
        stream.set_reader(self._on_data, self._on_end)

    def _on_data(self, data: bytes) -> None:
        self.data += data
        self._came.set()

    def _on_end(self, reason: str) -> None:
        self.ends.append(reason)
        self._came.set()

    async def until(self, done: Callable[[Reading], bool]) -> None:
        async with asyncio.timeout(30):
            while not done(self):
                await self._came.wait()
                self._came.clear()

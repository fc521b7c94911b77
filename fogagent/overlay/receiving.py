"""Taking on what gateways bring: streams that ask for TASK.

The other end sends the length of a letter (4 bytes, big-endian), the letter, exactly the content that the
letter's order names, and finishes. The answer is TAKEN, once the agent has the order as if the panel had
given it directly; else the stream ends with a `Refusal` and a sentence.

Before its letter was read, anybody may be at the other end: until then a stream costs no more than the
letter's size, for a short time, and there are never very many of them: where there is no room, the one that
came first makes some, for who has a letter sends it at once. What follows is wanted by our panel.
"""

from __future__ import annotations

import asyncio
import logging
from asyncio import IncompleteReadError, StreamReader
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from enum import StrEnum

from fogagent.blobs import BadBlob, BlobCache
from fogagent.messages import MAX_LETTER_BYTES, Blob, Run
from fogagent.overlay.letters import BadLetter
from fogagent.overlay.onion.stream import Stream
from fogagent.overlay.reading import StreamBroken, reader_of

TASK = b"task"
LENGTH_BYTES = 4
TAKEN = b"\1"

STREAMS_MOST = 64
CONTENTS_MOST = 4
"""So many contents come at once; others wait for their turn."""
LETTER_S = 10.0
CONTENT_S = 60.0
"""For the content, from its letter on, and longer where it is large."""
SLOWEST_BYTES_PER_S = 250_000
PIECE_BYTES = 256 * 1024
"""So much is read from a disk or written to it at once."""

log = logging.getLogger("fogagent")


class Refusal(StrEnum):
    """Why a node did not take an order on."""

    BUSY = "busy"
    LETTER = "bad-letter"
    CONTENT = "bad-content"
    TIMEOUT = "timeout"
    STORAGE = "cannot-store"
    NOT_TAKEN = "not-taken"
    STOPPED = "stopped"
    FAILED = "failed"


class Refused(Exception):
    """``str`` is a sentence for whoever reads how carrying it went."""

    def __init__(self, reason: Refusal, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason


ReadLetter = Callable[[bytes], Run]
"""Raises BadLetter."""
TakeOn = Callable[[Run], str]
"""Have the agent run it; a sentence says why not, and empty that it will, or knew it before."""


class Receiver:
    """What this node does about streams that bring tasks. To be used in one event loop."""

    def __init__(self, read: ReadLetter, cache: BlobCache, take_on: TakeOn) -> None:
        self._read, self._cache, self._take_on = read, cache, take_on
        self._turn = asyncio.Semaphore(CONTENTS_MOST)
        self._tasks: set[asyncio.Task[None]] = set()
        self._unread: dict[asyncio.Task[None], Stream] = {}  # whose letters have not come, the oldest first
        self._coming: dict[int, asyncio.Task[None]] = {}  # by attempt: whose content is on its way

    def __len__(self) -> int:
        """Streams whose tasks are not taken on or refused yet."""
        return len(self._tasks)

    def on_begin(self, stream: Stream) -> None:
        """A stream has come that asked for TASK."""
        if len(self) >= STREAMS_MOST and not self._make_room():
            stream.abort(Refusal.BUSY, f"This node is brought {STREAMS_MOST} tasks already.")
            return
        stream.accept()
        task = asyncio.get_running_loop().create_task(self._serve(stream))
        self._tasks.add(task)
        self._unread[task] = stream
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._unread.pop(task, None)

    def _make_room(self) -> bool:
        """End the oldest stream of those that have shown no letter; whether there was one."""
        if not self._unread:
            return False
        task, stream = next(iter(self._unread.items()))
        # Here and not by the task, which may not have begun.
        stream.abort(Refusal.BUSY, "Others came to this node, and this one's letter had not.")
        task.cancel()
        self._forget(task)
        return True

    async def close(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, stream: Stream) -> None:
        try:
            await self._receive(reader_of(stream))
        except Refused as refusal:
            log.info("a task that was brought here was refused: %s", refusal)
            stream.abort(refusal.reason, str(refusal))
        except StreamBroken as broken:
            log.info("a task that was brought here did not come whole: %s", broken)
        except asyncio.CancelledError as stopped:
            stream.abort(Refusal.STOPPED, str(stopped) or "This node was stopped.")
            raise
        except Exception:
            log.exception("taking on a task that was brought here failed")
            stream.abort(Refusal.FAILED, "This node failed at it; its log says why.")
        else:
            stream.write(TAKEN)
            stream.finish()

    async def _receive(self, reader: StreamReader) -> None:
        """Raises Refused; and StreamBroken, of which the other end knows."""
        async with _within(LETTER_S, "the letter"):
            run = await self._letter(reader)
        self._unread.pop(_this_task(), None)
        assert run.payload is not None, "what letters are made for"
        patience_s = max(CONTENT_S, run.payload.size / SLOWEST_BYTES_PER_S)
        with self._alone(run.attempt):
            async with _within(patience_s, "the content"), self._turn:
                await self._content(reader, run.payload)
        if sentence := self._take_on(run):
            raise Refused(Refusal.NOT_TAKEN, sentence)

    @contextmanager
    def _alone(self, attempt: int) -> Iterator[None]:
        """End the stream that was bringing the same: its gateway is slow, so another one was asked. And
        whoever has one letter holds no more than one place."""
        mine = _this_task()
        if (earlier := self._coming.get(attempt)) is not None:
            earlier.cancel("The same task came once more.")
        self._coming[attempt] = mine
        try:
            yield
        finally:
            if self._coming.get(attempt) is mine:
                del self._coming[attempt]

    async def _letter(self, reader: StreamReader) -> Run:
        try:
            size = int.from_bytes(await reader.readexactly(LENGTH_BYTES), "big")
            if size > MAX_LETTER_BYTES:
                raise Refused(
                    Refusal.LETTER, f"A letter has at most {MAX_LETTER_BYTES} bytes, this one {size}."
                )
            return self._read(await reader.readexactly(size))
        except IncompleteReadError as error:
            raise Refused(Refusal.LETTER, "The stream was finished before the letter was whole.") from error
        except BadLetter as error:
            raise Refused(Refusal.LETTER, str(error)) from error

    async def _content(self, reader: StreamReader, blob: Blob) -> None:
        """Take exactly this into the cache."""
        arriving = self._cache.begin(blob)
        try:
            for size in _pieces(blob.size):
                await asyncio.to_thread(arriving.write, await reader.readexactly(size))
            if await reader.read(1):
                raise Refused(Refusal.CONTENT, f"More content came than the letter's {blob.size} bytes.")
            await asyncio.to_thread(arriving.keep)
        except IncompleteReadError as error:
            sentence = f"The stream was finished before all {blob.size} bytes of the content had come."
            raise Refused(Refusal.CONTENT, sentence) from error
        except BadBlob as error:
            raise Refused(Refusal.CONTENT, str(error)) from error
        except OSError as error:
            raise Refused(Refusal.STORAGE, f"This node cannot store the content: {error}.") from error
        finally:
            await asyncio.to_thread(arriving.drop)


def _this_task() -> asyncio.Task[None]:
    task = asyncio.current_task()
    assert task is not None
    return task


@asynccontextmanager
async def _within(seconds: float, what: str) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise Refused(Refusal.TIMEOUT, f"It took longer than {seconds:g} s until {what} had come.") from error


def _pieces(size: int) -> list[int]:
    whole, rest = divmod(size, PIECE_BYTES)
    return [PIECE_BYTES] * whole + [rest] * (rest > 0)

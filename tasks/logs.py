"""What attempts printed: the log of a task, chunk by chunk, and the bytes of its standard output."""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from django.db.models import F

from fogpanel.wakes import Key, on_wake
from tasks.models import Attempt, LogChunk, Task
from tasks.states import FINAL, TaskState

CHARACTER_BYTES = 4
"""The longest UTF-8 character; an incomplete one at the end of a chunk is at most a byte shorter."""


@dataclass(frozen=True, slots=True)
class LogText:
    """A stretch of output as text. ``id`` is what to ask for the next one with, ``attempt`` its number."""

    id: int
    stream: str
    attempt: int
    text: str


@dataclass(frozen=True, slots=True)
class LogPage:
    """Some chunks in order. ``done``: the task is over and nothing comes after these."""

    chunks: list[LogText]
    next: int
    done: bool


def read_log(task: Task, after_id: int, limit: int) -> LogPage:
    """The output that arrived after chunk ``after_id`` (0: from the start), of all attempts."""
    # The state is read before the chunks: a task that is over then has all its output stored.
    state = Task.objects.values_list("state", flat=True).get(id=task.id)
    query = LogChunk.objects.filter(attempt__task=task, id__gt=after_id).order_by("id")
    chunks = list(query.annotate(number=F("attempt__number"))[: limit + 1])
    more = len(chunks) > limit
    texts = _texts(chunks[:limit])
    return LogPage(texts, texts[-1].id if texts else after_id, TaskState(state) in FINAL and not more)


def _texts(chunks: Sequence[LogChunk]) -> list[LogText]:
    """Chunks end where a buffer ended; a character that was cut belongs to the chunk that completes it."""
    carried: dict[tuple[int, str], bytes] = {}
    texts = []
    for chunk in chunks:
        stream = (chunk.attempt_id, chunk.stream)
        content = bytes(chunk.content)
        start = carried.pop(stream, None)
        if start is None and content and _continues(content[0]):
            start = _cut_before(chunk)
        whole, carried[stream] = split_character((start or b"") + content)
        number: int = chunk.number  # type: ignore[attr-defined]  # annotated by read_log
        texts.append(LogText(chunk.id, chunk.stream, number, whole.decode(errors="replace")))
    return texts


def _cut_before(chunk: LogChunk) -> bytes:
    """The incomplete character at the end of what precedes ``chunk`` in its stream."""
    before = LogChunk.objects.filter(
        attempt_id=chunk.attempt_id, stream=chunk.stream, offset__lt=chunk.offset
    )
    content = before.order_by("-offset").values_list("content", flat=True).first()
    return split_character(bytes(content or b"")[-CHARACTER_BYTES:])[1]


def split_character(content: bytes) -> tuple[bytes, bytes]:
    """``content`` as what is whole in UTF-8, and the beginning of a character that its end cuts off."""
    for back in range(1, min(CHARACTER_BYTES, len(content) + 1)):
        byte = content[-back]
        if byte >= 0xC0:  # the first byte of a character, which says how long that is
            length = 2 + (byte >= 0xE0) + (byte >= 0xF0)
            return (content[:-back], content[-back:]) if length > back else (content, b"")
        if not _continues(byte):
            break
    return content, b""


def _continues(byte: int) -> bool:
    return byte & 0xC0 == 0x80


def stdout_of(attempt: Attempt) -> bytes:
    """All that is stored of the attempt's standard output, as it was written."""
    chunks = LogChunk.objects.filter(attempt=attempt, stream="stdout").order_by("offset")
    return b"".join(bytes(content) for content in chunks.values_list("content", flat=True))


# --- Waiting for more ----------------------------------------------------------------------------

_Waiter = tuple[asyncio.AbstractEventLoop, asyncio.Event]
_waiters: defaultdict[str, set[_Waiter]] = defaultdict(set)
_lock = threading.Lock()


@contextmanager
def watching(*topics: str) -> Iterator[asyncio.Event]:
    """An event of the running loop that is set whenever one of these live topics changes.

    As with every wake, one may be lost: look again now and then.
    """
    waiter = (asyncio.get_running_loop(), asyncio.Event())
    with _lock:
        for topic in topics:
            _waiters[topic].add(waiter)
    try:
        yield waiter[1]
    finally:
        with _lock:
            for topic in topics:
                _waiters[topic].discard(waiter)
                if not _waiters[topic]:
                    del _waiters[topic]


def _ring(topics: frozenset[Key]) -> None:
    with _lock:
        waiters = [
            waiter
            for topic, waiting in _waiters.items()
            if topic in topics or topic.partition(":")[0] in topics
            for waiter in waiting
        ]
    for loop, event in waiters:
        with suppress(RuntimeError):  # the loop is closed: whoever waited in it is gone
            loop.call_soon_threadsafe(event.set)


on_wake("live", _ring)

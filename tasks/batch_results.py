"""The results of a batch, in the order in which its tasks end, for whoever follows them."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from asgiref.sync import sync_to_async

from fogpanel.rows import as_time, select
from tasks.logs import watching
from tasks.models import LogChunk, Task, TaskBatch
from tasks.states import FINAL

READ_MOST = 200  # results read at once, with all that they printed
LOOK_EVERY_S = 2.0
"""A wake may be lost: whoever follows looks this often all the same."""
PAUSE_S = 0.1  # between two looks, however many tasks end
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
OVERLAP = timedelta(seconds=5)  # results are looked for again for so long: another process may commit late


class Follower:
    """What one reader has seen of a batch. ``look`` and ``more`` ask the database."""

    def __init__(self, batch: TaskBatch) -> None:
        self._batch = batch
        self._seen: set[int] = set()
        self._unread: list[int] = []  # seen to have ended, in that order
        self._since = LONG_AGO

    def look(self) -> bool:
        """See which tasks have ended; returns whether nothing can come after these."""
        over = self._over()  # before the look, which then misses nothing
        rows = select(_ENDED, batch=self._batch.id, states=_FINAL, since=self._since)
        if rows:
            self._since = as_time(rows[-1][1]) - OVERLAP
        fresh = [task_id for task_id, _ in rows if task_id not in self._seen]
        self._seen.update(fresh)
        self._unread += fresh
        return over

    def more(self) -> list[dict[str, Any]]:
        """The next results of what was seen; none when all were read."""
        some, self._unread = self._unread[:READ_MOST], self._unread[READ_MOST:]
        return _results(some) if some else []

    def _over(self) -> bool:
        stored = TaskBatch.objects.values_list("stored", flat=True).get(id=self._batch.id)
        waits = Task.objects.filter(batch=self._batch).exclude(state__in=FINAL).exists()
        return stored == self._batch.size and not waits


# Whoever follows a fast batch reads the rows of the last seconds in every look: as text already.
_ENDED = """
SELECT id, finished_at FROM tasks_task
WHERE batch_id = {batch} AND state IN {states} AND finished_at >= {since} ORDER BY finished_at, id
"""
_FINAL = [state.value for state in FINAL]


async def follow(batch: TaskBatch) -> AsyncIterator[bytes]:
    """A line of JSON for each task of the batch as it ends, several at once, until all have."""
    follower = Follower(batch)
    with watching("tasks") as changed:
        while True:
            changed.clear()
            over = await sync_to_async(follower.look)()
            while results := await sync_to_async(follower.more)():
                yield b"".join(msgspec.json.encode(result) + b"\n" for result in results)
            if over:
                return
            await asyncio.sleep(PAUSE_S)
            try:
                async with asyncio.timeout(LOOK_EVERY_S):
                    await changed.wait()
            except TimeoutError:
                continue


_SHOWN = (
    "batch_index", "id", "name", "state", "reason", "node__name", "exit_code", "accepted_attempt",
    "accepted_attempt__truncated",
)  # fmt: skip


def _results(task_ids: list[int]) -> list[dict[str, Any]]:
    tasks = list(Task.objects.filter(id__in=task_ids).order_by("finished_at", "id").values_list(*_SHOWN))
    printed = _printed(attempt for *_, attempt, _ in tasks if attempt)
    return [
        {
            "index": index,
            "task": task_id,
            "name": name,
            "state": state,
            "reason": reason,
            "node": node,
            "exit_code": exit_code,
            "stdout": printed[attempt, "stdout"].decode(errors="replace"),
            "stderr": printed[attempt, "stderr"].decode(errors="replace"),
            "truncated": bool(truncated),
        }
        for index, task_id, name, state, reason, node, exit_code, attempt, truncated in tasks
    ]


def _printed(attempt_ids: Iterable[int]) -> defaultdict[tuple[int | None, str], bytes]:
    chunks = LogChunk.objects.filter(attempt_id__in=list(attempt_ids)).order_by("offset")
    printed: defaultdict[tuple[int | None, str], bytes] = defaultdict(bytes)
    for attempt_id, stream, content in chunks.values_list("attempt_id", "stream", "content"):
        printed[attempt_id, stream] += bytes(content)
    return printed

"""The results of a batch, in the order in which its tasks end, for whoever follows them."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from datetime import datetime, timedelta
from typing import Any

import msgspec
from asgiref.sync import sync_to_async

from tasks.logs import watching
from tasks.models import LogChunk, Task, TaskBatch
from tasks.states import FINAL

READ_MOST = 200  # results read at once, with all that they printed
LOOK_EVERY_S = 2.0
"""A wake may be lost: whoever follows looks this often all the same."""
PAUSE_S = 0.1  # between two looks, however many tasks end
OVERLAP = timedelta(seconds=5)  # results are looked for again for so long: another process may commit late


class Follower:
    """What one reader has seen of a batch. ``more`` and ``over`` ask the database."""

    def __init__(self, batch: TaskBatch) -> None:
        self._batch = batch
        self._seen: set[int] = set()
        self._cursor: datetime | None = None

    def more(self) -> list[dict[str, Any]]:
        """The next results; none when there are none yet."""
        ended = Task.objects.filter(batch=self._batch, state__in=FINAL).order_by("finished_at", "id")
        if self._cursor is not None:
            ended = ended.filter(finished_at__gte=self._cursor - OVERLAP)
        fresh = [row for row in ended.values_list("id", "finished_at") if row[0] not in self._seen]
        some = fresh[:READ_MOST]
        if some:
            self._cursor = some[-1][1]
        self._seen.update(task_id for task_id, _ in some)
        return _results([task_id for task_id, _ in some])

    def over(self) -> bool:
        """Whether nothing can come any more."""
        stored = TaskBatch.objects.values_list("stored", flat=True).get(id=self._batch.id)
        waits = Task.objects.filter(batch=self._batch).exclude(state__in=FINAL).exists()
        return stored == self._batch.size and not waits


async def follow(batch: TaskBatch) -> AsyncIterator[bytes]:
    """A line of JSON for each task of the batch as it ends, until all have."""
    follower = Follower(batch)
    with watching("tasks") as changed:
        while True:
            changed.clear()
            over = await sync_to_async(follower.over)()  # before the last look: it then misses nothing
            while results := await sync_to_async(follower.more)():
                for result in results:
                    yield msgspec.json.encode(result) + b"\n"
            if over:
                return
            await asyncio.sleep(PAUSE_S)
            try:
                async with asyncio.timeout(LOOK_EVERY_S):
                    await changed.wait()
            except TimeoutError:
                continue


def _results(task_ids: list[int]) -> list[dict[str, Any]]:
    tasks = Task.objects.filter(id__in=task_ids).select_related("node").order_by("finished_at", "id")
    tasks = tasks.select_related("accepted_attempt")
    printed = _printed(task.accepted_attempt_id for task in tasks if task.accepted_attempt_id)
    return [
        {
            "index": task.batch_index,
            "task": task.id,
            "name": task.name,
            "state": task.state,
            "reason": task.reason,
            "node": task.node.name if task.node else None,
            "exit_code": task.exit_code,
            "stdout": printed[task.accepted_attempt_id, "stdout"].decode(errors="replace"),
            "stderr": printed[task.accepted_attempt_id, "stderr"].decode(errors="replace"),
            "truncated": task.accepted_attempt.truncated if task.accepted_attempt else False,
        }
        for task in tasks
    ]


def _printed(attempt_ids: Iterable[int]) -> defaultdict[tuple[int | None, str], bytes]:
    chunks = LogChunk.objects.filter(attempt_id__in=list(attempt_ids)).order_by("offset")
    printed: defaultdict[tuple[int | None, str], bytes] = defaultdict(bytes)
    for attempt_id, stream, content in chunks.values_list("attempt_id", "stream", "content"):
        printed[attempt_id, stream] += bytes(content)
    return printed

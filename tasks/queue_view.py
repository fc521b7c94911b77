"""The queue as one process sees it: waiting tasks by shape, in their turn (`coordinator.queueing`).

A view of the rows. New tasks are found by their numbers; those that came back, and those that others
committed late, by a cursor over ``changed_at`` that looks again at some seconds of overlap, and by a look
at all each minute. It may hold a task that is placed already, or miss one for a moment: the commit
decides.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, TypeAlias

from django.db.models import QuerySet
from sortedcontainers import SortedList

from coordinator import values
from coordinator.queueing import AGEING_S as DEFAULT_AGEING_S
from coordinator.queueing import turn_of
from fogpanel.parameters.catalogue import AGEING_S
from fogpanel.parameters.store import current
from fogpanel.rows import pieces, select
from nodes.relay_directory.publishing import newest_number
from tasks.models import Task
from tasks.privacy import transport
from tasks.reach import within_reach
from tasks.routing_view import Waiting, as_routing_tasks, waiting
from tasks.states import TaskState

READ_MOST = 500  # tasks read by one query that names them
OVERLAP = timedelta(seconds=10)
RELOAD = timedelta(seconds=60)

ShapeKey: TypeAlias = tuple[object, ...]
Rank: TypeAlias = tuple[float, int]  # turn, then id; lowest first


def shape_key(task: values.Task) -> ShapeKey:
    """Tasks with equal keys are eligible on the same nodes: when one has to wait, they all have."""
    return (
        task.strategy,
        task.needs,
        task.driver,
        task.region,
        task.region_required,
        tuple(sorted(task.labels.items())),
        task.onion_required,
        task.among,
    )


class QueueView:
    def __init__(self) -> None:
        self._tasks: dict[int, values.Task] = {}
        self._sealed: dict[int, Waiting] = {}  # those that are
        self._shapes: dict[ShapeKey, SortedList[Rank]] = defaultdict(SortedList)
        self._ageing_s = DEFAULT_AGEING_S
        self._newest = 0  # the highest number read so far
        self._cursor: datetime | None = None
        self._looked_at_all: datetime | None = None
        self._directory = 0  # number of the one by which those that are carried were read

    def __len__(self) -> int:
        return len(self._tasks)

    def refresh(self, now: datetime) -> None:
        """Take in all that changed in the database since the last time."""
        self._age_by(current(AGEING_S))
        queued = _queued()
        if looks_at_all := self._looked_at_all is None or now - self._looked_at_all >= RELOAD:
            self._looked_at_all = now
        else:
            assert self._cursor is not None
            queued = queued.filter(changed_at__gt=self._cursor - OVERLAP)
        self._cursor = now
        there = set(queued.values_list("id", flat=True))
        gone = self._tasks.keys() - there if looks_at_all else set()
        moved = self._otherwise_in_reach()
        for task_id in gone | self._resealed(queued) | moved:
            self.drop(task_id)
        for some in pieces(sorted((there | moved) - self._tasks.keys()), READ_MOST):
            self._add(select(_WAITING + "id IN {ids} ORDER BY id", ids=some))

    def _resealed(self, queued: QuerySet[Task]) -> set[int]:
        """Those of these that are sealed for others than they were."""
        if not self._sealed:
            return set()
        there = queued.filter(reservation__isnull=False).values_list("id", "reservation")
        held = self._sealed
        return {task_id for task_id, now in there if task_id in held and held[task_id].reservation != now}

    def _otherwise_in_reach(self) -> set[int]:
        """Those whose order can be carried to others of their nodes than before."""
        rows = self._sealed.values()
        carried = {row.id: row.reservation for row in rows if transport(row.privacy)}
        if not carried or (directory := newest_number()) == self._directory:
            return set()
        self._directory = directory
        nodes = within_reach(carried.values())
        return {task_id for task_id, seal in carried.items() if self._tasks[task_id].among != nodes[seal]}

    def read_newest(self) -> None:
        """Take in the tasks that were handed in since the last time."""
        self._add(select(_WAITING + "id > {newest} ORDER BY id", newest=self._newest))

    def read_again(self, task_ids: Collection[int]) -> None:
        """Take in these as they are; those that are not queued any more go."""
        for task_id in task_ids:
            self.drop(task_id)
        for some in pieces(sorted(task_ids), READ_MOST):
            self._add(select(_WAITING + "id IN {ids} ORDER BY id", ids=some))

    def _add(self, rows: Iterable[Sequence[Any]]) -> None:
        found = [waiting(row) for row in rows]
        for row, task in zip(found, as_routing_tasks(found), strict=True):
            self._newest = max(self._newest, row.id)
            if row.id not in self._tasks:
                self._tasks[row.id] = task
                self._shapes[shape_key(task)].add(self._rank(task))
                if row.reservation is not None:
                    self._sealed[row.id] = row

    def _age_by(self, ageing_s: float) -> None:
        """Put all in their turn anew where waiting counts for another amount than before."""
        if ageing_s != self._ageing_s:
            self._ageing_s = ageing_s
            self._shapes.clear()
            for task in self._tasks.values():
                self._shapes[shape_key(task)].add(self._rank(task))

    def _rank(self, task: values.Task) -> Rank:
        return (turn_of(task, self._ageing_s), int(task.task_id))

    def drop(self, task_id: int) -> None:
        """This task is placed, or turned out not to be queued any more."""
        if (task := self._tasks.pop(task_id, None)) is not None:
            self._sealed.pop(task_id, None)
            key = shape_key(task)
            self._shapes[key].discard(self._rank(task))
            if not self._shapes[key]:
                del self._shapes[key]

    @property
    def has_carried(self) -> bool:
        """Whether there are tasks whose orders do not go over their nodes' own connections."""
        return any(transport(level) for level in {row.privacy for row in self._sealed.values()})

    def of(self, levels: Collection[str], most: int) -> list[int]:
        """Tasks of these privacy levels, sealed all of them, in the order in which they were read."""
        return list(islice((row.id for row in self._sealed.values() if row.privacy in levels), most))

    def is_of(self, task: values.Task, levels: Collection[str]) -> bool:
        row = self._sealed.get(int(task.task_id))
        return row is not None and row.privacy in levels

    @property
    def shapes(self) -> int:
        return len(self._shapes)

    def count(self, key: ShapeKey) -> int:
        """How many tasks of this shape wait."""
        return len(self._shapes[key]) if key in self._shapes else 0

    def waiting(self, key: ShapeKey, most: int) -> list[int]:
        """The first tasks of this shape."""
        return [task_id for _, task_id in self._shapes[key][:most]] if key in self._shapes else []

    def in_order(self, exhausted: set[ShapeKey]) -> Iterator[values.Task]:
        """All waiting tasks in their turn. A shape that the caller adds to ``exhausted`` while it goes
        through them is left out from there on."""
        heads = [(ranks[0], 0, key) for key, ranks in self._shapes.items() if key not in exhausted]
        order = {key: number for number, (_, _, key) in enumerate(heads)}
        heap = [(rank, order[key], position, key) for rank, position, key in heads]
        heapq.heapify(heap)
        while heap:
            (rank, number, position, key) = heapq.heappop(heap)
            if key in exhausted:
                continue
            yield self._tasks[rank[1]]
            ranks = self._shapes[key]
            if position + 1 < len(ranks):
                heapq.heappush(heap, (ranks[position + 1], number, position + 1, key))


_WAITING = f"""
SELECT {", ".join(Waiting._fields)} FROM tasks_task
WHERE state = 'queued' AND cancel_requested_at IS NULL AND """


def _queued() -> QuerySet[Task]:
    return Task.objects.filter(state=TaskState.QUEUED, cancel_requested_at=None)

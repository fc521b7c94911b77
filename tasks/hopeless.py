"""Sealed tasks that nothing can take: planned again only once one of their nodes has changed.

Each is sealed for a few nodes of its own, so there may be as many shapes of them as tasks. To plan them all
in every pass of the placer, or to write down at once why they wait, would hold up everybody else's.
"""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

from coordinator.filters import ROOM
from coordinator.fleet import Cursor, Fleet
from coordinator.values import Decision, NodeId, Task
from tasks.queue_view import ShapeKey

LEFT_MOST = 1000
"""So many that wait no longer may be left in here, beside as many as wait."""


class _Found(NamedTuple):
    task: Task  # the first of its shape
    waiting: int  # tasks of that shape: one that has come since wants to be told why it waits
    lacks_room: bool  # some of its nodes could take it, were they less busy


class Hopeless:
    """Shapes of sealed tasks, as one placer found them. To forget it costs a look at each."""

    def __init__(self) -> None:
        self._found: dict[ShapeKey, _Found] = {}
        self._untold: dict[ShapeKey, Task] = {}
        self._by_node: dict[NodeId, set[ShapeKey]] = defaultdict(set)
        self._seen: Cursor | None = None

    def __len__(self) -> int:
        return len(self._found)

    def add(self, key: ShapeKey, task: Task, decision: Decision, waiting: int) -> None:
        """``decision`` found no node for ``task``, the first of so many of this shape."""
        assert task.among is not None, "others have few shapes"
        self._found[key] = _Found(task, waiting, not ROOM.isdisjoint(decision.rejected))
        self._untold[key] = task
        for node_id in task.among:
            self._by_node[node_id].add(key)

    def holds(self, key: ShapeKey, waiting: int) -> bool:
        found = self._found.get(key)
        return found is not None and found.waiting == waiting

    def lacks_room(self, key: ShapeKey) -> bool:
        return self._found[key].lacks_room

    def to_tell(self, most: int) -> list[tuple[ShapeKey, Task]]:
        """Those of which it is not written down yet why they wait; they count as told from now on."""
        return [(key, self._untold.pop(key)) for key in list(self._untold)[:most]]

    def tell_later(self, key: ShapeKey, task: Task) -> None:
        """Not yet: too little time has passed since those before were told."""
        if key in self._found:
            self._untold[key] = task

    def catch_up(self, fleet: Fleet, shapes: int) -> None:
        """Forget those of whose nodes one has changed; all, where most wait no longer (of ``shapes``)."""
        changed, self._seen = fleet.changed_since(self._seen)
        if changed is None or len(self._found) > 2 * shapes + LEFT_MOST:
            self._found.clear()
            self._untold.clear()
            self._by_node.clear()
            return
        for node_id in changed:
            for key in list(self._by_node.get(node_id, ())):
                self._forget(key)

    def _forget(self, key: ShapeKey) -> None:
        self._untold.pop(key, None)
        for node_id in self._found.pop(key).task.among or ():
            self._by_node[node_id].discard(key)
            if not self._by_node[node_id]:
                del self._by_node[node_id]

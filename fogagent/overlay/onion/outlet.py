"""A link's way out: while the link is full, cells wait by circuit, and go one of each in turn."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol


class CellLink(Protocol):
    """A link, as circuits see it. ``peer`` is the identity of its other end, ``dialled`` whether this end
    opened it; while it is ``full`` nothing should be sent, and it says when it is not any more."""

    peer: bytes
    dialled: bool

    @property
    def full(self) -> bool: ...

    def send_cell(self, cell: bytes) -> None: ...


class Outlet:
    """One link's cells. `flush` is to be called whenever the link has room again."""

    def __init__(self, link: CellLink) -> None:
        self.link = link
        self._waiting: dict[int, deque[bytes]] = {}  # in the order of their turns
        self._sources: dict[int, Callable[[], None]] = {}

    def send(self, circuit: int, cell: bytes) -> None:
        queue = self._waiting.get(circuit)
        if queue is not None:
            queue.append(cell)
        elif self.link.full:
            self._waiting[circuit] = deque((cell,))
        else:
            self.link.send_cell(cell)

    def ready(self, circuit: int) -> bool:
        """Whether a cell of this circuit would go out at once."""
        return circuit not in self._waiting and not self.link.full

    def when_ready(self, circuit: int, pump: Callable[[], None]) -> None:
        """Call ``pump`` whenever there is room again, until `drop`: cells of this circuit begin here."""
        self._sources[circuit] = pump

    def drop(self, circuit: int) -> None:
        """The circuit is over: what waits of it goes nowhere."""
        self._waiting.pop(circuit, None)
        self._sources.pop(circuit, None)

    def flush(self) -> None:
        """Send what waits while there is room, then let those send more where cells begin."""
        while self._waiting and not self.link.full:
            circuit = next(iter(self._waiting))
            queue = self._waiting.pop(circuit)
            self.link.send_cell(queue.popleft())
            if queue:
                self._waiting[circuit] = queue
        for _ in range(len(self._sources)):
            if self.link.full or not self._sources:
                break
            circuit = next(iter(self._sources))
            pump = self._sources[circuit] = self._sources.pop(circuit)  # next time it comes last
            pump()

"""A link's way out: while the link is full, cells wait by circuit, and go one of each in turn.

Circuits that pass through and those whose cells begin here take turns to go first when there is room: the
former may never run dry on a link that is slower than what leads to it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

from fogagent.overlay.frames import Kind
from fogagent.overlay.onion.errors import ProtocolError
from fogagent.overlay.onion.windows import CIRCUIT_WINDOW

BACKLOG = 2 * CIRCUIT_WINDOW
"""Cells of one circuit that may wait for a link. Its window allows one half; what no window counts, such as
the beginnings and ends of streams, is far less than the other."""


class CellLink(Protocol):
    """What circuits need of a `fogagent.overlay.link.Link`."""

    peer: bytes
    expected: bytes

    @property
    def full(self) -> bool: ...

    def send(self, kind: int, payload: bytes) -> None: ...

    def on_room(self, callback: Callable[[], None]) -> None: ...

    def keep(self) -> None: ...

    def release(self) -> None: ...


class Outlet:
    def __init__(self, link: CellLink) -> None:
        self.link = link
        self._waiting: dict[int, deque[bytes]] = {}  # by circuit, in the order of their turns
        self._sources: dict[int, Callable[[], None]] = {}
        self._asked = False  # to be told when the link has room
        self._sources_first = False

    def send(self, circuit: int, cell: bytes) -> None:
        """Raises ProtocolError if more of the circuit would wait than its ends may have on their way."""
        queue = self._waiting.get(circuit)
        if queue is not None:
            if len(queue) >= BACKLOG:
                raise ProtocolError("More was sent on a circuit than its windows allow.")
            queue.append(cell)
        elif self.link.full:
            self._waiting[circuit] = deque((cell,))
            self._ask()
        else:
            self.link.send(Kind.CELL, cell)

    def stored(self, circuit: int) -> int:
        """Cells of this circuit that wait."""
        return len(self._waiting.get(circuit, ()))

    @property
    def waiting(self) -> int:
        """Circuits of which something waits, be they over or not."""
        return len(self._waiting)

    def ready(self, circuit: int) -> bool:
        """Whether a cell of this circuit would go out at once."""
        if circuit in self._waiting:
            return False
        if self.link.full:
            self._ask()
            return False
        return True

    def when_ready(self, circuit: int, pump: Callable[[], None]) -> None:
        """Call ``pump`` whenever there is room again, until `drop`: cells of this circuit begin here."""
        self._sources[circuit] = pump

    def drop(self, circuit: int) -> None:
        """The circuit is over: what waits of it goes nowhere."""
        self._waiting.pop(circuit, None)
        self._sources.pop(circuit, None)

    def _ask(self) -> None:
        if not self._asked:
            self._asked = True
            self.link.on_room(self._on_room)

    def _on_room(self) -> None:
        self._asked = False
        self._sources_first = not self._sources_first
        if self._sources_first:
            self._let_sources_send()
        self._send_waiting()
        self._let_sources_send()
        if self.link.full:  # some may not have had their turn
            self._ask()

    def _send_waiting(self) -> None:
        while self._waiting and not self.link.full:
            circuit = next(iter(self._waiting))
            queue = self._waiting.pop(circuit)
            self.link.send(Kind.CELL, queue.popleft())
            if queue:
                self._waiting[circuit] = queue

    def _let_sources_send(self) -> None:
        for _ in range(len(self._sources)):
            if self.link.full or not self._sources:
                return
            circuit = next(iter(self._sources))
            pump = self._sources[circuit] = self._sources.pop(circuit)  # next time it comes last
            pump()

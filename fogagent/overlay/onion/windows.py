"""How much may be on its way: windows in cells, opened again by SENDME messages of the receiver.

A circuit's window keeps relays' queues bounded; a stream's window keeps one that nobody reads from
filling the memory of its reader, and leaves the circuit to the others.
"""

from __future__ import annotations

from fogagent.overlay.onion.errors import ProtocolError

CIRCUIT_WINDOW, CIRCUIT_STEP = 1000, 100
STREAM_WINDOW, STREAM_STEP = 500, 50
"""Cells that may be on their way, and how many the receiver acknowledges at once. A circuit carries at
most its window in each round trip: 4 MB."""


class Window:
    """One direction of a circuit or a stream, as one of its ends sees it."""

    def __init__(self, size: int, step: int) -> None:
        self._size, self._step = size, step
        self._left = size  # cells that we may send
        self._taken = 0  # cells that we got and have not acknowledged

    @property
    def open(self) -> bool:
        return self._left > 0

    def sent(self) -> None:
        assert self._left > 0
        self._left -= 1

    def acknowledged(self) -> None:
        """A SENDME has come. Raises ProtocolError for one that acknowledges what was not sent."""
        if self._left + self._step > self._size:
            raise ProtocolError("More was acknowledged than had been sent.")
        self._left += self._step

    def took(self) -> bool:
        """A cell was taken in; whether it is time for a SENDME."""
        self._taken += 1
        if self._taken < self._step:
            return False
        self._taken -= self._step
        return True

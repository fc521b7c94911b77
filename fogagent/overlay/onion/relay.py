"""A circuit as one of its relays sees it: two neighbours, one layer, and perhaps its end.

A relay knows where cells come from and where they go to, and reads only what is meant for it: that the
circuit is to go on to another relay, or, at the end of the path, streams.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fogagent.overlay.onion import cells
from fogagent.overlay.onion.cells import HEADER, Command, Message, RelayCommand
from fogagent.overlay.onion.crypto import HopKeys
from fogagent.overlay.onion.errors import IntegrityError, OnionError, ProtocolError, Reason
from fogagent.overlay.onion.outlet import Outlet
from fogagent.overlay.onion.stream import Ending
from fogagent.overlay.onion.streams import OnBegin, Streams

IDENTITY = 32


@dataclass(eq=False)
class Side:
    """A neighbour: the way to it, and the circuit's number on that link, which `leave` gives back."""

    outlet: Outlet
    number: int
    on_leave: Callable[[], None]

    def __post_init__(self) -> None:
        self._header = HEADER.pack(self.number, Command.RELAY)

    def relay(self, body: bytes) -> None:
        self.outlet.send(self.number, self._header + body)

    def leave(self, reason: Reason | None) -> None:
        """The circuit goes no further this way; ``reason`` for a neighbour that does not know yet."""
        self.outlet.drop(self.number)
        if reason is not None:
            self.outlet.send(self.number, cells.pack_destroy(self.number, reason))
        self.on_leave()


@dataclass
class Traffic:
    """Circuits of others that a relay has now, and what it passed on of them since it started, both ways."""

    circuits: int = 0
    cells: int = 0


OnExtend = Callable[["RelayCircuit", bytes, bytes], None]
"""Asked to go on to the relay with this identity, with this half of a handshake: the answer is a call
of `RelayCircuit.extended` or `RelayCircuit.not_extended`, now or later."""


class RelayCircuit:
    def __init__(
        self,
        previous: Side,
        keys: HopKeys,
        *,
        on_extend: OnExtend,
        on_begin: OnBegin,
        traffic: Traffic,
    ) -> None:
        self.previous = previous
        self.next: Side | None = None
        self.closed = False
        self.streams = Streams(self, on_begin)
        self._keys, self._traffic = keys, traffic
        self._on_extend = on_extend
        self._extending = False
        traffic.circuits += 1
        previous.outlet.when_ready(previous.number, self.streams.pump)

    # --- Cells from the side of the client ---------------------------------------------------------

    def on_cell(self, command: Command, body: memoryview) -> None:
        """Take one cell. What breaks the protocol ends the circuit; nothing is raised."""
        if self.closed:
            return
        try:
            if command is Command.RELAY:
                self._forward(bytes(body))
            elif command is Command.DESTROY:
                self._end(cells.unpack_destroy(body), tell_previous=False)
            elif command is not Command.PADDING:
                raise ProtocolError(f"A {command.name} cell came out of turn.")
        except OnionError as error:
            self._end(error.reason)

    def previous_gone(self) -> None:
        """The link to the client's side is no more."""
        self._end(Reason.LINK_CLOSED, tell_previous=False)

    def _forward(self, body: bytes) -> None:
        body = self._keys.forward.layer(body)
        if (plain := self._keys.forward.open(body)) is not None:
            self._heard(cells.unpack_message(plain))
        elif self.next is not None:
            self._traffic.cells += 1
            self.next.relay(body)
        else:
            raise IntegrityError("What came to the end of the circuit was not meant for it.")

    def _heard(self, message: Message) -> None:
        if message.command is not RelayCommand.EXTEND:
            if self.next is not None:
                raise ProtocolError("Streams end at the last hop only.")
            self.streams.handle(message)
            return
        if self.next is not None or self._extending or len(message.data) < IDENTITY:
            raise ProtocolError("A circuit goes on from its last hop, to one relay.")
        self._extending = True
        self._on_extend(self, message.data[:IDENTITY], message.data[IDENTITY:])

    # --- Going on to another relay -----------------------------------------------------------------

    def extended(self, side: Side, request: bytes) -> None:
        """There is a link to the next relay: hand the client's half of the handshake on."""
        self.next = side
        side.outlet.send(side.number, cells.pack_text(side.number, Command.CREATE, request))

    def not_extended(self, reason: Reason) -> None:
        """Tell the client; the circuit stays as it is."""
        self._extending = False
        self.send(RelayCommand.REFUSED, 0, bytes((reason,)))

    # --- Cells from the next relay -----------------------------------------------------------------

    def on_cell_from_next(self, command: Command, body: memoryview) -> None:
        if self.closed:
            return
        try:
            if command is Command.RELAY and not self._extending:
                self._traffic.cells += 1
                self.previous.relay(self._keys.backward.layer(bytes(body)))
            elif command is Command.CREATED and self._extending:
                self._extending = False
                self.send(RelayCommand.EXTENDED, 0, cells.unpack_text(body))
            elif command is Command.DESTROY:
                self._next_ended(cells.unpack_destroy(body))
            elif command is not Command.PADDING:
                raise ProtocolError(f"A {command.name} cell came out of turn.")
        except OnionError as error:
            self._end(error.reason)

    def next_gone(self) -> None:
        """The link to the next relay is no more."""
        self._next_ended(Reason.LINK_CLOSED)

    def _next_ended(self, reason: Reason) -> None:
        if self._extending and self.next is not None:  # it is none yet: the client may go another way
            self.next.leave(None)
            self.next = None
            self.not_extended(reason)
        else:
            self._end(reason, tell_next=False)

    # --- The end -----------------------------------------------------------------------------------

    @property
    def stored(self) -> int:
        """Cells that this relay keeps for it; when it is over, for those who still read its streams."""
        if self.closed:
            return self.streams.stored
        sides = (self.previous,) if self.next is None else (self.previous, self.next)
        return sum(side.outlet.stored(side.number) for side in sides) + self.streams.stored

    def end(self, reason: Reason) -> None:
        """This relay carries it no further, and keeps nothing of it."""
        self._end(reason)
        self.streams.give_up(Ending("circuit", reason.sentence))

    def _end(self, reason: Reason, *, tell_previous: bool = True, tell_next: bool = True) -> None:
        """It is over; the neighbours that may still think otherwise are told."""
        if self.closed:
            return
        self.closed = True
        self._traffic.circuits -= 1
        try:
            self.streams.close(Ending("circuit", reason.sentence))
        finally:
            self.previous.leave(reason if tell_previous else None)
            if self.next is not None:
                self.next.leave(reason if tell_next else None)

    # --- For its streams ---------------------------------------------------------------------------

    @property
    def peer(self) -> bytes:
        return self.previous.outlet.link.peer

    @property
    def ready(self) -> bool:
        return self.previous.outlet.ready(self.previous.number)

    def send(self, command: RelayCommand, stream: int, data: bytes | memoryview) -> None:
        """Send a message to the client."""
        if self.closed:
            return
        body = self._keys.backward.seal(cells.pack_message(command, stream, data))
        try:
            self.previous.relay(self._keys.backward.layer(body))
        except ProtocolError as error:  # it goes on asking and does not read the answers
            self._end(error.reason)

"""A circuit as its client sees it: built hop by hop, then used for streams to its last hop.

Knows no network and no clock: cells come in by three calls and leave through the outlet it was given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import NamedTuple

from fogagent.overlay.onion import cells
from fogagent.overlay.onion.cells import HEADER, Command, Message, RelayCommand
from fogagent.overlay.onion.crypto import KEY_BYTES, HopKeys
from fogagent.overlay.onion.errors import IntegrityError, OnionError, ProtocolError, Reason, reason_of
from fogagent.overlay.onion.handshake import ClientHandshake
from fogagent.overlay.onion.outlet import Outlet
from fogagent.overlay.onion.stream import Ending, Stream
from fogagent.overlay.onion.streams import Streams


class HopTarget(NamedTuple):
    """A relay, by its keys."""

    identity: bytes
    onion_key: bytes


class State(StrEnum):
    BUILDING = "building"
    OPEN = "open"
    CLOSED = "closed"


class Circuit:
    """One circuit through ``path``, of which the first is the other end of the outlet's link."""

    def __init__(
        self,
        number: int,
        path: Sequence[HopTarget],
        outlet: Outlet,
        *,
        on_open: Callable[[Circuit], None],
        on_closed: Callable[[Circuit], None],
    ) -> None:
        self.number, self.path = number, tuple(path)
        self.state = State.BUILDING
        self.reason: Reason | None = None
        self.refused_by = 0
        """The relay, from 1, that said itself that it cannot go on; 0: none did."""
        self.streams = Streams(self)
        self._outlet = outlet
        self._on_open, self._on_closed = on_open, on_closed
        self._hops: list[HopKeys] = []
        self._header = HEADER.pack(number, Command.RELAY)
        self._handshake = ClientHandshake(*self.path[0])

    @property
    def built(self) -> int:
        """How many hops there are so far."""
        return len(self._hops)

    def begin_building(self) -> None:
        self._outlet.send(self.number, cells.pack_text(self.number, Command.CREATE, self._handshake.request))

    def open_stream(self, target: bytes) -> Stream:
        """Raises ProtocolError if the circuit is not open, or carries all the streams it may."""
        if self.state is not State.OPEN:
            raise ProtocolError(f"The circuit is {self.state}.")
        return self.streams.begin(target)

    def close(self, reason: Reason = Reason.FINISHED) -> None:
        """End it and let its relays know."""
        if self.state is not State.CLOSED:
            self._outlet.drop(self.number)
            self._outlet.send(self.number, cells.pack_destroy(self.number, reason))
            self.ended(reason)

    def ended(self, reason: Reason) -> None:
        """It is over, and there is nobody to tell: its first relay said so, or the link is gone."""
        if self.state is State.CLOSED:
            return
        self.state, self.reason = State.CLOSED, reason
        self._outlet.drop(self.number)
        try:
            self.streams.close(Ending("circuit", reason.sentence))
        finally:
            self._on_closed(self)

    # --- Cells from the first relay ----------------------------------------------------------------

    def on_cell(self, command: Command, body: memoryview) -> None:
        """Take one cell. What breaks the protocol ends the circuit; nothing is raised."""
        if self.state is State.CLOSED:
            return
        try:
            if command is Command.RELAY:
                self._relayed(bytes(body))
            elif command is Command.CREATED and not self._hops:
                self._add_hop(cells.unpack_text(body))
            elif command is Command.DESTROY:
                self.ended(cells.unpack_destroy(body))
            elif command is not Command.PADDING:
                raise ProtocolError(f"A {command.name} cell came out of turn.")
        except OnionError as error:
            self.close(error.reason)

    def _relayed(self, body: bytes) -> None:
        for number, hop in enumerate(self._hops):
            body = hop.backward.layer(body)
            if (plain := hop.backward.open(body)) is not None:
                self._heard(number, cells.unpack_message(plain))
                return
        raise IntegrityError("A cell came from no hop.")

    def _heard(self, hop: int, message: Message) -> None:
        if hop != len(self._hops) - 1:
            raise ProtocolError("A relay spoke that is not the last.")
        if self.state is State.OPEN:
            self.streams.handle(message)
        elif message.command is RelayCommand.EXTENDED:
            self._add_hop(message.data)
        elif message.command is RelayCommand.REFUSED:
            self.refused_by = hop + 1
            self.close(reason_of(message.data[0]) if message.data else Reason.PROTOCOL)
        else:
            raise ProtocolError(f"{message.command.name} came while the circuit was being built.")

    def _add_hop(self, reply: bytes) -> None:
        self._hops.append(HopKeys(self._handshake.finish(reply, KEY_BYTES).keys))
        if len(self._hops) == len(self.path):
            self.state = State.OPEN
            self._outlet.when_ready(self.number, self.streams.pump)
            self._on_open(self)
            return
        target = self.path[len(self._hops)]
        self._handshake = ClientHandshake(*target)
        self.send(RelayCommand.EXTEND, 0, target.identity + self._handshake.request)

    # --- For its streams ---------------------------------------------------------------------------

    @property
    def peer(self) -> bytes:
        return self._outlet.link.peer

    @property
    def ready(self) -> bool:
        return self._outlet.ready(self.number)

    def send(self, command: RelayCommand, stream: int, data: bytes | memoryview) -> None:
        """Send a message to the last hop that there is."""
        if self.state is State.CLOSED:
            return
        body = self._hops[-1].forward.seal(cells.pack_message(command, stream, data))
        for hop in reversed(self._hops):
            body = hop.forward.layer(body)
        try:
            self._outlet.send(self.number, self._header + body)
        except ProtocolError as error:  # the first relay has not read for long
            self.close(error.reason)

"""Where the cells of all links of an agent meet its circuits, both those it relays and its own.

Knows no network, and no clock but the one that it is given. What takes time (a link to another relay) is
asked for by a call with a continuation; the shell around it answers in the same thread.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from fogagent.overlay.onion import cells
from fogagent.overlay.onion.cells import MAX_CIRCUIT, Command
from fogagent.overlay.onion.circuit import Circuit, HopTarget
from fogagent.overlay.onion.crypto import KEY_BYTES, HopKeys
from fogagent.overlay.onion.errors import OnionError, ProtocolError, Reason
from fogagent.overlay.onion.handshake import respond
from fogagent.overlay.onion.outlet import CellLink, Outlet
from fogagent.overlay.onion.pace import Pace
from fogagent.overlay.onion.relay import RelayCircuit, Side, Traffic
from fogagent.overlay.onion.streams import OnBegin

CIRCUITS_MAX = 2000
"""Circuits with one peer, of both ends together. Each takes 10 KiB at a relay, and may hold its window of
cells besides at worst. By peer and not by link, as a peer may have several."""

OnCell = Callable[[Command, memoryview], None]
Reach = Callable[[bytes, Callable[[CellLink | None], None]], None]
"""``reach(identity, then)`` calls ``then`` with a link to that relay, or None where there can be none."""


class _Table:
    """The circuits of one link by their numbers. ``of_peers`` counts those of all links, by peer."""

    def __init__(self, link: CellLink, of_peers: Counter[bytes]) -> None:
        self.outlet = Outlet(link)
        self._of_peers = of_peers
        self.circuits: dict[int, OnCell] = {}
        self.gone: dict[int, Callable[[], None]] = {}  # what to do when the link is
        self._last = 1 if link.expected else 0  # odd where we have dialled

    def free_number(self) -> int:
        """The next number that this end of the link may choose. Raises ProtocolError if all are taken."""
        if self.is_full or self.is_clogged:
            raise ProtocolError("There are as many circuits with this peer as there may be.")
        while True:
            self._last = self._last + 2 if self._last + 2 <= MAX_CIRCUIT else 2 - self._last % 2
            if self._last not in self.circuits:
                return self._last

    @property
    def is_full(self) -> bool:
        return self._of_peers[self.outlet.link.peer] >= CIRCUITS_MAX

    @property
    def is_clogged(self) -> bool:
        """Whether the peer has not read for so long that a DESTROY waits for it of very many circuits."""
        return self.outlet.waiting >= 2 * CIRCUITS_MAX

    def is_theirs(self, number: int) -> bool:
        return number % 2 != self._last % 2

    def put(self, number: int, on_cell: OnCell, on_gone: Callable[[], None]) -> None:
        if not self.circuits:
            self.outlet.link.keep()
        self._of_peers[self.outlet.link.peer] += 1
        self.circuits[number], self.gone[number] = on_cell, on_gone

    def remove(self, number: int) -> None:
        if self.circuits.pop(number, None) is None:
            return
        del self.gone[number]
        peer = self.outlet.link.peer
        self._of_peers[peer] -= 1
        if not self._of_peers[peer]:
            del self._of_peers[peer]
        if not self.circuits:
            self.outlet.link.release()


class Switch:
    def __init__(
        self,
        identity: bytes,
        onion_secret: X25519PrivateKey,
        *,
        reach: Reach,
        on_begin: OnBegin,
        relays: bool,
        creates_per_s: float,
        clock: Callable[[], float],
    ) -> None:
        """``relays``: whether circuits of others may come through here; ``on_begin`` what their
        streams do. ``creates_per_s``: circuits that each peer may begin in a second; ``clock`` is any,
        in seconds."""
        self._identity, self._secret = identity, onion_secret
        self._reach, self._on_begin, self._relays = reach, on_begin, relays
        self._tables: dict[CellLink, _Table] = {}
        self._of_peers: Counter[bytes] = Counter()
        self._relayed: set[RelayCircuit] = set()  # those that are over as well, while anything is stored
        self._pace, self._clock = Pace(creates_per_s), clock
        self.traffic = Traffic()

    def circuits(self) -> int:
        """How many ends of circuits there are, one on each link."""
        return sum(len(table.circuits) for table in self._tables.values())

    # --- From the links ----------------------------------------------------------------------------

    def on_cell(self, link: CellLink, payload: bytes | memoryview) -> None:
        """Take one cell of a link. Raises ProtocolError if the link should be closed for it."""
        number, command, body = cells.unpack(payload)
        table = self._table(link)
        on_cell = table.circuits.get(number)
        if on_cell is not None:
            on_cell(command, body)
        elif command is Command.CREATE:
            self._create(table, number, body)
        # Else its circuit has ended here, and the other side did not know yet.

    def on_link_closed(self, link: CellLink) -> None:
        table = self._tables.pop(link, None)
        with ExitStack() as each:  # also when one of them raises
            for on_gone in table.gone.values() if table is not None else ():
                each.callback(on_gone)

    def _table(self, link: CellLink) -> _Table:
        table = self._tables.get(link)
        if table is None:
            table = self._tables[link] = _Table(link, self._of_peers)
        return table

    # --- Circuits of others ------------------------------------------------------------------------

    def _create(self, table: _Table, number: int, body: memoryview) -> None:
        if not table.is_theirs(number):
            raise ProtocolError("A circuit was given a number of this side.")
        if table.is_clogged:
            raise ProtocolError("The peer asks for circuits and does not read the answers.")
        if (refusal := self._refusal(table)) is not None:
            table.outlet.send(number, cells.pack_destroy(number, refusal))
            return
        try:
            reply, agreed = respond(
                cells.unpack_text(body), self._identity, self._secret, lambda _: b"", KEY_BYTES
            )
        except OnionError as error:
            table.outlet.send(number, cells.pack_destroy(number, error.reason))
            return

        def left() -> None:
            table.remove(number)
            if not circuit.stored:
                self._relayed.discard(circuit)

        circuit = RelayCircuit(
            Side(table.outlet, number, left),
            HopKeys(agreed.keys),
            on_extend=self._extend,
            on_begin=self._on_begin,
            traffic=self.traffic,
        )
        self._relayed.add(circuit)
        table.put(number, circuit.on_cell, circuit.previous_gone)
        table.outlet.send(number, cells.pack_text(number, Command.CREATED, reply))

    def _refusal(self, table: _Table) -> Reason | None:
        """Why there is not even a handshake, which is what costs."""
        if not self._relays or table.is_full:
            return Reason.LIMIT
        return None if self._pace.allows(table.outlet.link.peer, self._clock()) else Reason.RATE

    def relieve(self, most: int) -> None:
        """Where more cells than ``most`` are stored for circuits of others, end those that need most of it.

        To be called now and then. Windows bound what one circuit stores; but with enough of them, and of
        streams that nobody reads, that is more than any machine has.
        """
        stored = {circuit: circuit.stored for circuit in self._relayed}
        self._relayed = {circuit for circuit, cells in stored.items() if cells or not circuit.closed}
        total = sum(stored.values())
        for circuit in sorted(stored, key=stored.__getitem__, reverse=True):
            if total <= most:
                return
            circuit.end(Reason.LIMIT)
            total -= stored[circuit]

    def _extend(self, circuit: RelayCircuit, identity: bytes, request: bytes) -> None:
        if identity in (self._identity, circuit.previous.outlet.link.peer):
            circuit.not_extended(Reason.PROTOCOL)
            return
        self._reach(identity, partial(self._extend_over, circuit, request))

    def _extend_over(self, circuit: RelayCircuit, request: bytes, link: CellLink | None) -> None:
        if circuit.closed:
            return
        if link is None:
            circuit.not_extended(Reason.UNREACHABLE)
            return
        table = self._table(link)
        try:
            number = table.free_number()
        except ProtocolError:
            circuit.not_extended(Reason.LIMIT)
            return
        table.put(number, circuit.on_cell_from_next, circuit.next_gone)
        circuit.extended(Side(table.outlet, number, partial(table.remove, number)), request)

    # --- Our own -----------------------------------------------------------------------------------

    def build(
        self,
        link: CellLink,
        path: Sequence[HopTarget],
        *,
        on_open: Callable[[Circuit], None],
        on_closed: Callable[[Circuit], None],
    ) -> Circuit:
        """Begin a circuit through ``path``, whose first relay is at the other end of ``link``.

        Raises:
            ProtocolError: there are as many circuits with that relay as there may be.
            HandshakeError: the first relay's onion key is none.
        """
        table = self._table(link)
        number = table.free_number()

        def closed(circuit: Circuit) -> None:
            table.remove(number)
            on_closed(circuit)

        circuit = Circuit(number, path, table.outlet, on_open=on_open, on_closed=closed)
        table.put(number, circuit.on_cell, partial(circuit.ended, Reason.LINK_CLOSED))
        circuit.begin_building()
        return circuit

"""Relays in memory: switches joined by links that carry cells when they are told to, or change them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from fogagent.overlay.frames import Kind
from fogagent.overlay.onion.circuit import Circuit, HopTarget, State
from fogagent.overlay.onion.errors import OnionError
from fogagent.overlay.onion.outlet import CellLink
from fogagent.overlay.onion.stream import Stream
from fogagent.overlay.onion.switch import Switch

Meddle = Callable[[bytes], list[bytes]]
"""What a link makes of a cell that crosses it."""


@dataclass(eq=False)
class Wire:
    """One end of a link. Cells wait until `Net.run` carries them to the other end."""

    net: Net
    owner: Box
    peer: bytes
    expected: bytes
    other: Wire | None = None
    closed: bool = False
    room: int = 1_000_000  # cells that may wait before it is full
    waiting: deque[bytes] = field(default_factory=deque)
    meddle: Meddle | None = None
    on_send: Callable[[], None] | None = None
    asked: deque[Callable[[], None]] = field(default_factory=deque)
    kept: int = 0

    @property
    def full(self) -> bool:
        return len(self.waiting) >= self.room

    def send(self, kind: int, payload: bytes) -> None:
        assert kind == Kind.CELL
        if not self.closed:
            self.waiting.append(payload)
            if self.on_send is not None:
                self.on_send()

    def on_room(self, callback: Callable[[], None]) -> None:
        self.asked.append(callback)

    def tell_room(self) -> None:
        while self.asked and not self.full:
            self.asked.popleft()()

    def keep(self) -> None:
        self.kept += 1

    def release(self) -> None:
        self.kept -= 1


@dataclass(eq=False)
class Box:
    """An agent: its switch, what its exits do, its links by peer."""

    net: Net
    identity: bytes
    secret: X25519PrivateKey
    wires: dict[bytes, Wire] = field(default_factory=dict)
    begun: list[tuple[Stream, bytes]] = field(default_factory=list)
    on_begin: Callable[[Stream, bytes], None] | None = None

    def __post_init__(self) -> None:
        self.switch = Switch(
            self.identity,
            self.secret,
            reach=self.reach,
            on_begin=self.begin,
            relays=True,
            creates_per_s=self.net.creates_per_s,
            clock=lambda: self.net.now,
        )

    @property
    def target(self) -> HopTarget:
        return HopTarget(self.identity, self.secret.public_key().public_bytes_raw())

    def reach(self, identity: bytes, then: Callable[[CellLink | None], None]) -> None:
        then(self.net.link(self.identity, identity))

    def begin(self, stream: Stream, target: bytes) -> None:
        self.begun.append((stream, target))
        if self.on_begin is not None:
            self.on_begin(stream, target)


class Net:
    """The client is box 0, its relays are boxes 1, 2, …"""

    def __init__(self, relays: int, *, creates_per_s: float = 10_000) -> None:
        self.creates_per_s, self.now = creates_per_s, 0.0
        self.boxes = [
            Box(self, bytes([number]) * 32, X25519PrivateKey.generate()) for number in range(relays + 1)
        ]
        self._by_identity = {box.identity: box for box in self.boxes}
        self.closed_for: list[OnionError] = []  # links that were closed for what came over them

    def link(self, here: bytes, there: bytes) -> Wire | None:
        """The link between two boxes, as the first sees it; made when it is asked for."""
        if there not in self._by_identity:
            return None
        ours, theirs = self._by_identity[here], self._by_identity[there]
        if there not in ours.wires:
            dialled, accepted = Wire(self, ours, there, there), Wire(self, theirs, here, b"")
            dialled.other, accepted.other = accepted, dialled
            ours.wires[there], theirs.wires[here] = dialled, accepted
        return ours.wires[there]

    def wire(self, here: int, there: int) -> Wire:
        found = self.link(self.boxes[here].identity, self.boxes[there].identity)
        assert found is not None
        return found

    def cut(self, here: int, there: int) -> None:
        for wire in (self.wire(here, there), self.wire(there, here)):
            wire.closed = True
            wire.waiting.clear()
            del wire.owner.wires[wire.peer]
        for number, other in ((here, there), (there, here)):
            del other
            box = self.boxes[number]
            for table in list(box.switch._tables):
                if isinstance(table, Wire) and table.closed:
                    box.switch.on_link_closed(table)

    def step(self) -> bool:
        """Carry one cell over each link that has one; whether there was any."""
        wires = [wire for box in self.boxes for wire in list(box.wires.values()) if wire.waiting]
        for wire in wires:
            self.carry(wire)
        return bool(wires)

    def carry(self, wire: Wire) -> None:
        """Carry one cell over this link."""
        if wire.closed or not wire.waiting:
            return
        cell = wire.waiting.popleft()
        assert wire.other is not None
        for arriving in wire.meddle(cell) if wire.meddle else [cell]:
            try:
                wire.other.owner.switch.on_cell(wire.other, arriving)
            except OnionError as error:
                self.closed_for.append(error)
        wire.tell_room()

    def run(self) -> None:
        """Until nothing moves any more."""
        for _ in range(1_000_000):
            if not self.step():
                return
        raise AssertionError("it never came to rest")

    def circuit(self, hops: int, *, run: bool = True) -> Circuit:
        """A circuit from the client through the first ``hops`` relays."""
        first = self.wire(0, 1)
        path = [box.target for box in self.boxes[1 : hops + 1]]
        circuit = self.boxes[0].switch.build(first, path, on_open=lambda _: None, on_closed=lambda _: None)
        if run:
            self.run()
        return circuit

    def open_circuit(self, hops: int) -> Circuit:
        circuit = self.circuit(hops)
        assert circuit.state is State.OPEN, circuit.reason
        return circuit


@dataclass(eq=False)
class Heard:
    """What came out of a stream."""

    stream: Stream
    data: bytearray = field(default_factory=bytearray)
    end: str | None = None

    def __post_init__(self) -> None:
        self.stream.set_reader(self.data.extend, self._ended)

    def _ended(self, code: str) -> None:
        self.end = code


def echo(stream: Stream, target: bytes) -> None:
    """An exit that sends back what it gets."""
    stream.accept()

    def ended(code: str) -> None:
        if not code:
            stream.finish()

    stream.set_reader(stream.write, ended)

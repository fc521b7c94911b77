"""A live circuit among strangers: each step, one of them sends something, or a link breaks.

A step is a byte that says who does what (`Who`), two that say how long it is, and what is sent. So the other
relays and clients are fuzzed with what only the holders of the right keys could send, too.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from enum import IntEnum
from typing import cast

from fogagent.overlay.onion.cells import (
    BODY_BYTES,
    CELL_BYTES,
    DATA_BYTES,
    HEADER,
    TEXT_BYTES,
    Command,
    RelayCommand,
    pack,
    pack_text,
)
from fogagent.overlay.onion.circuit import Circuit, State
from fogagent.overlay.onion.errors import ProtocolError
from fogagent.overlay.onion.stream import Carrier
from fogagent.tests.onion_net import Heard, Net, Wire, echo

STEP = struct.Struct(">BH")
SAID = struct.Struct(">BH")
STEPS_MOST = 40
FIRST_NUMBER = 3
"""Of the circuit, on each of its links."""


class Who(IntEnum):
    CLIENT = 0  # a cell for the first relay
    NEXT = 1  # a cell of the second relay for the first
    FIRST = 2  # a cell of the first relay for the client
    CLIENT_SEALED = 3  # a message of the client for the last hop
    LAST_SEALED = 4  # a message of the last hop for the client
    STREAM = 5  # the client writes on a new stream
    CREATED = 6  # a new circuit, and what the second relay answers when it is to be part of it
    CUT = 7


class Stage:
    """A client, two relays, and a circuit through both with a stream on it."""

    def __init__(self) -> None:
        self.net = Net(2)
        self.net.boxes[2].on_begin = echo
        self.circuit: Circuit = self.net.open_circuit(2)
        self.heard = [Heard(self.circuit.open_stream(b"first"))]
        self.net.run()
        self.last: Carrier = self.net.boxes[2].begun[0][0]._streams.carrier
        self.wires: set[Wire] = set()
        self.note_wires()

    def step(self, who: Who, data: bytes) -> None:
        _STEPS[who](self, data)
        self.net.run()
        self.note_wires()

    def note_wires(self) -> None:
        self.wires.update(wire for box in self.net.boxes for wire in box.wires.values())

    def end(self) -> None:
        """All links break: whatever was done, nothing of any circuit is left."""
        self.circuit.close()
        self.net.run()
        for here, box in enumerate(self.net.boxes):
            for peer in list(box.wires):
                self.net.cut(here, peer[0])
        assert all(isinstance(error, ProtocolError) for error in self.net.closed_for), self.net.closed_for
        assert [box.switch.traffic.circuits for box in self.net.boxes] == [0, 0, 0]
        assert not any(wire.kept for wire in self.wires)
        assert all(heard.stream.ending for heard in self.heard)


def circuit(data: bytes) -> None:
    stage = Stage()
    for _ in range(STEPS_MOST):
        if len(data) < STEP.size:
            break
        who, size = STEP.unpack_from(data)
        stage.step(Who(who % len(Who)), data[STEP.size : STEP.size + size])
        data = data[STEP.size + size :]
    stage.end()


def _arrive(here: int, there: int) -> Callable[[Stage, bytes], None]:
    """A cell that comes over the link from there to here."""

    def arrive(stage: Stage, data: bytes) -> None:
        wire = stage.net.wire(there, here)
        wire.waiting.appendleft(data[:CELL_BYTES].ljust(CELL_BYTES, b"\0"))

    return arrive


def _say(carrier: Carrier, data: bytes) -> None:
    """As the right keys let it be said: any command, stream and data."""
    command, stream = SAID.unpack_from(data.ljust(SAID.size, b"\0"))
    carrier.send(cast(RelayCommand, command), stream, data[SAID.size : SAID.size + DATA_BYTES])


def _write(stage: Stage, data: bytes) -> None:
    if stage.circuit.state is State.OPEN and len(stage.circuit.streams) < 100:
        stage.heard.append(Heard(stage.circuit.open_stream(data[:100])))
        stage.heard[-1].stream.write(data)


def _answer(stage: Stage, data: bytes) -> None:
    """The second relay does not hold its key, and sends something else for its half of the handshake."""
    wire = stage.net.wire(2, 1)
    wire.meddle = lambda cell: [cell[: HEADER.size] + data[:BODY_BYTES].ljust(BODY_BYTES, b"\0")]
    stage.net.circuit(2)
    wire.meddle = None


def _cut(stage: Stage, data: bytes) -> None:
    here, there = ((0, 1), (1, 2))[len(data) % 2]
    stage.net.cut(here, there)


_STEPS: dict[Who, Callable[[Stage, bytes], None]] = {
    Who.CLIENT: _arrive(1, 0),
    Who.NEXT: _arrive(1, 2),
    Who.FIRST: _arrive(0, 1),
    Who.CLIENT_SEALED: lambda stage, data: _say(stage.circuit, data),
    Who.LAST_SEALED: lambda stage, data: _say(stage.last, data),
    Who.STREAM: _write,
    Who.CREATED: _answer,
    Who.CUT: _cut,
}


def circuit_seeds() -> list[bytes]:
    """Each of everything alone, and some after one another."""
    shown = [pack(FIRST_NUMBER, command, b"")[:20] for command in Command]
    shown += [
        pack_text(number, Command.CREATE, b"hello")[:20] for number in (FIRST_NUMBER - 1, FIRST_NUMBER + 2)
    ]
    said = [
        SAID.pack(command, stream) + data
        for command in RelayCommand
        for stream, data in ((0, b""), (1, b"hello"), (2, bytes([2]) * 32 + b"hello"))
    ]
    steps = [step(who, data) for who in (Who.CLIENT, Who.NEXT, Who.FIRST) for data in shown]
    steps += [step(who, data) for who in (Who.CLIENT_SEALED, Who.LAST_SEALED) for data in said]
    steps += [step(Who.STREAM, b"hello"), step(Who.CREATED, b"\0\5hello"), step(Who.CUT, b"")]
    steps.append(
        step(Who.CREATED, pack_text(FIRST_NUMBER, Command.CREATED, bytes(TEXT_BYTES))[HEADER.size :])
    )
    return [*steps, *(b"".join(steps[at : at + 8]) for at in range(0, len(steps), 5))]


def step(who: Who, data: bytes) -> bytes:
    return STEP.pack(who, len(data)) + data

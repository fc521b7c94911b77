"""Cells: everything that travels on a circuit has this one size, so that a length tells nothing.

    circuit (4 bytes) | command (1) | body (BODY_BYTES)

Numbers are big-endian. A circuit has its number on one link only; whoever dialled the link uses odd
numbers, the other side even ones, so the two never choose the same. What a CREATE or CREATED cell
holds is preceded by its length (2 bytes); a DESTROY cell holds one byte, a `Reason`. The body of a
RELAY cell is encrypted in layers (`crypto`); inside is a message:

    command (1 byte) | stream (2) | length (2) | data | zeros
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import NamedTuple

from fogagent.overlay.onion.errors import ProtocolError, Reason, reason_of

CELL_BYTES = 4096
"""Chosen by measurement, three hops on two cores: 514 bytes carry 26 MB/s, 1024 46, 2048 81, 4096 103, 8192
124 and 16384 134. Beyond 4096 little is gained, while a keystroke costs ever more. `bench onion` measures."""
HEADER = struct.Struct(">IB")
BODY_BYTES = CELL_BYTES - HEADER.size

MARK = bytes(4)
"""With this begins what is meant for the hop that has just removed its layer."""
TAG_BYTES = 16
PLAIN_BYTES = BODY_BYTES - len(MARK) - TAG_BYTES
_MESSAGE = struct.Struct(">BHH")
DATA_BYTES = PLAIN_BYTES - _MESSAGE.size
"""The most that one cell carries of a stream."""
_LENGTH = struct.Struct(">H")
TEXT_BYTES = DATA_BYTES
"""Of a handshake, which must fit into an EXTENDED message as well as into a cell."""

MAX_CIRCUIT = 2**32 - 1


class Command(IntEnum):
    PADDING = 0
    CREATE = 1
    CREATED = 2
    RELAY = 3
    DESTROY = 4


class RelayCommand(IntEnum):
    BEGIN = 1
    CONNECTED = 2
    DATA = 3
    FINISH = 4  # no more data from this side of the stream
    END = 5  # the stream is over, both ways
    SENDME = 6
    EXTEND = 7
    EXTENDED = 8
    REFUSED = 9  # the circuit cannot be extended as asked; the circuit itself stays


class Cell(NamedTuple):
    circuit: int
    command: Command
    body: memoryview


class Message(NamedTuple):
    """What is inside of a RELAY cell. Stream 0 is the circuit itself."""

    command: RelayCommand
    stream: int
    data: bytes


def pack(circuit: int, command: Command, body: bytes) -> bytes:
    """A cell; what the body lacks to its size is filled up with zeros."""
    return HEADER.pack(circuit, command) + body + bytes(BODY_BYTES - len(body))


def unpack(cell: bytes | memoryview) -> Cell:
    """Raises ProtocolError for what is no cell."""
    if len(cell) != CELL_BYTES:
        raise ProtocolError(f"A cell has {CELL_BYTES} bytes, this one had {len(cell)}.")
    circuit, command = HEADER.unpack_from(cell)
    if command > Command.DESTROY or circuit == 0:
        raise ProtocolError(f"There is no cell with command {command} on circuit {circuit}.")
    return Cell(circuit, Command(command), memoryview(cell)[HEADER.size :])


def pack_text(circuit: int, command: Command, text: bytes) -> bytes:
    """A CREATE or CREATED cell with this half of a handshake."""
    return pack(circuit, command, _LENGTH.pack(len(text)) + text)


def unpack_text(body: memoryview) -> bytes:
    (length,) = _LENGTH.unpack_from(body)
    if length > TEXT_BYTES:
        raise ProtocolError(f"A cell holds at most {TEXT_BYTES} bytes, not {length}.")
    return bytes(body[_LENGTH.size : _LENGTH.size + length])


def pack_destroy(circuit: int, reason: Reason) -> bytes:
    return pack(circuit, Command.DESTROY, bytes((reason,)))


def unpack_destroy(body: memoryview) -> Reason:
    return reason_of(body[0])


def pack_message(command: RelayCommand, stream: int, data: bytes | memoryview) -> bytes:
    """The plain text of a RELAY cell, at its full size."""
    head = _MESSAGE.pack(command, stream, len(data))
    return b"".join((head, data, bytes(DATA_BYTES - len(data))))


def unpack_message(plain: bytes) -> Message:
    command, stream, length = _MESSAGE.unpack_from(plain)
    if length > DATA_BYTES or not RelayCommand.BEGIN <= command <= RelayCommand.REFUSED:
        raise ProtocolError(f"There is no message with command {command} and {length} bytes.")
    return Message(RelayCommand(command), stream, plain[_MESSAGE.size : _MESSAGE.size + length])

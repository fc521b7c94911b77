"""What a process said and heard above TLS, as `e2e.system.recorded` writes it down: one file a process.

A record is written in one piece before the bytes go on, so that kill -9 loses none.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

FOLDER = "FOG_TRAFFIC"
"""The environment variable that says where the files are to be."""
LENGTH_BYTES = 4

Of = Literal["link", "socket", "http", "job"]
Way = Literal["in", "out"]


class Record(msgspec.Struct, frozen=True, array_like=True):
    """``peer``: of a link the identity at its other end, hexadecimal; of a socket or a request its path.

    A ``job`` is no traffic: it says that an agent began with the attempt that ``peer`` names.
    """

    of: Of
    way: Way
    peer: str
    data: bytes = b""


class Channel(NamedTuple):
    """One direction of one conversation."""

    of: Of
    way: Way
    peer: str


class TrafficLog:
    """Where a process writes what crosses its borders. ``name``: of the agent, or of the panel's program."""

    def __init__(self, name: str) -> None:
        path = Path(os.environ[FOLDER]) / f"{name}.{os.getpid()}.traffic"
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._encode = msgspec.msgpack.Encoder().encode

    def note(self, of: Of, way: Way, peer: str, data: bytes | str = b"") -> None:
        content = data.encode() if isinstance(data, str) else bytes(data)
        record = self._encode(Record(of, way, peer, content))
        os.write(self._file, len(record).to_bytes(LENGTH_BYTES, "big") + record)


class Mark(NamedTuple):
    """How many bytes of whole records there were in each file at some moment."""

    sizes: Mapping[Path, int]


class Traffic:
    """What all processes of a test have written so far."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def mark(self) -> Mark:
        return Mark({path: _whole(path.read_bytes()) for path in self._files()})

    def of(self, name: str, since: Mark | None = None) -> list[Record]:
        """Of one agent or program, in the order in which it happened, over all its lives."""
        files = sorted(self._files(f"{name}.*"), key=lambda path: path.stat().st_mtime_ns)
        return [record for path in files for record in _read(path, since.sizes.get(path, 0) if since else 0)]

    def jobs(self, name: str) -> list[int]:
        """The attempts that an agent began with."""
        return [int(record.peer) for record in self.of(name) if record.of == "job"]

    def names(self) -> set[str]:
        return {path.name.partition(".")[0] for path in self._files()}

    def _files(self, pattern: str = "*") -> list[Path]:
        return list(self._folder.glob(f"{pattern}.traffic"))


def joined(records: Iterable[Record]) -> dict[Channel, bytes]:
    """The bytes of each conversation in one stretch, so that what was cut into pieces is found."""
    pieces: dict[Channel, list[bytes]] = defaultdict(list)
    for record in records:
        pieces[Channel(record.of, record.way, record.peer)].append(record.data)
    return {channel: b"".join(each) for channel, each in pieces.items()}


def _read(path: Path, start: int) -> Iterator[Record]:
    decode = msgspec.msgpack.Decoder(Record).decode
    content = memoryview(path.read_bytes())[start:]
    return (decode(content[begin:end]) for begin, end in _extents(content))


def _whole(content: bytes) -> int:
    """Where the last record ends. A file grows page by page, so that its size may be within one."""
    return max((end for _, end in _extents(content)), default=0)


def _extents(content: bytes | memoryview) -> Iterator[tuple[int, int]]:
    """Where each record begins and ends; the last one may just be being written, and is not among them."""
    start = LENGTH_BYTES
    while start <= len(content):
        end = start + int.from_bytes(content[start - LENGTH_BYTES : start], "big")
        if end > len(content):
            return
        yield start, end
        start = end + LENGTH_BYTES

"""Markers that are put into tasks, and the search for them wherever bytes come to rest or pass by."""

from __future__ import annotations

import base64
import os
import re
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from e2e.system.traffic import Traffic, joined

AROUND = 24  # groups of base64, four characters for three bytes each
_GROUPS_BEFORE = re.compile(rb"[A-Za-z0-9+/]*\Z")
_GROUPS_AFTER = re.compile(rb"[A-Za-z0-9+/]*={0,2}")


class Marker:
    """Texts that are nowhere else, one for each ``kind`` of place inside a task.

    Printed backwards a text still is one, of the kind spelt backwards: so what a task prints can be told from
    what it was given. Each has what is searched for twice, so that it survives being cut into pieces once.
    """

    def __init__(self) -> None:
        half = secrets.token_hex(8)
        self._tag = half + half[::-1]
        self._kind = re.compile(rb"%b\.([a-z]+)\.|\.([a-z]+)\.%b" % ((self._tag.encode(),) * 2))

    def text(self, kind: str) -> str:
        return f"{self._tag}.{kind}.{self._tag}"

    def find(self, data: bytes) -> set[str]:
        """The kinds of what is in there, in plain or as base64; "?" where only part of one is left."""
        plain, *encoded = self._needles()
        around = [data[max(0, at - 99) : at + 99] for at in _places(data, plain)]
        around += [_decoded_around(data, at) for needle in encoded for at in _places(data, needle)]
        return {kind for context in around for kind in self._kinds(context)}

    def _needles(self) -> Iterator[bytes]:
        """The tag in plain; and what is the same in base64 whatever stands around, for each of three
        positions, beginning with a whole group."""
        tag = self._tag.encode()
        yield tag
        for cut in range(3):
            whole = (len(tag) - cut) // 3 * 3
            yield base64.b64encode(tag[cut : cut + whole])

    def _kinds(self, context: bytes) -> set[str]:
        return {(before or after).decode() for before, after in self._kind.findall(context)} or {"?"}


def _places(data: bytes, needle: bytes) -> Iterator[int]:
    at = data.find(needle)
    while at >= 0:
        yield at
        at = data.find(needle, at + 1)


def _decoded_around(data: bytes, at: int) -> bytes:
    """What the base64 stands for of which a group begins there."""
    before = _GROUPS_BEFORE.search(data[max(0, at - 4 * AROUND) : at])
    after = _GROUPS_AFTER.match(data[at : at + 4 * AROUND])
    assert before is not None and after is not None  # either may be empty
    return _decode(before[0][len(before[0]) % 4 :]) + _decode(after[0])


def _decode(groups: bytes) -> bytes:
    return base64.b64decode(groups[: len(groups) // 4 * 4])


# --- Where to look ---------------------------------------------------------------------------------


def everything(folder: Path, traffic: Traffic) -> Iterator[tuple[str, bytes]]:
    """All that is left in a test's folder, and all that went over its connections, each with its place: the
    first folder, or "database" for its tables, or "traffic" with the name of who wrote it down."""
    for name in sorted(traffic.names()):
        for channel, data in joined(traffic.of(name)).items():
            yield f"traffic of {name}", channel.peer.encode() + b"\n" + data
    seen: set[tuple[int, int]] = set()
    for path in _files(folder):
        with suppress(FileNotFoundError):  # the programs go on, and have files for a moment only
            status = path.stat()
            if (status.st_dev, status.st_ino) not in seen:  # compiled modules are links to the same
                seen.add((status.st_dev, status.st_ino))
                yield path.relative_to(folder).parts[0], path.read_bytes()


def _files(folder: Path) -> list[Path]:
    """Those that can be read, without the traffic."""
    found = [Path(place) / name for place, _, names in os.walk(folder) for name in names]
    return sorted(path for path in found if path.suffix != ".traffic" and path.is_file())


def rows(database: Path) -> Iterator[tuple[str, bytes]]:
    """Each value of each table, as bytes: in the file a long one is in several pieces."""
    connection = sqlite3.connect(database)
    try:
        connection.text_factory = bytes
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (name,) in names:
            for row in connection.execute(f'SELECT * FROM "{name.decode()}"'):
                yield "database", b"\n".join(_as_bytes(value) for value in row)
    finally:
        connection.close()


def _as_bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()

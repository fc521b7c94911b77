"""The keys of private tasks, a file each: who has them can reseal the task and open what came of it.

They are nowhere else. So a task's keys are on the disk before the panel hears of it, under the name of the
sealed content: the panel tells that of every task, also of one whose number we never heard.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
from msgspec.structs import replace

from fogagent import private_file
from fogagent.client import settings
from fogagent.messages import Identifier, Key, Short, Value
from fogagent.sealing.task import ContentKey, Reservation, Terms

LOOK_AGAIN_S = 30 * 24 * 3600.0
"""A file that was not written for so long is removed if its task is gone, else looked at as much later."""


class TaskKeys(Value, frozen=True):
    """``reservations`` names the nodes that the task was sealed for under each number; none other can have
    made its result. ``task`` is missing until the panel has acknowledged it."""

    privacy: Short
    terms: Terms
    content_key: Key
    content_sha256: Key
    result_key: Key
    """X25519, the private half."""
    reservations: dict[Identifier, list[Key]]
    task: Identifier | None = None

    @property
    def content(self) -> ContentKey:
        return ContentKey(self.content_key, self.content_sha256)

    def sealed_for(self, reservation: Reservation) -> TaskKeys:
        """These keys and one more reservation."""
        return replace(self, reservations={**self.reservations, reservation.reservation: reservation.nodes})


_decoder = msgspec.json.Decoder(TaskKeys)


class Keyring:
    """The folder with the keys for one panel."""

    def __init__(self, slug: str) -> None:
        self.folder = settings.settings_path().parent / "sealed" / slug

    def keep(self, keys: TaskKeys) -> None:
        private_file.replace(self._path(keys.content_sha256), msgspec.json.encode(keys))

    def find(self, content_sha256: bytes) -> TaskKeys | None:
        """Those of a sealed content. Nothing, too, if the disk has damaged them."""
        return _read(self._path(content_sha256))

    def change(self, content_sha256: bytes, change: Callable[[TaskKeys], TaskKeys]) -> None:
        """Keep what ``change`` makes of the keys; two programs that follow one task do so in turn."""
        with self._alone():
            keys = self.find(content_sha256)
            if keys is not None:
                self.keep(change(keys))

    def tidy(self, is_there: Callable[[int], bool], now: float) -> None:
        """Remove old keys whose tasks the panel has forgotten, or never had. ``now`` is seconds since the
        epoch."""
        for path in self.folder.glob("*.json"):
            with suppress(FileNotFoundError):  # another program tidies, too
                if path.stat().st_mtime < now - LOOK_AGAIN_S:
                    _look_at(path, is_there, now)

    def _path(self, content_sha256: bytes) -> Path:
        return self.folder / f"{content_sha256.hex()}.json"

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with (self.folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _look_at(path: Path, is_there: Callable[[int], bool], now: float) -> None:
    keys = _read(path)
    if keys is not None and keys.task is not None and is_there(keys.task):
        os.utime(path, (now, now))
    else:
        path.unlink()


def _read(path: Path) -> TaskKeys | None:
    try:
        return _decoder.decode(path.read_bytes())
    except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError):
        return None

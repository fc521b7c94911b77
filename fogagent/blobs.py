"""Payloads on disk, by hash: too large for an order, fetched once, used by many attempts.

The folder has mode 0700; every file was checked against its hash before it got its name.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import threading
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from fogagent.messages import BLOB_CHUNK_BYTES, Blob, Chunk

MAX_CACHE_BYTES = 512 * 1024 * 1024
ARRIVING = ".arriving"


class BadBlob(Exception):
    """What came is not the blob that was asked for. ``str`` says so to the task's owner."""


class BlobCache:
    """The least recently used go when more than ``max_bytes`` are kept. For several threads, but not for
    several processes."""

    def __init__(self, folder: Path, max_bytes: int = MAX_CACHE_BYTES) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._turn = threading.Lock()  # names come and go under it, so that who lists them finds them there
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.chmod(0o700)
        for abandoned in folder.glob(f"*{ARRIVING}"):
            abandoned.unlink()

    def read(self, sha256: str) -> bytes | None:
        """The blob, or None where it is not here (any more)."""
        path = self._folder / sha256
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        os.utime(path)
        return content

    def open(self, sha256: str) -> BinaryIO | None:
        """The blob to be read piece by piece, also if it is dropped from the cache meanwhile."""
        path = self._folder / sha256
        try:
            file = path.open("rb")
        except FileNotFoundError:
            return None
        os.utime(file.fileno())
        return file

    def find(self, sha256: str) -> tuple[bool, int]:
        """Whether it is here, and if not from which chunk on: interrupted downloads are continued."""
        if (self._folder / sha256).exists():
            return True, 0
        try:
            size = self._partial(sha256).stat().st_size
        except FileNotFoundError:
            return False, 0
        return False, size // BLOB_CHUNK_BYTES

    def held(self, most: int) -> list[str]:
        """Hashes of whole blobs, the one used last first."""
        with self._turn:
            entries = [(path, path.stat()) for path in self._folder.iterdir() if not path.suffix]
        newest = sorted(entries, key=lambda entry: entry[1].st_mtime_ns, reverse=True)
        return [path.name for path, _ in newest[:most]]

    def add(self, chunk: Chunk, size: int) -> bool:
        """Write one chunk of a blob of ``size`` bytes. True when the blob is whole and in the cache.

        Raises:
            BadBlob: wrong length or wrong hash. What had come of it is thrown away.
        """
        with self._turn:
            return self._add(chunk, size)

    def _add(self, chunk: Chunk, size: int) -> bool:
        partial = self._partial(chunk.sha256)
        last = chunk.index + 1 >= chunk.count
        if not last and len(chunk.data) != BLOB_CHUNK_BYTES:
            partial.unlink(missing_ok=True)
            raise BadBlob(f"Chunk {chunk.index} of payload {chunk.sha256[:12]}… has a wrong length.")
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
            file.seek(chunk.index * BLOB_CHUNK_BYTES)
            file.write(chunk.data)
            file.truncate()
        if last:
            self._admit(partial, chunk.sha256, size)
        return last

    def _admit(self, partial: Path, sha256: str, size: int) -> None:
        content = partial.read_bytes()
        if len(content) != size or hashlib.sha256(content).hexdigest() != sha256:
            partial.unlink()
            raise _damaged(sha256)
        partial.rename(self._folder / sha256)
        self._evict(keep=sha256)

    def drop(self, sha256: str) -> None:
        """It is not wanted any more; nothing where it is not here. Raises OSError."""
        self.throw_away(self._folder / sha256)

    def begin(self, blob: Blob) -> Arriving:
        """Take in a blob that comes in one go. Nothing is written yet."""
        path = self._folder / f"{blob.sha256}.{secrets.token_hex(4)}{ARRIVING}"
        return Arriving(blob, path, self)

    def take_over(self, path: Path, sha256: str) -> None:
        """This file in the folder is that blob. Raises OSError."""
        with self._turn:
            path.rename(self._folder / sha256)
            self._evict(keep=sha256)

    def throw_away(self, path: Path) -> None:
        """This file in the folder is of no use. Raises OSError."""
        with self._turn:
            path.unlink(missing_ok=True)

    def _evict(self, keep: str) -> None:
        entries = [(path, path.stat()) for path in self._folder.iterdir()]
        total = sum(stat.st_size for _, stat in entries)
        for path, stat in sorted(entries, key=lambda entry: entry[1].st_mtime_ns):
            if total <= self._max_bytes:
                return
            if path.name != keep:
                path.unlink()
                total -= stat.st_size

    def _partial(self, sha256: str) -> Path:
        return self._folder / f"{sha256}.part"


class Arriving:
    """A blob that comes in order and in one go, from somebody who cannot be asked for a piece again.

    It has a file of its own: the same blob may come from several at once. To be ended by `keep` or `drop`.
    """

    def __init__(self, blob: Blob, path: Path, cache: BlobCache) -> None:
        self._blob, self._path, self._cache = blob, path, cache
        self._turn = threading.Lock()  # `drop` may come from another thread, while one still writes
        self._file: BinaryIO | None = None
        self._hash, self._size = hashlib.sha256(), 0
        self._over = False

    def write(self, data: bytes) -> None:
        """The next bytes of it; nothing once it was dropped. Raises OSError."""
        with self._turn:
            if self._over:
                return
            if self._file is None:
                self._file = os.fdopen(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
            self._file.write(data)
            self._hash.update(data)
            self._size += len(data)

    def keep(self) -> None:
        """It has come to its end: it is in the cache from now on.

        Raises:
            BadBlob: it is not the blob that was expected.
            OSError: it cannot be stored.
        """
        with self._turn:
            came = self._size, self._hash.hexdigest()
            if self._over or self._file is None or came != (self._blob.size, self._blob.sha256):
                raise _damaged(self._blob.sha256)
            self._file.close()
            self._cache.take_over(self._path, self._blob.sha256)
            self._over = True

    def drop(self) -> None:
        """Throw away what came of it, unless it was kept. Raises OSError."""
        with self._turn:
            if not self._over and self._file is not None:
                with suppress(OSError):  # a full disk: what could not be written before cannot be now
                    self._file.close()
                self._cache.throw_away(self._path)
            self._over = True


def _damaged(sha256: str) -> BadBlob:
    return BadBlob(f"The payload {sha256[:12]}… came damaged: its content does not fit its hash.")

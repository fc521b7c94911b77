"""Payloads on disk, by hash: too large for an order, fetched once, used by many attempts.

The folder has mode 0700; every file was checked against its hash before it got its name.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from fogagent.messages import BLOB_CHUNK_BYTES, Chunk

MAX_CACHE_BYTES = 512 * 1024 * 1024


class BadBlob(Exception):
    """What came is not the blob that was asked for. ``str`` says so to the task's owner."""


class BlobCache:
    """The least recently used go when more than ``max_bytes`` are kept. Not for several processes."""

    def __init__(self, folder: Path, max_bytes: int = MAX_CACHE_BYTES) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.chmod(0o700)

    def read(self, sha256: str) -> bytes | None:
        """The blob, or None where it is not here (any more)."""
        path = self._folder / sha256
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        os.utime(path)
        return content

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
        entries = [(path, path.stat()) for path in self._folder.iterdir() if not path.suffix]
        newest = sorted(entries, key=lambda entry: entry[1].st_mtime_ns, reverse=True)
        return [path.name for path, _ in newest[:most]]

    def add(self, chunk: Chunk, size: int) -> bool:
        """Write one chunk of a blob of ``size`` bytes. True when the blob is whole and in the cache.

        Raises:
            BadBlob: wrong length or wrong hash. What had come of it is thrown away.
        """
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
            raise BadBlob(f"The payload {sha256[:12]}… came damaged: its content does not fit its hash.")
        partial.rename(self._folder / sha256)
        self._evict(keep=sha256)

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

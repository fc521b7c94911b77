"""The relay directory's changes, cut up for the panel's frames and put together again."""

from __future__ import annotations

from fogagent.messages import DIRECTORY_PART_BYTES, DirectoryPart
from fogagent.overlay.directory import MAX_CHANGES_BYTES, BadDirectory, Refusal

MAX_PARTS = -(-MAX_CHANGES_BYTES // DIRECTORY_PART_BYTES)


def cut(version: int, encoded: bytes) -> list[DirectoryPart]:
    """The messages that carry encoded `Changes` to that version; no two fit in one frame.

    Raises:
        BadDirectory: no agent would take that much.
    """
    count = -(-len(encoded) // DIRECTORY_PART_BYTES)
    _check_count(count)
    return [
        DirectoryPart(
            version=version,
            index=index,
            count=count,
            data=encoded[index * DIRECTORY_PART_BYTES : (index + 1) * DIRECTORY_PART_BYTES],
        )
        for index in range(count)
    ]


class Assembly:
    """The answer that is just coming: at most MAX_CHANGES_BYTES, and never two of them."""

    def __init__(self) -> None:
        self._version = 0
        self._count = 0
        self._pieces: list[bytes] = []

    def __bool__(self) -> bool:
        """Whether some of an answer is here, but not all."""
        return bool(self._pieces)

    def drop(self) -> None:
        self._pieces = []

    def add(self, part: DirectoryPart) -> bool:
        """Take the part, if it is the next. What comes out of order is ignored, so its answer stays half.

        Raises:
            BadDirectory: it begins an answer that is too large.
        """
        if part.index == 0:
            self.drop()
            _check_count(part.count)
            self._version, self._count = part.version, part.count
        elif not self._continues(part):
            return False
        self._pieces.append(part.data)
        return True

    def _continues(self, part: DirectoryPart) -> bool:
        expected = self._version, self._count, len(self._pieces)
        return (part.version, part.count, part.index) == expected and part.index < part.count

    def take(self) -> bytes | None:
        """The answer, once, if it is whole."""
        if not self._pieces or len(self._pieces) < self._count:
            return None
        encoded = b"".join(self._pieces)
        self.drop()
        return encoded


def _check_count(count: int) -> None:
    if not 1 <= count <= MAX_PARTS:
        raise BadDirectory(
            Refusal.TOO_MANY, f"A directory comes in 1 to {MAX_PARTS} parts, this one would in {count}."
        )

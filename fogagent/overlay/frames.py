"""Frames on a link: 3 bytes length of the payload, big-endian, 1 byte kind, payload. Knows no network."""

from __future__ import annotations

import struct
from enum import IntEnum

from fogagent.overlay.link_errors import BadFrame

MAX_PAYLOAD = 64 * 1024
HEADER = struct.Struct(">I")
"""Both fields at once: length × 256 + kind."""


class Kind(IntEnum):
    KEEP_ALIVE = 0
    """Empty. The first frame of both ends, and what is said when there is nothing to say."""
    CELL = 1
    MIX_PACKET = 2
    GOSSIP = 3
    BLOB = 4


LAST_KIND = max(Kind)


def frame_header(kind: int, size: int) -> bytes:
    """What comes before a payload of ``size`` bytes.

    Raises:
        ValueError: no such kind, or a payload that no peer would accept.
    """
    if not 0 <= size <= MAX_PAYLOAD:
        raise ValueError(f"A frame carries at most {MAX_PAYLOAD} bytes, not {size}.")
    if not 0 <= kind <= LAST_KIND:
        raise ValueError(f"There is no frame of kind {kind}.")
    return HEADER.pack(size << 8 | kind)


class FrameReader:
    """Bytes in, as they come; frames out, one by one, so that whoever takes them may stop in between.

    It keeps what it was fed until it is taken, and rejects a frame by its header, before its payload comes.
    """

    def __init__(self) -> None:
        self._bytes = b""
        self._at = 0

    def feed(self, piece: bytes) -> None:
        """Worth calling with much at once: what waits for the rest of its frame is copied."""
        self._bytes = self._bytes[self._at :] + piece
        self._at = 0

    def next(self) -> tuple[int, bytes] | None:
        """Kind and payload of the next frame; None: it is not whole yet.

        Raises:
            BadFrame: what comes next is no frame. So is then everything after it.
        """
        start = self._at + HEADER.size
        if start > len(self._bytes):
            self._forget_taken()
            return None
        word: int = HEADER.unpack_from(self._bytes, self._at)[0]
        size, kind = word >> 8, word & 0xFF
        if size > MAX_PAYLOAD or kind > LAST_KIND or (kind == Kind.KEEP_ALIVE and size):
            raise _complaint(kind, size)
        end = start + size
        if end > len(self._bytes):
            self._forget_taken()
            return None
        self._at = end
        return kind, self._bytes[start:end]

    def _forget_taken(self) -> None:
        """So that thousands of idle links cost nothing."""
        self._bytes = self._bytes[self._at :]
        self._at = 0


def _complaint(kind: int, size: int) -> BadFrame:
    if kind > LAST_KIND:
        return BadFrame(f"The peer sent a frame of the unknown kind {kind}.")
    if size > MAX_PAYLOAD:
        return BadFrame(f"The peer announced a frame of {size} bytes; {MAX_PAYLOAD} are allowed.")
    return BadFrame(f"The peer sent a keep-alive with {size} bytes in it.")

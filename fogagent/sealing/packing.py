"""How a task or a result becomes one stretch of content whose size tells little.

Byte by byte:

    4   n
    n   head, JSON; bytes in it are base64
    4   m, and so on for each part
    m   the part
    …   zeros, so that the content has a size of BUCKETS when it is sealed

A browser needs no more than JSON for it, and the large parts do not grow by a third as in base64.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import TypeVar

import msgspec

from fogagent.messages import Value
from fogagent.sealing.content import CHUNK_LOG2, HEADER_BYTES, TAG_BYTES
from fogagent.sealing.errors import BadContent, TooLarge

BUCKETS = tuple(1 << log2 for log2 in range(12, 25))
"""Sizes of sealed content: the powers of two from 4 KiB to 16 MiB. Thirteen of them tell less than four bits
about what is inside, for at most twice its size."""
LENGTH_BYTES = 4

Head = TypeVar("Head", bound=Value)

_encoder = msgspec.json.Encoder()


def room(bucket: int) -> int:
    """Bytes of content that have ``bucket`` bytes when sealed, header and tags included."""
    chunks = -(-(bucket - HEADER_BYTES) // ((1 << CHUNK_LOG2) + TAG_BYTES))
    return bucket - HEADER_BYTES - chunks * TAG_BYTES


def padded_size(content_bytes: int) -> int:
    """The bucket of so much content. Raises TooLarge."""
    index = bisect_left(BUCKETS, content_bytes, key=room)
    if index == len(BUCKETS):
        raise TooLarge(f"At most {room(BUCKETS[-1])} bytes can be sealed as one, these are {content_bytes}.")
    return BUCKETS[index]


def pack(head: Value, parts: Sequence[bytes]) -> list[bytes]:
    """Pieces of content, padded. Raises TooLarge where the largest bucket is too small."""
    pieces = [piece for part in (_encoder.encode(head), *parts) for piece in (_length(part), part)]
    size = sum(map(len, pieces))
    return [*pieces, bytes(room(padded_size(size)) - size)]


def unpack(content: bytes, kind: type[Head], parts: int) -> tuple[Head, list[bytes]]:
    """The head, and so many parts. Raises BadContent."""
    rest = memoryview(content)
    pieces: list[bytes] = []
    for _ in range(1 + parts):
        end = LENGTH_BYTES + int.from_bytes(rest[:LENGTH_BYTES], "big")
        if end > len(rest):
            raise BadContent("What was sealed breaks the rules: it is shorter than it says.")
        pieces.append(bytes(rest[LENGTH_BYTES:end]))
        rest = rest[end:]
    try:
        return msgspec.json.decode(pieces[0], type=kind), pieces[1:]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadContent(f"What was sealed breaks the rules: {error}.") from error


def _length(part: bytes) -> bytes:
    return len(part).to_bytes(LENGTH_BYTES, "big")

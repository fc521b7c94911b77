"""Content sealed once under a random key, in numbered chunks that are verified one by one.

The construction is STREAM (Hoang, Reyhanitabar, Rogaway, Vizár 2015): the nonce holds a chunk's number and
whether it is the last, so a cut, a swap, a repetition or an addition does not open. Byte by byte:

    header, 64 bytes
        0   6   "sealed" in ASCII
        6   1   version, 1
        7   1   s: a chunk holds 2^s bytes of content; 10 to 20, usually 16
        8  24   salt, random, never used twice
       32  32   key commitment
    chunks, each 2^s bytes of content and a 16-byte tag; the last one holds 1 to 2^s bytes of content,
    or none where the content as a whole is empty

The content key K is 32 random bytes. HKDF-SHA256 with K as input key material, the salt as salt and
"fogpanel sealed content v1" followed by a zero byte and the first 8 bytes of the header as info gives 64
bytes: the first 32 are the chunk key, the others the key commitment. So a changed header fits no key; no
two keys open the same content to different texts (AES-GCM alone would let them); and a content key that is
used again by mistake gives no nonce twice.

Chunk i, counted from 0, is AES-256-GCM under the chunk key without associated data. Its 12-byte nonce is i
in 11 bytes, then 1 for the last chunk and 0 for all others.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import TypeAlias

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.constant_time import bytes_eq
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from fogagent.sealing.errors import Cut, Damaged, UnknownVersion, WrongKey

KEY_BYTES = 32
TAG_BYTES = 16

MAGIC = b"sealed"
VERSION = 1
INTRODUCTION_BYTES = len(MAGIC) + 2  # with version and chunk size
SALT_BYTES = 24
COMMITMENT_BYTES = 32
HEADER_BYTES = INTRODUCTION_BYTES + SALT_BYTES + COMMITMENT_BYTES

CHUNK_LOG2 = 16
CHUNK_LOG2_RANGE = range(10, 21)
"""An opener holds a whole chunk before it can verify it: a sender must not make it hold more than 1 MiB."""

DERIVATION = b"fogpanel sealed content v1\0"

Piece: TypeAlias = bytes | bytearray | memoryview


def new_content_key() -> bytes:
    return secrets.token_bytes(KEY_BYTES)


def seal_pieces(pieces: Iterable[Piece], key: bytes, *, chunk_log2: int = CHUNK_LOG2) -> Iterator[bytes]:
    """Seal content that comes in pieces of any size. First comes the header, alone, then chunk by chunk.

    Holds one chunk at a time.
    """
    if chunk_log2 not in CHUNK_LOG2_RANGE:
        raise ValueError(f"2^{chunk_log2} bytes are no size for a chunk: nobody would open it.")
    introduction = MAGIC + bytes((VERSION, chunk_log2))
    salt = secrets.token_bytes(SALT_BYTES)
    chunk_key, commitment = _derive(key, introduction, salt)
    yield introduction + salt + commitment
    cipher = AESGCM(chunk_key)
    for number, (chunk, last) in enumerate(_regroup(pieces, 1 << chunk_log2)):
        yield cipher.encrypt(_nonce(number, last), chunk, None)


def open_pieces(pieces: Iterable[Piece], key: bytes) -> Iterator[bytes]:
    """Open sealed content that comes in pieces of any size, chunk by chunk, holding one at a time.

    Nothing of a chunk comes out before it is verified. But only when this ends without an error is the
    content known to be whole: until then it may turn out to be cut.

    Raises:
        UnknownVersion: a newer program sealed it.
        WrongKey: the key does not fit the header.
        Damaged: it is not sealed content, or not as it was sealed. Cut, where only the end is missing.
    """
    header, rest = _split_header(pieces)
    cipher = AESGCM(_chunk_key(header, key))
    chunk_log2 = header[INTRODUCTION_BYTES - 1]
    for number, (chunk, last) in enumerate(_regroup(rest, (1 << chunk_log2) + TAG_BYTES)):
        yield _open_chunk(cipher, number, chunk, last)


def seal_bytes(content: Piece, key: bytes) -> bytes:
    """`seal_pieces` for content that fits into memory."""
    return b"".join(seal_pieces([content], key))


def open_bytes(sealed: Piece, key: bytes) -> bytes:
    """`open_pieces` for what fits into memory. Raises as it does."""
    return b"".join(open_pieces([sealed], key))


def _derive(key: bytes, introduction: bytes, salt: bytes) -> tuple[bytes, bytes]:
    """Chunk key and key commitment."""
    if len(key) != KEY_BYTES:
        raise ValueError(f"A content key has {KEY_BYTES} bytes, not {len(key)}.")
    size = KEY_BYTES + COMMITMENT_BYTES
    both = HKDF(SHA256(), size, salt, DERIVATION + introduction).derive(key)
    return both[:KEY_BYTES], both[KEY_BYTES:]


def _nonce(number: int, last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes((last,))


def _regroup(pieces: Iterable[Piece], size: int) -> Iterator[tuple[bytearray, bool]]:
    """The same bytes in stretches of ``size``, the last of them as long as may be; whether it is the last."""
    held = bytearray()
    for piece in pieces:
        rest = memoryview(piece)
        # A stretch that is just full is kept until more comes: it may be the last.
        while len(held) + len(rest) > size:
            room = size - len(held)
            held += rest[:room]
            yield held, False
            held, rest = bytearray(), rest[room:]
        held += rest
    yield held, True


def _split_header(pieces: Iterable[Piece]) -> tuple[bytes, Iterable[Piece]]:
    header, coming = bytearray(), iter(pieces)
    for piece in coming:
        view, missing = memoryview(piece), HEADER_BYTES - len(header)
        header += view[:missing]
        if len(view) >= missing:
            return bytes(header), chain([view[missing:]], coming)
    return bytes(header), ()


def check_header(header: bytes) -> None:
    """Whether these HEADER_BYTES begin sealed content. Raises Damaged, Cut or UnknownVersion."""
    if not header.startswith(MAGIC[: len(header)]):
        raise Damaged("This is not sealed content: it does not begin as such.")
    if len(header) < HEADER_BYTES:
        raise Cut("The sealed content is cut: it ends before its first chunk.")
    version, chunk_log2 = header[INTRODUCTION_BYTES - 2 : INTRODUCTION_BYTES]
    if version != VERSION:
        raise UnknownVersion(
            f"This is sealed in version {version} of the format; this program knows version {VERSION} only: "
            "update it."
        )
    if chunk_log2 not in CHUNK_LOG2_RANGE:
        raise Damaged("The sealed content is damaged: its header names an impossible chunk size.")


def _chunk_key(header: bytes, key: bytes) -> bytes:
    check_header(header)
    introduction, salt = header[:INTRODUCTION_BYTES], header[INTRODUCTION_BYTES:-COMMITMENT_BYTES]
    chunk_key, commitment = _derive(key, introduction, salt)
    if not bytes_eq(commitment, header[-COMMITMENT_BYTES:]):
        raise WrongKey("The key does not fit: it belongs to other content, or the header was changed.")
    return chunk_key


def _open_chunk(cipher: AESGCM, number: int, chunk: bytearray, last: bool) -> bytes:
    if len(chunk) < TAG_BYTES or (number and len(chunk) == TAG_BYTES):
        raise Cut(f"The sealed content is cut in its chunk {number}.")
    try:
        return cipher.decrypt(_nonce(number, last), chunk, None)
    except InvalidTag:
        pass
    if last and _opens(cipher, _nonce(number, False), chunk):
        raise Cut(f"The sealed content is cut: it ends with its chunk {number}, which is not the last.")
    where = f"in its chunk {number}" + (", or cut there" if last else "")
    raise Damaged(f"The sealed content is damaged {where}.")


def _opens(cipher: AESGCM, nonce: bytes, chunk: bytearray) -> bool:
    try:
        cipher.decrypt(nonce, chunk, None)
    except InvalidTag:
        return False
    return True

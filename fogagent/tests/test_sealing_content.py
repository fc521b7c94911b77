"""Sealed content: whole and genuine, or refused, whatever happened to it on its way."""

from __future__ import annotations

import itertools
import json
import tracemalloc
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given, settings
from hypothesis import strategies as st

from fogagent.sealing.content import (
    CHUNK_LOG2_RANGE,
    HEADER_BYTES,
    KEY_BYTES,
    TAG_BYTES,
    new_content_key,
    open_bytes,
    open_pieces,
    seal_bytes,
    seal_pieces,
)
from fogagent.sealing.errors import Cut, Damaged, SealingError, UnknownVersion, WrongKey

VECTORS = json.loads((Path(__file__).parent / "sealing_vectors.json").read_text())
KEY = bytes(range(KEY_BYTES))
LOG2 = 10
CHUNK = 1 << LOG2


def sealed_in_chunks(content: bytes, key: bytes = KEY) -> list[bytes]:
    """Header and chunks of 1 KiB."""
    return list(seal_pieces([content], key, chunk_log2=LOG2))


def sealed_by_the_book(chunks: list[bytes]) -> bytes:
    """What the docstring of `fogagent.sealing.content` says, written once more; any chunks are let pass."""
    introduction, salt = b"sealed" + bytes((1, LOG2)), bytes(range(24))
    info = b"fogpanel sealed content v1\0" + introduction
    derived = HKDF(SHA256(), 64, salt, info).derive(KEY)
    sealed = introduction + salt + derived[32:]
    for number, chunk in enumerate(chunks):
        nonce = bytes(7) + number.to_bytes(4, "big") + bytes((number == len(chunks) - 1,))
        sealed += AESGCM(derived[:32]).encrypt(nonce, chunk, None)
    return sealed


def numbered(chunks: int) -> bytes:
    """Content of which no chunk is like another; the last one holds half as much."""
    return b"".join(number.to_bytes(2, "big") * (CHUNK // 2) for number in range(chunks))[: -CHUNK // 2]


def in_pieces(content: bytes, sizes: Iterable[int]) -> Iterator[bytes]:
    start = 0
    for size in sizes:
        yield content[start : start + size]
        start += size
    yield content[start:]


@settings(deadline=None)
@given(
    st.binary(max_size=5 * CHUNK),
    st.sampled_from([LOG2, 12, 16]),
    st.lists(st.integers(0, 2 * CHUNK), max_size=8),
    st.lists(st.integers(0, 2 * CHUNK), max_size=8),
)
def test_what_is_sealed_opens_however_it_was_cut_into_pieces(
    content: bytes, log2: int, sealing: list[int], opening: list[int]
) -> None:
    sealed = b"".join(seal_pieces(in_pieces(content, sealing), KEY, chunk_log2=log2))
    assert b"".join(open_pieces(in_pieces(sealed, opening), KEY)) == content
    chunks = max(1, -(-len(content) >> log2))
    assert len(sealed) == HEADER_BYTES + len(content) + chunks * TAG_BYTES


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 1])
def test_sizes_around_a_chunk(size: int) -> None:
    content = bytes(size)
    header, *chunks = sealed_in_chunks(content)
    assert len(header) == HEADER_BYTES
    assert len(chunks) == max(1, -(-size // CHUNK))
    assert open_bytes(b"".join([header, *chunks]), KEY) == content


@pytest.mark.parametrize("example", VECTORS["sealed"]["examples"], ids=lambda example: example["bytes"])
def test_the_format_stays_what_was_published(example: dict[str, str]) -> None:
    content = bytes(i % 251 for i in range(int(example["bytes"])))
    assert open_bytes(bytes.fromhex(example["sealed"]), bytes.fromhex(VECTORS["sealed"]["key"])) == content


def test_the_format_is_what_the_docstring_says() -> None:
    chunks = [b"a" * CHUNK, b"b" * CHUNK, b"c"]
    assert open_bytes(sealed_by_the_book(chunks), KEY) == b"".join(chunks)


def test_an_empty_chunk_after_others_is_refused() -> None:
    with pytest.raises(Damaged):
        open_bytes(sealed_by_the_book([b"a" * CHUNK, b""]), KEY)


def test_the_same_content_never_looks_the_same() -> None:
    first, second = seal_bytes(b"content", KEY), seal_bytes(b"content", KEY)
    assert first[8:HEADER_BYTES] != second[8:HEADER_BYTES]
    assert first[HEADER_BYTES:] != second[HEADER_BYTES:]


def test_every_changed_bit_is_noticed() -> None:
    sealed = b"".join(sealed_in_chunks(bytes(CHUNK + 20)))
    assert open_bytes(sealed, KEY)
    for bit in range(8 * len(sealed)):
        changed = bytearray(sealed)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(SealingError):
            open_bytes(changed, KEY)


@pytest.mark.parametrize("content", [b"", b"short", bytes(2 * CHUNK), bytes(2 * CHUNK + 20)])
def test_a_cut_at_every_length_is_noticed(content: bytes) -> None:
    sealed = b"".join(sealed_in_chunks(content))
    for length in range(len(sealed)):
        with pytest.raises(Damaged):
            open_bytes(sealed[:length], KEY)


@pytest.mark.parametrize("kept", [0, 1, 2])
def test_a_cut_between_chunks_is_called_one(kept: int) -> None:
    pieces = sealed_in_chunks(numbered(4))[: 1 + kept]
    with pytest.raises(Cut, match="cut"):
        open_bytes(b"".join(pieces), KEY)


def test_every_other_order_of_chunks_is_refused() -> None:
    header, *chunks = sealed_in_chunks(numbered(4))
    for order in itertools.permutations(range(4)):
        sealed = b"".join([header, *(chunks[number] for number in order)])
        if order == (0, 1, 2, 3):
            assert open_bytes(sealed, KEY) == numbered(4)
            continue
        with pytest.raises(Damaged):
            open_bytes(sealed, KEY)


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("place", range(5))
def test_a_chunk_that_comes_twice_is_refused(number: int, place: int) -> None:
    header, *chunks = sealed_in_chunks(numbered(4))
    chunks.insert(place, chunks[number])
    with pytest.raises(Damaged):
        open_bytes(b"".join([header, *chunks]), KEY)


@pytest.mark.parametrize("number", range(4))
def test_a_chunk_that_is_left_out_is_refused(number: int) -> None:
    header, *chunks = sealed_in_chunks(numbered(4))
    del chunks[number]
    with pytest.raises(Damaged):
        open_bytes(b"".join([header, *chunks]), KEY)


@pytest.mark.parametrize("number", range(4))
def test_a_chunk_of_other_content_under_the_same_key_is_refused(number: int) -> None:
    sealed, other = sealed_in_chunks(numbered(4)), sealed_in_chunks(numbered(4))
    sealed[1 + number] = other[1 + number]
    with pytest.raises(Damaged, match=f"in its chunk {number}"):
        open_bytes(b"".join(sealed), KEY)


@pytest.mark.parametrize("added", [b"\0", bytes(TAG_BYTES), bytes(CHUNK + TAG_BYTES)])
@pytest.mark.parametrize("size", [5, CHUNK])
def test_what_was_added_is_refused(size: int, added: bytes) -> None:
    with pytest.raises(Damaged):
        open_bytes(b"".join(sealed_in_chunks(bytes(size))) + added, KEY)


def test_nothing_of_a_chunk_comes_out_before_it_is_verified() -> None:
    header, first, second, third = sealed_in_chunks(numbered(3))
    changed = bytes([second[0] ^ 1]) + second[1:]
    opening = open_pieces([header, first, changed, third], KEY)
    assert next(opening) == numbered(3)[:CHUNK]
    with pytest.raises(Damaged, match="in its chunk 1"):
        next(opening)


def test_a_wrong_key_is_called_one() -> None:
    sealed = seal_bytes(b"content", KEY)
    with pytest.raises(WrongKey):
        open_bytes(sealed, new_content_key())


def test_no_second_key_opens_it_even_with_a_header_of_its_own() -> None:
    # AES-GCM by itself can be made to open under two keys; the commitment stands before it.
    other = new_content_key()
    header, *chunks = sealed_in_chunks(b"content")
    with pytest.raises(WrongKey):
        open_bytes(b"".join([header, *chunks]), other)
    with pytest.raises(Damaged):
        open_bytes(b"".join([sealed_in_chunks(b"content", other)[0], *chunks]), other)


def test_a_later_version_is_called_one() -> None:
    sealed = bytearray(seal_bytes(b"content", KEY))
    sealed[6] = 2
    with pytest.raises(UnknownVersion, match="version 2"):
        open_bytes(sealed, KEY)


@pytest.mark.parametrize("log2", [0, CHUNK_LOG2_RANGE.start - 1, CHUNK_LOG2_RANGE.stop, 255])
def test_an_impossible_chunk_size_is_refused_before_anything_is_held(log2: int) -> None:
    sealed = bytearray(seal_bytes(b"content", KEY))
    sealed[7] = log2
    with pytest.raises(Damaged, match="chunk size"):
        open_bytes(sealed, KEY)


def test_what_nobody_would_open_is_not_sealed() -> None:
    with pytest.raises(ValueError, match="no size"):
        list(seal_pieces([b"content"], KEY, chunk_log2=CHUNK_LOG2_RANGE.stop))


def test_what_was_never_sealed_is_called_so() -> None:
    with pytest.raises(Damaged, match="not sealed content"):
        open_bytes(b"#!/bin/sh\n" * 20, KEY)


def test_only_what_can_help_is_worth_another_try() -> None:
    assert Damaged.retry and Cut.retry
    assert not WrongKey.retry and not UnknownVersion.retry


def test_64_mib_pass_through_less_than_one() -> None:
    mebibyte = bytes(1 << 20)
    tracemalloc.start()
    try:
        size = 0
        for piece in open_pieces(seal_pieces(itertools.repeat(mebibyte, 64), KEY), KEY):
            size += len(piece)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size == 64 << 20
    assert most < 1 << 20

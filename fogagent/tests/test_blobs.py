"""The cache of payloads: only what fits its hash gets in."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from fogagent.blobs import BadBlob, BlobCache
from fogagent.messages import BLOB_CHUNK_BYTES, Chunk


def chunks_of(content: bytes, sha256: str = "") -> list[Chunk]:
    cut = [content[i : i + BLOB_CHUNK_BYTES] for i in range(0, len(content), BLOB_CHUNK_BYTES)] or [b""]
    sha256 = sha256 or hashlib.sha256(content).hexdigest()
    return [Chunk(sha256=sha256, index=i, count=len(cut), data=data) for i, data in enumerate(cut)]


def put(cache: BlobCache, content: bytes) -> str:
    whole = [cache.add(chunk, len(content)) for chunk in chunks_of(content)]
    assert whole == [False] * (len(whole) - 1) + [True]
    return hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("size", [0, 1, BLOB_CHUNK_BYTES, BLOB_CHUNK_BYTES + 1, 3 * BLOB_CHUNK_BYTES])
def test_what_is_put_together_is_found_and_read(tmp_path: Path, size: int) -> None:
    cache = BlobCache(tmp_path / "blobs")
    content = os.urandom(size)
    sha256 = put(cache, content)
    assert cache.find(sha256) == (True, 0)
    assert cache.read(sha256) == content


def test_what_is_held_is_named_the_one_used_last_first(tmp_path: Path) -> None:
    cache = BlobCache(tmp_path)
    names = [put(cache, content) for content in (b"a", b"b", b"c")]
    for moment, name in enumerate(names):
        os.utime(tmp_path / name, (moment, moment))
    half = chunks_of(os.urandom(BLOB_CHUNK_BYTES + 1))[0]
    cache.add(half, BLOB_CHUNK_BYTES + 1)
    cache.read(names[0])
    assert cache.held(9) == [names[0], names[2], names[1]]
    assert cache.held(1) == [names[0]]


def test_the_folder_is_private(tmp_path: Path) -> None:
    folder = tmp_path / "blobs"
    folder.mkdir(mode=0o755)
    cache = BlobCache(folder)
    sha256 = put(cache, b"x")
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / sha256).stat().st_mode & 0o777 == 0o600


def test_an_interrupted_download_continues_in_another_life(tmp_path: Path) -> None:
    content = os.urandom(3 * BLOB_CHUNK_BYTES - 7)
    first, *rest = chunks_of(content)
    BlobCache(tmp_path).add(first, len(content))
    later = BlobCache(tmp_path)
    assert later.find(first.sha256) == (False, 1)
    assert [later.add(chunk, len(content)) for chunk in rest] == [False, True]
    assert later.read(first.sha256) == content


def test_what_does_not_fit_its_hash_is_thrown_away(tmp_path: Path) -> None:
    cache = BlobCache(tmp_path)
    sha256 = hashlib.sha256(b"right").hexdigest()
    with pytest.raises(BadBlob, match="does not fit its hash"):
        cache.add(Chunk(sha256=sha256, index=0, count=1, data=b"wrong"), 5)
    assert cache.find(sha256) == (False, 0)
    assert list(tmp_path.iterdir()) == []


def test_a_blob_of_another_size_is_thrown_away(tmp_path: Path) -> None:
    with pytest.raises(BadBlob):
        BlobCache(tmp_path).add(chunks_of(b"right")[0], 4)


def test_a_chunk_of_a_wrong_length_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadBlob, match="wrong length"):
        BlobCache(tmp_path).add(Chunk(sha256="a" * 64, index=0, count=2, data=b"short"), 5)


def test_the_least_recently_used_go_first(tmp_path: Path) -> None:
    cache = BlobCache(tmp_path, max_bytes=250)
    old, used = put(cache, b"a" * 100), put(cache, b"b" * 100)
    os.utime(tmp_path / old, (1, 1))
    os.utime(tmp_path / used, (2, 2))
    cache.read(old)
    new = put(cache, b"c" * 100)
    assert cache.read(used) is None
    assert cache.read(old) is not None
    assert cache.read(new) is not None


def test_what_is_not_there_is_none(tmp_path: Path) -> None:
    assert BlobCache(tmp_path).read("a" * 64) is None

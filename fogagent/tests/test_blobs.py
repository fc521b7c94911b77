"""The cache of payloads: only what fits its hash gets in."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from fogagent.blobs import Arriving, BadBlob, BlobCache
from fogagent.messages import BLOB_CHUNK_BYTES, Blob, Chunk


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
    assert BlobCache(tmp_path).open("a" * 64) is None


def test_a_blob_that_is_being_read_may_be_dropped_from_the_cache(tmp_path: Path) -> None:
    cache = BlobCache(tmp_path, max_bytes=150)
    reading = cache.open(put(cache, b"a" * 100))
    assert reading is not None
    with reading:
        put(cache, b"b" * 100)
        assert len(cache.held(9)) == 1
        assert reading.read() == b"a" * 100


def test_what_is_dropped_is_gone(tmp_path: Path) -> None:
    cache = BlobCache(tmp_path)
    sha256 = put(cache, b"x")
    cache.drop(sha256)
    assert cache.read(sha256) is None
    cache.drop(sha256)


def test_reading_a_blob_counts_as_using_it(tmp_path: Path) -> None:
    cache = BlobCache(tmp_path)
    names = [put(cache, content) for content in (b"a", b"b")]
    for moment, name in enumerate(names):
        os.utime(tmp_path / name, (moment, moment))
    if (reading := cache.open(names[0])) is not None:
        reading.close()
    assert cache.held(9) == names


# --- What comes in one go ------------------------------------------------------------------------------


def arriving(cache: BlobCache, content: bytes) -> Arriving:
    return cache.begin(Blob(sha256=hashlib.sha256(content).hexdigest(), size=len(content)))


def test_what_came_in_one_go_is_in_the_cache_when_it_is_kept(tmp_path: Path) -> None:
    cache = BlobCache(tmp_path)
    one, other = arriving(cache, b"abcdef"), arriving(cache, b"abcdef")
    for each in (one, other):
        each.write(b"abc")
    one.write(b"def")
    sha256 = hashlib.sha256(b"abcdef").hexdigest()
    assert cache.find(sha256) == (False, 0)
    assert cache.held(9) == []
    one.keep()
    one.drop()
    assert cache.read(sha256) == b"abcdef"
    other.write(b"def")
    other.keep()
    assert [path.name for path in tmp_path.iterdir()] == [sha256]


@pytest.mark.parametrize("came", [b"", b"right", b"right!!", b"wrong!"], ids=bytes.decode)
def test_what_does_not_come_as_it_should_is_not_kept(tmp_path: Path, came: bytes) -> None:
    blob = arriving(BlobCache(tmp_path), b"right!")
    if came:
        blob.write(came)
    with pytest.raises(BadBlob, match="came damaged"):
        blob.keep()
    blob.drop()
    assert list(tmp_path.iterdir()) == []


def test_nothing_of_what_was_dropped_is_left_or_comes_after_it(tmp_path: Path) -> None:
    blob = arriving(BlobCache(tmp_path), b"abc")
    blob.write(b"ab")
    blob.drop()
    blob.write(b"c")
    with pytest.raises(BadBlob):
        blob.keep()
    assert list(tmp_path.iterdir()) == []


def test_what_was_arriving_when_the_agent_was_killed_is_thrown_away(tmp_path: Path) -> None:
    abandoned = arriving(BlobCache(tmp_path), b"abc")
    abandoned.write(b"ab")
    assert len(list(tmp_path.iterdir())) == 1
    BlobCache(tmp_path)
    assert list(tmp_path.iterdir()) == []
    abandoned.drop()


def test_what_arrives_makes_room_too(tmp_path: Path) -> None:
    cache = BlobCache(tmp_path, max_bytes=150)
    old = put(cache, b"a" * 100)
    blob = arriving(cache, b"b" * 100)
    blob.write(b"b" * 100)
    blob.keep()
    assert cache.read(old) is None
    assert len(cache.held(9)) == 1

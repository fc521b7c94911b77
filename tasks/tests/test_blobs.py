from __future__ import annotations

import hashlib

import pytest

from fogagent.messages import BLOB_CHUNK_BYTES
from tasks.blobs import read_blob, store_blob, store_blobs
from tasks.models import Blob, BlobChunk

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("size", [0, 1, BLOB_CHUNK_BYTES, BLOB_CHUNK_BYTES + 1, 3 * BLOB_CHUNK_BYTES])
def test_what_is_stored_is_read(size: int) -> None:
    content = bytes(i % 251 for i in range(size))
    blob = store_blob(content)
    assert blob.sha256 == hashlib.sha256(content).hexdigest()
    assert read_blob(blob.sha256) == content
    assert BlobChunk.objects.count() == -(-size // BLOB_CHUNK_BYTES)


def test_storing_again_changes_nothing() -> None:
    first = store_blob(b"x")
    again = store_blobs([b"x", b"y", b"y"])
    assert again[b"x"] == first
    assert Blob.objects.count() == 2
    assert read_blob(again[b"y"].sha256) == b"y"


def test_what_is_not_there_cannot_be_read() -> None:
    with pytest.raises(Blob.DoesNotExist):
        read_blob("0" * 64)

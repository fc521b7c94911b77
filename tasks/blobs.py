"""Payloads and inputs as rows, by their SHA-256. The same bytes are stored once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from django.db import transaction

from fogagent.messages import BLOB_CHUNK_BYTES
from fogpanel.rows import as_time, for_key_share, select
from tasks.models import Blob, BlobChunk


def store_blob(content: bytes) -> Blob:
    """The blob that holds ``content``, made now unless it was there."""
    return store_blobs([content])[content]


def store_blobs(contents: Iterable[bytes]) -> dict[bytes, Blob]:
    """A blob for each of ``contents``; what is there already is not written again.

    Two processes may store the same bytes at once: the rows are equal, so the second insert of
    either is simply left out.
    """
    by_hash = {hashlib.sha256(content).hexdigest(): content for content in contents}
    with transaction.atomic():
        blobs = _locked(list(by_hash))
        fresh = {sha256: content for sha256, content in by_hash.items() if sha256 not in blobs}
        if fresh:
            made = [Blob(sha256=sha256, size=len(content)) for sha256, content in fresh.items()]
            Blob.objects.bulk_create(made, ignore_conflicts=True)
            BlobChunk.objects.bulk_create(
                [chunk for sha256, content in fresh.items() for chunk in _chunks(sha256, content)],
                ignore_conflicts=True,
            )
            blobs |= {blob.sha256: blob for blob in made}
    return {content: blobs[sha256] for sha256, content in by_hash.items()}


def _locked(hashes: Sequence[str]) -> dict[str, Blob]:
    """Those that are stored; they stay until the transaction ends, so that the caller can refer to them."""
    return {
        sha256: Blob(sha256=sha256, size=size, created_at=as_time(created_at))
        for sha256, size, created_at in select(_STORED + for_key_share(), hashes=hashes)
    }


_STORED = "SELECT sha256, size, created_at FROM tasks_blob WHERE sha256 IN {hashes} ORDER BY sha256"


def _chunks(sha256: str, content: bytes) -> Iterable[BlobChunk]:
    for index, start in enumerate(range(0, len(content), BLOB_CHUNK_BYTES)):
        yield BlobChunk(blob_id=sha256, index=index, content=content[start : start + BLOB_CHUNK_BYTES])


def read_blob(sha256: str) -> bytes:
    """The bytes with this hash.

    Raises:
        Blob.DoesNotExist: they are not (or no longer) stored.
    """
    blob = Blob.objects.get(sha256=sha256)
    chunks = BlobChunk.objects.filter(blob=blob).order_by("index").values_list("content", flat=True)
    content = b"".join(bytes(chunk) for chunk in chunks)
    assert len(content) == blob.size, f"blob {sha256} holds {len(content)} of {blob.size} bytes"
    return content

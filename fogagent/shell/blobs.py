"""Blobs on their way into the cache and out of it. The disk is slow: it is asked in threads, in turn."""

from __future__ import annotations

import asyncio
import logging

from fogagent.blobs import BadBlob, BlobCache
from fogagent.events import BlobFailed, BlobReady, BlobWanted, CacheChanged
from fogagent.instructions import DropBlob, KeepChunk, Obtain
from fogagent.messages import MAX_CACHED, Blob, Chunk
from fogagent.shell.wiring import Feed, Spawn

log = logging.getLogger("fogagent")


class Blobs:
    def __init__(self, cache: BlobCache, *, feed: Feed, spawn: Spawn) -> None:
        self._cache, self._feed, self._spawn = cache, feed, spawn
        self._turn = asyncio.Lock()  # chunks of a blob are written in their order

    def obtain(self, instruction: Obtain) -> None:
        self._spawn(self._look_for(instruction.blob))

    async def _look_for(self, blob: Blob) -> None:
        async with self._turn:
            here, index = await asyncio.to_thread(self._cache.find, blob.sha256)
        self._feed(BlobReady(blob.sha256) if here else BlobWanted(blob.sha256, index))

    def keep_chunk(self, instruction: KeepChunk) -> None:
        self._spawn(self._write(instruction.chunk, instruction.size))

    async def _write(self, chunk: Chunk, size: int) -> None:
        async with self._turn:
            try:
                whole = await asyncio.to_thread(self._cache.add, chunk, size)
            except BadBlob as error:
                self._feed(BlobFailed(chunk.sha256, str(error)))
            except OSError as error:
                self._feed(BlobFailed(chunk.sha256, f"This node cannot store the payload: {error}."))
            else:
                if whole:
                    self._feed(BlobReady(chunk.sha256))
                    await self._tell_what_is_held()

    def drop(self, instruction: DropBlob) -> None:
        self._spawn(self._remove(instruction.sha256))

    async def _remove(self, sha256: str) -> None:
        async with self._turn:
            try:
                await asyncio.to_thread(self._cache.drop, sha256)
            except OSError as error:
                log.warning("The blob %s… could not be removed: %s", sha256[:12], error)
        await self._tell_what_is_held()

    async def _tell_what_is_held(self) -> None:
        self._feed(CacheChanged(await asyncio.to_thread(self._cache.held, MAX_CACHED)))

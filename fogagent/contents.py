"""The contents that orders name, for whoever waits for them: attempts to run, and orders to carry."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fogagent.attempts import Attempts
from fogagent.carrying_state import Carriages
from fogagent.contact import Contact
from fogagent.downloads import MAX_STALLS, Download, Downloads
from fogagent.events import BlobFailed, BlobReady, BlobWanted, Moment
from fogagent.instructions import Instruction, KeepChunk, Send
from fogagent.messages import Chunk


class Contents:
    """Says what to fetch, and tells both kinds of waiters how it ended."""

    def __init__(
        self, contact: Contact, downloads: Downloads, attempts: Attempts, carriages: Carriages
    ) -> None:
        self._contact, self._downloads = contact, downloads
        self._attempts, self._carriages = attempts, carriages

    def on_chunk(self, chunk: Chunk, now: Moment) -> Iterator[Instruction]:
        blob = self._downloads.accept(chunk, now.tick)
        if blob is not None:
            yield KeepChunk(chunk, blob.size)

    def on_ready(self, event: BlobReady, now: Moment) -> Iterator[Instruction]:
        yield from self._attempts.fetched(event.sha256, self._downloads.close(event.sha256))
        yield from self._carriages.fetched(event.sha256, now.tick)

    def on_wanted(self, event: BlobWanted, now: Moment) -> Iterator[Instruction]:
        fetch = self._downloads.missing_from(event.sha256, event.index, now.tick)
        if fetch is not None and self._contact.connected:
            yield Send(fetch)

    def on_failed(self, event: BlobFailed, now: Moment) -> Iterable[Instruction]:
        return self._lose(event.sha256, event.sentence, now)

    def _lose(self, sha256: str, sentence: str, now: Moment) -> Iterator[Instruction]:
        yield from self._attempts.lost(sha256, self._downloads.close(sha256), sentence, now)
        yield from self._carriages.lost(sha256, sentence)

    def reconnected(self, tick: float) -> Iterator[Instruction]:
        """What an earlier connection did not bring is asked for again."""
        for fetch in self._downloads.reconnected(tick):
            yield Send(fetch)

    def on_tick(self, now: Moment) -> Iterator[Instruction]:
        for download in self._downloads.stalled(now.tick):
            yield from self._unstall(download, now)

    def _unstall(self, download: Download, now: Moment) -> Iterator[Instruction]:
        if download.stalls < MAX_STALLS:
            yield Send(self._downloads.ask_again(download, now.tick))
            return
        sha256 = download.blob.sha256
        yield from self._lose(sha256, f"The payload {sha256[:12]}… could not be fetched from the panel.", now)

    def wake_at(self) -> float | None:
        """When `on_tick` should be called next, while there is a connection."""
        return self._downloads.wake_at()

"""Which blobs are on their way, who waits for them, and when to ask for one again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from fogagent.messages import Blob, Chunk, Fetch

STALL_S = 10.0
"""A blob that does not move for this long is asked for again, from its next chunk on."""
MAX_STALLS = 6


@dataclass(slots=True)
class Download:
    blob: Blob
    waiting: list[int] = field(default_factory=list)  # attempts, in the order they came
    index: int | None = None  # the next chunk; None: not known to be missing yet
    asked: float = 0.0
    stalls: int = 0


class Downloads:
    """Blobs by hash, from the first attempt that needs one until it is in the cache."""

    def __init__(self) -> None:
        self._open: dict[str, Download] = {}

    def want(self, blob: Blob, attempt: int) -> bool:
        """Note who waits for it. True if nobody did before, so that it must be looked for."""
        known = blob.sha256 in self._open
        self._open.setdefault(blob.sha256, Download(blob)).waiting.append(attempt)
        return not known

    def close(self, sha256: str) -> list[int]:
        """It has come or will not come: who waited for it."""
        download = self._open.pop(sha256, None)
        return download.waiting if download else []

    def abandon(self, attempt: int) -> None:
        """That attempt waits no more. What nobody waits for is not asked for again."""
        for sha256, download in list(self._open.items()):
            if attempt in download.waiting:
                download.waiting.remove(attempt)
            if not download.waiting:
                del self._open[sha256]

    def missing_from(self, sha256: str, index: int, tick: float) -> Fetch | None:
        """The cache lacks the chunks from ``index`` on: what to ask the panel for."""
        download = self._open.get(sha256)
        if download is None:
            return None
        download.index = index
        return _ask(download, tick)

    def accept(self, chunk: Chunk, tick: float) -> Blob | None:
        """The blob that this chunk continues; None for one that is not the next of any."""
        download = self._open.get(chunk.sha256)
        if download is None or download.index != chunk.index:
            return None
        download.index, download.asked, download.stalls = chunk.index + 1, tick, 0
        return download.blob

    def reconnected(self, tick: float) -> list[Fetch]:
        """What to ask for again on a new connection."""
        return [_ask(download, tick) for download in self._open.values() if download.index is not None]

    def stalled(self, tick: float) -> Iterator[Download]:
        """Those that have not moved for STALL_S; each call counts against its patience."""
        for download in list(self._open.values()):
            if download.index is not None and tick - download.asked >= STALL_S:
                download.stalls += 1
                yield download

    def ask_again(self, download: Download, tick: float) -> Fetch:
        return _ask(download, tick)

    def wake_at(self) -> float | None:
        """When `stalled` should be asked next."""
        asked = [download.asked for download in self._open.values() if download.index is not None]
        return min(asked) + STALL_S if asked else None


def _ask(download: Download, tick: float) -> Fetch:
    download.asked = tick
    return Fetch(attempt=download.waiting[0], sha256=download.blob.sha256, index=download.index or 0)

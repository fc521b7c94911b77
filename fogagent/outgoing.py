"""What goes to the panel, in frames: messages as they come, reports in the order of their numbers."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from fogagent.connection import Connection
from fogagent.instructions import Report
from fogagent.messages import COALESCE_S, Acknowledge, Finished, FromAgent, encode_message, split_frames
from fogagent.spool import Entry, Spool, Stored

PAGE_BYTES = 256 * 1024
PATIENCE_S = 0.05
"""How long reports gather while those sent last are not acknowledged. A busy panel so gets fewer and
larger frames, each of which costs it as much as the reports of many."""
COMPANY_S = 0.02
"""How long acknowledged orders wait for reports: what a short job has to say goes in the same frame, and
costs the panel one transaction instead of two."""


class Outgoing:
    """Lives as long as the agent, across connections. To be used from one event loop.

    After `replay` everything in the spool is read from disk and sent; only when the last stored
    report has gone are fresh ones sent straight from memory again. So reports never overtake.
    """

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._messages: list[bytes] = []
        self._reports: list[bytes] = []
        self._unspooled: list[Entry] = []
        self._spooled_at = 0.0
        self._unstored = 0  # reports on their way to the disk
        self._batches_stored = 0
        self._replay_from: int | None = None  # the last report that went; None: all that is stored went
        self._sending = False
        self._connected = False
        self._something = asyncio.Event()
        self._answered = asyncio.Event()  # the reports that went last were acknowledged, or none have gone
        self._answered.set()
        self._quiet = asyncio.Event()

    def connected(self) -> None:
        """A new connection: what was meant for the old one is worth nothing."""
        self._messages.clear()
        self._reports.clear()
        self._answered.set()
        self._connected = True

    def disconnected(self) -> None:
        self._connected = self._sending = False
        self._note_quiet()

    def acknowledged(self) -> None:
        """The panel has stored some of the reports."""
        self._answered.set()

    def post(self, message: FromAgent) -> None:
        """Send soon, unless there is no connection."""
        if not self._connected:
            return
        self._messages.append(encode_message(message))
        if isinstance(message, Acknowledge):
            asyncio.get_running_loop().call_later(COMPANY_S, self._something.set)
        else:
            self._something.set()

    def keep(self, report: Report) -> None:
        """Put the report on disk, then send it."""
        final = isinstance(report, Finished)
        self._unspooled.append(Entry(report.seq, report.attempt, final, encode_message(report)))
        if len(self._unspooled) == 1:
            # As with frames: at once after a silence, else together with what comes within 5 ms.
            loop = asyncio.get_running_loop()
            loop.call_at(max(loop.time(), self._spooled_at + COALESCE_S), self.spool)

    def spool(self) -> None:
        """Hand what was gathered over to the writer."""
        if self._unspooled:
            self._spooled_at = asyncio.get_running_loop().time()
            self._unstored += len(self._unspooled)
            self._spool.keep(self._unspooled)
            self._unspooled = []

    def stored(self, reports: list[Stored]) -> None:
        """Reports that are safe on disk now, later than all before."""
        self._unstored -= len(reports)
        self._batches_stored += 1
        if self._connected and self._replay_from is None:
            self._reports += [report.body for report in reports]
            self._something.set()
        self._note_quiet()

    def replay(self) -> None:
        self._replay_from = 0
        self._something.set()

    async def drained(self) -> None:
        """Return when all that can be sent has been handed to the network."""
        self._note_quiet()
        await self._quiet.wait()

    def _note_quiet(self) -> None:
        waiting = self._messages or self._reports or self._replay_from is not None or self._sending
        if self._unspooled or self._unstored or (self._connected and waiting):
            self._quiet.clear()
        else:
            self._quiet.set()

    async def pump(self, connection: Connection) -> None:
        """Send until the connection ends. Raises ConnectionFailed."""
        sent_at = 0.0
        while True:
            self._sending = False
            self._note_quiet()
            await self._something.wait()
            self._sending = True
            # The first message after a silence goes at once; those that follow closely share a frame.
            await asyncio.sleep(max(0.0, sent_at + COALESCE_S - time.monotonic()))
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, sent_at + PATIENCE_S - time.monotonic())):
                    await self._answered.wait()
            self._something.clear()
            if self._reports:
                self._answered.clear()
            batch = [*self._messages, *self._reports]
            self._messages, self._reports = [], []
            if self._replay_from is not None:
                batch += await self._next_page(self._replay_from)
            for frame in split_frames(batch):
                await connection.send(frame)
            sent_at = time.monotonic()

    async def _next_page(self, after: int) -> list[bytes]:
        batches = self._batches_stored
        page = await asyncio.to_thread(self._spool.read_after, after, PAGE_BYTES)
        if page:
            self._replay_from = page[-1].seq
        elif batches == self._batches_stored:
            self._replay_from = None
        # Else something was stored while we read: it may be in no page yet, and was not queued.
        if self._replay_from is not None:
            self._something.set()
        return [report.body for report in page]

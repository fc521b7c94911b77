"""Reports on disk, from before they are first sent until the panel has stored them.

One thread owns all writing. While it commits, further reports gather, so that a busy agent pays for
a commit once per batch and an idle one waits for nobody.
"""

from __future__ import annotations

import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from fogagent.reports import Kept

SEQS_PER_LIFE = 2**32
"""Each start takes a fresh stretch of numbers, reserved on disk before the first is used."""
RETRY_S = 1.0
MOST_WORK_A_COMMIT = 1_000
"""A commit waits for no more than this: whoever never pauses must not keep what is queued from disk."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS reports (
    seq INTEGER PRIMARY KEY, attempt INTEGER NOT NULL, final INTEGER NOT NULL, body BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS lives (first_seq INTEGER PRIMARY KEY);
"""


class Stored(NamedTuple):
    """A report that is safe on disk. ``body`` is the encoded message."""

    seq: int
    body: bytes


class Entry(NamedTuple):
    """A report to be stored. ``final``: it is its attempt's Finished."""

    seq: int
    attempt: int
    final: bool
    body: bytes


class _Inserts(NamedTuple):
    entries: Sequence[Entry]


class _Deletes(NamedTuple):
    seqs: Sequence[int]


_Work = _Inserts | _Deletes | None  # None: finish what is queued, then end


class Spool:
    """The reports of one agent.

    Raises:
        sqlite3.Error: on construction, when the file cannot be opened or is no database.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._queue: queue.SimpleQueue[_Work] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._broken = False
        self._reader = _connect(path)
        self._reader.executescript(_SCHEMA)
        self.first_seq = _begin_life(self._reader)
        self._writer = threading.Thread(target=self._write, name="spool", daemon=True)

    def start(
        self,
        on_stored: Callable[[list[Stored]], None],
        on_trouble: Callable[[str], None],
        on_broken: Callable[[sqlite3.Error], None],
    ) -> None:
        """Begin to write.

        ``on_stored`` is called on the writer's thread with each batch, in order of ``seq``, once it
        is on disk; ``on_trouble`` with a sentence when the disk refuses. Then the batch stays in
        memory and is tried again until it goes through: nothing is sent that is not safe.
        ``on_broken`` is called at most once, when trying again is no use, as with a damaged file:
        nothing is stored any more.
        """
        self._on_stored = on_stored
        self._on_trouble = on_trouble
        self._on_broken = on_broken
        self._writer.start()

    def kept(self) -> list[Kept]:
        """What earlier lives left here, oldest first."""
        rows = self._reader.execute("SELECT seq, attempt, final FROM reports ORDER BY seq")
        return [Kept(seq, attempt, bool(final)) for seq, attempt, final in rows]

    def read_after(self, seq: int, most_bytes: int) -> list[Stored]:
        """The next reports after ``seq``: at least one if there is any, else about ``most_bytes``."""
        batch: list[Stored] = []
        size = 0
        rows = self._reader.execute("SELECT seq, body FROM reports WHERE seq > ? ORDER BY seq", (seq,))
        for row in rows:
            batch.append(Stored(*row))
            size += len(batch[-1].body)
            if size >= most_bytes:
                break
        rows.close()
        return batch

    def keep(self, entries: Sequence[Entry]) -> None:
        """Store these, in order of ``seq``. Each call costs a change of threads: better few than many."""
        self._queue.put(_Inserts(entries))

    def forget(self, seqs: Sequence[int]) -> None:
        self._queue.put(_Deletes(seqs))

    def close(self, timeout_s: float) -> bool:
        """Write what is queued and close. False if the disk would not take it, or not in time."""
        self._queue.put(None)
        self._writer.join(timeout_s)
        written = not self._writer.is_alive() and not self._broken
        self._closing.set()
        self._writer.join(timeout_s)
        self._reader.close()
        return written

    # --- The writer's thread -----------------------------------------------------------------------

    def _write(self) -> None:
        try:
            with closing(_connect(self._path)) as connection:
                self._write_all(connection)
        except sqlite3.Error as error:
            self._broken = True
            self._on_broken(error)

    def _write_all(self, connection: sqlite3.Connection) -> None:
        ending = False
        while not ending:
            batch, ending = self._gather()
            while not self._commit(connection, batch):
                if self._closing.wait(RETRY_S):
                    ending = True
                    break

    def _gather(self) -> tuple[list[_Inserts | _Deletes], bool]:
        """Wait for one piece of work, then take what else is there, up to a commit's worth."""
        batch: list[_Inserts | _Deletes] = []
        work = self._queue.get()
        while work is not None:
            batch.append(work)
            if len(batch) == MOST_WORK_A_COMMIT:
                return batch, False
            try:
                work = self._queue.get_nowait()
            except queue.Empty:
                return batch, False
        return batch, True

    def _commit(self, connection: sqlite3.Connection, batch: list[_Inserts | _Deletes]) -> bool:
        inserts = [entry for work in batch if isinstance(work, _Inserts) for entry in work.entries]
        deletes = [(seq,) for work in batch if isinstance(work, _Deletes) for seq in work.seqs]
        try:
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                # Only stored reports are sent, so nothing can be acknowledged in its own batch.
                connection.executemany("INSERT INTO reports VALUES (?, ?, ?, ?)", inserts)
                connection.executemany("DELETE FROM reports WHERE seq = ?", deletes)
        except sqlite3.OperationalError as error:
            self._on_trouble(f"Results cannot be stored in {self._path}: {error}. They wait in memory.")
            return False
        if inserts:
            self._on_stored([Stored(entry.seq, entry.body) for entry in inserts])
        return True


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0)
    connection.execute("PRAGMA journal_mode = WAL")
    # NORMAL does not sync at each commit. A killed process loses nothing, since the kernel has what
    # was written; a power cut may lose the last moments, and the panel then has the attempts run again.
    connection.execute("PRAGMA synchronous = NORMAL")
    return connection


def _begin_life(connection: sqlite3.Connection) -> int:
    """Reserve this life's numbers for good.

    A number used twice would make the panel take a new report for a repetition of an old one, so
    this commit is synced: not even a power cut can give the same stretch to two lives.
    """
    connection.execute("PRAGMA synchronous = FULL")
    (last,) = connection.execute("SELECT max(first_seq) FROM lives").fetchone()
    first = 1 if last is None else int(last) + SEQS_PER_LIFE
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("DELETE FROM lives")
    connection.execute("INSERT INTO lives VALUES (?)", (first,))
    connection.execute("COMMIT")
    connection.execute("PRAGMA synchronous = NORMAL")
    return first

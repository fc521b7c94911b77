"""Reports on disk: what is safe stays safe, through kills and refusals of the disk."""

from __future__ import annotations

import queue
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from fogagent import spool as spool_module
from fogagent.reports import Kept
from fogagent.spool import MOST_WORK_A_COMMIT, SEQS_PER_LIFE, Entry, Spool, Stored


class Opened:
    """A spool whose batches and complaints wait to be looked at; ``before`` is queued before it starts."""

    def __init__(self, path: Path, before: int = 0) -> None:
        self.stored: queue.Queue[list[Stored]] = queue.Queue()
        self.troubles: queue.Queue[str] = queue.Queue()
        self.spool = Spool(path)
        self.kept = self.spool.kept()
        self.first_seq = self.spool.first_seq
        self.errors: queue.Queue[sqlite3.Error] = queue.Queue()
        for number in range(before):
            self.keep(number)
        self.spool.start(self.stored.put, self.troubles.put, self.errors.put)

    def keep(self, number: int, *, attempt: int = 1, final: bool = False, body: bytes = b"x") -> int:
        seq = self.first_seq + number
        self.spool.keep([Entry(seq, attempt, final, body)])
        return seq

    def wait_for(self, count: int) -> list[Stored]:
        got: list[Stored] = []
        while len(got) < count:
            got += self.stored.get(timeout=30)
        return got


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spool.sqlite3"


def test_says_when_a_report_is_safe_and_finds_it_again(path: Path) -> None:
    first = Opened(path)
    seqs = [first.keep(0, attempt=5, body=b"a"), first.keep(1, attempt=5, final=True, body=b"b")]
    assert first.wait_for(2) == [Stored(seqs[0], b"a"), Stored(seqs[1], b"b")]
    assert first.spool.close(5)
    second = Opened(path)
    assert second.kept == [Kept(seqs[0], 5, False), Kept(seqs[1], 5, True)]
    assert second.spool.read_after(0, 1_000) == [Stored(seqs[0], b"a"), Stored(seqs[1], b"b")]
    assert second.spool.close(5)


def test_forgets_what_was_acknowledged(path: Path) -> None:
    first = Opened(path)
    seqs = [first.keep(n) for n in range(4)]
    first.wait_for(4)
    first.spool.forget(seqs[:3])
    assert first.spool.close(5)
    second = Opened(path)
    assert [report.seq for report in second.kept] == seqs[3:]
    second.spool.close(5)


def test_numbers_never_repeat_even_when_nothing_is_left(path: Path) -> None:
    lives = []
    for _ in range(3):
        opened = Opened(path)
        lives.append(opened.first_seq)
        seq = opened.keep(0)
        opened.wait_for(1)
        opened.spool.forget([seq])
        opened.spool.close(5)
    assert lives == [1, 1 + SEQS_PER_LIFE, 1 + 2 * SEQS_PER_LIFE]


def test_pages_are_cut_by_size_but_never_empty(path: Path) -> None:
    opened = Opened(path)
    seqs = [opened.keep(n, body=b"x" * 100) for n in range(5)]
    opened.wait_for(5)
    assert [report.seq for report in opened.spool.read_after(0, 250)] == seqs[:3]
    assert [report.seq for report in opened.spool.read_after(seqs[2], 1)] == seqs[3:4]
    assert opened.spool.read_after(seqs[4], 1) == []
    opened.spool.close(5)


def test_closing_writes_what_is_queued(path: Path) -> None:
    opened = Opened(path)
    for number in range(5_000):
        opened.keep(number)
    assert opened.spool.close(30)
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM reports").fetchone() == (5_000,)
    connection.close()


def test_no_backlog_is_too_long_for_its_first_reports_to_become_safe(path: Path) -> None:
    opened = Opened(path, before=2 * MOST_WORK_A_COMMIT + 1)
    sizes = [len(opened.stored.get(timeout=30)) for _ in range(3)]
    assert sizes == [MOST_WORK_A_COMMIT, MOST_WORK_A_COMMIT, 1]
    assert opened.spool.close(5)


def test_a_killed_process_loses_nothing_that_was_said_to_be_safe(path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "fogagent.tests.spooling", str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    safe = [int(process.stdout.readline()) for _ in range(3_000)]
    process.kill()
    safe += [int(line) for line in process.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
    process.stdin.close()
    process.stdout.close()
    process.wait()
    opened = Opened(path)
    assert {report.seq for report in opened.kept} >= set(safe)
    assert opened.first_seq > max(report.seq for report in opened.kept)
    opened.spool.close(5)


def test_a_disk_that_refuses_for_a_while_costs_time_only(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_module, "RETRY_S", 0.01)
    opened = Opened(path)
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("ALTER TABLE reports RENAME TO away")
    seq = opened.keep(0)
    assert "Results cannot be stored" in opened.troubles.get(timeout=30)
    blocker.execute("ALTER TABLE away RENAME TO reports")
    blocker.close()
    assert [report.seq for report in opened.wait_for(1)] == [seq]
    assert opened.spool.close(5)


def test_closing_says_so_when_the_disk_refuses(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_module, "RETRY_S", 0.01)
    opened = Opened(path)
    with sqlite3.connect(path, isolation_level=None) as blocker:
        blocker.execute("DROP TABLE reports")
    blocker.close()
    opened.keep(0)
    assert not opened.spool.close(0.1)


def test_a_file_damaged_in_use_is_given_up(path: Path) -> None:
    opened = Opened(path)
    opened.keep(0)
    opened.wait_for(1)
    with closing(sqlite3.connect(path, isolation_level=None)) as vandal:
        vandal.execute("PRAGMA writable_schema = ON")
        vandal.execute("UPDATE sqlite_master SET rootpage = 9999 WHERE name = 'reports'")
        vandal.execute("PRAGMA schema_version = 9999")  # has the others read the schema again
    opened.keep(1)
    assert "malformed" in str(opened.errors.get(timeout=30))
    assert opened.troubles.empty()
    assert not opened.spool.close(5)


def test_a_file_that_is_no_database_is_refused(path: Path) -> None:
    path.write_bytes(b"not a database, but quite long enough to be looked at as one" * 20)
    with pytest.raises(sqlite3.DatabaseError):
        Spool(path)

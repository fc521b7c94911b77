"""The real shell against a panel on a real socket."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import sqlite3
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from fogagent import fingerprint
from fogagent.blobs import BlobCache
from fogagent.drivers.base import Result
from fogagent.fingerprint import heartbeat_sample
from fogagent.home import Home
from fogagent.identity import Identity
from fogagent.instructions import ExitCode, UseDirectory
from fogagent.messages import (
    BLOB_CHUNK_BYTES,
    Acknowledge,
    Blob,
    Cancel,
    Chunk,
    CircuitTried,
    Facts,
    Fetch,
    Finished,
    Goodbye,
    Heartbeat,
    Holding,
    Log,
    Outcome,
    OverlayFacts,
    OverlayStatus,
    Problem,
    Run,
    SetTunnels,
    Started,
    TryCircuit,
    TunnelSpec,
    Watch,
)
from fogagent.overlay.directory import Directory
from fogagent.tests.fakes import FACTS, FakePanel, FakeWorkers, agent_for, at_work

pytestmark = pytest.mark.asyncio


def inline(content: bytes) -> Blob:
    return Blob(sha256=hashlib.sha256(content).hexdigest(), size=len(content), inline=content)


def run_order(attempt: int, stdin: bytes = b"", **changes: object) -> Run:
    order = {
        "order": attempt + 100,
        "attempt": attempt,
        "task": attempt,
        "driver": "wasm",
        "timeout_s": 60.0,
        "stdin": inline(stdin) if stdin else None,
    }
    return Run(**(order | changes))  # type: ignore[arg-type]


@asynccontextmanager
async def running(
    panel: FakePanel, path: Path, workers: FakeWorkers
) -> AsyncIterator[asyncio.Task[ExitCode]]:
    async with at_work(agent_for(panel, path, workers)) as task:
        yield task


async def killed(task: asyncio.Task[ExitCode]) -> None:
    """End an agent without giving it a chance to flush."""
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_runs_a_task_and_reports_it(tmp_path: Path) -> None:
    workers = FakeWorkers()
    async with FakePanel() as panel, running(panel, tmp_path, workers):
        await panel.hears(Holding)
        await panel.say(run_order(5, stdin=b"hello"))
        finished = await panel.hears(Finished)
        await panel.hears(Acknowledge)
    assert panel.said[:2] == [FACTS, Holding(attempts=[])]
    assert (finished.attempt, finished.outcome) == (5, Outcome.SUCCEEDED)
    assert [piece.data for piece in finished.pieces] == [b"hello"]
    assert panel.heard(Acknowledge)[0].orders == [105]
    assert workers.closed


async def test_a_long_task_is_announced_and_its_output_comes_as_it_is_printed(tmp_path: Path) -> None:
    workers = FakeWorkers(held=True)
    async with FakePanel() as panel, running(panel, tmp_path, workers):
        await panel.hears(Holding)
        await panel.say(run_order(5))
        await panel.hears(Started)
        workers.prints(5, 0, b"one ")
        workers.prints(5, 4, b"two")
        log = await panel.hears(Log)
        assert [piece.data for piece in log.pieces] == [b"one two"]
        workers.finish(5)
        finished = await panel.hears(Finished)
    assert finished.pieces == []


async def test_a_result_survives_a_panel_that_is_away(tmp_path: Path) -> None:
    workers = FakeWorkers(held=True)
    async with FakePanel() as panel, running(panel, tmp_path, workers):
        await panel.hears(Holding)
        await panel.say(run_order(5))
        await panel.hears(Started)
        await panel.close()
        workers.finish(5)
        await panel.open()
        finished = await panel.hears(Finished)
        assert panel.heard(Holding)[1].attempts == [5]
    assert finished.attempt == 5
    assert len(workers.started) == 1


async def test_a_result_survives_a_killed_agent(tmp_path: Path) -> None:
    async with FakePanel(acks=False) as panel:
        async with running(panel, tmp_path, FakeWorkers()) as first:
            await panel.hears(Holding)
            await panel.say(run_order(5, stdin=b"x"))
            before = await panel.hears(Finished)
            await killed(first)
        panel.acks = True
        workers = FakeWorkers()
        async with running(panel, tmp_path, workers):
            after = await panel.hears(Finished, 2)
            assert after == before
            assert panel.heard(Holding)[1].attempts == [5]
            await panel.say(run_order(5, stdin=b"x"))  # the acknowledgement had been lost as well
            await panel.hears(Acknowledge, 2)
        assert workers.started == []
        async with running(panel, tmp_path, workers):
            await panel.hears(Holding, 3)
        assert panel.heard(Holding)[2].attempts == []


async def test_work_cut_short_by_a_kill_is_ended_by_the_next_life(tmp_path: Path) -> None:
    async with FakePanel(acks=False) as panel:
        async with running(panel, tmp_path, FakeWorkers(held=True)) as first:
            await panel.hears(Holding)
            await panel.say(run_order(5))
            await panel.hears(Started)
            await killed(first)
        async with running(panel, tmp_path, FakeWorkers()):
            finished = await panel.hears(Finished)
    assert (finished.attempt, finished.outcome) == (5, Outcome.UNKNOWN)
    assert finished.seq > panel.heard(Started)[0].seq


async def test_cancel_stops_a_running_task(tmp_path: Path) -> None:
    workers = FakeWorkers(held=True)
    async with FakePanel() as panel, running(panel, tmp_path, workers):
        await panel.hears(Holding)
        await panel.say(run_order(5))
        await panel.hears(Acknowledge)
        await panel.say(Cancel(order=9, attempt=5, sentence="asked by ada"))
        finished = await panel.hears(Finished)
    assert (finished.outcome, finished.sentence) == (Outcome.CANCELLED, "asked by ada")


async def test_a_cancel_that_comes_together_with_its_run_is_kept(tmp_path: Path) -> None:
    workers = FakeWorkers(held=True)
    async with FakePanel() as panel, running(panel, tmp_path, workers):
        await panel.hears(Holding)
        await panel.say(run_order(5), Cancel(order=9, attempt=5, sentence="asked by ada"))
        finished = await panel.hears(Finished)
    assert (finished.outcome, finished.sentence) == (Outcome.CANCELLED, "asked by ada")
    assert workers.started == []


async def test_a_cancel_while_the_payload_is_read_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, go_on = threading.Event(), threading.Event()

    def read_slowly(cache: BlobCache, sha256: str) -> bytes | None:
        reading.set()
        go_on.wait(10)
        return read(cache, sha256)

    read = BlobCache.read
    monkeypatch.setattr(BlobCache, "read", read_slowly)
    sha256 = hashlib.sha256(b"program").hexdigest()
    workers = FakeWorkers(held=True)
    async with FakePanel() as panel, running(panel, tmp_path, workers):
        await panel.hears(Holding)
        await panel.say(run_order(5, payload=Blob(sha256=sha256, size=7)))
        await panel.hears(Fetch)
        await panel.say(Chunk(sha256=sha256, index=0, count=1, data=b"program"))
        assert await asyncio.to_thread(reading.wait, 10)
        await panel.say(Cancel(order=9, attempt=5, sentence="asked by ada"))
        await panel.hears(Acknowledge, 2)
        go_on.set()
        finished = await panel.hears(Finished)
    assert (finished.outcome, finished.sentence) == (Outcome.CANCELLED, "asked by ada")
    assert workers.started == []


async def test_a_large_payload_is_fetched_and_a_lost_connection_continues_it(tmp_path: Path) -> None:
    content = bytes(range(256)) * 1024 * 2
    sha256 = hashlib.sha256(content).hexdigest()
    pieces = [content[i : i + BLOB_CHUNK_BYTES] for i in range(0, len(content), BLOB_CHUNK_BYTES)]
    chunks = [Chunk(sha256=sha256, index=i, count=len(pieces), data=data) for i, data in enumerate(pieces)]
    workers = FakeWorkers()
    async with FakePanel() as panel, running(panel, tmp_path, workers):
        await panel.hears(Holding)
        await panel.say(run_order(5, payload=Blob(sha256=sha256, size=len(content))))
        assert (await panel.hears(Fetch)).index == 0
        await panel.say(chunks[0])
        await panel.say(Watch(every_s=0.2, for_s=60))  # its beats show that the chunk has been read
        await panel.hears(Heartbeat, len(panel.heard(Heartbeat)) + 1)
        await panel.close()
        await panel.open()
        assert (await panel.hears(Fetch, 2)).index == 1
        for chunk in chunks[1:]:
            await panel.say(chunk)
        await panel.hears(Finished)
        await panel.until(lambda: panel.heard(Facts)[-1].cached == [sha256])
    assert [job.payload for job in workers.started] == [content]


async def test_what_is_in_the_cache_is_told_on_connecting(tmp_path: Path) -> None:
    cache = BlobCache(tmp_path / "blobs")
    sha256 = hashlib.sha256(b"known").hexdigest()
    cache.add(Chunk(sha256=sha256, index=0, count=1, data=b"known"), 5)
    async with FakePanel() as panel, running(panel, tmp_path, FakeWorkers()):
        assert (await panel.hears(Facts)).cached == [sha256]


async def test_a_payload_with_a_wrong_hash_is_not_run(tmp_path: Path) -> None:
    sha256 = hashlib.sha256(b"right").hexdigest()
    workers = FakeWorkers()
    async with FakePanel() as panel, running(panel, tmp_path, workers):
        await panel.hears(Holding)
        await panel.say(run_order(5, payload=Blob(sha256=sha256, size=5)))
        await panel.hears(Fetch)
        await panel.say(Chunk(sha256=sha256, index=0, count=1, data=b"wrong"))
        finished = await panel.hears(Finished)
    assert finished.outcome is Outcome.CRASHED
    assert "does not fit its hash" in finished.sentence
    assert workers.started == []


async def test_a_driver_that_raises_ends_the_attempt(tmp_path: Path) -> None:
    class Broken(FakeWorkers):
        async def run(self, *given: object) -> Result:
            raise RuntimeError("no such thing")

    async with FakePanel() as panel, running(panel, tmp_path, Broken()):
        await panel.hears(Holding)
        await panel.say(run_order(5))
        finished = await panel.hears(Finished)
    assert finished.outcome is Outcome.CRASHED
    assert "no such thing" in finished.sentence


async def test_a_broken_spool_ends_the_agent(tmp_path: Path) -> None:
    async with FakePanel() as panel:
        agent = agent_for(panel, tmp_path, FakeWorkers())
        life = asyncio.create_task(agent.run())
        await panel.hears(Holding)
        with closing(sqlite3.connect(Home(tmp_path).spool)) as vandal:
            # Reading still works, so it is the writer that meets the damage.
            vandal.execute(
                "CREATE TRIGGER damage BEFORE INSERT ON reports BEGIN SELECT RAISE(ABORT, 'damaged'); END"
            )
        await panel.say(run_order(5))
        with pytest.raises(sqlite3.DatabaseError, match="damaged"):
            await asyncio.wait_for(life, 30)
    assert panel.heard(Finished) == []


async def test_beats_tell_the_round_trip_once_it_is_measured_and_when_it_changes(tmp_path: Path) -> None:
    async with FakePanel(heartbeat_s=0.1, timeout_s=2) as panel, running(panel, tmp_path, FakeWorkers()):
        await panel.until(lambda: any(beat.round_trip_ms is not None for beat in panel.heard(Heartbeat)))
        await panel.hears(Heartbeat, len(panel.heard(Heartbeat)) + 12)
    first, *told = [beat.round_trip_ms for beat in panel.heard(Heartbeat)]
    assert first is None
    known = [ms for ms in told if ms is not None]
    assert all(0 < ms < 10_000 for ms in known)
    assert len(known) < len(told)
    for before, after in pairwise(known):
        assert abs(after - before) > 0.15 * before


async def test_beats_on_the_interval_it_was_told(tmp_path: Path) -> None:
    async with FakePanel(heartbeat_s=0.1) as panel, running(panel, tmp_path, FakeWorkers()):
        beat = await panel.hears(Heartbeat, 3)
    assert beat.memory_total_mb > 0


async def test_beats_again_when_its_folder_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    home, away = tmp_path / "home", tmp_path / "away"
    beats = itertools.count(1)

    def sample_while_the_folder_is_moved(**given: Any) -> Heartbeat:
        beat = next(beats)
        if beat == 2:
            home.rename(away)
        elif beat == 4:
            away.rename(home)
        return heartbeat_sample(**given)

    monkeypatch.setattr(fingerprint, "heartbeat_sample", sample_while_the_folder_is_moved)
    async with FakePanel(heartbeat_s=0.1) as panel, running(panel, home, FakeWorkers()):
        await panel.hears(Heartbeat, 3)
    said = [record.getMessage() for record in caplog.records]
    assert sum("cannot be measured" in sentence for sentence in said) == 1
    assert next(beats) > 5  # two of them were not sent


async def test_says_goodbye_after_the_last_result(tmp_path: Path) -> None:
    workers = FakeWorkers(held=True)
    async with FakePanel() as panel:
        async with running(panel, tmp_path, workers) as agent:
            await panel.hears(Holding)
            await panel.say(run_order(5))
            await panel.hears(Acknowledge)
            workers.finish(5)
            await asyncio.sleep(0)
        await panel.hears(Goodbye)
        assert agent.result() is ExitCode.STOPPED
    assert [type(message) for message in panel.said if isinstance(message, Finished | Goodbye)] == [
        Finished,
        Goodbye,
    ]


async def test_a_panel_with_another_key_gets_no_signature(tmp_path: Path) -> None:
    async with FakePanel() as panel:
        agent = agent_for(panel, tmp_path, FakeWorkers(), panel_key=Identity.generate().public_key)
        assert await agent.run() is ExitCode.IMPOSTER
    assert panel.hellos == []


async def test_a_panel_that_cannot_sign_is_not_believed(tmp_path: Path) -> None:
    async with FakePanel(welcome_signature=bytes(64)) as panel:
        agent = agent_for(panel, tmp_path, FakeWorkers())
        assert await agent.run() is ExitCode.IMPOSTER
    assert panel.said == []


async def test_a_removed_node_ends(tmp_path: Path) -> None:
    gone = Problem(code="not-enrolled", sentence="This node was removed.", fatal=True, retry=False)
    async with FakePanel(refusal=gone) as panel:
        assert await agent_for(panel, tmp_path, FakeWorkers()).run() is ExitCode.REFUSED


async def test_a_replaced_agent_ends_even_in_the_middle(tmp_path: Path) -> None:
    replaced = Problem(code="replaced", sentence="Another connection took over.", fatal=True, retry=False)
    async with FakePanel() as panel, running(panel, tmp_path, FakeWorkers()) as agent:
        await panel.hears(Holding)
        await panel.say(replaced)
        assert await asyncio.wait_for(agent, 30) is ExitCode.REFUSED


async def test_a_silent_panel_is_given_up(tmp_path: Path) -> None:
    async with FakePanel(timeout_s=0.4) as panel, running(panel, tmp_path, FakeWorkers()):
        await panel.hears(Holding)
        assert panel.socket is not None
        deaf = panel.socket.transport
        deaf.pause_reading()  # alive for TCP, deaf for us
        await panel.knocked(2)
        deaf.abort()


async def test_thousands_of_short_tasks_each_end_once(tmp_path: Path) -> None:
    count = 3000
    async with FakePanel() as panel, running(panel, tmp_path, FakeWorkers()):
        await panel.hears(Holding)
        for start in range(1, count, 200):
            await panel.say(*(run_order(n, stdin=b"%d" % n) for n in range(start, start + 200)))
        await panel.hears(Finished, count)
    outputs = {report.attempt: report.pieces[0].data for report in panel.heard(Finished)}
    assert len(panel.heard(Finished)) == count
    assert outputs == {n: b"%d" % n for n in range(1, count + 1)}


class BrokenOverlay:
    """Fails at whatever it is asked."""

    async def start(self) -> OverlayFacts:
        return OverlayFacts(onion_key=bytes(32), certificate=b"certificate")

    def status(self) -> OverlayStatus:
        raise ValueError("status")

    def use(self, directory: Directory | None) -> None:
        raise ValueError("use")

    async def set_tunnels(self, specs: Sequence[TunnelSpec]) -> None:
        raise ValueError("tunnels")

    async def try_circuit(self, order: TryCircuit) -> CircuitTried:
        raise ValueError("trial")

    async def close(self) -> None:
        raise ValueError("close")


async def test_jobs_go_on_whatever_fails_in_the_overlay(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with FakePanel(heartbeat_s=0.05) as panel:
        agent = agent_for(panel, tmp_path, FakeWorkers())
        agent._overlay._overlay = BrokenOverlay()  # type: ignore[assignment]
        async with at_work(agent) as task:
            await panel.hears(OverlayFacts)
            agent._use_directory(UseDirectory(None))
            await panel.say(SetTunnels(order=1, tunnels=[]), TryCircuit(order=2, trial=7))
            tried = await panel.hears(CircuitTried)
            await panel.hears(Heartbeat, 3)
            await panel.say(run_order(5))
            await panel.hears(Finished)
            agent.stop("enough")
            assert await task is ExitCode.STOPPED
    assert (tried.trial, tried.ok) == (7, False)
    assert "log" in tried.sentence
    failed = {record.exc_info[1].args[0] for record in caplog.records if record.exc_info}  # type: ignore[union-attr]
    assert failed == {"status", "use", "tunnels", "trial", "close"}

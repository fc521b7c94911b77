"""An agent that runs sealed tasks: who sees what of them, and that each ends once."""

from __future__ import annotations

import asyncio
import resource
import sqlite3
import threading
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Self

import pytest
import pytest_asyncio
from msgspec.structs import replace

from fogagent import sealed_runs
from fogagent.drivers.base import Job, OnOutput, OnStart, Permissions, Result
from fogagent.drivers.pool import Pool
from fogagent.home import Home
from fogagent.identity import Identity
from fogagent.joining import leave_no_core_dump
from fogagent.messages import (
    BLOB_CHUNK_BYTES,
    Blob,
    Cancel,
    Chunk,
    Fetch,
    Finished,
    Holding,
    Log,
    Outcome,
    Run,
    Sealed,
    Started,
    Usage,
)
from fogagent.sealing import result as sealing
from fogagent.sealing.content import new_content_key, seal_bytes
from fogagent.sealing.errors import SealingError
from fogagent.sealing.task import SealedSpec, Terms, open_task
from fogagent.sealing.wrapping import TASK, binding, wrap_key
from fogagent.shell.jobs import Workers
from fogagent.tests import driver_modules as modules
from fogagent.tests.driver_runs import close
from fogagent.tests.fakes import FakePanel, FakeWorkers, agent_for, at_work, succeeded
from fogagent.tests.sealed_orders import (
    RESERVATION,
    SPEC,
    TERMS,
    altered,
    files_that_show,
    messages_that_show,
    result_from,
    sealed_order,
    sealed_pieces,
    shows,
)

pytestmark = pytest.mark.asyncio

MARKER = b"a marker that stands inside"
"""In every part of a task here that is sealed, and in what it prints."""


@dataclass
class Fog:
    """A panel and one agent, which the test gives sealed tasks."""

    path: Path
    panel: FakePanel
    workers: Workers = field(default_factory=FakeWorkers)

    async def __aenter__(self) -> Self:
        self._life = at_work(agent_for(self.panel, self.path, self.workers))
        heard = len(self.panel.heard(Holding))
        self.task = await self._life.__aenter__()
        await self.panel.hears(Holding, heard + 1)
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._life.__aexit__(None, None, None)

    @property
    def identity(self) -> Identity:
        return Home(self.path).identity()

    async def runs(self, attempt: int, spec: SealedSpec, **changes: object) -> Run:
        order, content = sealed_order(attempt, spec, self.identity.public_key, self.identity.sealing_key)
        await self.panel.say(altered(order, **changes))
        assert order.payload is not None
        if order.payload.inline is None and "payload" not in changes:
            await self.serve(order.payload, content)
        return order

    async def serve(self, blob: Blob, content: bytes) -> None:
        await self.panel.hears(Fetch)
        starts = range(0, len(content), BLOB_CHUNK_BYTES)
        for index, start in enumerate(starts):
            data = content[start : start + BLOB_CHUNK_BYTES]
            await self.panel.say(Chunk(sha256=blob.sha256, index=index, count=len(starts), data=data))

    async def ends(self, attempt: int) -> Finished:
        await self.panel.until(lambda: any(end.attempt == attempt for end in self.panel.heard(Finished)))
        [end] = [end for end in self.panel.heard(Finished) if end.attempt == attempt]
        return end

    def result(self, attempt: int) -> sealing.Result:
        return result_from(self.panel, attempt, self.identity.public_key)


@pytest_asyncio.fixture
async def panel() -> AsyncIterator[FakePanel]:
    async with FakePanel() as panel:
        yield panel


@pytest_asyncio.fixture
async def held(panel: FakePanel, tmp_path: Path) -> AsyncIterator[tuple[Fog, FakeWorkers]]:
    """An agent whose jobs end when the test says so."""
    workers = FakeWorkers(held=True)
    async with Fog(tmp_path, panel, workers) as fog:
        yield fog, workers


@pytest_asyncio.fixture
async def fog(panel: FakePanel, tmp_path: Path) -> AsyncIterator[Fog]:
    async with Fog(tmp_path, panel) as fog:
        yield fog


def told_openly(end: Finished) -> tuple[object, ...]:
    return end.exit_code, end.sentence, end.truncated, end.usage.stdout_bytes, end.usage.stderr_bytes


NOTHING = (None, "", False, 0, 0)


# --- Opened ----------------------------------------------------------------------------------------


async def test_workers_get_what_the_submitter_sealed(panel: FakePanel, tmp_path: Path) -> None:
    workers = FakeWorkers()
    terms = Terms(driver="python", timeout_s=9.5, cpu_millis=300, memory_mb=77, network=True)
    spec = replace(SPEC, terms=terms, payload=b"print()", image="i", args=["-v"], env={"A": "1"}, stdin=b"in")
    async with Fog(tmp_path, panel, workers) as fog:
        await fog.runs(5, spec)
        await fog.ends(5)
    assert workers.started == [
        Job(
            attempt=5,
            driver="python",
            payload=b"print()",
            image="i",
            args=("-v",),
            env={"A": "1"},
            stdin=b"in",
            timeout_s=9.5,
            cpu_millis=300,
            memory_mb=77,
            network=True,
            sealed=True,
        )
    ]


@pytest.mark.parametrize("outcome", [Outcome.SUCCEEDED, Outcome.EXIT_CODE, Outcome.TIMEOUT, Outcome.MEMORY])
async def test_all_hear_how_it_ended_and_the_submitter_the_rest(
    held: tuple[Fog, FakeWorkers], outcome: Outcome
) -> None:
    fog, workers = held
    await fog.runs(5, SPEC)
    await fog.panel.hears(Started)
    workers.prints(5, 0, b"said")
    usage = Usage(wall_s=2.5, cpu_s=1.5, memory_peak_mb=12, fuel=9, stdout_bytes=4, stderr_bytes=0)
    given = {"outcome": outcome, "exit_code": 3, "sentence": "In words.", "usage": usage, "truncated": True}
    workers.finish(5, succeeded(**given))
    end = await fog.ends(5)
    assert (end.outcome, end.started_at, end.at) == (outcome, 1.0, 2.0)
    assert told_openly(end) == NOTHING
    assert end.usage == replace(usage, stdout_bytes=0, fuel=0)
    assert fog.result(5) == sealing.Result(**given, stdout=b"said")  # type: ignore[arg-type]


async def test_output_is_not_told_of_before_the_end(held: tuple[Fog, FakeWorkers]) -> None:
    fog, workers = held
    await fog.runs(5, SPEC)
    await fog.panel.hears(Started)
    for offset in range(0, 600_000, 60_000):
        workers.prints(5, offset, MARKER.ljust(60_000))
    await fog.runs(6, SPEC)  # a report of which comes later than one of the output would
    await fog.panel.hears(Started, 2)
    assert fog.panel.heard(Log) == []
    workers.finish(5)
    await fog.ends(5)
    assert fog.panel.heard(Log) != []
    assert fog.result(5).stdout == MARKER.ljust(60_000) * 10
    assert messages_that_show(MARKER, fog.panel.said) == []
    workers.finish(6)


async def test_results_of_one_bucket_look_alike(held: tuple[Fog, FakeWorkers]) -> None:
    fog, workers = held
    for attempt, said in ((5, b""), (6, b"x" * 2000)):
        await fog.runs(attempt, SPEC)
        await fog.panel.hears(Started, attempt - 4)
        if said:
            workers.prints(attempt, 0, said)
        workers.finish(attempt)
        await fog.ends(attempt)
    assert len(sealed_pieces(fog.panel, 5)) == len(sealed_pieces(fog.panel, 6)) == 4096 + 144


async def test_what_is_large_is_opened_and_sealed_in_a_thread(
    held: tuple[Fog, FakeWorkers], monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = []

    def noted(work: object, *given: object) -> object:
        threads.append(threading.current_thread())
        return work(*given)  # type: ignore[operator]

    seal_result = sealing.seal_result
    monkeypatch.setattr(sealed_runs, "open_task", lambda *given: noted(open_task, *given))
    monkeypatch.setattr(sealing, "seal_result", lambda *given: noted(seal_result, *given))
    fog, workers = held
    await fog.runs(5, replace(SPEC, payload=bytes(1_000_000)))
    await fog.panel.hears(Started)
    workers.prints(5, 0, bytes(300_000))
    workers.finish(5)
    await fog.ends(5)
    assert workers.started[0].payload == bytes(1_000_000)
    assert fog.result(5).stdout == bytes(300_000)
    assert len(threads) == 2
    assert threading.main_thread() not in threads


async def test_the_result_is_signed_by_this_node(fog: Fog) -> None:
    await fog.runs(5, SPEC)
    await fog.ends(5)
    with pytest.raises(SealingError):
        result_from(fog.panel, 5, Identity.generate().public_key)


# --- Cancelled -------------------------------------------------------------------------------------


async def test_the_reason_of_a_cancel_is_for_the_submitter_once_it_was_opened(
    held: tuple[Fog, FakeWorkers],
) -> None:
    fog, workers = held
    await fog.runs(5, SPEC)
    await fog.panel.hears(Started)
    workers.prints(5, 0, b"so far")
    await fog.panel.say(Cancel(order=9, attempt=5, sentence="asked by ada"))
    end = await fog.ends(5)
    assert end.outcome is Outcome.CANCELLED
    assert told_openly(end) == NOTHING
    result = fog.result(5)
    assert (result.outcome, result.sentence, result.stdout) == (Outcome.CANCELLED, "asked by ada", b"so far")


async def test_a_cancel_while_it_is_opened_is_kept(
    held: tuple[Fog, FakeWorkers], monkeypatch: pytest.MonkeyPatch
) -> None:
    opening, go_on = threading.Event(), threading.Event()

    def open_slowly(*given: object) -> SealedSpec:
        opening.set()
        go_on.wait(10)
        return open_task(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(sealed_runs, "open_task", open_slowly)
    fog, workers = held
    await fog.runs(5, replace(SPEC, payload=bytes(1_000_000)))
    assert await asyncio.to_thread(opening.wait, 10)
    await fog.panel.say(Cancel(order=9, attempt=5, sentence="asked by ada"), open_order(6))
    await fog.panel.hears(Started)  # so the cancel was heard too
    go_on.set()
    assert (await fog.ends(5)).outcome is Outcome.CANCELLED
    assert fog.result(5).sentence == "asked by ada"
    assert [job.attempt for job in workers.started] == [6]


async def test_a_cancel_before_its_content_is_here_is_told_openly(fog: Fog) -> None:
    order, _ = sealed_order(
        5, replace(SPEC, payload=bytes(1_000_000)), fog.identity.public_key, fog.identity.sealing_key
    )
    await fog.panel.say(order)
    await fog.panel.hears(Fetch)
    await fog.panel.say(Cancel(order=9, attempt=5, sentence="asked by ada"))
    end = await fog.ends(5)
    assert (end.outcome, end.sentence, end.pieces) == (Outcome.CANCELLED, "asked by ada", [])


# --- Not opened ------------------------------------------------------------------------------------


async def test_what_was_not_sealed_for_this_node_is_not_its_fault(fog: Fog) -> None:
    """Else anybody who hands in tasks could keep nodes from getting work."""
    other = Identity.generate()
    order, _ = sealed_order(5, SPEC, other.public_key, other.sealing_key)
    await fog.panel.say(order)
    end = await fog.ends(5)
    assert (end.outcome, end.pieces) == (Outcome.INVALID, [])
    assert "does not unwrap" in end.sentence


async def test_what_was_sealed_damaged_is_its_senders_fault(fog: Fog) -> None:
    key = new_content_key()
    content = seal_bytes(bytes(100), key)[:-1]
    node, sealing_key = fog.identity.public_key, fog.identity.sealing_key
    info = TASK + binding(RESERVATION, node, sha256(content).digest())
    wrap = Sealed(reservation=RESERVATION, wrapped=wrap_key(key, sealing_key, info))
    await fog.runs(5, SPEC, payload=inline(content), sealed=wrap)
    end = await fog.ends(5)
    assert (end.outcome, end.pieces) == (Outcome.INVALID, [])
    assert "damaged" in end.sentence


async def test_an_order_that_was_altered_is_not_run(panel: FakePanel, tmp_path: Path) -> None:
    workers = FakeWorkers()
    async with Fog(tmp_path, panel, workers) as fog:
        await fog.runs(5, SPEC, network=True)
        end = await fog.ends(5)
    assert (end.outcome, end.pieces) == (Outcome.INVALID, [])
    assert "network" in end.sentence
    assert workers.started == []


async def test_what_opens_but_is_no_task_is_its_senders_fault(fog: Fog) -> None:
    await fog.runs(5, replace(SPEC, result_key=bytes(32)))
    end = await fog.ends(5)
    assert (end.outcome, end.pieces) == (Outcome.INVALID, [])
    assert "result can be sealed" in end.sentence


async def test_other_content_under_the_same_wrap_is_not_run(fog: Fog) -> None:
    content = seal_bytes(b"other", new_content_key())
    await fog.runs(5, SPEC, payload=inline(content))
    assert (await fog.ends(5)).outcome is Outcome.INVALID


async def test_content_that_its_disk_damaged_is_this_nodes_fault(
    fog: Fog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fogagent.blobs.BlobCache.read", lambda cache, sha256: b"rotten")
    await fog.runs(5, replace(SPEC, payload=bytes(100_000)))
    end = await fog.ends(5)
    assert end.outcome is Outcome.CRASHED
    assert "damaged" in end.sentence


async def test_content_that_vanished_is_this_nodes_fault(fog: Fog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fogagent.blobs.BlobCache.read", lambda cache, sha256: None)
    await fog.runs(5, replace(SPEC, payload=bytes(100_000)))
    end = await fog.ends(5)
    assert end.outcome is Outcome.CRASHED
    assert "vanished" in end.sentence


async def test_a_failure_of_this_node_names_nothing_of_the_task(
    panel: FakePanel, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(FakeWorkers):
        async def run(self, job: Job, on_output: OnOutput, on_start: OnStart) -> Result:
            raise RuntimeError(f"no room for {job.stdin!r}")

    async with Fog(tmp_path, panel, Broken()) as fog:
        await fog.runs(5, replace(SPEC, stdin=MARKER))
        end = await fog.ends(5)
    assert end.outcome is Outcome.CRASHED
    assert "RuntimeError" in end.sentence
    assert "RuntimeError" in caplog.text
    assert not shows(MARKER, caplog.text.encode())
    assert messages_that_show(MARKER, panel.said) == []


# --- Killed ----------------------------------------------------------------------------------------


async def test_a_result_half_stored_at_a_kill_ends_its_attempt_once(tmp_path: Path) -> None:
    async with FakePanel(acks=False) as panel:
        workers = FakeWorkers(held=True)
        async with Fog(tmp_path, panel, workers) as fog:
            await fog.runs(5, SPEC)
            await panel.hears(Started)
            for offset in range(0, 900_000, 60_000):
                workers.prints(5, offset, bytes(60_000))
            workers.finish(5)
            await fog.ends(5)
            await killed(fog.task)
        with closing(sqlite3.connect(Home(tmp_path).spool)) as spool:  # as if it had not come so far
            assert spool.execute("DELETE FROM reports WHERE final").rowcount == 1
            spool.commit()
        panel.said.clear()
        panel.acks = True
        async with Fog(tmp_path, panel, workers) as fog:
            end = await fog.ends(5)
            with pytest.raises(SealingError):
                fog.result(5)
        assert (end.outcome, end.pieces) == (Outcome.UNKNOWN, [])
        async with Fog(tmp_path, panel):
            assert panel.heard(Holding)[-1].attempts == []


async def test_a_sealed_result_survives_a_killed_agent(tmp_path: Path) -> None:
    async with FakePanel(acks=False) as panel:
        async with Fog(tmp_path, panel) as fog:
            order = await fog.runs(5, replace(SPEC, stdin=bytes(700_000)))
            await fog.ends(5)
            await killed(fog.task)
        panel.said.clear()
        workers = FakeWorkers()
        async with Fog(tmp_path, panel, workers) as fog:
            await panel.say(order)
            await fog.ends(5)
            assert fog.result(5).stdout == bytes(700_000)
        assert workers.started == []


def inline(content: bytes) -> Blob:
    return Blob(sha256=sha256(content).hexdigest(), size=len(content), inline=content)


def open_order(attempt: int, payload: bytes = b"x", driver: str = "python", stdin: bytes = b"") -> Run:
    return Run(
        order=attempt + 100,
        attempt=attempt,
        task=attempt,
        driver=driver,
        timeout_s=60.0,
        payload=inline(payload),
        stdin=inline(stdin) if stdin else None,
    )


async def killed(task: asyncio.Task[object]) -> None:
    """End an agent without giving it a chance to flush."""
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


# --- With real drivers -----------------------------------------------------------------------------


def script_with_marker() -> SealedSpec:
    source = (
        b"import sys\nprint(sys.stdin.read(), *sys.argv)\nprint('x' * 300_000, file=sys.stderr)\n# " + MARKER
    )
    return replace(SPEC, payload=source, args=[MARKER.decode()], env={"M": MARKER.decode()}, stdin=MARKER)


def module_with_marker() -> SealedSpec:
    return replace(SPEC, terms=replace(TERMS, driver="wasm"), payload=modules.saying(MARKER), stdin=MARKER)


@pytest.fixture
def cache(driver_cache: Path, tmp_path: Path) -> Path:
    """In the agent's folder, as it is in use."""
    cache = Home(tmp_path).cache
    cache.mkdir(mode=0o700)
    for path in driver_cache.glob("*.cwasm"):
        (cache / path.name).hardlink_to(path)
    return cache


@pytest_asyncio.fixture
async def pool(cache: Path) -> AsyncIterator[Pool]:
    pool = Pool(cache, Permissions(), 1)
    await pool.start()
    yield pool
    await close(pool)


@pytest.mark.parametrize("spec", [script_with_marker(), module_with_marker()], ids=["python", "wasm"])
async def test_nothing_of_a_sealed_task_is_on_disk_or_in_a_message(
    panel: FakePanel, tmp_path: Path, pool: Pool, spec: SealedSpec
) -> None:
    panel.acks = False  # so that the spool keeps all reports
    async with Fog(tmp_path, panel, pool) as fog:
        await fog.runs(5, spec)
        end = await fog.ends(5)
        found = await asyncio.to_thread(files_that_show, MARKER, tmp_path)
    result = fog.result(5)
    assert end.outcome is result.outcome is Outcome.SUCCEEDED
    assert result.stdout.count(MARKER) >= 1
    assert result.usage.stdout_bytes == len(result.stdout)
    assert told_openly(end) == NOTHING
    assert end.usage.wall_s > 0
    assert found == await asyncio.to_thread(files_that_show, MARKER, tmp_path) == []
    assert messages_that_show(MARKER, panel.said) == []


@pytest.mark.parametrize("spec", [script_with_marker(), module_with_marker()], ids=["python", "wasm"])
async def test_the_search_finds_what_an_open_task_leaves(
    panel: FakePanel, tmp_path: Path, pool: Pool, spec: SealedSpec
) -> None:
    panel.acks = False
    async with Fog(tmp_path, panel, pool) as fog:
        await panel.say(open_order(5, spec.payload, spec.terms.driver, stdin=MARKER))
        await fog.ends(5)
        found = await asyncio.to_thread(files_that_show, MARKER, tmp_path)
    assert {path.name for path in found} >= {"stdin", "spool.sqlite3-wal"}
    assert any(path.name == "script.py" or path.suffix == ".cwasm" for path in found)
    assert len(messages_that_show(MARKER, panel.said)) == 1


async def test_an_agent_leaves_no_core_dump() -> None:
    before = resource.getrlimit(resource.RLIMIT_CORE)
    try:
        leave_no_core_dump()
        assert resource.getrlimit(resource.RLIMIT_CORE)[0] == 0
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, before)


@pytest.mark.parametrize("before", range(4))
async def test_markers_are_found_in_base64(before: int) -> None:
    encoded = b64encode(bytes(before) + MARKER + b"and more")
    assert shows(MARKER, encoded)
    assert not shows(b"b marker that stands inside"[::-1], encoded)

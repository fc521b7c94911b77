from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
import pytest_asyncio

from fogagent.drivers import crew, wire
from fogagent.drivers.base import Permissions
from fogagent.drivers.child import PACKAGE_ROOT, Child
from fogagent.drivers.engine import CacheError
from fogagent.drivers.pool import Pool
from fogagent.messages import Outcome, Usage
from fogagent.tests import driver_modules as modules
from fogagent.tests.driver_runs import Run, close, new_job

pytestmark = pytest.mark.asyncio(loop_scope="module")

WAITS = b"import time\nprint('up')\ntime.sleep(600)\n"


def workers() -> set[int]:
    """The worker processes of this test run that live now."""
    return {process.pid for process in psutil.Process().children() if _is_worker(process)}


def _is_worker(process: psutil.Process) -> bool:
    try:
        return "fogagent.drivers.worker" in process.cmdline()
    except psutil.Error:  # it is over, though perhaps nobody took note yet
        return False


@pytest.fixture
def dead_pid() -> int:
    """A process id that nobody has."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.fixture
def blocked_cache(driver_cache: Path, tmp_path: Path) -> Path:
    """A cache in which workers cannot have files of their own: a file is where their directory goes."""
    cache = tmp_path / "cache"
    cache.mkdir(mode=0o700)
    for path in driver_cache.glob("*.cwasm"):
        (cache / path.name).hardlink_to(path)
    (cache / "scratch").touch()
    return cache


@pytest.fixture
def open_directory(tmp_path: Path) -> Path:
    """A directory that others can enter."""
    tmp_path.chmod(0o755)
    return tmp_path


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def pool(driver_cache: Path) -> AsyncIterator[Pool]:
    pool = Pool(driver_cache, Permissions(), 1)
    await pool.start()
    yield pool
    await close(pool)


async def test_more_jobs_than_workers_all_end_well(pool: Pool) -> None:
    runs = [Run(pool, new_job("wasm", modules.HELLO)) for _ in range(200)]
    results = [await run.result() for run in runs]
    assert {result.outcome for result in results} == {Outcome.SUCCEEDED}
    assert {run.stdout for run in runs} == {"hello\n"}


async def test_long_jobs_run_side_by_side_and_hold_nobody_up(pool: Pool) -> None:
    long = [Run(pool, new_job("python", WAITS)) for _ in range(3)]
    for run in long:
        await run.output()
    assert (await Run(pool, new_job("wasm", modules.HELLO)).result()).outcome is Outcome.SUCCEEDED
    assert not any(run.task.done() for run in long)
    for run in long:
        pool.cancel(run.job.attempt, "Enough.")
        assert (await run.result()).outcome is Outcome.CANCELLED


async def test_a_waiting_job_is_cancelled_before_it_runs(driver_cache: Path) -> None:
    pool = Pool(driver_cache, Permissions(), 1)
    await pool.start()  # its worker cannot be ready yet
    run = Run(pool, new_job("wasm", modules.HELLO))
    await asyncio.sleep(0)
    assert pool.cancel(run.job.attempt, "Changed my mind.")
    result = await run.result()
    assert (result.outcome, result.sentence) == (Outcome.CANCELLED, "Changed my mind.")
    assert run.pieces == []
    await close(pool)


async def test_only_what_is_there_can_be_cancelled(pool: Pool) -> None:
    run = Run(pool, new_job("wasm", modules.HELLO))
    await run.result()
    assert not pool.cancel(run.job.attempt, "Too late.")
    assert not pool.cancel(10**9, "Never was.")


async def test_cancelling_the_call_stops_the_job(pool: Pool) -> None:
    before = workers()
    run = Run(pool, new_job("python", WAITS))
    await run.output()
    run.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run.task
    assert (await Run(pool, new_job("wasm", modules.HELLO)).result()).outcome is Outcome.SUCCEEDED
    assert not before <= workers()


async def test_an_attempt_runs_once_at_a_time(pool: Pool) -> None:
    run = Run(pool, new_job("python", WAITS))
    await run.output()
    with pytest.raises(ValueError, match="runs already"):
        await pool.run(run.job, lambda attempt, piece: None)
    pool.cancel(run.job.attempt, "Enough.")
    await run.result()


async def test_a_worker_that_dies_is_the_nodes_fault_and_replaced(driver_cache: Path) -> None:
    before = workers()
    pool = Pool(driver_cache, Permissions(), 1)
    await pool.start()
    run = Run(pool, new_job("python", WAITS))
    await run.output()
    for pid in workers() - before:
        os.kill(pid, signal.SIGKILL)
    result = await run.result()
    assert result.outcome is Outcome.CRASHED
    assert "killed from outside" in result.sentence
    assert result.usage.stdout_bytes == 3
    assert (await Run(pool, new_job("wasm", modules.HELLO)).result()).outcome is Outcome.SUCCEEDED
    await close(pool)


HOSTILE = """
import socket, sys
from fogagent.drivers import wire
from fogagent.messages import MAX_OUTPUT_BYTES, Outcome, Piece, Stream, Usage

def out(offset, data):
    return wire.pack(wire.Output([Piece(stream=Stream.STDOUT, offset=offset, data=data)]))

channel = socket.socket(fileno=0)
channel.sendall(wire.pack(wire.Ready()))
bodies = wire.Unpacker(wire.TO_WORKER_BYTES)
jobs = 0
while jobs < 2:  # the set-up, and a job
    jobs += len(list(bodies.feed(channel.recv(1 << 18))))
try:
    channel.sendall(SAYS)
    channel.recv(1)
except OSError:
    pass
"""

LIES = {
    "length": ("b'\\xff' * 4 + bytes(1 << 16)", "began a message of 4,294,967,295 bytes"),
    "nonsense": ("b'\\1\\0\\0\\0\\xc1'", "sent what is no message"),
    "ready twice": ("wire.pack(wire.Ready())", "said Ready out of turn"),
    "a gap": ("out(0, b'abc') + out(4, b'e')", "from byte 4 on, after 3 of"),
    "again": ("out(0, b'abc') + out(0, b'abc')", "from byte 0 on, after 3 of"),
    "another stream": (
        "wire.pack(wire.Output([Piece(stream=Stream.SEALED, offset=0, data=b'x')]))",
        "told of sealed, which no program writes to",
    ),
    "too much": (
        "b''.join(out(n << 16, bytes(1 << 16)) for n in range(1 + (MAX_OUTPUT_BYTES >> 16)))",
        "from byte 1,048,576 on, after 1,048,576 of",
    ),
    "a gap at the end": (
        "wire.pack(wire.Ended(Outcome.SUCCEEDED, 0, '', Usage(), False,"
        " [Piece(stream=Stream.STDERR, offset=1, data=b'x')]))",
        "told of stderr from byte 1 on, after 0",
    ),
}


@pytest.mark.parametrize(("says", "told"), LIES.values(), ids=list(LIES))
async def test_a_worker_that_says_what_cannot_be_is_killed_and_its_attempt_crashed(
    driver_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str, told: str
) -> None:
    program, python = tmp_path / "hostile.py", tmp_path / "python"
    program.write_text(HOSTILE.replace("SAYS", says))
    python.write_text(f"#!/bin/sh\nexec {sys.executable} {program}\n")
    python.chmod(0o700)
    pool = Pool(driver_cache, Permissions(), 1)
    with monkeypatch.context() as patched:
        patched.setattr(sys, "executable", str(python))
        await pool.start()
        run = Run(pool, new_job("wasm", modules.HELLO))
        result = await run.result()
    assert result.outcome is Outcome.CRASHED
    assert told in result.sentence
    assert (await honest_outcome(pool)) is Outcome.SUCCEEDED
    await close(pool)


async def honest_outcome(pool: Pool) -> Outcome:
    """Of a job for which there may be hostile workers still."""
    for _ in range(5):
        result = await Run(pool, new_job("wasm", modules.HELLO)).result()
        if result.outcome is not Outcome.CRASHED:
            break
    return result.outcome


async def test_a_worker_that_ends_its_job_twice_ends_no_other(driver_cache: Path) -> None:
    pool = Pool(driver_cache, Permissions(), 1)
    await pool.start()
    assert (await honest_outcome(pool)) is Outcome.SUCCEEDED
    [child] = pool._crew._children
    ended = wire.Ended(Outcome.SUCCEEDED, 0, "", Usage(), False, [])
    child.data_received(wire.pack(ended))
    assert child.fault == "The worker said Ended out of turn."
    await until_gone(pool, child)
    assert (await honest_outcome(pool)) is Outcome.SUCCEEDED
    await close(pool)


async def until_gone(pool: Pool, child: Child) -> None:
    async with asyncio.timeout(30):
        while child in pool._crew._children:  # noqa: ASYNC110 - nobody is told
            await asyncio.sleep(0)


async def test_workers_are_replaced_after_many_jobs(
    driver_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crew, "JOBS_PER_WORKER", 2)
    before = workers()
    pool = Pool(driver_cache, Permissions(), 1)
    await pool.start()
    seen = set()
    for _ in range(4):
        assert (await Run(pool, new_job("wasm", modules.HELLO)).result()).outcome is Outcome.SUCCEEDED
        seen |= workers() - before
    assert len(seen) >= 2
    await close(pool)


async def test_closing_ends_jobs_and_processes_at_once(driver_cache: Path) -> None:
    before = workers()
    pool = Pool(driver_cache, Permissions(), 2)
    await pool.start()
    runs = [Run(pool, new_job("python", WAITS)) for _ in range(2)]
    for run in runs:
        await run.output()
    began = time.monotonic()
    await pool.close()
    assert time.monotonic() - began < 2
    for run in runs:
        result = await run.result()
        assert (result.outcome, result.sentence) == (Outcome.CANCELLED, "The agent was stopped.")
    assert workers() == before
    result = await Run(pool, new_job("wasm", modules.HELLO)).result()
    assert result.outcome is Outcome.UNAVAILABLE


async def test_scratch_files_go_with_the_pool(driver_cache: Path, dead_pid: int) -> None:
    stale = driver_cache / "scratch" / f"{dead_pid}-1"
    stale.mkdir(parents=True)
    pool = Pool(driver_cache, Permissions(), 1)
    await pool.start()
    assert not stale.exists()
    await Run(pool, new_job("python", b"print(1)", stdin=b"x")).result()
    assert pool._scratch.folder.exists()
    await close(pool)
    assert not pool._scratch.folder.exists()


async def test_a_cache_that_others_can_enter_is_refused(open_directory: Path) -> None:
    with pytest.raises(CacheError, match="chmod 700"):
        await Pool(open_directory, Permissions(), 1).start()


async def test_jobs_are_turned_away_where_workers_do_not_start(
    driver_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\nexit 7\n")
    broken.chmod(0o700)
    pool = Pool(driver_cache, Permissions(), 1)
    monkeypatch.setattr(sys, "executable", str(broken))
    await pool.start()
    result = await Run(pool, new_job("wasm", modules.HELLO)).result()
    assert result.outcome is Outcome.UNAVAILABLE
    monkeypatch.undo()
    result = await Run(pool, new_job("wasm", modules.HELLO)).result()
    assert result.outcome is Outcome.SUCCEEDED  # once they start again
    await close(pool)


async def test_workers_that_cannot_be_started_turn_jobs_away(blocked_cache: Path) -> None:
    pool = Pool(blocked_cache, Permissions(), 1)
    await pool.start()
    assert (await Run(pool, new_job("wasm", modules.HELLO)).result()).outcome is Outcome.UNAVAILABLE
    await close(pool)


async def test_workers_beyond_the_usual_number_leave_when_idle(
    driver_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crew, "SURPLUS_S", 0.2)
    before = workers()
    pool = Pool(driver_cache, Permissions(), 1)
    await pool.start()
    runs = [Run(pool, new_job("python", b"import time; print('up'); time.sleep(3)")) for _ in range(3)]
    for run in runs:
        await run.output()
    assert len(workers() - before) >= 3
    for run in runs:
        await run.result()
    async with asyncio.timeout(30):
        while len(workers() - before) > 1:  # noqa: ASYNC110 - the end of a process sets no event
            await asyncio.sleep(0.01)
    assert (await Run(pool, new_job("wasm", modules.HELLO)).result()).outcome is Outcome.SUCCEEDED
    await close(pool)


AGENT = """
    import asyncio, sys
    from pathlib import Path
    from fogagent.drivers.base import Job, Permissions
    from fogagent.drivers.pool import Pool

    async def main():
        pool = Pool(Path(sys.argv[1]), Permissions(allow_command=True), 2)
        await pool.start()
        jobs = [Job(attempt=1, driver="python", payload=b"print('up')\\nwhile True: pass"),
                Job(attempt=2, driver=sys.argv[2], args=("sh", "-c", "echo up; sleep 600"),
                    payload=b"print('up')\\nwhile True: pass")]
        tell = lambda attempt, piece: print(attempt, flush=True)
        await asyncio.gather(*(pool.run(job, tell) for job in jobs))

    asyncio.run(main())
"""


async def test_nothing_outlives_a_killed_agent(driver_cache: Path, sandbox_works: bool) -> None:
    agent = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", textwrap.dedent(AGENT), str(driver_cache), "command" if sandbox_works else "python"),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(PACKAGE_ROOT)},
    )
    assert agent.stdout is not None
    assert {await agent.stdout.readline(), await agent.stdout.readline()} == {b"1\n", b"2\n"}
    family = psutil.Process(agent.pid).children(recursive=True)
    assert len(family) >= 2
    agent.kill()
    await agent.wait()
    _, alive = await asyncio.to_thread(psutil.wait_procs, family, timeout=30)
    assert alive == []

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from fogagent.drivers import wasi
from fogagent.drivers.base import Permissions
from fogagent.drivers.pool import Pool
from fogagent.messages import LOG_PIECE_BYTES, MAX_OUTPUT_BYTES, Outcome, Stream
from fogagent.tests import driver_modules as modules
from fogagent.tests.driver_runs import Run, close, new_job

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def pool(driver_cache: Path) -> AsyncIterator[Pool]:
    pool = Pool(driver_cache, Permissions(), 1)
    await pool.start()
    yield pool
    await close(pool)


async def test_a_module_writes_and_succeeds(pool: Pool) -> None:
    run = Run(pool, new_job("wasm", modules.HELLO))
    result = await run.result()
    assert (result.outcome, result.exit_code, result.sentence) == (Outcome.SUCCEEDED, 0, "")
    assert run.stdout == "hello\n"
    assert result.usage.stdout_bytes == 6
    assert result.usage.fuel > 0
    assert result.usage.memory_peak_mb == 1
    assert 0 < result.usage.wall_s < 10
    assert result.started_at <= result.finished_at


async def test_standard_input_is_read_to_its_end(pool: Pool) -> None:
    stdin = bytes(range(256)) * 400
    run = Run(pool, new_job("wasm", modules.ECHO, stdin=stdin))
    assert (await run.result()).outcome is Outcome.SUCCEEDED
    assert run.bytes_of(Stream.STDOUT) == stdin


async def test_without_standard_input_there_is_none_left_over(pool: Pool) -> None:
    await Run(pool, new_job("wasm", modules.ECHO, stdin=b"secret")).result()
    run = Run(pool, new_job("wasm", modules.ECHO))
    await run.result()
    assert run.stdout == ""


async def test_arguments_follow_the_name(pool: Pool) -> None:
    run = Run(pool, new_job("wasm", modules.ARGUMENTS, args=("one", "zwei ä", "")))
    await run.result()
    assert run.stdout.split("\0") == ["module.wasm", "one", "zwei ä", "", ""]


async def test_the_environment_is_the_jobs_alone(pool: Pool) -> None:
    run = Run(pool, new_job("wasm", modules.ENVIRONMENT, env={"A": "1", "B": "x=y"}))
    await run.result()
    assert run.stdout == "A=1\0B=x=y\0"


async def test_an_exit_code_is_told(pool: Pool) -> None:
    result = await Run(pool, new_job("wasm", modules.EXIT_3)).result()
    assert (result.outcome, result.exit_code) == (Outcome.EXIT_CODE, 3)
    assert result.sentence == "The program exited with code 3."


@pytest.mark.parametrize(
    ("module", "cause"), [(modules.TRAP, "unreachable"), (modules.DIVISION, "divide by zero")]
)
async def test_a_trap_is_named(pool: Pool, module: bytes, cause: str) -> None:
    result = await Run(pool, new_job("wasm", module)).result()
    assert (result.outcome, result.exit_code) == (Outcome.TRAP, None)
    assert cause in result.sentence


async def test_an_endless_loop_ends_at_its_budget(pool: Pool) -> None:
    job = new_job("wasm", modules.ENDLESS, timeout_s=2.5, cpu_millis=1)
    result = await Run(pool, job).result()
    assert result.outcome is Outcome.FUEL
    assert result.usage.fuel == pytest.approx(wasi.fuel_for(job), rel=0.01)
    assert "100,000,000 instructions" in result.sentence


async def test_an_endless_loop_ends_at_its_time_limit(pool: Pool) -> None:
    result = await Run(pool, new_job("wasm", modules.ENDLESS, timeout_s=1)).result()
    assert (result.outcome, result.exit_code) == (Outcome.TIMEOUT, None)
    assert result.sentence == "The program was stopped at its time limit of 1 s."
    assert 0.95 < result.usage.wall_s < 5.8
    assert result.usage.cpu_s > 0.05


async def test_growing_beyond_the_limit_is_told_as_memory(pool: Pool) -> None:
    result = await Run(pool, new_job("wasm", modules.GREEDY, memory_mb=8)).result()
    assert result.outcome is Outcome.MEMORY
    assert result.usage.memory_peak_mb == 8
    assert "8 MB" in result.sentence


async def test_asking_for_more_than_the_limit_is_told_as_memory(pool: Pool) -> None:
    result = await Run(pool, new_job("wasm", modules.LARGE, memory_mb=16)).result()
    assert result.outcome is Outcome.MEMORY
    assert "16 MB" in result.sentence


@pytest.mark.parametrize(
    ("module", "says"),
    [
        (b"", "must be a WebAssembly core module"),
        (b"not a module", "must be a WebAssembly core module"),
        (modules.HELLO[: len(modules.HELLO) // 2], "must be a WASI module that can run here"),
        (modules.LIBRARY, "_start"),
        (modules.NEEDS_MORE, "launch"),
        (b"(module)", "not text"),
        (b"\0asm\x0d\x00\x01\x00", "not a component"),
    ],
    ids=["empty", "text", "truncated", "library", "unknown import", "text format", "component"],
)
async def test_what_cannot_run_is_invalid(pool: Pool, module: bytes, says: str) -> None:
    result = await Run(pool, new_job("wasm", module)).result()
    assert result.outcome is Outcome.INVALID
    assert says in result.sentence


async def test_output_beyond_the_limit_is_cut_and_counted(pool: Pool) -> None:
    run = Run(pool, new_job("wasm", modules.LOUD))
    result = await run.result()
    assert result.outcome is Outcome.SUCCEEDED
    assert result.truncated
    assert len(run.bytes_of(Stream.STDOUT)) == MAX_OUTPUT_BYTES
    assert result.usage.stdout_bytes == 40 * 64 * 1024
    assert max(len(piece.data) for piece in run.pieces) <= LOG_PIECE_BYTES


async def test_a_cut_does_not_outlive_its_job(pool: Pool) -> None:
    await Run(pool, new_job("wasm", modules.LOUD)).result()
    run = Run(pool, new_job("wasm", modules.HELLO))
    result = await run.result()
    assert not result.truncated
    assert run.stdout == "hello\n"


async def test_an_unknown_driver_is_invalid(pool: Pool) -> None:
    result = await Run(pool, new_job("quantum")).result()
    assert result.outcome is Outcome.INVALID
    assert "wasm, python, command, container" in result.sentence

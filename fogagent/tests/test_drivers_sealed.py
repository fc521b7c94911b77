"""Jobs that came sealed: they run as others do, and nothing of them is written to disk."""

from __future__ import annotations

import textwrap
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from fogagent.drivers import container, workshop
from fogagent.drivers.base import Job, Permissions
from fogagent.drivers.pool import Pool
from fogagent.drivers.wire import Setup
from fogagent.messages import Outcome, Stream
from fogagent.tests import driver_modules as modules
from fogagent.tests.driver_runs import Run, close, new_job

pytestmark = pytest.mark.asyncio(loop_scope="module")

MARKER = "a marker of 26 bytes, inside"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def pool(sealed_cache: Path) -> AsyncIterator[Pool]:
    pool = Pool(sealed_cache, Permissions(allow_command=True, allow_container=True), 1)
    await pool.start()
    yield pool
    await close(pool)


@pytest.fixture(scope="module")
def sealed_cache(driver_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of this module's own, with nothing but the interpreter in it."""
    cache = tmp_path_factory.mktemp("cache")
    cache.chmod(0o700)
    for path in driver_cache.glob("*.cwasm"):
        (cache / path.name).hardlink_to(path)
    return cache


def script(source: str, **wishes: Any) -> Job:
    return new_job("python", textwrap.dedent(source).encode(), sealed=True, **wishes)


def files(folder: Path) -> dict[Path, int]:
    """All files of it, and when they were changed."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


async def test_a_script_runs_as_if_it_were_a_file(pool: Pool) -> None:
    run = Run(
        pool,
        script(
            """
            import os, sys
            print(sys.argv, os.environ["COLOUR"], __name__, __file__)
            print(input(), sys.stdin.read())
            print(sorted(name for name in globals() if not name.startswith("__")), __doc__)
            """,
            args=("a", "b c"),
            env={"COLOUR": "grün"},
            stdin=b"first\nthe rest",
        ),
    )
    assert (await run.result()).outcome is Outcome.SUCCEEDED
    argv = "['/task/script.py', 'a', 'b c']"
    assert run.stdout == f"{argv} grün __main__ /task/script.py\nfirst the rest\n['os', 'sys'] None\n"


async def test_a_script_without_input_reads_an_end(pool: Pool) -> None:
    run = Run(pool, script("import sys\nprint([sys.stdin.read()])"))
    await run.result()
    assert run.stdout == "['']\n"


@pytest.mark.parametrize(
    "source",
    [
        "x = 1\ndef fail():\n    raise ValueError('ähm')\nfail()",
        "x = 1\nif x\n",
        "raise SystemExit(3)",
        "import sys\nsys.exit('bad')",
        "print(1 / 0)",
        "try:\n    1 / 0\nexcept ZeroDivisionError:\n    raise KeyError('a')",
    ],
)
async def test_errors_are_shown_as_those_of_a_file(pool: Pool, source: str) -> None:
    told = []
    for sealed in (True, False):
        run = Run(pool, new_job("python", source.encode(), sealed=sealed))
        result = await run.result()
        told.append((result.outcome, result.exit_code, result.sentence, run.stderr))
    assert told[0] == told[1]


async def test_a_source_may_declare_its_encoding(pool: Pool) -> None:
    source = "# -*- coding: latin-1 -*-\nprint(len('\u00e9'))\n".encode("latin-1")
    run = Run(pool, new_job("python", source, sealed=True))
    await run.result()
    assert run.stdout == "1\n"


async def test_a_large_script_is_read_whole(pool: Pool) -> None:
    run = Run(pool, script("#" * 2_000_000 + "\nprint(input())", stdin=b"and no byte more"))
    await run.result()
    assert run.stdout == "and no byte more\n"


async def test_a_script_that_runs_out_of_memory_is_told_so(pool: Pool) -> None:
    result = await Run(pool, script("hoard = [bytes(1 << 20) for _ in range(1000)]", memory_mb=64)).result()
    assert result.outcome is Outcome.MEMORY


async def test_a_script_sees_no_directory(pool: Pool) -> None:
    run = Run(pool, script("import os\nos.listdir('/task')"))
    assert (await run.result()).exit_code == 1


@pytest.mark.parametrize("driver", ["wasm", "python"])
async def test_nothing_is_written(pool: Pool, sealed_cache: Path, driver: str) -> None:
    stdin = MARKER.encode() * 10_000
    warm = Run(pool, new_job(driver, _echo(driver), stdin=b"x", sealed=True))  # the interpreter is loaded
    await warm.result()
    before = files(sealed_cache)
    run = Run(pool, new_job(driver, _echo(driver), stdin=stdin, sealed=True))
    assert (await run.result()).outcome is Outcome.SUCCEEDED
    assert run.bytes_of(Stream.STDOUT) == stdin
    assert files(sealed_cache) == before


async def test_no_trace_is_left_of_a_module_that_was_here_before(pool: Pool, sealed_cache: Path) -> None:
    await Run(pool, new_job("wasm", modules.HELLO)).result()
    before = files(sealed_cache)
    await Run(pool, new_job("wasm", modules.HELLO, sealed=True)).result()
    assert files(sealed_cache) == before


async def test_a_module_is_refused_as_an_open_one_is(pool: Pool) -> None:
    for module, words in ((b"text", "core module"), (modules.NEEDS_MORE, "launch")):
        result = await Run(pool, new_job("wasm", module, sealed=True)).result()
        assert result.outcome is Outcome.INVALID
        assert words in result.sentence


async def test_a_command_gets_its_input(pool: Pool, sealed_cache: Path, sandbox_works: bool) -> None:
    if not sandbox_works:
        pytest.skip("no sandbox here")
    before = files(sealed_cache)
    wishes = {"args": ("sh", "-c", "cat; echo $COLOUR"), "stdin": MARKER.encode(), "env": {"COLOUR": "red"}}
    run = Run(pool, new_job("command", sealed=True, **wishes))  # type: ignore[arg-type]
    assert (await run.result()).outcome is Outcome.SUCCEEDED
    assert run.stdout == f"{MARKER}red\n"
    assert files(sealed_cache) == before


async def test_containers_are_refused(sealed_cache: Path, tmp_path: Path) -> None:
    setup = Setup(str(sealed_cache), str(tmp_path), Permissions(allow_container=True), agent_pid=1)
    ending = container.run(new_job("container", image="alpine", sealed=True), workshop.Workshop(setup))
    assert ending.outcome is Outcome.INVALID
    assert "writes to disk" in ending.sentence


async def test_a_file_in_memory_goes_with_its_context() -> None:
    with workshop.memory_file(b"inside") as path:
        assert path.read_bytes() == b"inside"
    assert not path.exists()


def _echo(driver: str) -> bytes:
    return modules.ECHO if driver == "wasm" else b"print(input(), end='')"

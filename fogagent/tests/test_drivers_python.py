from __future__ import annotations

import textwrap
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from fogagent.drivers.base import Job, Permissions
from fogagent.drivers.pool import Pool
from fogagent.messages import MAX_OUTPUT_BYTES, Outcome, Stream
from fogagent.tests.driver_runs import Run, close, new_job

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def pool(driver_cache: Path) -> AsyncIterator[Pool]:
    pool = Pool(driver_cache, Permissions(), 1)
    await pool.start()
    yield pool
    await close(pool)


def script(source: str, **wishes: Any) -> Job:
    return new_job("python", textwrap.dedent(source).encode(), **wishes)


async def test_a_script_sees_its_arguments_input_and_environment(pool: Pool) -> None:
    run = Run(
        pool,
        script(
            """
            import os, sys
            print(sys.argv, os.environ["COLOUR"], sys.stdin.read())
            """,
            args=("a", "b c"),
            env={"COLOUR": "grün"},
            stdin=b"42",
        ),
    )
    assert (await run.result()).outcome is Outcome.SUCCEEDED
    assert run.stdout == "['/task/script.py', 'a', 'b c'] grün 42\n"


async def test_output_arrives_while_the_script_runs(pool: Pool) -> None:
    run = Run(pool, script("import time\nprint('first')\ntime.sleep(60)"))
    await run.output()
    assert run.stdout == "first\n"
    assert not run.task.done()
    assert pool.cancel(run.job.attempt, "Not needed any more.")
    result = await run.result()
    assert (result.outcome, result.sentence) == (Outcome.CANCELLED, "Not needed any more.")


@pytest.mark.parametrize(("call", "code"), [("sys.exit(3)", 3), ("sys.exit('bad')", 1)])
async def test_the_exit_code_is_told(pool: Pool, call: str, code: int) -> None:
    result = await Run(pool, script(f"import sys\n{call}")).result()
    assert (result.outcome, result.exit_code) == (Outcome.EXIT_CODE, code)
    assert result.sentence == f"The program exited with code {code}."


async def test_a_traceback_names_the_line(pool: Pool) -> None:
    run = Run(pool, script("x = 1\nraise ValueError('here')"))
    assert (await run.result()).exit_code == 1
    assert 'File "/task/script.py", line 2, in <module>' in run.stderr
    assert "raise ValueError('here')" in run.stderr


async def test_a_syntax_error_names_the_line(pool: Pool) -> None:
    run = Run(pool, script("x = 1\nif x\n"))
    assert (await run.result()).outcome is Outcome.EXIT_CODE
    assert 'File "/task/script.py", line 2' in run.stderr
    assert "SyntaxError" in run.stderr


async def test_a_sleep_does_not_outlive_the_time_limit(pool: Pool) -> None:
    run = Run(pool, script("import time\nprint('zzz')\ntime.sleep(600)", timeout_s=2))
    result = await run.result()
    assert result.outcome is Outcome.TIMEOUT
    assert run.stdout == "zzz\n"  # also what was written just before the end
    assert result.usage.stdout_bytes == 4
    assert 1.9 < result.usage.wall_s < 6.5


async def test_an_endless_loop_is_stopped(pool: Pool) -> None:
    result = await Run(pool, script("while True: pass", timeout_s=0.5)).result()
    assert result.outcome is Outcome.TIMEOUT


async def test_huge_output_is_cut(pool: Pool) -> None:
    run = Run(pool, script("import sys\nsys.stderr.write('x' * 1_500_000)\nprint('done')"))
    result = await run.result()
    assert result.outcome is Outcome.SUCCEEDED
    assert result.truncated
    assert len(run.bytes_of(Stream.STDERR)) == MAX_OUTPUT_BYTES
    assert run.stdout == "done\n"


async def test_running_out_of_memory_is_told(pool: Pool) -> None:
    run = Run(pool, script("hoard = [bytes(1 << 20) for _ in range(1000)]", memory_mb=64))
    result = await run.result()
    assert result.outcome is Outcome.MEMORY
    assert "64 MB" in result.sentence
    assert 32 < result.usage.memory_peak_mb <= 64


async def test_a_script_reaches_no_file_of_the_machine(pool: Pool, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("treasure")
    run = Run(
        pool,
        script(
            f"""
            import os
            for path in ({str(tmp_path / "secret")!r}, "/etc/passwd", "/task/../../etc/passwd"):
                try:
                    print(open(path).read())
                except OSError as error:
                    print("refused")
            print(os.listdir("/task"))
            """
        ),
    )
    await run.result()
    assert run.stdout == "refused\nrefused\nrefused\n['script.py']\n"


async def test_a_script_cannot_write(pool: Pool) -> None:
    run = Run(pool, script("open('/task/script.py', 'a').write('x')"))
    assert (await run.result()).exit_code == 1
    assert "Error" in run.stderr


async def test_a_script_has_no_sockets(pool: Pool) -> None:
    run = Run(
        pool,
        script(
            """
            import socket
            connection = socket.socket()
            connection.connect(("127.0.0.1", 80))
            """
        ),
    )
    assert (await run.result()).exit_code == 1
    assert "Error" in run.stderr


async def test_nothing_of_one_job_is_left_for_the_next(pool: Pool) -> None:
    await Run(pool, script("import sys\nsys.stdin.read()\nleft = 1", stdin=b"old")).result()
    run = Run(pool, script("import sys\nprint(sys.stdin.read(), 'left' in globals())"))
    await run.result()
    assert run.stdout == " False\n"


async def test_a_source_may_declare_its_encoding(pool: Pool) -> None:
    source = "# -*- coding: latin-1 -*-\nprint(len('\u00e9'))\n".encode("latin-1")
    run = Run(pool, new_job("python", source))
    await run.result()
    assert run.stdout == "1\n"

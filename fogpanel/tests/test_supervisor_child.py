"""Keeping a program running: started again when it ends, stopped when told, never left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from fogpanel.supervisor.backoff import Backoff
from fogpanel.supervisor.child import LONGEST_LINE, Child, Program, describe
from fogpanel.supervisor.waiting import until

PATIENCE_S = 20.0


class Listener:
    """Hears what children say."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, who: str, line: str) -> None:
        self.lines.append(line)

    async def heard(self, text: str, times: int = 1) -> None:
        async def enough() -> bool:
            return sum(text in line for line in self.lines) >= times

        assert await until(enough, within_s=PATIENCE_S, every_s=0.01), self.lines


def python(source: str, **options: float | frozenset[int]) -> Program:
    return Program(name="child", argv=(sys.executable, "-u", "-c", source), **options)  # type: ignore[arg-type]


def child_of(program: Program, listener: Listener) -> Child:
    return Child(program, listener.say, lambda: None)


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline
        os.sched_yield()


def test_backoff_doubles_up_to_its_limit_and_forgets_after_a_steady_run() -> None:
    backoff = Backoff()
    assert [backoff.after(1) for _ in range(8)] == [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert backoff.after(30) == 0.5
    assert backoff.after(1) == 1


@pytest.mark.asyncio
async def test_a_child_that_ends_is_started_again_and_says_so() -> None:
    listener = Listener()
    child = child_of(python("import sys; print('here'); sys.exit(7)"), listener)
    child.start()
    await listener.heard("here", times=2)
    await child.stop()
    assert "ended (exit code 7); starting it again in 0.5 s" in listener.lines
    assert child.restarts >= 1
    assert child.pid is None


@pytest.mark.asyncio
async def test_a_final_exit_code_is_final() -> None:
    listener = Listener()
    child = child_of(python("import sys; sys.exit(3)", final_codes=frozenset({3})), listener)
    child.start()
    await listener.heard("ended for good")
    assert child.gone_for_good
    await child.stop()


@pytest.mark.asyncio
async def test_a_stubborn_child_is_killed() -> None:
    listener = Listener()
    stubborn = "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf'); time.sleep(600)"
    child = child_of(python(stubborn, stop_s=0.2), listener)
    child.start()
    await listener.heard("deaf")
    await child.stop()
    assert "did not end within 0.2 s and is killed" in listener.lines
    assert child.pid is None


@pytest.mark.asyncio
async def test_stop_while_waiting_to_start_again_returns_at_once() -> None:
    listener = Listener()
    child = child_of(python("raise SystemExit(1)"), listener)
    child.start()
    await listener.heard("starting it again in 1 s")
    async with asyncio.timeout(0.8):
        await child.stop()


@pytest.mark.asyncio
async def test_nothing_that_a_child_started_stays_behind() -> None:
    listener = Listener()
    source = (
        "import subprocess, sys, time\n"
        "print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']).pid)\n"
        "time.sleep(600)"
    )
    child = child_of(python(source), listener)
    child.start()
    await listener.heard("")
    grandchild = psutil.Process(int(listener.lines[0]))
    await child.stop()
    gone, _ = await asyncio.to_thread(psutil.wait_procs, [grandchild], PATIENCE_S)
    assert gone or grandchild.status() == psutil.STATUS_ZOMBIE


@pytest.mark.asyncio
async def test_lines_arrive_whole_whatever_their_length() -> None:
    listener = Listener()
    child = child_of(python(f"print('a' * {3 * LONGEST_LINE}); print('\\xe9nd'); input()"), listener)
    child.start()
    await listener.heard("énd")
    await child.stop()
    assert sum(line.count("a") for line in listener.lines if set(line) == {"a"}) == 3 * LONGEST_LINE


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's death signal is Linux only")
def test_a_child_does_not_outlive_a_killed_supervisor(tmp_path: Path) -> None:
    supervisor = tmp_path / "supervisor.py"
    supervisor.write_text(
        "import asyncio, sys\n"
        "from fogpanel.supervisor.child import Child, Program\n"
        "async def main():\n"
        "    sleeper = Program(name='c', argv=(sys.executable, '-c', 'import time; time.sleep(600)'))\n"
        "    child = Child(sleeper, print, lambda: print(child.pid, flush=True))\n"
        "    child.start()\n"
        "    await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen(
        [sys.executable, str(supervisor)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
    ) as process:
        assert process.stdout is not None
        child = psutil.Process(int(process.stdout.readline()))
        process.send_signal(signal.SIGKILL)
        process.wait(PATIENCE_S)
        wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


def test_exit_codes_in_words() -> None:
    assert describe(3) == "exit code 3"
    assert describe(-9) == "killed by SIGKILL"
    assert describe(-200) == "killed by signal 200"

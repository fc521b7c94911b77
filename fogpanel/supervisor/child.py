"""One program that is kept running: started, listened to, started again when it ends, stopped."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from fogpanel.supervisor.backoff import Backoff
from fogpanel.supervisor.console import Say
from fogpanel.supervisor.lifeline import bound_to
from fogpanel.supervisor.places import ROOT

LONGEST_LINE = 64 * 1024
LAST_WORDS_S = 0.5
"""How long the output of a program that ended is still read; what it left behind may hold it open."""


@dataclass(frozen=True, kw_only=True)
class Program:
    """What to run. ``final_codes``: exit codes after which starting it again cannot help."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    pass_fds: tuple[int, ...] = ()
    stop_s: float = 1.5
    final_codes: frozenset[int] = frozenset()


async def spawn(program: Program, output: int) -> asyncio.subprocess.Process:
    """Start ``program``, its output to the descriptor ``output``, where a Ctrl-C does not reach it."""
    return await asyncio.create_subprocess_exec(
        *program.argv,
        cwd=ROOT,
        env={**inherited(), **program.env},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=output,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
        pass_fds=program.pass_fds,
        preexec_fn=bound_to(os.getpid()),
    )


def inherited() -> dict[str, str]:
    """Our environment, with the checkout importable and compiled modules kept, which halves every start."""
    ours = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    return {**ours, "PYTHONPATH": str(ROOT)}


class Child:
    """Keeps ``program`` running until it is told to stop."""

    def __init__(self, program: Program, say: Say, changed: Callable[[], None]) -> None:
        self.program = program
        self.restarts = 0
        self.gone_for_good = False
        self._say = say
        self._changed = changed
        self._backoff = Backoff()
        self._process: asyncio.subprocess.Process | None = None
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self._process.pid if self._process and self._process.returncode is None else None

    def start(self) -> None:
        self._task = asyncio.create_task(self._keep(), name=self.program.name)

    async def stop(self) -> None:
        """Ask it to end, wait for ``stop_s``, then make it."""
        self._stop.set()
        if self._task is None:
            return
        self._signal(signal.SIGTERM)
        done, _ = await asyncio.wait([self._task], timeout=self.program.stop_s)
        if not done:
            self._say(self.program.name, f"did not end within {self.program.stop_s:g} s and is killed")
            self._signal(signal.SIGKILL)
        await self._task

    async def _keep(self) -> None:
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                code = await self._run_once()
                end = describe(code)
            except OSError as error:  # no memory or no process left for it: that may pass
                code, end = None, f"not started: {error}"
            if self._stop.is_set():
                return
            if code in self.program.final_codes:
                self.gone_for_good = True
                self._say(self.program.name, "ended for good; what it said last tells why")
                return
            delay = self._backoff.after(time.monotonic() - began)
            self._say(self.program.name, f"ended ({end}); starting it again in {delay:g} s")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), delay)
            self.restarts += 1

    async def _run_once(self) -> int:
        # A pipe of our own: asyncio's keeps `wait` from returning while a grandchild holds it open.
        ours, theirs = os.pipe()
        try:
            self._process = process = await spawn(self.program, theirs)
        finally:
            os.close(theirs)
        self._changed()
        if self._stop.is_set():  # told to stop while it was being started
            self._signal(signal.SIGTERM)
        reading = asyncio.create_task(self._read(ours))
        code = await process.wait()
        await asyncio.wait([reading], timeout=LAST_WORDS_S)
        reading.cancel()
        # Whatever it started is in its process group; nothing of it may stay.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        self._changed()
        return code

    async def _read(self, pipe: int) -> None:
        reader = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(pipe, "rb")
        )
        try:
            await self._say_lines(reader)
        finally:
            transport.close()

    async def _say_lines(self, reader: asyncio.StreamReader) -> None:
        rest = b""
        while piece := await reader.read(LONGEST_LINE):
            *lines, rest = (rest + piece).split(b"\n")
            if len(rest) > LONGEST_LINE:
                lines, rest = [*lines, rest], b""
            for line in lines:
                self._say(self.program.name, line.decode(errors="replace").rstrip())
        if rest:
            self._say(self.program.name, rest.decode(errors="replace"))

    def _signal(self, number: signal.Signals) -> None:
        if self._process and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)


def describe(code: int) -> str:
    """An exit code in words."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"

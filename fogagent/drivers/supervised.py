"""Running an ordinary program from a worker, and measuring it and whatever it starts."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from fogagent.drivers.capture import Capture

FIRST_SAMPLE_S, SAMPLE_S = 0.005, 0.1
MAX_PROCESSES = 256
MB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Finish:
    """How a program ended. ``exceeded`` says which limit it was killed for, if one."""

    status: int
    cpu_s: float
    memory_peak_mb: int
    exceeded: str


def run_program(
    argv: Sequence[str],
    capture: Capture,
    *,
    stdin: Path | None,
    memory_mb: int | None = None,
    pass_fds: Sequence[int] = (),
) -> Finish:
    """Run ``argv`` to its end, killing it when all its processes have more than ``memory_mb``."""
    with (stdin or Path(os.devnull)).open("rb") as source:
        process = subprocess.Popen(
            argv,
            stdin=source,
            stdout=capture.stdout.writer,
            stderr=capture.stderr.writer,
            pass_fds=pass_fds,
        )
    sampler = _Sampler(process, memory_mb)
    sampler.start()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    sampler.finish()
    return Finish(
        status=process.returncode,
        cpu_s=used.ru_utime + used.ru_stime,
        memory_peak_mb=sampler.peak_mb,
        exceeded=sampler.exceeded,
    )


class _Sampler(threading.Thread):
    """Looks at the program and its descendants, soon after the start and then every SAMPLE_S.

    Not `ru_maxrss`: it counts what this worker had when the program was forked from it.
    """

    def __init__(self, process: subprocess.Popen[bytes], memory_mb: int | None) -> None:
        super().__init__(daemon=True)
        self.peak_mb = 0
        self.exceeded = ""
        self._process = process
        self._memory_mb = memory_mb
        self._over = threading.Event()

    def finish(self) -> None:
        self._over.set()
        self.join()

    def run(self) -> None:
        if self._memory_mb is None:
            return
        pause_s = FIRST_SAMPLE_S
        while not self._over.wait(pause_s):
            self._look(self._memory_mb)
            pause_s = min(SAMPLE_S, 2 * pause_s)

    def _look(self, memory_mb: int) -> None:
        try:
            root = psutil.Process(self._process.pid)
            family = [root, *root.children(recursive=True)]
        except psutil.Error:
            return  # it is over
        used_mb = -(-sum(map(_private_bytes, family)) // MB)
        self.peak_mb = max(self.peak_mb, used_mb)
        if used_mb > memory_mb:
            self.exceeded = f"The program used more than its {memory_mb} MB of memory"
        elif len(family) > MAX_PROCESSES:
            self.exceeded = f"The program had more than {MAX_PROCESSES} processes"
        if self.exceeded:
            root.kill()


def _private_bytes(process: psutil.Process) -> int:
    try:
        memory = process.memory_info()
    except psutil.Error:
        return 0  # it ended in between
    return max(0, int(memory.rss) - int(memory.shared))

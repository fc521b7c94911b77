"""The child process that runs jobs, one at a time: `python -m fogagent.drivers.worker`.

Started by the pool with one end of a socket pair as standard input. Three threads: the main one
runs jobs, `_Pump` sends output while a job runs, `_Watch` ends everything when the pool lets go.
Ends by signal or `os._exit` only: wasmtime's threads panic at an orderly interpreter exit.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator

import psutil

from fogagent.drivers import command, container, python, wasm, wire
from fogagent.drivers.base import Ending, Job
from fogagent.drivers.workshop import Workshop
from fogagent.messages import Outcome, Usage

PUMP_S = 0.025
"""How long output may wait for more of it."""
LAST_WORDS_S = 0.15
"""How long the end of the pool's interest waits for the pump to finish a message."""
PR_SET_PDEATHSIG = 1
POLLRDHUP = getattr(select, "POLLRDHUP", 0)  # Linux has it; elsewhere the pool's kill comes a bit later

DRIVERS: dict[str, Callable[[Job, Workshop], Ending]] = {
    "wasm": wasm.run,
    "python": python.run,
    "command": command.run,
    "container": container.run,
}


class _Measure:
    """What the worker itself used since a job began."""

    def __init__(self) -> None:
        self.wall = time.monotonic()
        self.cpu = _own_cpu_s()

    def usage(self, workshop: Workshop, *, cpu_s: float, memory_peak_mb: int, fuel: int) -> Usage:
        return Usage(
            wall_s=time.monotonic() - self.wall,
            cpu_s=_own_cpu_s() - self.cpu + cpu_s,
            memory_peak_mb=memory_peak_mb,
            fuel=fuel,
            stdout_bytes=workshop.capture.stdout.written,
            stderr_bytes=workshop.capture.stderr.written,
        )


class Worker:
    """The state that the three threads share, behind one lock."""

    def __init__(self, channel: socket.socket, workshop: Workshop) -> None:
        self.channel = channel
        self.workshop = workshop
        self.lock = threading.Lock()
        self.measure: _Measure | None = None  # of the job that runs now
        self.jobs_begun = 0
        self.idle_rss = psutil.Process().memory_info().rss
        self._pump = _Pump(self)
        self._pump.start()
        _Watch(self).start()

    def send(self, message: wire.FromWorker) -> None:
        self.channel.sendall(wire.pack(message))

    def run(self, job: Job) -> None:
        self.workshop.capture.begin()
        with self.lock:
            self.measure = measure = _Measure()
            self.jobs_begun += 1
            self._pump.wake()
        ending = self._drive(job)
        with self.lock:
            self.measure = None
            pieces = self.workshop.capture.take()
            usage = measure.usage(
                self.workshop,
                cpu_s=ending.cpu_s,
                memory_peak_mb=ending.memory_peak_mb,
                fuel=ending.fuel,
            )
            self.send(
                wire.Ended(
                    ending.outcome,
                    ending.exit_code,
                    ending.sentence,
                    usage,
                    self.workshop.capture.truncated,
                    pieces,
                )
            )

    def _drive(self, job: Job) -> Ending:
        if job.driver not in DRIVERS:
            sentence = f"driver: must be one of {', '.join(DRIVERS)}, was {job.driver!r}."
            return Ending(outcome=Outcome.INVALID, sentence=sentence)
        try:
            return DRIVERS[job.driver](job, self.workshop)
        except Exception as error:  # whatever fails here is this node's fault, and is told as such
            sentence = f"The {job.driver} driver failed on this node: {type(error).__name__}: {error}."
            return Ending(outcome=Outcome.CRASHED, sentence=sentence)

    def last_words(self) -> None:
        """Tell the pool what an unfinished job wrote and used. It knows why it ends, we do not."""
        if self.measure is None:
            return
        pieces = self.workshop.capture.take()
        others = psutil.Process().children(recursive=True)
        grown = max(0, psutil.Process().memory_info().rss - self.idle_rss)
        usage = self.measure.usage(
            self.workshop, cpu_s=sum(map(_cpu_s, others)), memory_peak_mb=grown // 2**20, fuel=0
        )
        ended = wire.Ended(Outcome.CANCELLED, None, "", usage, self.workshop.capture.truncated, pieces)
        self.send(ended)


class _Pump(threading.Thread):
    """Sends output every PUMP_S while a job runs; asleep while the worker is idle."""

    def __init__(self, worker: Worker) -> None:
        super().__init__(daemon=True)
        self._worker = worker
        self._needed = threading.Event()
        self._pumping = False

    def wake(self) -> None:
        """Called under the worker's lock. In a run of short jobs the pump is awake already."""
        if not self._pumping:
            self._pumping = True
            self._needed.set()

    def run(self) -> None:
        while True:
            self._needed.wait()
            self._needed.clear()
            self._pump_until_idle()

    def _pump_until_idle(self) -> None:
        seen = -1
        while True:
            time.sleep(PUMP_S)
            with self._worker.lock:
                if self._worker.measure is not None:
                    self._pump_once()
                elif self._worker.jobs_begun == seen:
                    self._pumping = False
                    return
                seen = self._worker.jobs_begun

    def _pump_once(self) -> None:
        pieces = self._worker.workshop.capture.take()
        if pieces:
            self._worker.send(wire.Output(pieces))


class _Watch(threading.Thread):
    """Waits for the pool to close its end, in order or because the agent died, and ends the worker."""

    def __init__(self, worker: Worker) -> None:
        super().__init__(daemon=True)
        self._worker = worker

    def run(self) -> None:
        poll = select.poll()
        poll.register(self._worker.channel, POLLRDHUP)
        poll.poll()
        # With the lock held the main thread cannot report the same job a second time.
        if self._worker.lock.acquire(timeout=LAST_WORDS_S):
            with contextlib.suppress(OSError):  # nobody listens: the agent is gone
                self._worker.last_words()
        die()


def die() -> None:
    """End this process and everything that it started."""
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(0)


def _own_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _cpu_s(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.Error:
        return 0.0  # it ended in between
    return times.user + times.system


def _die_with_parent(agent_pid: int) -> None:
    """Ask Linux to kill us when the agent dies: the second net under `_Watch`."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != agent_pid:
        die()


def _receive(channel: socket.socket) -> Iterator[bytes]:
    unpacker = wire.Unpacker(wire.TO_WORKER_BYTES)
    while data := channel.recv(1 << 18):
        yield from unpacker.feed(data)


def main() -> None:
    channel = socket.socket(fileno=os.dup(0))
    with open(os.devnull) as nothing:  # noqa: PTH123 - a descriptor is what is wanted
        os.dup2(nothing.fileno(), 0)
    bodies = _receive(channel)
    setup = wire.decode_setup(next(bodies))
    _die_with_parent(setup.agent_pid)
    worker = Worker(channel, Workshop(setup))
    worker.send(wire.Ready())
    for body in bodies:
        worker.run(wire.decode_job(body))
    die()


if __name__ == "__main__":
    main()

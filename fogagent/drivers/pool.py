"""The pool of warm workers that runs jobs.

It runs as many jobs at once as it is given: what a node takes on is the panel's decision, by what
is reserved. Short jobs share few workers; a worker that is held up by a long job is not counted, and
another is started beside it. A worker is killed with the job that has to stop, never reused.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import shutil
import time
from collections import deque
from collections.abc import Coroutine
from pathlib import Path

import psutil

from fogagent.drivers import container, wire
from fogagent.drivers.base import Job, OnOutput, OnStart, Permissions, Result, ignore_start
from fogagent.drivers.catalogue import driver_facts
from fogagent.drivers.child import Child
from fogagent.drivers.engine import private_directory
from fogagent.drivers.preparation import Preparation
from fogagent.drivers.ticket import Ticket, never_ran, result_of, result_of_the_dead
from fogagent.messages import DriverFact, Outcome, Piece

log = logging.getLogger("fogagent")

DEFAULT_WORKERS = max(1, min(4, os.cpu_count() or 1))
LONG_S = 0.05
"""A worker that runs a job for longer no longer counts as one that will soon be free."""
SURPLUS_S = 30.0
"""How long a worker beyond the usual number may be idle."""
JOBS_PER_WORKER = 10_000
FAILED_STARTS = 3
"""After so many workers in a row that died before they were ready, jobs are turned away."""
CLOSE_S = 1.5


class Pool:
    """Runs jobs in warm child processes. To be used from one event loop."""

    def __init__(self, cache_dir: Path, permissions: Permissions, workers: int | None = None) -> None:
        """``workers`` is how many are kept ready for short jobs, by default one a core, up to four."""
        self._cache_dir = cache_dir
        self._permissions = permissions
        self._usual = workers or DEFAULT_WORKERS
        self._children: set[Child] = set()
        self._idle: list[Child] = []  # the one used last is last, and is used first
        self._running: dict[Child, Ticket] = {}
        self._tickets: dict[int, Ticket] = {}
        self._waiting: deque[Ticket] = deque()
        self._chores: set[asyncio.Task[None]] = set()
        self._tending: asyncio.TimerHandle | None = None
        self._retiring: asyncio.TimerHandle | None = None
        self._numbers = itertools.count(1)
        self._failed_starts = 0
        self._open = False
        self._quiet = asyncio.Event()
        self._preparation = Preparation(cache_dir)

    # --- For the agent ---------------------------------------------------------------------------

    async def start(self) -> None:
        """Start the usual workers, and prepare the python driver in the background if need be.

        Raises:
            CacheError: the cache directory cannot be trusted.
        """
        private_directory(self._cache_dir)
        self._remove_stale_scratch()
        if self._permissions.allow_container:
            await asyncio.to_thread(container.remove_orphans)
        self._open = True
        self._preparation.start()
        self._tend()

    async def run(self, job: Job, on_output: OnOutput, on_start: OnStart = ignore_start) -> Result:
        """Run ``job`` to its end, whatever that is. Cancelling the call stops the job."""
        if job.attempt in self._tickets:
            raise ValueError(f"Attempt {job.attempt} runs already.")
        ticket = Ticket(job, on_output, on_start, asyncio.get_running_loop().create_future())
        if not self._open:
            return never_ran(Outcome.UNAVAILABLE, "The agent is stopping.")
        self._tickets[job.attempt] = ticket
        self._waiting.append(ticket)
        self._dispatch()
        try:
            return await ticket.done
        finally:
            del self._tickets[job.attempt]
            self._abandon(ticket)

    def cancel(self, attempt: int, sentence: str) -> bool:
        """Stop an attempt, waiting or running; False if there is none of that number."""
        ticket = self._tickets.get(attempt)
        if ticket is None or ticket.done.done():
            return False
        self._stop(ticket, Outcome.CANCELLED, sentence)
        return True

    async def driver_facts(self) -> list[DriverFact]:
        """Which drivers can be used now, and why not the others. Tries them, so it may take seconds."""
        return await asyncio.to_thread(
            driver_facts, self._permissions, self._cache_dir, self._preparation.error
        )

    async def prepared(self) -> None:
        """Return when the python driver is ready, or cannot be: then `driver_facts` has changed."""
        await self._preparation.wait()

    async def close(self) -> None:
        """Stop every job and every worker. Takes less than two seconds."""
        self._open = False
        for timer in (self._tending, self._retiring):
            if timer is not None:
                timer.cancel()
        await self._preparation.close()
        for ticket in list(self._tickets.values()):
            self._stop(ticket, Outcome.CANCELLED, "The agent was stopped.")
        for child in list(self._children):
            child.stop()
        self._note_quiet()
        with contextlib.suppress(TimeoutError):  # what is left then dies of our end's closing
            await asyncio.wait_for(self._quiet.wait(), CLOSE_S)
        shutil.rmtree(self._scratch_root, ignore_errors=True)

    # --- Jobs ------------------------------------------------------------------------------------

    def _dispatch(self) -> None:
        while self._waiting and self._idle:
            ticket = self._waiting.popleft()
            if not ticket.done.done():
                self._give(ticket, self._idle.pop())
        self._tend_later()

    def _give(self, ticket: Ticket, child: Child) -> None:
        loop = asyncio.get_running_loop()
        ticket.child = child
        ticket.started_at = time.time()
        ticket.deadline = loop.call_later(ticket.job.timeout_s, self._expire, ticket)
        child.since = loop.time()
        self._running[child] = ticket
        child.give(ticket.job)
        ticket.on_start(ticket.job.attempt)

    def _expire(self, ticket: Ticket) -> None:
        sentence = f"The program was stopped at its time limit of {ticket.job.timeout_s:g} s."
        self._stop(ticket, Outcome.TIMEOUT, sentence)

    def _stop(self, ticket: Ticket, outcome: Outcome, sentence: str) -> None:
        if ticket.done.done() or ticket.stop is not None:
            return
        if ticket.child is None:
            ticket.done.set_result(never_ran(outcome, sentence))
            return
        ticket.stop = (outcome, sentence)
        ticket.child.stop()
        self._tend_later()

    def _abandon(self, ticket: Ticket) -> None:
        """Nobody waits for the job any more; stop it unless it is over."""
        if ticket.deadline is not None:
            ticket.deadline.cancel()
        if ticket.child is None:
            if ticket in self._waiting:
                self._waiting.remove(ticket)
        elif self._running.get(ticket.child) is ticket:
            ticket.child.stop()

    def _deliver(self, ticket: Ticket, pieces: list[Piece]) -> None:
        if ticket.done.done():
            return
        for piece in pieces:
            ticket.note(piece)
            ticket.on_output(ticket.job.attempt, piece)

    # --- What workers tell (see `child.Listener`) ------------------------------------------------

    def child_ready(self, child: Child) -> None:
        self._failed_starts = 0
        self._make_idle(child)

    def child_output(self, child: Child, output: wire.Output) -> None:
        self._deliver(self._running[child], output.pieces)

    def child_ended(self, child: Child, ended: wire.Ended) -> None:
        ticket = self._running[child]
        self._deliver(ticket, ended.pieces)
        del self._running[child]
        if not ticket.done.done():
            ticket.done.set_result(result_of(ticket, ended))
        if child.stopping:
            self._chore(self._clean_up(ticket))
        if child.jobs_given >= JOBS_PER_WORKER:
            child.stop()
        if not child.stopping:
            self._make_idle(child)

    def child_gone(self, child: Child) -> None:
        self._children.discard(child)
        if child in self._idle:
            self._idle.remove(child)
        if not child.ready and not child.stopping:
            self._note_failed_start()
        self._chore(self._bury(child, self._running.pop(child, None)))
        self._tend_later()

    def _make_idle(self, child: Child) -> None:
        child.since = asyncio.get_running_loop().time()
        self._idle.append(child)
        self._dispatch()
        self._retire_later()

    async def _bury(self, child: Child, ticket: Ticket | None) -> None:
        status = await child.bury()
        if ticket is None:
            return
        await self._clean_up(ticket)
        if not ticket.done.done():
            ticket.done.set_result(result_of_the_dead(ticket, status, child.fault))

    async def _clean_up(self, ticket: Ticket) -> None:
        """Remove what a job that was cut off leaves running outside its worker."""
        if ticket.job.driver == "container":
            await asyncio.to_thread(container.remove, os.getpid(), ticket.job.attempt)

    def _note_failed_start(self) -> None:
        self._failed_starts += 1
        if self._failed_starts < FAILED_STARTS:
            return
        for ticket in self._waiting:
            if not ticket.done.done():
                sentence = "Workers do not start on this node; the agent's log says why."
                ticket.done.set_result(never_ran(Outcome.UNAVAILABLE, sentence))

    # --- How many workers ------------------------------------------------------------------------

    def _tend_later(self) -> None:
        if self._tending is None and self._open:
            self._tending = asyncio.get_running_loop().call_later(LONG_S, self._tend)

    def _tend(self) -> None:
        """Have the usual number of workers that are free or soon will be; look again while in doubt."""
        self._tending = None
        now = asyncio.get_running_loop().time()
        soon_free = [child for child in self._children if self._is_soon_free(child, now)]
        for _ in range(self._starts_wanted(soon_free)):
            self._chore(self._start_child())
        if self._waiting or any(child in self._running for child in soon_free):
            self._tend_later()

    def _is_soon_free(self, child: Child, now: float) -> bool:
        if child.stopping:
            return False
        return child not in self._running or now - child.since <= LONG_S

    def _starts_wanted(self, soon_free: list[Child]) -> int:
        starting = sum(not child.ready for child in soon_free)
        wanted = min(self._usual - len(soon_free), self._usual - starting)
        if self._failed_starts:
            # Something is wrong here: try one at a time, and after a while only for jobs that wait.
            wanted = 1 if not starting and (self._waiting or self._failed_starts < FAILED_STARTS) else 0
        return max(0, wanted)

    def _retire_surplus(self) -> None:
        """Stop workers beyond the usual number that were idle for long."""
        self._retiring = None
        long_ago = asyncio.get_running_loop().time() - SURPLUS_S
        for child in self._idle[: max(0, len(self._idle) - self._usual)]:
            if child.since <= long_ago:
                self._idle.remove(child)
                child.stop()
        self._retire_later()

    def _retire_later(self) -> None:
        if self._retiring is None and self._open and len(self._idle) > self._usual:
            self._retiring = asyncio.get_running_loop().call_later(SURPLUS_S, self._retire_surplus)

    async def _start_child(self) -> None:
        if not self._open:
            return
        setup = wire.Setup(
            cache_dir=str(self._cache_dir),
            scratch=str(self._scratch_root / str(next(self._numbers))),
            permissions=self._permissions,
            agent_pid=os.getpid(),
        )
        try:
            child = Child(setup, self)
        except OSError as error:  # no room for its files, or no more processes to be had
            log.warning("A worker cannot be started: %s.", error)
            self._note_failed_start()
            self._tend_later()
            return
        self._children.add(child)
        await child.connect()

    # --- Housekeeping ----------------------------------------------------------------------------

    @property
    def _scratch_root(self) -> Path:
        """Several pools, even in one process, may share a cache directory."""
        return self._cache_dir / "scratch" / f"{os.getpid()}-{id(self):x}"

    def _remove_stale_scratch(self) -> None:
        """Remove what agents left behind that were killed."""
        for path in (self._cache_dir / "scratch").glob("*-*"):
            if not psutil.pid_exists(int(path.name.partition("-")[0])):
                shutil.rmtree(path, ignore_errors=True)

    def _chore(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._chores.add(task)
        task.add_done_callback(self._chore_done)

    def _chore_done(self, task: asyncio.Task[None]) -> None:
        self._chores.discard(task)
        self._note_quiet()

    def _note_quiet(self) -> None:
        if not self._open and not self._children and not self._chores:
            self._quiet.set()

"""The pool that runs jobs in warm workers.

It runs as many jobs at once as it is given: what a node takes on is the panel's decision, by what
is reserved. How many workers there are is `crew`'s. A worker is killed with the job that has to stop,
never reused.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections import deque
from pathlib import Path

from fogagent.background import Background, logged_as
from fogagent.drivers import container, wire
from fogagent.drivers.base import Job, OnOutput, OnStart, Permissions, Result, ignore_start
from fogagent.drivers.catalogue import driver_facts
from fogagent.drivers.child import Child
from fogagent.drivers.crew import Crew
from fogagent.drivers.engine import private_directory
from fogagent.drivers.preparation import Preparation
from fogagent.drivers.scratch import Scratch
from fogagent.drivers.ticket import Ticket, never_ran, result_of, result_of_the_dead
from fogagent.messages import DriverFact, Outcome, Piece

DEFAULT_WORKERS = max(1, min(4, os.cpu_count() or 1))
CLOSE_S = 1.5
NO_WORKERS = "Workers do not start on this node; the agent's log says why."


class Pool:
    """Runs jobs in warm child processes. To be used from one event loop."""

    def __init__(self, cache_dir: Path, permissions: Permissions, workers: int | None = None) -> None:
        """``workers`` is how many are kept ready for short jobs, by default one a core, up to four."""
        self._cache_dir = cache_dir
        self._permissions = permissions
        self._scratch = Scratch(cache_dir)
        self._crew = Crew(
            workers or DEFAULT_WORKERS,
            self._new_child,
            is_short=lambda: bool(self._waiting),
            on_failing=self._turn_away,
        )
        self._tickets: dict[int, Ticket] = {}
        self._waiting: deque[Ticket] = deque()
        self._running: dict[Child, Ticket] = {}
        self._clearing = Background(logged_as("clearing up after a job"))
        self._preparation = Preparation(cache_dir)

    # --- For the agent ---------------------------------------------------------------------------

    async def start(self) -> None:
        """Start the usual workers, and prepare the python driver in the background if need be.

        Raises:
            CacheError: the cache directory cannot be trusted.
        """
        private_directory(self._cache_dir)
        self._scratch.remove_stale()
        if self._permissions.allow_container:
            await asyncio.to_thread(container.remove_orphans)
        self._preparation.start()
        self._crew.start()

    async def run(self, job: Job, on_output: OnOutput, on_start: OnStart = ignore_start) -> Result:
        """Run ``job`` to its end, whatever that is. Cancelling the call stops the job."""
        if job.attempt in self._tickets:
            raise ValueError(f"Attempt {job.attempt} runs already.")
        if not self._crew.open:
            return never_ran(Outcome.UNAVAILABLE, "The agent is stopping.")
        ticket = Ticket(job, on_output, on_start, asyncio.get_running_loop().create_future())
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
        for ticket in list(self._tickets.values()):
            self._stop(ticket, Outcome.CANCELLED, "The agent was stopped.")
        self._crew.dismiss()
        await self._preparation.close()
        with contextlib.suppress(TimeoutError):  # what is left then dies of our end's closing
            async with asyncio.timeout(CLOSE_S):
                await self._crew.gone()
                await self._clearing.over()
        self._scratch.remove()

    # --- Jobs ------------------------------------------------------------------------------------

    def _dispatch(self) -> None:
        while self._waiting and self._crew.has_free:
            ticket = self._waiting.popleft()
            if not ticket.done.done():
                self._give(ticket, self._crew.take())
        self._crew.tend_later()

    def _give(self, ticket: Ticket, child: Child) -> None:
        ticket.child = child
        ticket.started_at = time.time()
        ticket.deadline = asyncio.get_running_loop().call_later(ticket.job.timeout_s, self._expire, ticket)
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
        self._crew.tend_later()

    def _turn_away(self) -> None:
        """There is no worker for those that wait, and perhaps never will be."""
        for ticket in self._waiting:
            if not ticket.done.done():
                ticket.done.set_result(never_ran(Outcome.UNAVAILABLE, NO_WORKERS))

    def _abandon(self, ticket: Ticket) -> None:
        """Nobody waits for the job any more; stop it unless it is over."""
        if ticket.deadline is not None:
            ticket.deadline.cancel()
        if ticket.child is None:
            if ticket in self._waiting:
                self._waiting.remove(ticket)
        elif self._running.get(ticket.child) is ticket:
            ticket.child.stop()

    # --- What workers tell (see `child.Listener`) ------------------------------------------------

    def child_ready(self, child: Child) -> None:
        self._crew.came(child)
        self._dispatch()

    def child_output(self, child: Child, output: wire.Output) -> None:
        self._deliver(self._running[child], output.pieces)

    def child_ended(self, child: Child, ended: wire.Ended) -> None:
        ticket = self._running[child]
        self._deliver(ticket, ended.pieces)
        del self._running[child]
        if not ticket.done.done():
            ticket.done.set_result(result_of(ticket, ended))
        if child.stopping:
            self._clearing.begin(_clear_up(ticket))
        self._crew.rest(child)
        self._dispatch()

    def child_gone(self, child: Child) -> None:
        self._crew.left(child)
        self._clearing.begin(self._bury(child, self._running.pop(child, None)))

    def _deliver(self, ticket: Ticket, pieces: list[Piece]) -> None:
        if ticket.done.done():
            return
        for piece in pieces:
            ticket.note(piece)
            ticket.on_output(ticket.job.attempt, piece)

    async def _bury(self, child: Child, ticket: Ticket | None) -> None:
        status = await child.bury()
        if ticket is None:
            return
        await _clear_up(ticket)
        if not ticket.done.done():
            ticket.done.set_result(result_of_the_dead(ticket, status, child.fault))

    def _new_child(self) -> Child:
        """Raises OSError."""
        setup = wire.Setup(
            cache_dir=str(self._cache_dir),
            scratch=str(self._scratch.next()),
            permissions=self._permissions,
            agent_pid=os.getpid(),
        )
        return Child(setup, self)


async def _clear_up(ticket: Ticket) -> None:
    """Remove what a job that was cut off leaves running outside its worker."""
    if ticket.job.driver == "container":
        await asyncio.to_thread(container.remove, os.getpid(), ticket.job.attempt)

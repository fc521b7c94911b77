"""One agent: what happens goes to its state machine, each instruction of that to the part which does it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from random import Random
from typing import Any, TypeVar

import msgspec

from fogagent.address import PanelAddress
from fogagent.background import Background
from fogagent.blobs import BlobCache
from fogagent.events import Began, Event, Moment, StopAsked, Ticked
from fogagent.home import Home
from fogagent.identity import Identity
from fogagent.instructions import (
    AnswerGateway,
    Beat,
    Bring,
    CancelJob,
    Close,
    ConnectAfter,
    DropBlob,
    Exit,
    ExitCode,
    Forget,
    Instruction,
    JudgeDirectory,
    Keep,
    KeepAlive,
    KeepChunk,
    KeepDirectory,
    Obtain,
    OpenTunnels,
    Replay,
    RunTrial,
    Say,
    Send,
    StartJob,
    TellOverlay,
    UseDirectory,
)
from fogagent.messages import MAX_CACHED, Facts
from fogagent.outgoing import Outgoing
from fogagent.overlay.directory import Directory
from fogagent.overlay.directory_file import DirectoryFile
from fogagent.overlay.directory_holder import DirectoryHolder
from fogagent.overlay.part import Part
from fogagent.shell.blobs import Blobs
from fogagent.shell.conversation import Conversation
from fogagent.shell.directory import DirectoryKeeper
from fogagent.shell.jobs import Jobs, Workers
from fogagent.shell.machine import Describe, Machine
from fogagent.shell.overlay import OverlayShell
from fogagent.spool import Spool
from fogagent.state import AgentState

T = TypeVar("T")

log = logging.getLogger("fogagent")

FLUSH_S = 3.0
"""How long a stopping agent tries to hand over what it has."""


class Agent:
    """One agent from start to end: `run` returns its exit code. To be made and used in one event loop."""

    def __init__(
        self,
        *,
        address: PanelAddress,
        home: Home,
        identity: Identity,
        panel_key: bytes,
        workers: Workers,
        facts: Facts,
        describe: Describe,
        rng: Random,
        part: Part | None = None,
    ) -> None:
        """``part`` is what this node takes part in the overlay as; None: not at all.

        Raises:
            sqlite3.Error: the spool cannot be opened.
            ValueError: a key or a certificate of the overlay is none.
        """
        self._background = Background(self._fail)
        feed, spawn = self._feed, self._background.begin
        self._workers = workers
        self._spool = Spool(home.spool)
        self._outgoing = Outgoing(self._spool)
        self._cache = BlobCache(home.blobs)
        self._machine = Machine(home.path, workers, facts.drivers, describe, feed)
        self._conversation = Conversation(
            address, identity, panel_key, self._outgoing, feed=feed, spawn=spawn
        )
        self._jobs = Jobs(workers, self._cache, identity, feed=feed, spawn=spawn)
        self._blobs = Blobs(self._cache, feed=feed, spawn=spawn)
        directory_file = DirectoryFile(home.directory, panel_key)
        self._directory_keeper = DirectoryKeeper(directory_file, panel_key, feed=feed, spawn=spawn)
        self.directory: Directory | None = None
        self._overlay = OverlayShell(
            home,
            identity,
            part,
            rng,
            panel_key=panel_key,
            blobs=self._cache,
            feed=feed,
            post=self._outgoing.post,
            spawn=spawn,
        )
        self._state = AgentState(
            facts=msgspec.structs.replace(facts, cached=self._cache.held(MAX_CACHED)),
            first_seq=self._spool.first_seq,
            kept=self._spool.kept(),
            directory=DirectoryHolder(self._directory_keeper.kept(), rng),
            rng=rng,
        )
        self._acts = self._who_does_what()
        self._timer: asyncio.TimerHandle | None = None
        self._exit: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()

    def _who_does_what(self) -> dict[type[Instruction], Callable[[Any], None]]:
        return {
            Send: self._send,
            Keep: self._keep,
            Replay: self._replay,
            Forget: self._forget,
            Beat: self._beat,
            StartJob: self._jobs.start,
            CancelJob: self._jobs.cancel,
            Obtain: self._blobs.obtain,
            KeepChunk: self._blobs.keep_chunk,
            DropBlob: self._blobs.drop,
            JudgeDirectory: self._directory_keeper.judge,
            UseDirectory: self._use_directory,
            KeepDirectory: self._directory_keeper.keep,
            OpenTunnels: self._overlay.open_tunnels,
            RunTrial: self._overlay.run_trial,
            Bring: self._overlay.bring,
            AnswerGateway: self._overlay.answer_gateway,
            TellOverlay: self._tell_overlay,
            ConnectAfter: self._conversation.connect_after,
            KeepAlive: self._conversation.keep_alive,
            Close: self._conversation.drop,
            Say: _say,
            Exit: self._leave,
        }

    async def run(self) -> ExitCode:
        """Work until told to stop, or refused for good.

        Raises:
            sqlite3.Error: the spool broke; no result could be stored or sent any more.
        """
        loop = asyncio.get_running_loop()
        self._spool.start(
            on_stored=lambda reports: _call_in(loop, self._outgoing.stored, reports),
            on_trouble=lambda sentence: log.warning("%s", sentence),
            on_broken=lambda error: _call_in(loop, self._fail, error),
        )
        self._background.begin(self._machine.watch_drivers())
        self._overlay.start()
        self._feed(Began())
        try:
            exit_ = await self._exit
            await self._flush(exit_)
        finally:
            await self._shut_down()
        return exit_.code

    def stop(self, sentence: str) -> None:
        """Stop in order. May be called again."""
        self._feed(StopAsked(sentence))

    # --- Events in, instructions out ---------------------------------------------------------------

    def _feed(self, event: Event) -> None:
        for instruction in self._state.handle(event, _now()):
            self._acts[type(instruction)](instruction)
        self._set_timer()

    def _set_timer(self) -> None:
        """A timer that rings too early only asks again; one that exists and is early enough stays."""
        wake_at = self._state.wake_at()
        loop = asyncio.get_running_loop()
        if wake_at is None or (self._timer is not None and self._timer.when() <= wake_at):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_at(wake_at, self._ring)

    def _ring(self) -> None:
        self._timer = None
        self._feed(Ticked())

    def _fail(self, error: BaseException) -> None:
        """A bug must end the agent with a trace, not leave it half alive."""
        if not self._exit.done():
            self._exit.set_exception(error)

    # --- What no other part does -------------------------------------------------------------------

    def _send(self, instruction: Send) -> None:
        self._outgoing.post(instruction.message)

    def _keep(self, instruction: Keep) -> None:
        self._outgoing.keep(instruction.report)

    def _replay(self, instruction: Replay) -> None:
        self._outgoing.replay()

    def _forget(self, instruction: Forget) -> None:
        self._spool.forget(instruction.seqs)
        self._outgoing.acknowledged()

    def _beat(self, instruction: Beat) -> None:
        sample = self._machine.heartbeat(instruction.running, self._conversation.round_trip_news())
        if sample is not None:
            self._outgoing.post(sample)
            self._overlay.tell()

    def _tell_overlay(self, instruction: TellOverlay) -> None:
        self._overlay.tell()

    def _use_directory(self, instruction: UseDirectory) -> None:
        self.directory = instruction.directory
        self._overlay.use(instruction.directory)

    # --- The end -----------------------------------------------------------------------------------

    def _leave(self, instruction: Exit) -> None:
        if not self._exit.done():
            self._exit.set_result(instruction)

    async def _flush(self, exit_: Exit) -> None:
        """Hand over what is in hand, then say goodbye, for as long as it seems to get through."""
        with suppress(TimeoutError):
            async with asyncio.timeout(FLUSH_S):
                await self._outgoing.drained()
                if exit_.farewell is not None:
                    self._outgoing.post(exit_.farewell)
                    await self._outgoing.drained()
                await self._conversation.close()

    async def _shut_down(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        await self._workers.close()
        await self._overlay.close()
        await self._background.stop()
        self._outgoing.spool()
        if not await asyncio.to_thread(self._spool.close, FLUSH_S):
            log.warning("The last results could not be stored.")


def _say(instruction: Say) -> None:
    log.log(logging.WARNING if instruction.warning else logging.INFO, "%s", instruction.text)


def _now() -> Moment:
    return Moment(at=time.time(), tick=time.monotonic())


def _call_in(loop: asyncio.AbstractEventLoop, function: Callable[[T], None], news: T) -> None:
    with suppress(RuntimeError):  # the loop is closed: the agent has ended, the spool keeps what it has
        loop.call_soon_threadsafe(function, news)

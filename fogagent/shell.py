"""The agent's hands: carries out what `fogagent.state` decides, and tells it what happens."""

from __future__ import annotations

import asyncio
import logging
import time
import traceback
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from random import Random
from typing import Any, Protocol, TypeVar

import msgspec

from fogagent import fingerprint
from fogagent.address import PanelAddress
from fogagent.blobs import BadBlob, BlobCache
from fogagent.connection import Connection, ConnectionFailed, NotOurPanel, TurnedAway, connect
from fogagent.drivers.base import Job, OnOutput, OnStart, Result
from fogagent.events import (
    Began,
    BlobFailed,
    BlobReady,
    BlobWanted,
    CacheChanged,
    Connected,
    DirectoryAccepted,
    DirectoryRefused,
    Disconnected,
    Ended,
    Event,
    FactsChanged,
    Imposter,
    JobBegan,
    Moment,
    Output,
    Received,
    Refused,
    StopAsked,
    Ticked,
)
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
from fogagent.messages import (
    MAX_CACHED,
    Blob,
    Chunk,
    DriverFact,
    Facts,
    Outcome,
    Piece,
    Run,
    Sealed,
)
from fogagent.outgoing import Outgoing
from fogagent.overlay.directory import BadDirectory, Changes, Directory, judge
from fogagent.overlay.directory_file import DirectoryFile
from fogagent.overlay.directory_holder import DirectoryHolder
from fogagent.overlay.part import Part
from fogagent.overlay_shell import OverlayShell
from fogagent.sealed_runs import SealedRun, outcome_of
from fogagent.sealing.errors import SealingError
from fogagent.spool import Spool
from fogagent.state import AgentState

T = TypeVar("T")

log = logging.getLogger("fogagent")

FLUSH_S = 3.0
"""How long a stopping agent tries to hand over what it has."""
LOOK_AGAIN_S = 300.0
"""How often the drivers are tried again: an engine may have been installed or have died."""


class Workers(Protocol):
    """What the agent asks of `fogagent.drivers.pool.Pool`."""

    async def start(self) -> None: ...
    async def run(self, job: Job, on_output: OnOutput, on_start: OnStart) -> Result: ...
    def cancel(self, attempt: int, sentence: str) -> bool: ...
    async def driver_facts(self) -> list[DriverFact]: ...
    async def prepared(self) -> None: ...
    async def close(self) -> None: ...


def now() -> Moment:
    return Moment(at=time.time(), tick=time.monotonic())


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
        describe: Callable[[list[DriverFact]], Facts],
        rng: Random,
        part: Part | None = None,
    ) -> None:
        """``describe`` makes the facts anew when the drivers change; it may block. ``part`` is what this node
        takes part in the overlay as; None: not at all.

        Raises:
            sqlite3.Error: the spool cannot be opened.
            ValueError: a key or a certificate of the overlay is none.
        """
        self._address = address
        self._home = home
        self._identity = identity
        self._panel_key = panel_key
        self._workers = workers
        self._drivers = facts.drivers
        self._describe = describe
        self._spool = Spool(home.spool)
        self._outgoing = Outgoing(self._spool)
        self._blobs = BlobCache(home.blobs)
        self._directory_file = DirectoryFile(home.directory, panel_key)
        self.directory: Directory | None = None
        self._state = AgentState(
            facts=msgspec.structs.replace(facts, cached=self._blobs.held(MAX_CACHED)),
            first_seq=self._spool.first_seq,
            kept=self._spool.kept(),
            directory=DirectoryHolder(self._kept_directory(), rng),
            rng=rng,
        )
        self._overlay = OverlayShell(
            home,
            identity,
            part,
            rng,
            panel_key=panel_key,
            blobs=self._blobs,
            feed=self._feed,
            post=self._outgoing.post,
            spawn=self._spawn,
        )
        self._blob_turn = asyncio.Lock()  # chunks of a blob are written in their order
        self._tasks: set[asyncio.Task[None]] = set()
        # Attempts the workers do not know yet, each with the sentence of a cancel that came meanwhile.
        self._preparing: dict[int, str | None] = {}
        self._connection: Connection | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._measurable = True
        self._exit: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()

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
        self._spawn(self._watch_drivers())
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
        for instruction in self._state.handle(event, now()):
            _ACTS[type(instruction)](self, instruction)
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

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._reap)
        return task

    def _reap(self, task: asyncio.Task[None]) -> None:
        """A bug in a task must end the agent with a trace, not leave it half alive."""
        self._tasks.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        self._fail(error)

    def _fail(self, error: BaseException) -> None:
        if not self._exit.done():
            self._exit.set_exception(error)

    # --- The connection ----------------------------------------------------------------------------

    def _connect_after(self, instruction: ConnectAfter) -> None:
        self._spawn(self._be_connected(instruction.delay_s))

    async def _be_connected(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        try:
            connection = await connect(self._address, self._identity, self._panel_key)
        except ConnectionFailed as error:
            self._feed(Disconnected(str(error)))
        except TurnedAway as error:
            self._feed(Refused(error.problem))
        except NotOurPanel as error:
            self._feed(Imposter(str(error)))
        else:
            await self._converse(connection)

    async def _converse(self, connection: Connection) -> None:
        self._connection = connection
        self._outgoing.connected()
        sides = [
            asyncio.create_task(self._listen(connection)),
            asyncio.create_task(self._outgoing.pump(connection)),
            asyncio.create_task(connection.keep_alive()),
        ]
        self._feed(Connected(connection.welcome))
        try:
            done, _ = await asyncio.wait(sides, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for side in sides:
                side.cancel()
            await asyncio.gather(*sides, return_exceptions=True)
            connection.abort()
            if self._connection in (connection, None):  # else a newer one is in use already
                self._outgoing.disconnected()
        failures = [error for side in done if (error := side.exception())]
        for error in failures:
            if not isinstance(error, ConnectionFailed):
                raise error
        if self._connection is connection:
            self._connection = None
            self._feed(Disconnected(str(failures[0]) if failures else connection.ending))

    async def _listen(self, connection: Connection) -> None:
        async for messages in connection.frames():
            if self._connection is not connection:
                return
            self._feed(Received(messages))

    def _close(self, instruction: Close) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()

    def _keep_alive(self, instruction: KeepAlive) -> None:
        if self._connection is not None:
            self._connection.timeout_s = instruction.timeout_s

    def _send(self, instruction: Send) -> None:
        self._outgoing.post(instruction.message)

    def _beat(self, instruction: Beat) -> None:
        """A machine that cannot be measured (its state folder is gone, no file can be opened) is silent.

        The panel then gives its work to others; when the trouble is over, it beats again.
        """
        try:
            sample = fingerprint.heartbeat_sample(
                at=time.time(),
                running=instruction.running,
                state_dir=self._home.path,
                round_trip_ms=self._connection.round_trip_news() if self._connection else None,
            )
        except OSError as error:
            if self._measurable:
                log.warning("No heartbeats, as this machine cannot be measured: %s.", error)
            self._measurable = False
        else:
            self._measurable = True
            self._outgoing.post(sample)
            self._overlay.tell()

    # --- Reports -----------------------------------------------------------------------------------

    def _keep(self, instruction: Keep) -> None:
        self._outgoing.keep(instruction.report)

    def _forget(self, instruction: Forget) -> None:
        self._spool.forget(instruction.seqs)
        self._outgoing.acknowledged()

    def _replay(self, instruction: Replay) -> None:
        self._outgoing.replay()

    # --- Jobs and blobs ----------------------------------------------------------------------------

    def _start_job(self, instruction: StartJob) -> None:
        run = instruction.run
        self._preparing[run.attempt] = None
        self._spawn(self._run_job(run) if run.sealed is None else self._run_sealed(run, run.sealed))

    async def _run_job(self, run: Run) -> None:
        try:
            result = await self._result(run.attempt, self._job(run), self._on_output)
        except BadBlob as error:
            result = _end(Outcome.CRASHED, str(error))
        except Exception as error:
            # Whatever a driver gets wrong must not leave the attempt open for ever.
            log.exception("attempt %d: the driver %s failed", run.attempt, run.driver)
            result = _end(Outcome.CRASHED, f"This node's driver {run.driver} failed: {error!r}.")
        self._feed(Ended(run.attempt, result))

    async def _run_sealed(self, run: Run, sealed: Sealed) -> None:
        task = SealedRun(run, sealed, self._identity)
        opening = task.open(self._content(run.payload))
        try:
            ended = await task.end(await self._result(run.attempt, opening, task.gather))
        except (BadBlob, SealingError) as error:
            ended = Ended(run.attempt, _end(outcome_of(error), str(error)))
        except Exception as error:
            # Said without what the error says: that may be of the task, and logs are kept on disk.
            where = "".join(traceback.format_tb(error.__traceback__))
            kind = type(error).__name__
            log.error("attempt %d: a sealed task failed here with %s\n%s", run.attempt, kind, where)
            sentence = f"This node failed with the task ({kind}); its log says where."
            ended = Ended(run.attempt, _end(Outcome.CRASHED, sentence))
        self._feed(ended)

    async def _result(self, attempt: int, preparing: Awaitable[Job], on_output: OnOutput) -> Result:
        try:
            job = await preparing
        finally:
            cancelled = self._preparing.pop(attempt)
        # From here to the workers' own list nothing else gets a turn: no cancel falls in between.
        if cancelled is not None:
            return _end(Outcome.CANCELLED, cancelled)
        return await self._workers.run(job, on_output, self._on_start)

    def _on_output(self, attempt: int, piece: Piece) -> None:
        self._feed(Output(attempt, piece))

    def _on_start(self, attempt: int) -> None:
        self._feed(JobBegan(attempt))

    async def _job(self, run: Run) -> Job:
        return Job(
            attempt=run.attempt,
            driver=run.driver,
            payload=await self._content(run.payload),
            image=run.image,
            args=tuple(run.args),
            env=run.env,
            stdin=await self._content(run.stdin),
            timeout_s=run.timeout_s,
            cpu_millis=run.cpu_millis,
            memory_mb=run.memory_mb,
            network=run.network,
        )

    async def _content(self, blob: Blob | None) -> bytes:
        if blob is None:
            return b""
        if blob.inline is not None:
            return blob.inline
        content = await asyncio.to_thread(self._blobs.read, blob.sha256)
        if content is None:
            raise BadBlob(f"The payload {blob.sha256[:12]}… vanished from this node's cache.")
        return content

    def _cancel_job(self, instruction: CancelJob) -> None:
        if instruction.attempt in self._preparing:
            self._preparing[instruction.attempt] = instruction.sentence
        else:  # where the workers do not know it any more, it is over and its `Ended` on the way
            self._workers.cancel(instruction.attempt, instruction.sentence)

    def _obtain(self, instruction: Obtain) -> None:
        self._spawn(self._look_for(instruction.blob))

    async def _look_for(self, blob: Blob) -> None:
        async with self._blob_turn:
            here, index = await asyncio.to_thread(self._blobs.find, blob.sha256)
        self._feed(BlobReady(blob.sha256) if here else BlobWanted(blob.sha256, index))

    def _keep_chunk(self, instruction: KeepChunk) -> None:
        self._spawn(self._write_chunk(instruction.chunk, instruction.size))

    async def _write_chunk(self, chunk: Chunk, size: int) -> None:
        async with self._blob_turn:
            try:
                whole = await asyncio.to_thread(self._blobs.add, chunk, size)
            except BadBlob as error:
                self._feed(BlobFailed(chunk.sha256, str(error)))
            except OSError as error:
                self._feed(BlobFailed(chunk.sha256, f"This node cannot store the payload: {error}."))
            else:
                if whole:
                    self._feed(BlobReady(chunk.sha256))
                    self._feed(CacheChanged(await asyncio.to_thread(self._blobs.held, MAX_CACHED)))

    def _drop_blob(self, instruction: DropBlob) -> None:
        self._spawn(self._drop(instruction.sha256))

    async def _drop(self, sha256: str) -> None:
        async with self._blob_turn:
            try:
                await asyncio.to_thread(self._blobs.drop, sha256)
            except OSError as error:
                log.warning("The blob %s… could not be removed: %s", sha256[:12], error)
        self._feed(CacheChanged(await asyncio.to_thread(self._blobs.held, MAX_CACHED)))

    # --- The relay directory -----------------------------------------------------------------------

    def _kept_directory(self) -> Directory | None:
        try:
            return self._directory_file.read()
        except (BadDirectory, OSError) as error:
            log.warning("The relay directory that was kept cannot be used: %s", error)
            return None

    def _judge_directory(self, instruction: JudgeDirectory) -> None:
        self._spawn(self._judge(instruction))

    async def _judge(self, instruction: JudgeDirectory) -> None:
        # In a thread: with thousands of relays it takes longer than whoever uses the overlay may wait.
        given = instruction.held, instruction.encoded, self._panel_key, time.time()
        try:
            directory, whole = await asyncio.to_thread(judge, *given)
        except BadDirectory as error:
            self._feed(DirectoryRefused(error))
        else:
            self._feed(DirectoryAccepted(directory, whole))

    def _use_directory(self, instruction: UseDirectory) -> None:
        self.directory = instruction.directory
        self._overlay.use(instruction.directory)

    def _keep_directory(self, instruction: KeepDirectory) -> None:
        self._spawn(self._write_directory(instruction.whole))

    async def _write_directory(self, whole: Changes) -> None:
        try:
            await asyncio.to_thread(self._directory_file.write, whole)
        except OSError as error:
            log.warning("The relay directory cannot be kept: %s.", error)

    # --- The overlay -------------------------------------------------------------------------------

    def _tell_overlay(self, instruction: TellOverlay) -> None:
        self._overlay.tell()

    def _open_tunnels(self, instruction: OpenTunnels) -> None:
        self._overlay.open_tunnels(instruction.specs)

    def _run_trial(self, instruction: RunTrial) -> None:
        self._overlay.run_trial(instruction.order)

    def _bring(self, instruction: Bring) -> None:
        self._overlay.bring(instruction.order, instruction.within_s)

    def _answer_gateway(self, instruction: AnswerGateway) -> None:
        self._overlay.answer_gateway(instruction.refusal)

    # --- The machine -------------------------------------------------------------------------------

    async def _watch_drivers(self) -> None:
        """Tell the panel when a driver becomes usable or stops being so."""
        await self._workers.prepared()
        while True:
            drivers = await self._workers.driver_facts()
            if drivers != self._drivers:
                self._drivers = drivers
                self._feed(FactsChanged(await asyncio.to_thread(self._describe, drivers)))
            await asyncio.sleep(LOOK_AGAIN_S)

    def _say(self, instruction: Say) -> None:
        log.log(logging.WARNING if instruction.warning else logging.INFO, "%s", instruction.text)

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
                if self._connection is not None:
                    await self._connection.close()

    async def _shut_down(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        await self._workers.close()
        await self._overlay.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._outgoing.spool()
        if not await asyncio.to_thread(self._spool.close, FLUSH_S):
            log.warning("The last results could not be stored.")


def _end(outcome: Outcome, sentence: str) -> Result:
    """The end of an attempt of which no worker tells."""
    at = time.time()
    return Result(outcome=outcome, started_at=at, finished_at=at, sentence=sentence)


def _call_in(loop: asyncio.AbstractEventLoop, function: Callable[[T], None], news: T) -> None:
    with suppress(RuntimeError):  # the loop is closed: the agent has ended, the spool keeps what it has
        loop.call_soon_threadsafe(function, news)


_ACTS: dict[type[Instruction], Callable[[Agent, Any], None]] = {
    Send: Agent._send,
    Keep: Agent._keep,
    Replay: Agent._replay,
    Forget: Agent._forget,
    Beat: Agent._beat,
    StartJob: Agent._start_job,
    CancelJob: Agent._cancel_job,
    Obtain: Agent._obtain,
    KeepChunk: Agent._keep_chunk,
    DropBlob: Agent._drop_blob,
    JudgeDirectory: Agent._judge_directory,
    UseDirectory: Agent._use_directory,
    KeepDirectory: Agent._keep_directory,
    OpenTunnels: Agent._open_tunnels,
    RunTrial: Agent._run_trial,
    Bring: Agent._bring,
    AnswerGateway: Agent._answer_gateway,
    TellOverlay: Agent._tell_overlay,
    ConnectAfter: Agent._connect_after,
    KeepAlive: Agent._keep_alive,
    Close: Agent._close,
    Say: Agent._say,
    Exit: Agent._leave,
}
